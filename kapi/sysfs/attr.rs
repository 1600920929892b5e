// SPDX-License-Identifier: GPL-2.0

//! What a directory shows: tables of attributes, tied to the object that they are about.

use crate::module::{this_module_raw, ModuleRef};
use core::{cmp::min, fmt, mem::size_of};
use kernel::{
    bindings,
    page::PAGE_SIZE,
    prelude::*,
    sync::{Arc, LockClassKey},
};

/// One attribute (file) of objects of type `T`: a row of a table.
///
/// `show` runs while the kernel holds off the removal of the directory, so it must take no lock
/// that anybody holds while dropping a [`super::Dir`]: leaf locks only.
///
/// `store` runs without that protection, with a reference on the object and on the module, so it
/// may drop any directory, its own too, and wait for locks whose holders do. It may sleep.
pub struct Attr<T: 'static> {
    /// The file's name.
    pub name: &'static CStr,
    /// The permission bits.
    pub mode: u16,
    /// Writes the content; reading gives `EIO` without it.
    pub show: Option<fn(&T, &mut Page<'_>) -> Result>,
    /// Takes what was written, as it is, with the newline; writing gives `EIO` without it.
    pub store: Option<fn(&T, &[u8]) -> Result>,
    /// What it is, for people.
    pub help: &'static str,
}

impl<T: 'static> Attr<T> {
    /// A file to read (0444).
    pub const fn ro(
        name: &'static CStr,
        show: fn(&T, &mut Page<'_>) -> Result,
        help: &'static str,
    ) -> Self {
        Attr {
            name,
            mode: 0o444,
            show: Some(show),
            store: None,
            help,
        }
    }

    /// A file to read, and for root to write (0644).
    pub const fn rw(
        name: &'static CStr,
        show: fn(&T, &mut Page<'_>) -> Result,
        store: fn(&T, &[u8]) -> Result,
        help: &'static str,
    ) -> Self {
        Attr {
            name,
            mode: 0o644,
            show: Some(show),
            store: Some(store),
            help,
        }
    }

    /// A file for root to write (0200).
    pub const fn wo(
        name: &'static CStr,
        store: fn(&T, &[u8]) -> Result,
        help: &'static str,
    ) -> Self {
        Attr {
            name,
            mode: 0o200,
            show: None,
            store: Some(store),
            help,
        }
    }
}

/// What a `show` writes into: at most `PAGE_SIZE - 1` bytes.
///
/// What is too much is cut off; writing never fails.
pub struct Page<'a> {
    buf: &'a mut [u8],
    len: usize,
}

impl<'a> Page<'a> {
    /// The page that sysfs passes to a `show`.
    ///
    /// # Safety
    ///
    /// `buf` is valid for writes of `PAGE_SIZE` bytes for `'a`, initialised, and nobody else's.
    pub(crate) unsafe fn from_raw(buf: *mut c_char) -> Page<'a> {
        Page {
            // sysfs complains about a full page.
            // SAFETY: By the requirements of this function.
            buf: unsafe { core::slice::from_raw_parts_mut(buf.cast(), PAGE_SIZE - 1) },
            len: 0,
        }
    }

    /// Appends the bytes, as far as there is room.
    pub fn bytes(&mut self, bytes: &[u8]) {
        let room = self.buf.get_mut(self.len..).unwrap_or_default();
        let n = min(room.len(), bytes.len());
        for (to, from) in room.iter_mut().zip(bytes) {
            *to = *from;
        }
        self.len += n;
    }

    /// How much has been written.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether nothing has been written yet.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }
}

impl fmt::Write for Page<'_> {
    fn write_str(&mut self, s: &str) -> fmt::Result {
        self.bytes(s.as_bytes());
        Ok(())
    }
}

/// The attributes of one object: its table, and a reference to it.
pub struct Group {
    pub(super) object: Arc<dyn Object>,
    owner: Owner,
}

/// The module whose code a group calls.
#[derive(Clone, Copy)]
struct Owner(*mut bindings::module);

// SAFETY: Only used to take module references, which any context may.
unsafe impl Send for Owner {}
// SAFETY: As above.
unsafe impl Sync for Owner {}

