// SPDX-License-Identifier: GPL-2.0

//! Opens, reads and writes files of sysfs as a process would.

use kernel::{bindings, error::from_err_ptr, prelude::*};

/// An own mount of sysfs: it is there whatever is mounted where.
pub(crate) struct Sysfs(*mut bindings::vfsmount);

// SAFETY: A mount is reference counted and locked.
unsafe impl Send for Sysfs {}
// SAFETY: As above.
unsafe impl Sync for Sysfs {}

/// An open file.
pub(crate) struct File(*mut bindings::file);

// SAFETY: An open file is reference counted and locked.
unsafe impl Send for File {}
// SAFETY: As above.
unsafe impl Sync for File {}

impl Sysfs {
    /// Mounts it.
    pub(crate) fn mount() -> Result<Sysfs> {
        // SAFETY: The name ends in NUL; sysfs is built in, so the type's module reference is none.
        let kind = unsafe { bindings::get_fs_type(c"sysfs".as_char_ptr()) };
        if kind.is_null() {
            return Err(ENODEV);
        }
        // SAFETY: `kind` is valid for ever.
        Ok(Sysfs(from_err_ptr(unsafe { bindings::kern_mount(kind) })?))
    }

    /// Opens a file; the path is from the root of sysfs.
    pub(crate) fn open(&self, path: &CStr, write: bool) -> Result<File> {
        let flags = if write {
            bindings::O_WRONLY
        } else {
            bindings::O_RDONLY
        };
        // SAFETY: The mount is ours; the path ends in NUL.
        let file = unsafe {
            let root = bindings::path {
                mnt: self.0,
                dentry: (*self.0).mnt_root,
            };
            bindings::file_open_root(&root, path.as_char_ptr(), flags as c_int, 0)
        };
        Ok(File(from_err_ptr(file)?))
    }

    /// What is in the file.
    pub(crate) fn read(&self, path: &CStr) -> Result<KVec<u8>> {
        self.open(path, false)?.read()
    }

    /// Writes to the file.
    pub(crate) fn write(&self, path: &CStr, bytes: &[u8]) -> Result {
        self.open(path, true)?.write(bytes)
    }
}

impl Drop for Sysfs {
    fn drop(&mut self) {
        // SAFETY: Mounted in `mount`, and not used any more.
        unsafe { bindings::kern_unmount(self.0) }
    }
}

impl File {
    /// The whole content.
    pub(crate) fn read(&self) -> Result<KVec<u8>> {
        let mut buf = KVec::from_elem(0u8, 4096, GFP_KERNEL)?;
        let mut pos = 0;
        // SAFETY: The file is open, and the buffer has that many bytes.
        let n =
            unsafe { bindings::kernel_read(self.0, buf.as_mut_ptr().cast(), buf.len(), &mut pos) };
        buf.truncate(usize::try_from(n).map_err(|_| Error::from_errno(n as c_int))?);
        Ok(buf)
    }

    /// Writes all at once.
    pub(crate) fn write(&self, bytes: &[u8]) -> Result {
        let mut pos = 0;
        // SAFETY: The file is open, and the buffer has that many bytes.
        let n =
            unsafe { bindings::kernel_write(self.0, bytes.as_ptr().cast(), bytes.len(), &mut pos) };
        if n < 0 {
            return Err(Error::from_errno(n as c_int));
        }
        Ok(())
    }
}

impl Drop for File {
    fn drop(&mut self) {
        // SAFETY: Opened in `open`, and not used any more.
        unsafe { bindings::filp_close(self.0, core::ptr::null_mut()) };
    }
}
