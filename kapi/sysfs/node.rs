// SPDX-License-Identifier: GPL-2.0

//! The kobject behind a directory: who owns it, and what the kernel calls for it.
//!
//! A [`Node`] is freed by its kobject's release. Others than our own types hold references on the
//! kobject (children, a running `store`), so it may outlive its [`super::Dir`]; then it has no
//! groups any more, only memory and code of this crate. [`drain`] waits for that, too.

use super::attr::{Entry, Group, Page, Source};
use crate::time;
use core::{cell::UnsafeCell, ptr, ptr::NonNull};
use kernel::{
    bindings, container_of,
    error::to_result,
    new_mutex,
    prelude::*,
    sync::{
        atomic::{Atomic, Full, Relaxed},
        static_lock_class, Mutex,
    },
    types::Opaque,
};

/// How many nodes exist.
static LIVE: Atomic<i32> = Atomic::new(0);

/// A kobject with its attributes.
#[pin_data]
struct Node {
    #[pin]
    kobj: Opaque<bindings::kobject>,
    /// Whether the kobject is in sysfs. Guards `kobj.sd` against [`NodeRef::remove`]. Taken by a
    /// `store`, so not to be held while waiting for one; inside of it are only sysfs's own locks.
    #[pin]
    there: Mutex<bool>,
    /// Written when there is no sysfs access: before the node is added, and after it was removed.
    groups: UnsafeCell<KVec<Group>>,
    /// Their addresses are in `table`, and with sysfs.
    entries: KVec<Entry>,
    /// Ends in null.
    table: KVec<*const bindings::attribute>,
}

/// A reference to a [`Node`].
///
/// # Invariants
///
/// Owns a reference on the node's kobject, which is initialised.
pub(super) struct NodeRef(NonNull<Node>);

// SAFETY: A node's kobject is reference counted and used through functions that lock; the groups
// are `Send` and `Sync`, and used as `Node::groups` says.
unsafe impl Send for NodeRef {}
// SAFETY: As above.
unsafe impl Sync for NodeRef {}

impl NodeRef {
    /// Makes a node and puts it into sysfs.
    ///
    /// # Safety
    ///
    /// `parent` is a valid kobject that is not removed from sysfs meanwhile, unless as a part of
    /// the removal of one of its parents. `name` ends in NUL.
    pub(super) unsafe fn create(
        parent: *mut bindings::kobject,
        name: &[u8],
        groups: KVec<Group>,
    ) -> Result<NodeRef> {
        let name: *const c_char = name.as_ptr().cast();
        // SAFETY: By the requirements of this function.
        if unsafe { exists(parent, name) } {
            return Err(EEXIST);
        }

        let entries = entries(&groups)?;
        let mut table = KVec::with_capacity(entries.len() + 1, GFP_KERNEL)?;
        for entry in &entries {
            table.push(&raw const entry.attr, GFP_KERNEL)?;
        }
        table.push(ptr::null(), GFP_KERNEL)?;

        let node = KBox::pin_init(
            try_pin_init!(Node {
                // SAFETY: The slot is valid for writes; a kobject wants to be zeroed before.
                kobj <- Opaque::ffi_init(|slot| unsafe { ptr::write_bytes(slot, 0, 1) }),
                there <- new_mutex!(true, "kapi::sysfs::Node::there"),
                groups: UnsafeCell::new(groups),
                entries,
                table,
            }),
            GFP_KERNEL,
        )?;
        // SAFETY: It stays where it is until `release` frees it.
        let node = KBox::into_raw(unsafe { Pin::into_inner_unchecked(node) });
        LIVE.add(1, Relaxed);
        // SAFETY: The kobject is zeroed, and the name ends in NUL; the rest by the requirements of
        // this function. This initialises the kobject even if it fails.
        let ret = unsafe {
            bindings::kobject_init_and_add(
                (*node).kobj.get(),
                &KTYPE.0,
                parent,
                c"%s".as_char_ptr(),
                name,
            )
        };
        // INVARIANT: The kobject's initial reference is ours.
        // SAFETY: `node` came from a box.
        let this = NodeRef(unsafe { NonNull::new_unchecked(node) });
        to_result(ret)?;
        // SAFETY: `table` ends in null, and its entries are valid until `release`.
        let ret = unsafe { bindings::sysfs_create_files(this.kobj(), (*node).table.as_ptr()) };
        if let Err(e) = to_result(ret) {
            this.remove();
            return Err(e);
        }
        Ok(this)
    }

