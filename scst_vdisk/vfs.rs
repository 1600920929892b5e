// SPDX-License-Identifier: GPL-2.0

//! Files: the kernel's VFS interface that the backing stores need.
//!
//! All `unsafe` code of the file backed disks is here. Data never pass through
//! a buffer of ours: reads and writes go from and to the command's scatterlist
//! by way of a `bio_vec` array.

use crate::pieces::pieces;
use core::{mem::MaybeUninit, ops::Deref, ptr::NonNull};
use kapi::sg::SgList;
use kernel::{
    bindings,
    error::from_err_ptr,
    prelude::*,
    sync::atomic::{Atomic, Full},
};
use scst_proto::threshold::Resources;

/// `RWF_DSYNC` of `include/uapi/linux/fs.h`, which is also `IOCB_DSYNC`: the
/// data are on stable storage when the write completes.
const IOCB_DSYNC: c_int = 2;
/// `O_DIRECT` and friends are macros of type int.
const fn flag(f: u32) -> c_int {
    f as c_int
}
/// Segments that one call of the file system gets when it runs synchronously.
const CHUNK: usize = 64;

/// Which way data go.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Way {
    /// From the file to memory.
    Read,
    /// From memory to the file; `stable`: onto stable storage.
    Write {
        /// The write is done only when the data are on stable storage.
        stable: bool,
    },
}

impl Way {
    fn is_write(self) -> bool {
        matches!(self, Way::Write { .. })
    }
}

/// How to open a file.
#[derive(Clone, Copy, Debug)]
pub(crate) struct OpenMode {
    /// Refuse to write.
    pub(crate) read_only: bool,
    /// Past the page cache (`O_DIRECT`).
    pub(crate) direct: bool,
}

/// What a piece of a file is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Content {
    /// Blocks of the file system's.
    Data,
    /// Nothing, which reads as zeros.
    Hole,
}

/// An open regular file or block special file.
///
/// # Invariants
///
/// `0` is a file of which this owns a reference.
pub(crate) struct File(NonNull<bindings::file>);

// SAFETY: A `struct file` may be used from any thread; only its position is not
// protected, and nothing here uses that.
unsafe impl Send for File {}
// SAFETY: As above.
unsafe impl Sync for File {}

impl File {
    /// Opens `path` as the current task sees it. Process context.
    pub(crate) fn open(path: &CStr, mode: OpenMode) -> Result<Self> {
        let mut flags = flag(bindings::O_LARGEFILE);
        flags |= flag(if mode.read_only {
            bindings::O_RDONLY
        } else {
            bindings::O_RDWR
        });
        if mode.direct {
            flags |= flag(bindings::O_DIRECT);
        }
        // SAFETY: `path` is a null-terminated string.
        let file = from_err_ptr(unsafe { bindings::filp_open(path.as_char_ptr(), flags, 0) })?;
        // INVARIANT: `filp_open` gave a reference.
        let file = Self(NonNull::new(file).ok_or(EINVAL)?);
        match file.kind() {
            bindings::S_IFREG | bindings::S_IFBLK => Ok(file),
            _ => Err(EINVAL),
        }
    }

    /// `S_IFREG` and the like.
    fn kind(&self) -> u32 {
        // SAFETY: An open file has an inode for as long as it is open, whose kind never changes.
        let mode = unsafe { (&raw const (*(*self.as_ptr()).f_inode).i_mode).read_volatile() };
        u32::from(mode) & bindings::S_IFMT
    }

    /// Whether it is a regular file, one that has blocks of a file system.
    pub(crate) fn is_regular(&self) -> bool {
        self.kind() == bindings::S_IFREG
    }

    /// What the file has of its file system, and what that has left for anybody without
    /// privileges. May sleep.
    pub(crate) fn space(&self) -> Result<Resources> {
        let (mut available, mut used) = (0, 0);
        // SAFETY: The file is open, and both words are valid for writes.
        to_result(unsafe { scst_vdisk_c_space(self.as_ptr(), &mut available, &mut used) })?;
        Ok(Resources { available, used })
    }

    fn as_ptr(&self) -> *mut bindings::file {
        self.0.as_ptr()
    }

    /// Its size in bytes now. May sleep.
    pub(crate) fn size(&self) -> Result<u64> {
        // SAFETY: The file is open. The position that this moves is not used.
        let end = unsafe { bindings::vfs_llseek(self.as_ptr(), 0, flag(bindings::SEEK_END)) };
        if end == -i64::from(bindings::EINVAL) {
            // A file of procfs and its like, which has no end to go to.
            // SAFETY: An open file has an inode for as long as it is open. Its size may change at
            // any time, and 64 bits are read at once.
            let size = unsafe { (&raw const (*(*self.as_ptr()).f_inode).i_size).read_volatile() };
            return Ok(u64::try_from(size)?);
        }
        u64::try_from(end).map_err(|_| Error::from_errno(end as c_int))
    }

