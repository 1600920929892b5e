// SPDX-License-Identifier: GPL-2.0

//! Directories, files and symbolic links in sysfs.
//!
//! A directory is made with the tables of its files ([`Group`]s) and goes when its [`Dir`] is
//! dropped. The order in which directories, links and their parents are dropped does not matter
//! for safety: with a directory goes all that is below it, and what outlives it is empty.
//!
//! # Locking
//!
//! Dropping a [`Dir`] waits for the `show`s that run in it and below it, never for a `store`. See
//! [`Attr`] for what these may do.
//!
//! C headers: [`include/linux/kobject.h`](srctree/include/linux/kobject.h),
//! [`include/linux/sysfs.h`](srctree/include/linux/sysfs.h)

mod attr;
mod node;

pub use attr::{Attr, Group, Page};
pub(crate) use node::drain;

use attr::{Entry, Source};
use core::{marker::PhantomData, ptr};
use kernel::{bindings, error::to_result, prelude::*, sync::static_lock_class};
use node::NodeRef;

/// Where a directory is made.
pub enum Parent<'a> {
    /// `/sys/kernel`.
    Kernel,
    /// In this directory.
    Dir(&'a Dir),
    /// In the directory of a foreign kobject.
    Raw(RawParent<'a>),
}

/// A foreign kobject that is going to be a parent; made by [`Parent::raw`].
pub struct RawParent<'a>(*mut bindings::kobject, PhantomData<&'a ()>);

impl<'a> Parent<'a> {
    /// In the directory of this kobject.
    ///
    /// # Safety
    ///
    /// `kobj` is valid for `'a`, and is neither added to nor removed from sysfs meanwhile.
    pub unsafe fn raw(kobj: *mut bindings::kobject) -> Parent<'a> {
        Parent::Raw(RawParent(kobj, PhantomData))
    }

    fn as_raw(&self) -> *mut bindings::kobject {
        match self {
            // SAFETY: Set once at boot.
            Parent::Kernel => unsafe { bindings::kernel_kobj },
            Parent::Dir(dir) => dir.as_raw(),
            Parent::Raw(raw) => raw.0,
        }
    }
}

/// A directory. It is removed, with all that is below it, when this is dropped.
///
/// # Invariants
///
/// The node is in sysfs until `drop`, unless a parent was removed before.
pub struct Dir(NodeRef);

impl Dir {
    /// Makes the directory `name` with the files of all `groups`.
    ///
    /// May sleep. `EEXIST` if there is such a file or directory, `EINVAL` for an empty name, `.`,
    /// `..`, or one with a NUL or a slash, `ENAMETOOLONG` beyond 255 bytes, `ENOENT` if the parent
    /// is gone, `ENOMEM`. Concurrent makers of one name have to be kept apart by the caller, or
    /// the kernel log gets a stack trace with the `EEXIST`.
    pub fn create(parent: Parent<'_>, name: &[u8], groups: KVec<Group>) -> Result<Dir> {
        let name = c_name(name)?;
        // SAFETY: The parent is valid, and in sysfs unless one of its own parents was removed.
        let node = unsafe { NodeRef::create(parent.as_raw(), &name, groups)? };
        // INVARIANT: Just put there.
        Ok(Dir(node))
    }

    /// Makes a symbolic link `name` in this directory to the directory `target`.
    ///
    /// May sleep. Errors as [`Dir::create`], without the stack trace. When the target goes first,
    /// the link stays and points to nothing.
    pub fn symlink(&self, name: &[u8], target: &Dir) -> Result<Link> {
        // SAFETY: `target` is borrowed, so its kobject is valid.
        unsafe { self.symlink_raw(name, target.as_raw()) }
    }

    /// As [`Dir::symlink`], to any directory that can be a parent.
    pub fn symlink_to(&self, name: &[u8], target: &Parent<'_>) -> Result<Link> {
        // SAFETY: What `Parent` refers to is valid as long as that is.
        unsafe { self.symlink_raw(name, target.as_raw()) }
    }

    /// As [`Dir::symlink`], to the directory of a foreign kobject.
    ///
    /// # Safety
    ///
    /// `target` is valid during the call.
    pub unsafe fn symlink_raw(&self, name: &[u8], target: *mut bindings::kobject) -> Result<Link> {
        let name = c_name(name)?;
        // SAFETY: Ours is valid by the type invariant, the target by the requirements of this
        // function, and `name` ends in NUL.
        to_result(unsafe {
            bindings::sysfs_create_link_nowarn(self.as_raw(), target, name.as_ptr().cast())
        })?;
        Ok(Link {
            dir: self.0.clone(),
            name,
        })
    }

