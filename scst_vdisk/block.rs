// SPDX-License-Identifier: GPL-2.0

//! Block devices: opening them exclusively, and bios built from a scatterlist.
//!
//! All `unsafe` code of the block backed disks is here. A transfer is one bio,
//! or a first one with further ones chained to it when the scatterlist has too
//! many segments; the block layer's chain counts them, so the first one's end is
//! the end of all, and happens once. What has to be known then stands in front
//! of the first bio, in the memory that its [`Pool`] allocates with it.

use crate::{pieces::pieces, vfs::Completion};
use core::{
    mem::{align_of, size_of, MaybeUninit},
    ops::Deref,
    ptr::{self, NonNull},
};
use kapi::sg::{OwnedSg, SgList};
use kernel::{bindings, error::from_err_ptr, prelude::*, types::Opaque};

/// Bytes of a sector, the block layer's unit.
pub(crate) const SECTOR_SHIFT: u32 = 9;

// `blk_mode_t` of include/linux/blkdev.h.
const BLK_OPEN_READ: bindings::blk_mode_t = 1 << 0;
const BLK_OPEN_WRITE: bindings::blk_mode_t = 1 << 1;

/// What an allocation may do here: sleep, but not start I/O, as that could
/// wait for this very device.
const GFP_NOIO: bindings::gfp_t =
    bindings::GFP_KERNEL & !((1 << bindings::___GFP_IO_BIT) | (1 << bindings::___GFP_FS_BIT));

/// Bytes in front of a bio of a [`Pool`].
const FRONT_PAD: usize = 64;
/// Bios that a pool keeps for when memory is short: one would do for progress.
const RESERVED: c_uint = 2;

const fn op_flag(bit: bindings::req_flag_bits) -> bindings::blk_opf_t {
    1 << bit
}

/// What is done to the device.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Op {
    /// Read the memory full.
    Read,
    /// Write the memory.
    Write {
        /// Past a volatile cache (FUA).
        stable: bool,
    },
    /// The same, as a whole or not at all.
    Atomic {
        /// Past a volatile cache (FUA).
        stable: bool,
    },
    /// Empty the device's volatile cache; no memory.
    Flush,
}

impl Op {
    fn flags(self) -> bindings::blk_opf_t {
        let sync = op_flag(bindings::req_flag_bits___REQ_SYNC)
            | op_flag(bindings::req_flag_bits___REQ_IDLE);
        match self {
            Op::Read => bindings::req_op_REQ_OP_READ,
            Op::Write { stable: false } => bindings::req_op_REQ_OP_WRITE | sync,
            Op::Write { stable: true } => {
                bindings::req_op_REQ_OP_WRITE | sync | op_flag(bindings::req_flag_bits___REQ_FUA)
            }
            Op::Atomic { stable } => {
                Op::Write { stable }.flags() | op_flag(bindings::req_flag_bits___REQ_ATOMIC)
            }
            Op::Flush => {
                bindings::req_op_REQ_OP_WRITE
                    | sync
                    | op_flag(bindings::req_flag_bits___REQ_PREFLUSH)
            }
        }
    }
}

/// The allocator of a device's bios.
///
/// # Invariants
///
/// The `bio_set` is initialised, with [`FRONT_PAD`] bytes in front of each bio.
#[pin_data(PinnedDrop)]
struct Pool {
    #[pin]
    set: Opaque<bindings::bio_set>,
}

// SAFETY: A `bio_set` may be used and destroyed from any thread.
unsafe impl Send for Pool {}
// SAFETY: As above; it has its own locks.
unsafe impl Sync for Pool {}

impl Pool {
    fn new() -> impl PinInit<Self, Error> {
        try_pin_init!(Self {
            // INVARIANT: `bioset_init` initialises the set or fails.
            set <- Opaque::try_ffi_init(|set: *mut bindings::bio_set| {
                // SAFETY: `set` is valid for writes and stays where it is; a
                // `bio_set` of zeros is what `bioset_init` expects.
                kernel::error::to_result(unsafe {
                    ptr::write_bytes(set, 0, 1);
                    bindings::bioset_init(
                        set,
                        RESERVED,
                        FRONT_PAD as c_uint,
                        bindings::BIOSET_NEED_BVECS as c_int,
                    )
                })
            }),
        })
    }
}