    /// Where the next `what` begins, at `pos` or behind; `ENXIO` if there is none
    /// up to the end. May sleep.
    pub(crate) fn next(&self, what: Content, pos: u64) -> Result<u64> {
        let whence = flag(match what {
            Content::Data => bindings::SEEK_DATA,
            Content::Hole => bindings::SEEK_HOLE,
        });
        // SAFETY: The file is open. The position that this moves is not used.
        let at = unsafe { bindings::vfs_llseek(self.as_ptr(), i64::try_from(pos)?, whence) };
        u64::try_from(at).map_err(|_| Error::from_errno(at as c_int))
    }

    /// Has a piece read into the page cache, without waiting for that. May sleep.
    pub(crate) fn will_need(&self, start: u64, len: u64) -> Result {
        // `POSIX_FADV_WILLNEED` of include/uapi/linux/fadvise.h.
        const WILL_NEED: c_int = 3;
        let (start, len) = (i64::try_from(start)?, i64::try_from(len)?);
        // SAFETY: The file is open.
        to_result(unsafe { bindings::vfs_fadvise(self.as_ptr(), start, len, WILL_NEED) })
    }

    /// Brings the bytes from `start` to `end` (inclusive) to stable storage. May sleep.
    pub(crate) fn sync(&self, start: u64, end: u64) -> Result {
        let clamp = |v: u64| i64::try_from(v).unwrap_or(i64::MAX);
        // SAFETY: The file is open.
        to_result(unsafe { bindings::vfs_fsync_range(self.as_ptr(), clamp(start), clamp(end), 1) })
    }

    /// Gives the blocks of a range back to the file system; they read as zeros. May sleep.
    pub(crate) fn punch(&self, start: u64, len: u64) -> Result {
        // `FALLOC_FL_KEEP_SIZE | FALLOC_FL_PUNCH_HOLE` of include/uapi/linux/falloc.h.
        const PUNCH_HOLE: c_int = 0x01 | 0x02;
        let (start, len) = (i64::try_from(start)?, i64::try_from(len)?);
        // SAFETY: The file is open.
        to_result(unsafe { bindings::vfs_fallocate(self.as_ptr(), PUNCH_HOLE, start, len) })
    }

    /// Fills `buf` from `pos`. `EIO` at the end of the file. May sleep.
    pub(crate) fn read_now(&self, pos: u64, buf: &mut [u8]) -> Result {
        let mut pos = i64::try_from(pos)?;
        // SAFETY: The file is open, `buf` valid for writes of its length.
        let moved = unsafe {
            bindings::kernel_read(self.as_ptr(), buf.as_mut_ptr().cast(), buf.len(), &mut pos)
        };
        whole(moved, buf.len())
    }

    /// Writes `buf` to `pos`. May sleep.
    pub(crate) fn write_now(&self, pos: u64, buf: &[u8]) -> Result {
        let mut pos = i64::try_from(pos)?;
        // SAFETY: The file is open, `buf` valid for reads of its length.
        let moved = unsafe {
            bindings::kernel_write(self.as_ptr(), buf.as_ptr().cast(), buf.len(), &mut pos)
        };
        whole(moved, buf.len())
    }

    /// A control block for an operation at `pos`; synchronous unless a
    /// completion is put into it.
    fn kiocb(&self, pos: u64, way: Way) -> Result<bindings::kiocb> {
        // SAFETY: The file is open.
        let file_flags = unsafe { (*self.as_ptr()).f_iocb_flags };
        let mut flags = file_flags as c_int;
        if way == (Way::Write { stable: true }) {
            flags |= IOCB_DSYNC;
        }
        Ok(bindings::kiocb {
            ki_filp: self.as_ptr(),
            ki_pos: i64::try_from(pos)?,
            ki_flags: flags,
            ..Default::default()
        })
    }

