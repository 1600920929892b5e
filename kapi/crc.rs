// SPDX-License-Identifier: GPL-2.0

//! Checksums of the kernel's library, which uses what the CPU has for them.
//!
//! C header: [`include/linux/crc-t10dif.h`](srctree/include/linux/crc-t10dif.h)

extern "C" {
    fn crc_t10dif_update(crc: u16, p: *const u8, len: usize) -> u16;
}

/// The guard of protection information (SBC-4 4.21.4). Any context.
pub fn t10dif(data: &[u8]) -> u16 {
    // SAFETY: `data` is valid for reads of its length.
    unsafe { crc_t10dif_update(0, data.as_ptr(), data.len()) }
}
