// SPDX-License-Identifier: GPL-2.0

//! READ CAPACITY parameter data (SBC-4 5.20, 5.21; MMC-6 6.24).

use crate::bytes::Writer;

/// What a device is asked about its capacity.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Capacity {
    /// Number of logical blocks; 0 for an empty drive.
    pub blocks: u64,
    /// LOGICAL BLOCK LENGTH in bytes.
    pub block_size: u32,
    /// LOGICAL BLOCKS PER PHYSICAL BLOCK EXPONENT, 0 to 15.
    pub lb_per_pb_exp: u8,
    /// LOWEST ALIGNED LOGICAL BLOCK ADDRESS, 14 bits.
    pub lowest_aligned_lba: u16,
    /// LBPME: logical block provisioning management is enabled (thin).
    pub lbpme: bool,
    /// LBPRZ: unmapped blocks read as zeros.
    pub lbprz: bool,
    /// Protection information type 1 to 3; `None` without.
    pub protection_type: Option<u8>,
}

impl Capacity {
    /// A plain device.
    pub const fn new(blocks: u64, block_size: u32) -> Self {
        Self {
            blocks,
            block_size,
            lb_per_pb_exp: 0,
            lowest_aligned_lba: 0,
            lbpme: false,
            lbprz: false,
            protection_type: None,
        }
    }

    /// RETURNED LOGICAL BLOCK ADDRESS: the last one.
    pub fn last_lba(&self) -> u64 {
        self.blocks.saturating_sub(1)
    }

    /// READ CAPACITY(10): 8 bytes. An LBA that does not fit is FFFF_FFFFh, which sends the initiator to
    /// READ CAPACITY(16) (SBC-4 5.20.2).
    pub fn read_capacity_10(&self, w: &mut Writer<'_>) {
        let last = u32::try_from(self.last_lba()).unwrap_or(u32::MAX);
        w.be32(last).be32(self.block_size);
    }

    /// READ CAPACITY(16): 32 bytes (SBC-4 5.21.2).
    pub fn read_capacity_16(&self, w: &mut Writer<'_>) {
        let protection = match self.protection_type {
            Some(t) => (t.saturating_sub(1) & 7).wrapping_shl(1) | 1,
            None => 0,
        };
        let mut lowest = self.lowest_aligned_lba & 0x3fff;
        if self.lbpme {
            lowest |= 0x8000;
        }
        if self.lbprz {
            lowest |= 0x4000;
        }
        w.be64(self.last_lba())
            .be32(self.block_size)
            .u8(protection)
            .u8(self.lb_per_pb_exp & 0x0f)
            .be16(lowest)
            .zeros(16);
    }
}

/// The largest exponent for which physical blocks of `physical` bytes consist of logical ones of `logical` bytes.
pub fn lb_per_pb_exp(logical: u32, physical: u32) -> u8 {
    if logical == 0 || !logical.is_power_of_two() || !physical.is_power_of_two() {
        return 0;
    }
    // At most 31, and the field has four bits.
    physical
        .trailing_zeros()
        .saturating_sub(logical.trailing_zeros())
        .min(15) as u8
}