    /// Moves up to `len` bytes between the file at `pos` and `sg`; returns how
    /// many were moved, which is fewer only at the end of the file. May sleep.
    pub(crate) fn transfer(
        &self,
        way: Way,
        pos: u64,
        sg: &SgList<'_>,
        len: usize,
    ) -> Result<usize> {
        let mut vecs = [const { MaybeUninit::<bindings::bio_vec>::uninit() }; CHUNK];
        let mut done = 0;
        while done < len {
            let (count, bytes) = fill(&mut vecs, sg, done, len - done);
            if bytes == 0 {
                break;
            }
            let mut iocb = self.kiocb(pos.checked_add(done as u64).ok_or(EINVAL)?, way)?;
            // SAFETY: `fill` wrote the first `count` vectors, `bytes` long in
            // all, and the memory is the command's, which `sg` borrows.
            let moved = unsafe { self.call(&mut iocb, way, vecs.as_ptr().cast(), count, bytes) }?;
            if moved == 0 {
                break;
            }
            done = done.saturating_add(moved);
        }
        Ok(done)
    }

    /// Calls the file system.
    ///
    /// # Safety
    ///
    /// `vecs` are `count` vectors with `bytes` bytes of memory that stay valid
    /// until the operation is complete; so does `iocb` if it has a completion.
    unsafe fn call(
        &self,
        iocb: *mut bindings::kiocb,
        way: Way,
        vecs: *const bindings::bio_vec,
        count: usize,
        bytes: usize,
    ) -> Result<usize> {
        let mut iter = MaybeUninit::<bindings::iov_iter>::uninit();
        let direction = match way {
            Way::Read => bindings::ITER_DEST,
            Way::Write { .. } => bindings::ITER_SOURCE,
        };
        // SAFETY: By the function's contract; `iov_iter_bvec` initialises `iter`,
        // which the file system copies if it needs it after returning.
        let moved = unsafe {
            bindings::iov_iter_bvec(iter.as_mut_ptr(), direction, vecs, count, bytes);
            match way {
                Way::Read => bindings::vfs_iocb_iter_read(self.as_ptr(), iocb, iter.as_mut_ptr()),
                Way::Write { .. } => {
                    bindings::vfs_iocb_iter_write(self.as_ptr(), iocb, iter.as_mut_ptr())
                }
            }
        };
        usize::try_from(moved).map_err(|_| Error::from_errno(moved as c_int))
    }
}

impl Drop for File {
    fn drop(&mut self) {
        // SAFETY: By the type invariants this gives up our reference.
        unsafe { bindings::fput(self.as_ptr()) };
    }
}

/// What a call that was to move `len` bytes and returned `moved` comes to.
fn whole(moved: isize, len: usize) -> Result {
    match usize::try_from(moved) {
        Ok(moved) if moved == len => Ok(()),
        Ok(_) => Err(EIO),
        Err(_) => Err(Error::from_errno(moved as c_int)),
    }
}

fn to_result(err: c_int) -> Result {
    kernel::error::to_result(err)
}

/// Describes up to `len` bytes of `sg` from `from` on in `vecs`; returns how
/// many vectors and bytes it used.
fn fill(
    vecs: &mut [MaybeUninit<bindings::bio_vec>],
    sg: &SgList<'_>,
    from: usize,
    len: usize,
) -> (usize, usize) {
    let mut count = 0usize;
    let mut bytes = 0usize;
    for (vec, part) in vecs.iter_mut().zip(pieces(sg, from, len)) {
        vec.write(bindings::bio_vec {
            bv_page: part.page,
            bv_len: part.len,
            bv_offset: part.offset,
        });
        count = count.saturating_add(1);
        bytes = bytes.saturating_add(part.len as usize);
    }
    (count, bytes)
}

/// Who is told about the end of an asynchronous transfer, and owns its memory.
pub(crate) trait Completion: Send + 'static {
    /// The memory. It stays where it is until [`Completion::complete`], also
    /// when `self` moves.
    fn memory(&self) -> Option<SgList<'_>>;

    /// The transfer has ended: the number of bytes moved, or why not. Any
    /// context, also an interrupt; must not sleep.
    fn complete(self, result: Result<usize>);
}

/// An asynchronous transfer under way. `kiocb` is first, as its address is what
/// the file system gives back.
///
/// File systems use the `kiocb` and its file after they have queued the
/// transfer, which may have ended by then. So it has two holders, the call that
/// starts it and its end; the last one frees it.
#[repr(C)]
struct Transfer<H, C> {
    kiocb: bindings::kiocb,
    holders: Atomic<u32>,
    write: bool,
    vecs: KVec<MaybeUninit<bindings::bio_vec>>,
    /// Keeps the file open.
    file: H,
    /// Taken by the end.
    done: Option<C>,
}

/// Ends one hold of `transfer`.
///
/// # Safety
///
/// The caller is a holder and does not use `transfer` after this.
unsafe fn put<H, C>(transfer: *mut Transfer<H, C>) {
    // SAFETY: Valid, as the caller is a holder.
    let holders = unsafe { &(*transfer).holders };
    if holders.fetch_sub(1, Full) == 1 {
        // SAFETY: From `KBox::into_raw` in `start`, and nobody else holds it.
        drop(unsafe { KBox::from_raw(transfer) });
    }
}

