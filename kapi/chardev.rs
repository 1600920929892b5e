// SPDX-License-Identifier: GPL-2.0

//! Character devices in `/dev` with `ioctl()` and `poll()`.
//!
//! `kernel::miscdevice` has no `poll`, and its files do not keep the module from being unloaded.
//!
//! C header: [`include/linux/miscdevice.h`](srctree/include/linux/miscdevice.h)

use core::{marker::PhantomData, ptr};
use kernel::{
    bindings,
    error::to_result,
    fs::File,
    prelude::*,
    sync::{poll::PollTable, Arc, ArcBorrow},
    types::{ForeignOwnable, Opaque},
};

/// What an open file of the device does. All methods are called in process context and may sleep.
pub trait CharDevice: Send + Sync + Sized + 'static {
    /// A file is opened.
    fn open() -> Result<Arc<Self>>;

    /// `ioctl()`, also of 32-bit processes: `arg` is a user's address.
    fn ioctl(&self, file: &File, command: u32, arg: usize) -> Result;

    /// `poll()`: which of `EPOLLIN` and so on are true now. Registers what to wait for.
    fn poll(&self, file: &File, table: PollTable<'_>) -> u32;

    /// The last reference to the file is gone.
    fn close(&self);
}

/// A device node. While a file of it is open, the module cannot be unloaded.
///
/// # Invariants
///
/// `misc` is registered, and refers to `fops`.
pub struct CharDeviceNode<T> {
    misc: Pin<KBox<Opaque<bindings::miscdevice>>>,
    _fops: KBox<bindings::file_operations>,
    _files: PhantomData<fn() -> T>,
}

// SAFETY: Registering and deregistering may be done by any task.
unsafe impl<T> Send for CharDeviceNode<T> {}
// SAFETY: There is nothing to do with a reference.
unsafe impl<T> Sync for CharDeviceNode<T> {}

impl<T: CharDevice> CharDeviceNode<T> {
    /// Makes `/dev/NAME`, for root alone. May sleep. Errors of `misc_register()`.
    pub fn new(name: &'static CStr, module: &'static ThisModule) -> Result<Self> {
        // SAFETY: All of its fields may be null or 0.
        let mut fops: bindings::file_operations = unsafe { core::mem::zeroed() };
        fops.owner = module.as_ptr();
        fops.open = Some(open::<T>);
        fops.release = Some(release::<T>);
        fops.unlocked_ioctl = Some(ioctl::<T>);
        fops.compat_ioctl = bindings::compat_ptr_ioctl;
        fops.poll = Some(poll::<T>);
        let fops = KBox::new(fops, GFP_KERNEL)?;
        let fops_ptr: *const bindings::file_operations = &*fops;
        let misc = KBox::pin_init(
            Opaque::try_ffi_init(|slot: *mut bindings::miscdevice| {
                // SAFETY: `slot` is valid for writes; all of its fields may be null or 0, and what
                // they are set to stays until it is deregistered.
                unsafe {
                    ptr::write_bytes(slot, 0, 1);
                    (*slot).minor = bindings::MISC_DYNAMIC_MINOR as c_int;
                    (*slot).name = name.as_char_ptr();
                    (*slot).fops = fops_ptr;
                    to_result(bindings::misc_register(slot))
                }
            }),
            GFP_KERNEL,
        )?;
        // INVARIANT: Just registered.
        Ok(Self {
            misc,
            _fops: fops,
            _files: PhantomData,
        })
    }
}

impl<T> Drop for CharDeviceNode<T> {
    fn drop(&mut self) {
        // SAFETY: By the type invariant. Files that are open keep the module, and so this; the
        // module's exit is the only one who drops it.
        unsafe { bindings::misc_deregister(self.misc.get()) }
    }
}

/// The file's own object.
///
/// # Safety
///
/// `file` was opened by [`open`] with the same `T`, and is valid for `'a`.
unsafe fn object<'a, T: CharDevice>(file: *mut bindings::file) -> ArcBorrow<'a, T> {
    // SAFETY: By the requirements of this function, `open` has put an `Arc` there.
    unsafe { <Arc<T> as ForeignOwnable>::borrow((*file).private_data) }
}

/// # Safety
///
/// As the kernel calls it.
unsafe extern "C" fn open<T: CharDevice>(
    inode: *mut bindings::inode,
    file: *mut bindings::file,
) -> c_int {
    match T::open() {
        Ok(object) => {
            // SAFETY: Both are valid while a file is opened; nobody else uses the private data.
            unsafe {
                (*file).private_data = object.into_foreign();
                bindings::nonseekable_open(inode, file)
            }
        }
        Err(e) => e.to_errno(),
    }
}

/// # Safety
///
/// As the kernel calls it, for a file that [`open`] has opened.
unsafe extern "C" fn release<T: CharDevice>(
    _inode: *mut bindings::inode,
    file: *mut bindings::file,
) -> c_int {
    // SAFETY: The private data is what `open` has put there, and nobody uses the file any more.
    let object = unsafe { <Arc<T> as ForeignOwnable>::from_foreign((*file).private_data) };
    object.close();
    0
}

/// # Safety
///
/// As the kernel calls it, for a file that [`open`] has opened.
unsafe extern "C" fn ioctl<T: CharDevice>(
    file: *mut bindings::file,
    command: c_uint,
    arg: c_ulong,
) -> c_long {
    // SAFETY: The file is valid and open during the call.
    let (object, file) = unsafe { (object::<T>(file), File::from_raw_file(file)) };
    match object.ioctl(file, command, arg) {
        Ok(()) => 0,
        Err(e) => e.to_errno() as c_long,
    }
}

/// # Safety
///
/// As the kernel calls it, for a file that [`open`] has opened.
unsafe extern "C" fn poll<T: CharDevice>(
    file: *mut bindings::file,
    table: *mut bindings::poll_table_struct,
) -> bindings::__poll_t {
    // SAFETY: The file is valid and open, and the table valid or null, during the call.
    let (object, file, table) = unsafe {
        (
            object::<T>(file),
            File::from_raw_file(file),
            PollTable::from_raw(table),
        )
    };
    object.poll(file, table)
}
