// SPDX-License-Identifier: GPL-2.0

//! WRITE ATOMIC(16) (SBC-4 4.29, 5.46): a write of which a failure of power leaves all or nothing.
//!
//! ```
//! use scst_proto::{atomic::Limits, cdb::decode, opcode::PeripheralDeviceType};
//!
//! let limits = Limits { max: 16, granularity: 8, boundary: 0 };
//! let cdb = [0x9c, 0, 0, 0, 0, 0, 0, 0, 0, 24, 0, 0, 0, 16, 0, 0];
//! let decoded = decode(&cdb, PeripheralDeviceType::DISK).unwrap();
//! assert_eq!(limits.check(&decoded, &cdb), Ok(()));
//! ```

use crate::bytes::be16;
use crate::cdb::Cdb;
use crate::sense::{Sense, INVALID_FIELD_IN_CDB};

/// Where ATOMIC BOUNDARY is.
const BOUNDARY: u16 = 10;

/// What can be written atomically, in logical blocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// MAXIMUM ATOMIC TRANSFER LENGTH, at least 1.
    pub max: u32,
    /// ATOMIC ALIGNMENT and ATOMIC TRANSFER LENGTH GRANULARITY; 0 and 1 are any.
    pub granularity: u32,
    /// No write may have blocks on both sides of a multiple of this; 0: any may. VPD pages have no field for it, and who
    /// writes powers of two at their multiples never does.
    pub boundary: u32,
}

impl Limits {
    /// Those of a disk that keeps nothing.
    pub const VOID: Self = Self {
        max: u16::MAX as u32,
        granularity: 1,
        boundary: 0,
    };

    /// INVALID FIELD IN CDB unless the blocks of `cdb`, whose bytes are `raw`, can be written so.
    ///
    /// ATOMIC BOUNDARY, a write in several pieces that are atomic each, is not there: MAXIMUM ATOMIC TRANSFER LENGTH WITH
    /// ATOMIC BOUNDARY is 0.
    pub fn check(&self, cdb: &Cdb, raw: &[u8]) -> Result<(), Sense> {
        let wrong = |at| Err(INVALID_FIELD_IN_CDB.in_cdb(at));
        let (lba_at, length_at) = (u16::from(cdb.op.lba.at), u16::from(cdb.op.length.at));
        let granularity = self.granularity.max(1);
        if be16(raw, usize::from(BOUNDARY)).unwrap_or(0) != 0 {
            return wrong(BOUNDARY);
        }
        if cdb.blocks > self.max || cdb.blocks % granularity != 0 {
            return wrong(length_at);
        }
        if cdb.lba % u64::from(granularity) != 0 || self.is_split(cdb) {
            return wrong(lba_at);
        }
        Ok(())
    }

    fn is_split(&self, cdb: &Cdb) -> bool {
        let part = |lba: u64| lba.checked_div(u64::from(self.boundary));
        let more = u64::from(cdb.blocks.saturating_sub(1));
        part(cdb.lba) != part(cdb.lba.saturating_add(more))
    }
}