#[pinned_drop]
impl PinnedDrop for Pool {
    fn drop(self: Pin<&mut Self>) {
        // SAFETY: The set is initialised by the type invariants. Every bio of it
        // has been put: a transfer holds the device that holds the pool.
        unsafe { bindings::bioset_exit(self.set.get()) };
    }
}

/// A block device, opened exclusively.
///
/// # Invariants
///
/// `file` is a block device file of which this owns a reference; `bdev` is its
/// device, which lives as long as the file.
pub(crate) struct BlockDevice {
    file: NonNull<bindings::file>,
    bdev: NonNull<bindings::block_device>,
    pool: Pin<KBox<Pool>>,
}

// SAFETY: Files and block devices may be used from any thread.
unsafe impl Send for BlockDevice {}
// SAFETY: As above.
unsafe impl Sync for BlockDevice {}

/// What the device says of itself.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    /// Smallest unit of access in bytes.
    pub(crate) logical_block: u32,
    /// Unit that it writes without reading first.
    pub(crate) physical_block: u32,
    /// It can discard.
    pub(crate) discard: bool,
    /// Unit of discarding in bytes.
    pub(crate) discard_granularity: u32,
    /// Where the first such unit begins.
    pub(crate) discard_alignment: u32,
}

/// What a device writes atomically, in bytes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct AtomicLimits {
    /// Smallest write, of which others are multiples.
    pub(crate) min: u32,
    /// Largest write.
    pub(crate) max: u32,
    /// No write may be on both sides of a multiple of this; 0: any may.
    pub(crate) boundary: u32,
}

impl BlockDevice {
    /// Opens `path`. `holder` is who has it, for the exclusive claim: any
    /// address that nobody else uses. Process context.
    pub(crate) fn open<T>(path: &CStr, read_only: bool, holder: *const T) -> Result<Self> {
        let mode = match read_only {
            true => BLK_OPEN_READ,
            false => BLK_OPEN_READ | BLK_OPEN_WRITE,
        };
        let pool = KBox::try_pin_init(Pool::new(), GFP_KERNEL)?;
        // SAFETY: `path` is a null-terminated string; `holder` is only compared.
        let file = from_err_ptr(unsafe {
            bindings::bdev_file_open_by_path(
                path.as_char_ptr(),
                mode,
                holder.cast_mut().cast(),
                ptr::null(),
            )
        })?;
        let file = NonNull::new(file).ok_or(ENODEV)?;
        // SAFETY: `file` is an open block device file.
        let bdev = unsafe { bindings::file_bdev(file.as_ptr()) };
        match NonNull::new(bdev) {
            // INVARIANT: As just opened.
            Some(bdev) => Ok(Self { file, bdev, pool }),
            None => {
                // SAFETY: Gives up the reference that the open gave.
                unsafe { bindings::fput(file.as_ptr()) };
                Err(ENODEV)
            }
        }
    }

    /// The device, which is open for as long as `self` is there.
    pub(crate) fn as_ptr(&self) -> *mut bindings::block_device {
        self.bdev.as_ptr()
    }

    /// Its size in bytes now.
    pub(crate) fn size(&self) -> u64 {
        // SAFETY: The device is open. The field may change at any time, and is
        // a machine word.
        let sectors = unsafe { (&raw const (*self.bdev.as_ptr()).bd_nr_sectors).read_volatile() };
        sectors << SECTOR_SHIFT
    }

    /// What it can do now.
    pub(crate) fn limits(&self) -> Limits {
        // SAFETY: The device is open, so it has a queue. The fields are plain
        // words that may change at any time, to another valid value.
        unsafe {
            let limits = &raw const (*(*self.bdev.as_ptr()).bd_queue).limits;
            Limits {
                logical_block: (&raw const (*limits).logical_block_size).read_volatile(),
                physical_block: (&raw const (*limits).physical_block_size).read_volatile(),
                discard: (&raw const (*limits).max_discard_sectors).read_volatile() != 0,
                discard_granularity: (&raw const (*limits).discard_granularity).read_volatile(),
                discard_alignment: (&raw const (*limits).discard_alignment).read_volatile(),
            }
        }
    }

