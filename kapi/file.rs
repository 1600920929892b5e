// SPDX-License-Identifier: GPL-2.0

//! Small files that have to survive: read whole, and replaced so that a crash
//! leaves the old one or the new one.
//!
//! C headers: [`include/linux/fs.h`](srctree/include/linux/fs.h),
//! [`include/linux/namei.h`](srctree/include/linux/namei.h)

use core::ptr::NonNull;
use kernel::{
    bindings,
    error::{from_err_ptr, to_result},
    prelude::*,
    str::CString,
};

// C header: `include/scst_file.h`.
extern "C" {
    fn scst_c_rename_within(dir: *const c_char, from: *const c_char, to: *const c_char) -> c_int;
    fn scst_c_unlink_within(dir: *const c_char, name: *const c_char) -> c_int;
}

/// An open file.
///
/// # Invariants
///
/// A file of which this owns a reference.
struct File(NonNull<bindings::file>);

impl File {
    fn open(path: &CStr, flags: u32, mode: u16) -> Result<Self> {
        let flags = flags as c_int;
        // SAFETY: `path` is a null-terminated string.
        let file = from_err_ptr(unsafe { bindings::filp_open(path.as_char_ptr(), flags, mode) })?;
        // INVARIANT: `filp_open` gave a reference.
        Ok(Self(NonNull::new(file).ok_or(EINVAL)?))
    }

    fn size(&self) -> Result<usize> {
        // SAFETY: The file is open. The position that this moves is not used.
        let end = unsafe { bindings::vfs_llseek(self.0.as_ptr(), 0, bindings::SEEK_END as c_int) };
        usize::try_from(end).map_err(|_| Error::from_errno(end as c_int))
    }

    /// Fills `buf` from the start; `EIO` if the file is shorter.
    fn read(&self, buf: &mut [u8]) -> Result {
        let mut pos = 0;
        // SAFETY: The file is open, `buf` valid for writes of its length.
        let read = unsafe {
            bindings::kernel_read(
                self.0.as_ptr(),
                buf.as_mut_ptr().cast(),
                buf.len(),
                &mut pos,
            )
        };
        whole(read, buf.len())
    }

    fn write(&self, bytes: &[u8]) -> Result {
        let mut pos = 0;
        // SAFETY: The file is open, `bytes` valid for reads of its length.
        let written = unsafe {
            bindings::kernel_write(
                self.0.as_ptr(),
                bytes.as_ptr().cast(),
                bytes.len(),
                &mut pos,
            )
        };
        whole(written, bytes.len())
    }

    fn sync(&self) -> Result {
        // SAFETY: The file is open.
        to_result(unsafe { bindings::vfs_fsync(self.0.as_ptr(), 0) })
    }
}

impl Drop for File {
    fn drop(&mut self) {
        // SAFETY: By the type invariants this gives up our reference.
        unsafe { bindings::fput(self.0.as_ptr()) };
    }
}

fn whole(moved: isize, len: usize) -> Result {
    match usize::try_from(moved) {
        Ok(moved) if moved == len => Ok(()),
        Ok(_) => Err(EIO),
        Err(_) => Err(Error::from_errno(moved as c_int)),
    }
}

/// Directory and name of an absolute path; `EINVAL` if it has none.
fn split(path: &str) -> Result<(CString, CString)> {
    let (dir, name) = path.rsplit_once('/').ok_or(EINVAL)?;
    if name.is_empty() || !path.starts_with('/') {
        return Err(EINVAL);
    }
    let dir = if dir.is_empty() { "/" } else { dir };
    Ok((
        CString::try_from_fmt(fmt!("{}", dir))?,
        CString::try_from_fmt(fmt!("{}", name))?,
    ))
}

/// The contents of the file at `path`, at most `max` bytes (`EFBIG`). May sleep.
pub fn read(path: &str, max: usize) -> Result<KVec<u8>> {
    let path = CString::try_from_fmt(fmt!("{}", path))?;
    let file = File::open(&path, bindings::O_RDONLY, 0)?;
    let size = file.size()?;
    if size > max {
        return Err(EFBIG);
    }
    let mut bytes = KVec::from_elem(0u8, size, GFP_KERNEL)?;
    file.read(&mut bytes)?;
    Ok(bytes)
}

/// Puts a file with `bytes` at the absolute `path`, readable by its owner. Until
/// the new one is on stable storage whole, the old one is there: it is written
/// beside, as `path` with `.new` behind, synced, and renamed. May sleep long.
pub fn replace(path: &str, bytes: &[u8]) -> Result {
    let (dir, name) = split(path)?;
    let new_path = CString::try_from_fmt(fmt!("{}.new", path))?;
    let text = name.to_str().map_err(|_| EINVAL)?;
    let new_name = CString::try_from_fmt(fmt!("{}.new", text))?;
    let flags = bindings::O_WRONLY | bindings::O_CREAT | bindings::O_TRUNC;
    let file = File::open(&new_path, flags, 0o600)?;
    file.write(bytes)?;
    file.sync()?;
    drop(file);
    // SAFETY: All three are null-terminated strings.
    to_result(unsafe {
        scst_c_rename_within(
            dir.as_char_ptr(),
            new_name.as_char_ptr(),
            name.as_char_ptr(),
        )
    })?;
    sync_dir(&dir)
}

/// Removes the file at the absolute `path`; none there is no error. May sleep.
pub fn remove(path: &str) -> Result {
    let (dir, name) = split(path)?;
    // SAFETY: Both are null-terminated strings.
    match to_result(unsafe { scst_c_unlink_within(dir.as_char_ptr(), name.as_char_ptr()) }) {
        Err(e) if e == ENOENT => return Ok(()),
        result => result?,
    }
    sync_dir(&dir)
}

/// Brings the names in a directory to stable storage, where its file system
/// knows how.
fn sync_dir(dir: &CStr) -> Result {
    let dir = File::open(dir, bindings::O_RDONLY | bindings::O_DIRECTORY, 0)?;
    match dir.sync() {
        Err(e) if e == EINVAL => Ok(()),
        result => result,
    }
}