impl Group {
    /// The files of `table`, about `data`. May sleep. `ENOMEM`.
    ///
    /// The module that this call is compiled into has to be the one that `table`'s functions
    /// belong to: while one of its `store`s runs, the module cannot unload.
    #[inline(always)]
    pub fn new<T: Send + Sync + 'static>(data: Arc<T>, table: &'static [Attr<T>]) -> Result<Group> {
        Group::owned(data, table, Owner(this_module_raw()))
    }

    /// As [`Group::new`], where `data` has code of `module`, or `table`'s functions call it: while one of
    /// its `store`s runs, that one cannot unload. It has to be the one that they belong to, or to
    /// use symbols of that, which thereby cannot unload either; and to remove the directory on its way out.
    pub fn of_module<T: Send + Sync + 'static>(
        data: Arc<T>,
        table: &'static [Attr<T>],
        module: &'static ThisModule,
    ) -> Result<Group> {
        Group::owned(data, table, Owner(module.as_ptr()))
    }

    fn owned<T: Send + Sync + 'static>(
        data: Arc<T>,
        table: &'static [Attr<T>],
        owner: Owner,
    ) -> Result<Group> {
        let object: Arc<dyn Object> = Arc::new(Table { data, table }, GFP_KERNEL)?;
        Ok(Group { object, owner })
    }

    /// References that let a `store` run without sysfs holding off the removal; `ENODEV` if the
    /// module is on its way out.
    pub(super) fn pin(&self) -> Result<Pinned> {
        // SAFETY: The group is reached through a directory that the module has made, or had made
        // with its own `ThisModule`, and not removed yet, so it is still there.
        let module = unsafe { ModuleRef::from_raw(self.owner.0)? };
        Ok(Pinned {
            object: self.object.clone(),
            _module: module,
        })
    }
}

/// What a running `store` needs to live. The object goes before the module that has its code.
pub(super) struct Pinned {
    pub(super) object: Arc<dyn Object>,
    _module: ModuleRef,
}

/// A [`Table`] of any type.
pub(super) trait Object: Send + Sync {
    /// Name and mode of the attribute, if there is one of that index.
    fn meta(&self, index: usize) -> Option<(&'static CStr, u16)>;
    /// Calls the attribute's `show`.
    fn show(&self, index: usize, page: &mut Page<'_>) -> Result;
    /// Calls the attribute's `store`.
    fn store(&self, index: usize, bytes: &[u8]) -> Result;
}

struct Table<T: 'static> {
    data: Arc<T>,
    table: &'static [Attr<T>],
}

impl<T: Send + Sync> Object for Table<T> {
    fn meta(&self, index: usize) -> Option<(&'static CStr, u16)> {
        self.table.get(index).map(|a| (a.name, a.mode))
    }

    fn show(&self, index: usize, page: &mut Page<'_>) -> Result {
        let show = self.table.get(index).and_then(|a| a.show).ok_or(EIO)?;
        show(&self.data, page)
    }

    fn store(&self, index: usize, bytes: &[u8]) -> Result {
        let store = self.table.get(index).and_then(|a| a.store).ok_or(EIO)?;
        store(&self.data, bytes)
    }
}

/// One `struct attribute` of a directory, and where what it shows comes from.
///
/// # Invariants
///
/// `attr` is the first field: sysfs gives back its address.
#[repr(C)]
pub(super) struct Entry {
    pub(super) attr: bindings::attribute,
    pub(super) source: Source,
}

/// Where the content of an [`Entry`] comes from.
pub(super) enum Source {
    /// The attribute with this index of the group with this index.
    Table { group: u16, index: u16 },
    /// A content that does not change: the bytes after the name's NUL of this `name NUL content`.
    Fixed { text: KVec<u8>, from: usize },
}

// Tens of thousands of these exist on a large target.
const _: () = assert!(size_of::<Entry>() <= 64 || cfg!(CONFIG_DEBUG_LOCK_ALLOC));

impl Entry {
    /// An entry whose name is valid as long as the entry is.
    ///
    /// `class` is what lockdep takes its protection against removal for. One for all that have a
    /// `show` of their own: what lockdep then finds is one that takes a lock under which somebody
    /// removes a directory.
    pub(super) fn new(
        name: *const c_char,
        mode: u16,
        source: Source,
        class: Pin<&'static LockClassKey>,
    ) -> Entry {
        // Without lockdep, there are no more fields.
        #[allow(clippy::needless_update)]
        let attr = bindings::attribute {
            name,
            mode,
            #[cfg(CONFIG_DEBUG_LOCK_ALLOC)]
            key: class.as_ptr(),
            ..Default::default()
        };
        let _ = class;
        Entry { attr, source }
    }
}