    /// What it writes as a whole or not at all, in bytes, now; `None`: nothing.
    pub(crate) fn atomic(&self) -> Option<AtomicLimits> {
        // SAFETY: As in `limits`; where a partition begins does not change while it is open.
        let (found, start) = unsafe {
            let limits = &raw const (*(*self.bdev.as_ptr()).bd_queue).limits;
            let found = AtomicLimits {
                min: (&raw const (*limits).atomic_write_unit_min).read_volatile(),
                max: (&raw const (*limits).atomic_write_unit_max).read_volatile(),
                boundary: (&raw const (*limits).atomic_write_boundary_sectors)
                    .read_volatile()
                    .wrapping_shl(SECTOR_SHIFT),
            };
            (found, (*self.bdev.as_ptr()).bd_start_sect)
        };
        // A partition that begins in the middle of a unit has none.
        let unit = u64::from(found.min.max(found.boundary));
        let aligned = (start << SECTOR_SHIFT).checked_rem(unit) == Some(0);
        (found.min != 0 && found.max != 0 && aligned).then_some(found)
    }

    /// The most pieces of memory that one request may have.
    fn max_segments(&self) -> usize {
        // SAFETY: As in `limits`.
        let most = unsafe {
            let limits = &raw const (*(*self.bdev.as_ptr()).bd_queue).limits;
            (&raw const (*limits).max_segments).read_volatile()
        };
        usize::from(most).min(bindings::BIO_MAX_VECS as usize)
    }

    /// The bits of an address in memory that have to be 0 for the device to
    /// reach it; a bio with others is refused (`EINVAL`).
    fn alignment_mask(&self) -> u32 {
        // SAFETY: As in `limits`.
        unsafe {
            let limits = &raw const (*(*self.bdev.as_ptr()).bd_queue).limits;
            (&raw const (*limits).dma_alignment).read_volatile()
        }
    }

    /// Empties the volatile cache, and waits for that. May sleep.
    pub(crate) fn flush(&self) -> Result {
        // SAFETY: The device is open.
        kernel::error::to_result(unsafe { bindings::blkdev_issue_flush(self.bdev.as_ptr()) })
    }

    /// Discards `len` bytes from `start` on, both multiples of a sector. May sleep.
    pub(crate) fn discard(&self, start: u64, len: u64) -> Result {
        // SAFETY: The device is open.
        kernel::error::to_result(unsafe {
            bindings::blkdev_issue_discard(
                self.bdev.as_ptr(),
                start >> SECTOR_SHIFT,
                len >> SECTOR_SHIFT,
                GFP_NOIO,
            )
        })
    }

    /// Fills `buf`, whole blocks, from `pos`, and waits for that. May sleep.
    pub(crate) fn read_now(&self, pos: u64, buf: &mut [u8]) -> Result {
        // SAFETY: `buf` is valid for writes of its length.
        unsafe {
            self.rw_now(
                pos,
                buf.as_mut_ptr(),
                buf.len(),
                bindings::req_op_REQ_OP_READ,
            )
        }
    }

    /// Writes `buf`, whole blocks, to `pos`, and waits for that. May sleep.
    pub(crate) fn write_now(&self, pos: u64, buf: &[u8]) -> Result {
        let data = buf.as_ptr().cast_mut();
        // SAFETY: `buf` is valid for reads of its length, and only read.
        unsafe { self.rw_now(pos, data, buf.len(), bindings::req_op_REQ_OP_WRITE) }
    }

    /// # Safety
    ///
    /// `data` is valid for what `op` does with `len` bytes of it. Memory that is
    /// not contiguous is refused by the callee.
    unsafe fn rw_now(&self, pos: u64, data: *mut u8, len: usize, op: bindings::req_op) -> Result {
        let sector = pos >> SECTOR_SHIFT;
        // SAFETY: The device is open; the memory is valid by the contract.
        kernel::error::to_result(unsafe {
            bindings::bdev_rw_virt(self.bdev.as_ptr(), sector, data.cast(), len, op)
        })
    }

    /// An empty bio of `pool`. May sleep; never fails then.
    fn bio(
        &self,
        pool: *mut bindings::bio_set,
        vecs: usize,
        op: Op,
        pos: u64,
    ) -> *mut bindings::bio {
        let vecs = vecs.min(bindings::BIO_MAX_VECS as usize) as c_ushort;
        // SAFETY: The device is open and `pool` initialised. With memory that
        // may be waited for, the pool's reserve makes the allocation succeed.
        unsafe {
            let bio =
                bindings::bio_alloc_bioset(self.bdev.as_ptr(), vecs, op.flags(), GFP_NOIO, pool);
            (*bio).bi_iter.bi_sector = pos >> SECTOR_SHIFT;
            bio
        }
    }
}