    /// Makes the file `name` in this directory, readable for all: `content` and a newline.
    ///
    /// May sleep. Errors as [`Dir::create`].
    pub fn file(&self, name: &[u8], content: &[u8]) -> Result<File> {
        let mut text = c_name(name)?;
        let from = text.len();
        text.extend_from_slice(content, GFP_KERNEL)?;
        text.push(b'\n', GFP_KERNEL)?;
        let name = text.as_ptr().cast();
        // SAFETY: The kobject is valid by the type invariant; `text` has a NUL.
        if unsafe { node::exists(self.as_raw(), name) } {
            return Err(EEXIST);
        }

        let entry = KBox::new(
            // A class of its own: removing it under the directory's lock is fine, as its `show`
            // takes none.
            Entry::new(
                name,
                0o444,
                Source::Fixed { text, from },
                static_lock_class!(),
            ),
            GFP_KERNEL,
        )?;
        // SAFETY: The kobject is of a `Node`, as its sysfs operations want it for an `Entry`;
        // `File` keeps the entry until it is removed.
        to_result(unsafe {
            bindings::sysfs_create_file_ns(self.as_raw(), &entry.attr, ptr::null())
        })?;
        Ok(File {
            dir: self.0.clone(),
            entry,
        })
    }

    /// Wakes who polls the file `attr`. May sleep.
    pub fn notify(&self, attr: &CStr) {
        // SAFETY: The kobject is valid by the type invariant, and `attr` ends in NUL.
        unsafe { bindings::sysfs_notify(self.as_raw(), ptr::null(), attr.as_char_ptr()) }
    }

    /// The C object; valid while this lives.
    pub fn as_raw(&self) -> *mut bindings::kobject {
        self.0.kobj()
    }
}

impl Drop for Dir {
    /// Removes the directory. May sleep; waits for `show`s that run in it.
    fn drop(&mut self) {
        self.0.remove();
    }
}

/// A symbolic link. It is removed when this is dropped.
///
/// # Invariants
///
/// `name` ends in NUL. While `dir` is in sysfs, it has the link.
pub struct Link {
    dir: NodeRef,
    name: KVec<u8>,
}

impl Drop for Link {
    /// Removes the link, unless its directory went before. May sleep.
    fn drop(&mut self) {
        self.dir.while_there(|kobj| {
            // SAFETY: The kobject is in sysfs; by the type invariant, `name` ends in NUL.
            unsafe { bindings::sysfs_remove_link(kobj, self.name.as_ptr().cast()) }
        });
    }
}

/// A file with a content that does not change. It is removed when this is dropped.
///
/// # Invariants
///
/// While `dir` is in sysfs, it has the file of `entry`.
pub struct File {
    dir: NodeRef,
    entry: KBox<Entry>,
}

// SAFETY: The pointer in the entry is to memory that the entry owns and nobody writes.
unsafe impl Send for File {}
// SAFETY: As above.
unsafe impl Sync for File {}

impl Drop for File {
    /// Removes the file, unless its directory went before. May sleep.
    fn drop(&mut self) {
        self.dir.while_there(|kobj| {
            // SAFETY: The kobject is in sysfs; the entry is valid, and not used afterwards as
            // sysfs waits for a `show` that runs.
            unsafe { bindings::sysfs_remove_file_ns(kobj, &self.entry.attr, ptr::null()) }
        });
    }
}

/// Checks a name and terminates it with NUL.
fn c_name(name: &[u8]) -> Result<KVec<u8>> {
    if matches!(name, b"" | b"." | b"..") || name.iter().any(|c| matches!(c, 0 | b'/')) {
        return Err(EINVAL);
    }
    if name.len() > bindings::NAME_MAX as usize {
        return Err(Error::from_errno(-(bindings::ENAMETOOLONG as c_int)));
    }
    let mut buf = KVec::with_capacity(name.len() + 1, GFP_KERNEL)?;
    buf.extend_from_slice(name, GFP_KERNEL)?;
    buf.push(0, GFP_KERNEL)?;
    Ok(buf)
}