    /// The C object.
    pub(super) fn kobj(&self) -> *mut bindings::kobject {
        self.node().kobj.get()
    }

    /// Calls `f` if the kobject is in sysfs, and keeps it there meanwhile. May sleep.
    pub(super) fn while_there(&self, f: impl FnOnce(*mut bindings::kobject)) {
        let there = self.node().there.lock();
        if *there {
            f(self.kobj());
        }
    }

    /// Removes the kobject from sysfs and drops the groups. May sleep; waits for `show`s. Once.
    pub(super) fn remove(&self) {
        *self.node().there.lock() = false;
        // SAFETY: By the type invariant, the kobject is valid.
        unsafe { bindings::kobject_del(self.kobj()) };
        // SAFETY: No `show` or `store` is going to come, all `show`s are over, and a `store` that
        // still runs has its own references: nobody else uses the groups.
        let groups = unsafe { core::mem::take(&mut *self.node().groups.get()) };
        drop(groups);
    }

    fn node(&self) -> &Node {
        // SAFETY: By the type invariant, we keep it alive.
        unsafe { self.0.as_ref() }
    }
}

impl Clone for NodeRef {
    fn clone(&self) -> Self {
        // INVARIANT: Takes a reference of its own.
        // SAFETY: By the type invariant, the kobject is valid.
        unsafe { bindings::kobject_get(self.kobj()) };
        NodeRef(self.0)
    }
}

impl Drop for NodeRef {
    fn drop(&mut self) {
        // SAFETY: By the type invariant, this is our reference.
        unsafe { bindings::kobject_put(self.kobj()) }
    }
}

/// Whether the directory of `parent` has an entry `name`. May sleep.
///
/// # Safety
///
/// `parent` is a valid kobject that is not removed meanwhile, and `name` ends in NUL.
pub(super) unsafe fn exists(parent: *mut bindings::kobject, name: *const c_char) -> bool {
    // SAFETY: By the requirements of this function; a node that is there is valid.
    unsafe {
        let dir = (*parent).sd;
        if dir.is_null() {
            return false;
        }
        let found = bindings::kernfs_find_and_get_ns(dir, name, ptr::null());
        if found.is_null() {
            return false;
        }
        bindings::kernfs_put(found);
        true
    }
}

/// Waits until no node exists, for the unload of the module that this crate is linked into.
pub(crate) fn drain() {
    let mut waited = 0u32;
    while LIVE.load(Relaxed) != 0 {
        time::sleep_ms(POLL_MS);
        waited = waited.saturating_add(POLL_MS);
        if waited % REPORT_MS == 0 {
            pr_warn!(
                "sysfs: {} directories are still in use\n",
                LIVE.load(Relaxed)
            );
        }
    }
}

const POLL_MS: u32 = 10;
const REPORT_MS: u32 = 30_000;

/// One entry for each attribute of each group.
fn entries(groups: &KVec<Group>) -> Result<KVec<Entry>> {
    let mut entries = KVec::new();
    for (g, group) in groups.iter().enumerate() {
        let mut i = 0;
        while let Some((name, mode)) = group.object.meta(i) {
            let source = Source::Table {
                group: g.try_into()?,
                index: i.try_into()?,
            };
            let class = static_lock_class!();
            entries.push(
                Entry::new(name.as_char_ptr(), mode, source, class),
                GFP_KERNEL,
            )?;
            i += 1;
        }
    }
    Ok(entries)
}

/// A `kobj_type` for a static.
struct KType(bindings::kobj_type);

// SAFETY: Nobody writes it.
unsafe impl Sync for KType {}

static KTYPE: KType = KType(bindings::kobj_type {
    release: Some(release),
    sysfs_ops: &SYSFS_OPS,
    default_groups: ptr::null_mut(),
    child_ns_type: None,
    namespace: None,
    get_ownership: None,
});

static SYSFS_OPS: bindings::sysfs_ops = bindings::sysfs_ops {
    show: Some(show),
    store: Some(store),
};

/// # Safety
///
/// `kobj` is that of a [`Node`].
unsafe fn node_of(kobj: *mut bindings::kobject) -> *mut Node {
    let kobj: *mut Opaque<bindings::kobject> = kobj.cast();
    // SAFETY: By the requirements of this function.
    unsafe { container_of!(kobj, Node, kobj) }
}