impl Drop for BlockDevice {
    fn drop(&mut self) {
        // SAFETY: By the type invariants this gives up our reference, and with
        // it, at once, the exclusive claim.
        unsafe { bindings::bdev_fput(self.file.as_ptr()) };
    }
}

/// What stands in front of the first bio of a transfer.
struct Transfer<H, C> {
    /// Keeps device and pool. Dropped after `done` has been told.
    device: H,
    done: C,
    len: usize,
}

impl<H, C> Transfer<H, C> {
    const FITS: () = {
        assert!(size_of::<Self>() <= FRONT_PAD, "FRONT_PAD is too small");
        assert!(align_of::<Self>() <= 8, "bios are aligned to 8 bytes only");
    };

    /// Where the transfer of `bio` is.
    ///
    /// # Safety
    ///
    /// `bio` is of a [`Pool`].
    unsafe fn of(bio: *mut bindings::bio) -> *mut Self {
        let () = Self::FITS;
        // SAFETY: A pool's bio has so many bytes in front of it.
        unsafe { bio.byte_sub(FRONT_PAD) }.cast()
    }
}

/// A transfer through memory of its own, as the device cannot reach that of
/// `done`.
struct Copied<C> {
    done: C,
    copy: OwnedSg,
    op: Op,
}

impl<C: Completion> Copied<C> {
    /// Copies what is to be written. On failure `done` comes back.
    fn new(op: Op, len: usize, done: C) -> Result<Self, (Error, C)> {
        let mut copy = match OwnedSg::alloc_no_io(len) {
            Ok(copy) => copy,
            Err(e) => return Err((e, done)),
        };
        if let (Op::Write { .. } | Op::Atomic { .. }, Some(from)) = (op, done.memory()) {
            copy.fill(&from, len);
        }
        Ok(Self { done, copy, op })
    }
}

impl<C: Completion> Completion for Copied<C> {
    fn memory(&self) -> Option<SgList<'_>> {
        Some(self.copy.list())
    }

    fn complete(self, result: Result<usize>) {
        if let (Op::Read, Ok(len), Some(to)) = (self.op, &result, self.done.memory()) {
            self.copy.pour(&to, *len);
        }
        self.done.complete(result);
    }
}

/// Starts `op` on `len` bytes at byte `pos`, both multiples of a sector. `done`
/// is told of the end once, before or after this returns; its memory is what is
/// transferred. That goes through other memory if the device wants it aligned
/// otherwise, as what a transport lends may begin anywhere. Process context, may
/// sleep.
pub(crate) fn start<H, C>(device: H, op: Op, pos: u64, len: usize, done: C)
where
    H: Deref<Target = BlockDevice> + Send + 'static,
    C: Completion,
{
    let mask = device.alignment_mask();
    let fits = done
        .memory()
        .is_none_or(|sg| pieces(&sg, 0, len).all(|piece| (piece.offset | piece.len) & mask == 0));
    // One request has to be enough. Memory of our own has few pieces.
    let whole = !matches!(op, Op::Atomic { .. })
        || done
            .memory()
            .is_none_or(|sg| pieces(&sg, 0, len).count() <= device.max_segments());
    if (fits && whole) || op == Op::Flush {
        return submit(device, op, pos, len, done);
    }
    match Copied::new(op, len, done) {
        Ok(copied) => submit(device, op, pos, len, copied),
        Err((e, done)) => done.complete(Err(e)),
    }
}

