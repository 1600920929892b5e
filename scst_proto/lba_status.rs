// SPDX-License-Identifier: GPL-2.0

//! GET LBA STATUS (SBC-4 5.6): which blocks have memory behind them.

use crate::bytes::{u8_at, Writer};
use crate::sense::{Sense, INVALID_FIELD_IN_CDB, LBA_OUT_OF_RANGE};

/// Bytes of the parameter data before the first descriptor.
const HEADER: usize = 8;
/// Bytes of an LBA status descriptor.
const DESCRIPTOR: usize = 16;

/// PROVISIONING STATUS (SBC-4 table 64).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Provisioned {
    /// 0h: mapped, or nobody knows.
    Mapped,
    /// 1h: deallocated.
    Deallocated,
}

/// Blocks of one status that follow one another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Run {
    /// How many blocks, at least one.
    pub blocks: u64,
    /// Their status.
    pub status: Provisioned,
}

/// Checks the CDB of GET LBA STATUS(16): REPORT TYPE 0h, all statuses, is the one that is there.
pub fn check(cdb: &[u8]) -> Result<(), Sense> {
    match u8_at(cdb, 14).unwrap_or(0) & 0x0f {
        0 => Ok(()),
        _ => Err(INVALID_FIELD_IN_CDB.in_cdb_bit(14, 3)),
    }
}

/// How many descriptors `length` bytes of parameter data hold; at least one is made.
pub fn descriptors(length: usize) -> usize {
    (length.saturating_sub(HEADER) / DESCRIPTOR).max(1)
}

/// Writes the parameter data for a medium of `capacity` blocks from `start` on: at most `most` descriptors.
///
/// `run` tells the status of the blocks from one on; what it says beyond the medium's end is cut. Neighbours of the same
/// status become one descriptor where the NUMBER OF LOGICAL BLOCKS field has room for it.
pub fn write<E: From<Sense>>(
    w: &mut Writer<'_>,
    start: u64,
    capacity: u64,
    most: usize,
    mut run: impl FnMut(u64) -> Result<Run, E>,
) -> Result<(), E> {
    if start >= capacity {
        return Err(LBA_OUT_OF_RANGE.with_information(start).into());
    }
    let begin = w.full_len();
    w.zeros(HEADER);
    let mut lba = start;
    let mut count = 0usize;
    let mut open: Option<(u64, Run)> = None;
    while count < most && lba < capacity {
        let next = run(lba)?;
        let blocks = next.blocks.clamp(1, capacity.saturating_sub(lba));
        open = match open {
            Some((at, old)) if old.status == next.status => {
                let blocks = old.blocks.saturating_add(blocks);
                Some((at, Run { blocks, ..old }))
            }
            Some((at, old)) => {
                descriptor(w, at, old);
                count = count.saturating_add(1);
                Some((lba, Run { blocks, ..next }))
            }
            None => Some((lba, Run { blocks, ..next })),
        };
        lba = lba.saturating_add(blocks);
        // A longer one does not fit into a descriptor.
        if open.is_some_and(|(_, run)| run.blocks >= u64::from(u32::MAX)) {
            break;
        }
    }
    if let (Some((at, last)), true) = (open, count < most) {
        descriptor(w, at, last);
    }
    let length = w.full_len().saturating_sub(begin).saturating_sub(4);
    w.patch_be32(begin, u32::try_from(length).unwrap_or(u32::MAX));
    Ok(())
}

fn descriptor(w: &mut Writer<'_>, lba: u64, run: Run) {
    let status = match run.status {
        Provisioned::Mapped => 0,
        Provisioned::Deallocated => 1,
    };
    w.be64(lba)
        .be32(u32::try_from(run.blocks).unwrap_or(u32::MAX))
        .u8(status)
        .zeros(3);
}
