// SPDX-License-Identifier: GPL-2.0

//! Block devices that keep protection information with their blocks (the block
//! layer's integrity profiles).

use crate::block::{BlockDevice, SECTOR_SHIFT};
use core::mem::size_of;
use kernel::{bindings, prelude::*};

/// What a device says of the tuples that it keeps with its blocks.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Integrity {
    /// It keeps some.
    pub(crate) there: bool,
    /// Eight bytes a logical block of the disk.
    pub(crate) fits: bool,
    /// The guard is a CRC.
    pub(crate) crc: bool,
    /// Reference tags count blocks: type 1, not 3.
    pub(crate) counts: bool,
}

/// `struct scst_c_tagged`.
#[repr(C)]
struct Tagged {
    data: *mut c_void,
    tags: *mut c_void,
    sector: u64,
    seed: u64,
    len: u32,
    tags_len: u32,
    op: u32,
    check: u32,
}

// The C side asserts the same.
const _: () = assert!(size_of::<Tagged>() == 48);

// `struct block_device` leads to types of C that bindgen gives an empty struct.
#[allow(improper_ctypes)]
extern "C" {
    fn scst_vdisk_c_rw_tagged(bdev: *mut bindings::block_device, what: *const Tagged) -> c_int;
}

impl BlockDevice {
    /// Whether the device keeps a tuple of eight bytes with each block of
    /// `block_size` bytes, and what its guard is.
    pub(crate) fn integrity(&self, block_size: u32) -> Integrity {
        // SAFETY: The device is open, so it has a queue. The fields are bytes that may
        // change at any time, to another valid value.
        let (csum, bytes, exponent, flags) = unsafe {
            let profile = &raw const (*(*self.as_ptr()).bd_queue).limits.integrity;
            (
                (&raw const (*profile).csum_type).read_volatile(),
                (&raw const (*profile).metadata_size).read_volatile(),
                (&raw const (*profile).interval_exp).read_volatile(),
                (&raw const (*profile).flags).read_volatile(),
            )
        };
        // `BLK_INTEGRITY_REF_TAG` of include/linux/blk-integrity.h.
        const REF_TAG: u8 = 1 << 3;
        Integrity {
            crc: csum == bindings::blk_integrity_checksum_BLK_INTEGRITY_CSUM_CRC,
            there: bytes != 0,
            fits: bytes == 8 && u32::from(exponent) == block_size.trailing_zeros(),
            counts: flags & REF_TAG != 0,
        }
    }

    /// As [`BlockDevice::read_now`], with the tuples of the blocks; `seed` is the
    /// reference tag of the first one, `check` whether the device is to check them.
    pub(crate) fn read_tagged(
        &self,
        pos: u64,
        data: &mut [u8],
        tags: &mut [u8],
        seed: u64,
        check: bool,
    ) -> Result {
        // SAFETY: Both are valid for writes of their lengths.
        unsafe { self.rw_tagged(bindings::req_op_REQ_OP_READ, pos, data, tags, seed, check) }
    }

    /// As [`BlockDevice::write_now`], likewise. The device may change `tags`.
    pub(crate) fn write_tagged(
        &self,
        pos: u64,
        data: &[u8],
        tags: &mut [u8],
        seed: u64,
        check: bool,
    ) -> Result {
        let op = bindings::req_op_REQ_OP_WRITE;
        // SAFETY: `data` is valid for reads of its length, and only read.
        unsafe { self.rw_tagged(op, pos, data, tags, seed, check) }
    }

    /// # Safety
    ///
    /// `data` is valid for what `op` does with it. Both pieces of memory are of the
    /// kernel's linear mapping.
    unsafe fn rw_tagged(
        &self,
        op: bindings::req_op,
        pos: u64,
        data: *const [u8],
        tags: &mut [u8],
        seed: u64,
        check: bool,
    ) -> Result {
        let what = Tagged {
            data: data.cast_mut().cast(),
            tags: tags.as_mut_ptr().cast(),
            sector: pos >> SECTOR_SHIFT,
            seed,
            len: u32::try_from(data.len())?,
            tags_len: u32::try_from(tags.len())?,
            op,
            check: check.into(),
        };
        // SAFETY: The device is open; the memory is valid by the contract, and not
        // used any more when this returns.
        kernel::error::to_result(unsafe { scst_vdisk_c_rw_tagged(self.as_ptr(), &raw const what) })
    }
}