/// [`start`] for memory that the device can reach.
fn submit<H, C>(device: H, op: Op, pos: u64, len: usize, done: C)
where
    H: Deref<Target = BlockDevice> + Send + 'static,
    C: Completion,
{
    let bdev: &BlockDevice = &device;
    let sg = done.memory().map(|sg| {
        // SAFETY: `done` is given away below, but its memory does not move with
        // it and stays until it is told of the end, which cannot happen before
        // `first` is submitted; the list is not used after that.
        unsafe { core::mem::transmute::<SgList<'_>, SgList<'static>>(sg) }
    });
    let segments = |from: usize| match &sg {
        Some(sg) => pieces(sg, from, len - from.min(len)).count(),
        None => 0,
    };
    let first = bdev.bio(bdev.pool.set.get(), segments(0), op, pos);
    let bdev: *const BlockDevice = bdev;
    // SAFETY: `first` is new and of a pool, so there is room in front of it.
    // `bdev` outlives the loop, as the transfer that keeps it ends only after
    // `first` has been submitted.
    unsafe {
        Transfer::of(first).write(Transfer { device, done, len });
        (*first).bi_end_io = Some(ended::<H, C>);
        let Some(sg) = sg.as_ref().filter(|_| op != Op::Flush) else {
            bindings::submit_bio(first);
            return;
        };
        let mut at = add(first, sg, 0, len, &*bdev);
        if at < len && matches!(op, Op::Atomic { .. }) {
            // Several bios would not be one write.
            at = 0;
        }
        if at < len && at != 0 {
            // The others are sent as they are filled, so that a second one is
            // never waited for with one in hand of the same reserve.
            let mut plug = MaybeUninit::<bindings::blk_plug>::uninit();
            bindings::blk_start_plug(plug.as_mut_ptr());
            while at < len {
                let next = (*bdev).bio(
                    &raw mut bindings::fs_bio_set,
                    segments(at),
                    op,
                    pos.wrapping_add(at as u64),
                );
                bindings::bio_chain(next, first);
                let added = add(next, sg, at, len - at, &*bdev);
                if added == 0 {
                    (*next).bi_status = bindings::errno_to_blk_status(-(bindings::EIO as c_int));
                    bindings::bio_endio(next);
                    break;
                }
                bindings::submit_bio(next);
                at = at.saturating_add(added);
            }
            bindings::submit_bio(first);
            bindings::blk_finish_plug(plug.as_mut_ptr());
        } else if at == 0 {
            (*first).bi_status = bindings::errno_to_blk_status(-(bindings::EIO as c_int));
            bindings::bio_endio(first);
        } else {
            bindings::submit_bio(first);
        }
    }
}

/// Adds up to `len` bytes of `sg` from `from` on to `bio`, whole blocks only;
/// returns how many.
///
/// # Safety
///
/// `bio` is empty and not submitted yet.
unsafe fn add(
    bio: *mut bindings::bio,
    sg: &SgList<'_>,
    from: usize,
    len: usize,
    bdev: &BlockDevice,
) -> usize {
    let mut bytes = 0usize;
    for part in pieces(sg, from, len) {
        // SAFETY: The page is the command's, whose memory outlives the bio.
        let added = unsafe { bindings::bio_add_page(bio, part.page, part.len, part.offset) };
        if added == 0 {
            break;
        }
        bytes = bytes.saturating_add(part.len as usize);
    }
    if bytes == len {
        return bytes;
    }
    // A bio that is full in the middle of a block gives the piece back.
    let mut rest = bytes % (bdev.limits().logical_block.max(512) as usize);
    bytes = bytes.saturating_sub(rest);
    while rest != 0 {
        // SAFETY: `rest` is less than what was added, so there is a last vector.
        unsafe {
            let last = (*bio)
                .bi_io_vec
                .add(usize::from((*bio).bi_vcnt).saturating_sub(1));
            let cut = ((*last).bv_len as usize).min(rest);
            (*last).bv_len = (*last).bv_len.saturating_sub(cut as u32);
            (*bio).bi_iter.bi_size = (*bio).bi_iter.bi_size.saturating_sub(cut as u32);
            if (*last).bv_len == 0 {
                (*bio).bi_vcnt = (*bio).bi_vcnt.saturating_sub(1);
            }
            rest = rest.saturating_sub(cut);
        }
    }
    bytes
}

/// `bi_end_io` of the first bio of a transfer.
///
/// # Safety
///
/// `bio` is such a bio, of [`submit`] with the same types, and has ended.
unsafe extern "C" fn ended<H, C>(bio: *mut bindings::bio)
where
    H: Deref<Target = BlockDevice>,
    C: Completion,
{
    // SAFETY: `submit` wrote the transfer; it is read out once, here.
    let (Transfer { device, done, len }, status) =
        unsafe { (Transfer::<H, C>::of(bio).read(), (*bio).bi_status) };
    // SAFETY: The bio was allocated by `submit` and is not used any more.
    unsafe { bindings::bio_put(bio) };
    let result = match status {
        0 => Ok(()),
        // SAFETY: Any value may be asked about.
        status => kernel::error::to_result(unsafe { bindings::blk_status_to_errno(status) }),
    };
    done.complete(result.map(|()| len));
    drop(device);
}