/// Starts a transfer of `len` bytes at `pos`; `done` is told of its end, before
/// or after this returns. If it could not be started, `done` comes back.
///
/// Process context, may sleep. File systems that cannot do it asynchronously do
/// it here and now.
pub(crate) fn start<H, C>(
    file: H,
    way: Way,
    pos: u64,
    len: usize,
    done: C,
) -> core::result::Result<(), (C, Error)>
where
    H: Deref<Target = File> + Send + 'static,
    C: Completion,
{
    let prepare = |done: &C| -> Result<(bindings::kiocb, KVec<_>, usize)> {
        let sg = done.memory().ok_or(EINVAL)?;
        let mut vecs = KVec::with_capacity(pieces(&sg, 0, len).count(), GFP_KERNEL)?;
        for _ in 0..vecs.capacity() {
            vecs.push_within_capacity(MaybeUninit::uninit())
                .map_err(|_| ENOMEM)?;
        }
        let (count, bytes) = fill(&mut vecs, &sg, 0, len);
        vecs.truncate(count);
        let mut kiocb = file.kiocb(pos, way)?;
        kiocb.ki_complete = Some(completed::<H, C>);
        Ok((kiocb, vecs, bytes))
    };
    let (kiocb, vecs, bytes) = match prepare(&done) {
        Ok(ready) => ready,
        Err(e) => return Err((done, e)),
    };
    let uninit = match KBox::<Transfer<H, C>>::new_uninit(GFP_KERNEL) {
        Ok(uninit) => uninit,
        Err(e) => return Err((done, e.into())),
    };
    let transfer = KBox::write(
        uninit,
        Transfer {
            kiocb,
            holders: Atomic::new(2),
            write: way.is_write(),
            vecs,
            file,
            done: Some(done),
        },
    );
    let transfer = KBox::into_raw(transfer);
    // SAFETY: `transfer` is valid until both holders have put it, and this one
    // does so below. The fields used here are not written by the end.
    let result = unsafe {
        let file: &File = &(*transfer).file;
        let vecs = (*transfer).vecs.as_ptr().cast();
        let count = (*transfer).vecs.len();
        file.call(&raw mut (*transfer).kiocb, way, vecs, count, bytes)
    };
    match result {
        Err(e) if e == EIOCBQUEUED => {}
        // The file system is done and will not call `completed`; it has also
        // ended its write section itself.
        // SAFETY: So this is the end, and the hold that goes with it is ours.
        result => unsafe { end(transfer, result) },
    }
    // SAFETY: Not used any more.
    unsafe { put(transfer) };
    Ok(())
}

/// The end of a transfer.
///
/// # Safety
///
/// `transfer` is valid, this is called once, and its hold is given away.
unsafe fn end<H, C: Completion>(transfer: *mut Transfer<H, C>, result: Result<usize>) {
    // SAFETY: Nobody but the end touches the field.
    let done = unsafe { &mut (*transfer).done }.take();
    if let Some(done) = done {
        done.complete(result);
    }
    // SAFETY: Not used any more.
    unsafe { put(transfer) };
}

/// `ki_complete` of a [`Transfer`].
///
/// # Safety
///
/// `iocb` is the control block of a transfer that [`start`] gave away, and this
/// is called once.
unsafe extern "C" fn completed<H, C: Completion>(iocb: *mut bindings::kiocb, ret: c_long) {
    // `kiocb` is the first field of the `repr(C)` `Transfer`.
    let transfer = iocb.cast::<Transfer<H, C>>();
    // SAFETY: Valid, as this is one of its holders; written before it began.
    if unsafe { (*transfer).write } {
        // SAFETY: `vfs_iocb_iter_write` began a write section for this block and
        // leaves it to us to end it when it has queued the write.
        unsafe { scst_c_kiocb_end_write(iocb) };
    }
    let result = usize::try_from(ret).map_err(|_| Error::from_errno(ret as c_int));
    // SAFETY: The end, once, with the hold that goes with it.
    unsafe { end(transfer, result) };
}

// `struct kiocb` and `struct file` lead to a lock class key that is empty without lockdep.
#[allow(improper_ctypes)]
extern "C" {
    fn scst_c_kiocb_end_write(iocb: *mut bindings::kiocb);
    fn scst_vdisk_c_space(file: *mut bindings::file, available: *mut u64, used: *mut u64) -> c_int;
}