/// # Safety
///
/// Called by the kobject when its last reference has gone; `kobj` is that of a boxed [`Node`].
unsafe extern "C" fn release(kobj: *mut bindings::kobject) {
    // SAFETY: By the requirements of this function.
    drop(unsafe { KBox::from_raw(node_of(kobj)) });
    // The counter is in static memory. What is left of this function is what the end of an
    // `UnloadBarrier` waits for.
    LIVE.fetch_sub(1, Full);
}

/// # Safety
///
/// Called by sysfs, which holds off the removal of the file: `kobj` is that of a [`Node`], `attr`
/// is an [`Entry`] of it or of a [`super::File`] in it, and `buf` has `PAGE_SIZE` bytes.
unsafe extern "C" fn show(
    kobj: *mut bindings::kobject,
    attr: *mut bindings::attribute,
    buf: *mut c_char,
) -> isize {
    // SAFETY: By the requirements of this function; `attr` is the first field of an `Entry`.
    let entry = unsafe { &*attr.cast::<Entry>() };
    // SAFETY: By the requirements of this function.
    let mut page = unsafe { Page::from_raw(buf) };
    let shown = match &entry.source {
        Source::Fixed { text, from } => {
            page.bytes(text.get(*from..).unwrap_or_default());
            Ok(())
        }
        Source::Table { group, index } => {
            // SAFETY: The groups are there as long as sysfs holds off the removal.
            let groups = unsafe { &*(*node_of(kobj)).groups.get() };
            groups
                .get(usize::from(*group))
                .ok_or(EIO)
                .and_then(|g| g.object.show(usize::from(*index), &mut page))
        }
    };
    match shown {
        // At most a page.
        Ok(()) => page.len() as isize,
        Err(e) => e.to_errno() as isize,
    }
}

/// # Safety
///
/// As for [`show`], and `buf` has `count` bytes.
unsafe extern "C" fn store(
    kobj: *mut bindings::kobject,
    attr: *mut bindings::attribute,
    buf: *const c_char,
    count: usize,
) -> isize {
    // SAFETY: By the requirements of this function.
    match unsafe { try_store(kobj, attr, buf, count) } {
        // At most a page.
        Ok(()) => count as isize,
        Err(e) => e.to_errno() as isize,
    }
}

/// # Safety
///
/// As for [`store`].
unsafe fn try_store(
    kobj: *mut bindings::kobject,
    attr: *mut bindings::attribute,
    buf: *const c_char,
    count: usize,
) -> Result {
    // SAFETY: By the requirements of this function; `attr` is the first field of an `Entry`.
    let Source::Table { group, index } = (unsafe { &(*attr.cast::<Entry>()).source }) else {
        return Err(EIO);
    };
    let index = usize::from(*index);
    // SAFETY: The groups are there as long as sysfs holds off the removal, which it does until
    // the protection is broken below.
    let groups = unsafe { &*(*node_of(kobj)).groups.get() };
    let pinned = groups.get(usize::from(*group)).ok_or(EIO)?.pin()?;

    // A removal that is under way takes the kobject's directory away before it waits for us, and
    // sysfs_break_active_protection() would look for the file there. The lock keeps one from
    // beginning; it is never held while somebody waits for a `store`.
    // SAFETY: By the requirements of this function, the node is valid and protected now.
    let there = unsafe { &(*node_of(kobj)).there }.lock();
    if !*there {
        return Err(ENODEV);
    }
    // From here on, the directory may go: neither `groups` nor the entry may be used any more.
    // This takes a reference on the kobject, and thereby on the node.
    // SAFETY: By the requirements of this function, both are valid and protected now.
    let protection = unsafe { bindings::sysfs_break_active_protection(kobj, attr) };
    if protection.is_null() {
        return Err(ENODEV);
    }
    drop(there);
    // SAFETY: By the requirements of this function.
    let bytes = unsafe { core::slice::from_raw_parts(buf.cast::<u8>(), count) };
    let stored = pinned.object.store(index, bytes);
    // SAFETY: Given by sysfs_break_active_protection() above, and given back once.
    unsafe { bindings::sysfs_unbreak_active_protection(protection) };
    drop(pinned);
    stored
}
