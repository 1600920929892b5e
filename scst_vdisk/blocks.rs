// SPDX-License-Identifier: GPL-2.0

//! Commands about blocks that move none: GET LBA STATUS, PRE-FETCH.

use crate::{
    commands,
    io::{self, Extent, Store},
    unit::Unit,
    writes::{self, Failure},
};
use kernel::prelude::*;
use scst::{Cmd, Executing};
use scst_proto::{
    bytes::Writer,
    lba_status::{self, Provisioned, Run},
    sense::Sense,
};

/// Most LBA status descriptors that one answer has.
const MOST: usize = 32;
/// Bytes of parameter data with so many.
const LARGEST: usize = 8 + MOST * 16;

/// GET LBA STATUS, SBC-4 5.6.
pub(crate) fn lba_status<S: Store>(unit: &Unit<S>, mut cmd: Cmd<Executing>) {
    let mut buf = [0; LARGEST];
    let mut w = Writer::new(&mut buf);
    match try_lba_status(unit, &cmd, &mut w) {
        Ok(()) => {
            cmd.put(w.as_bytes());
            cmd.good();
        }
        Err(failure) => writes::finish(cmd, Err(failure)),
    }
}

fn try_lba_status<S: Store>(
    unit: &Unit<S>,
    cmd: &Cmd<Executing>,
    w: &mut Writer<'_>,
) -> Result<(), Failure> {
    unit.check_ready()?;
    lba_status::check(cmd.raw_cdb())?;
    let most = lba_status::descriptors(cmd.length() as usize).min(MOST);
    lba_status::write(w, cmd.cdb().lba, unit.disk.blocks(), most, |lba| {
        Ok(run(unit, lba)?)
    })
}

/// The blocks from `lba` on that are as it is. A block is deallocated if all of
/// it is.
fn run<S: Store>(unit: &Unit<S>, lba: u64) -> Result<Run> {
    let shift = unit.disk.conf.block_shift;
    let mask = u64::from(unit.disk.block_size().wrapping_sub(1));
    let (status, bytes) = unit.store.provisioned(lba.wrapping_shl(shift))?;
    let whole = bytes.wrapping_shr(shift);
    Ok(match status {
        Provisioned::Deallocated if whole > 0 => Run {
            blocks: whole,
            status,
        },
        Provisioned::Deallocated => Run {
            blocks: 1,
            status: Provisioned::Mapped,
        },
        Provisioned::Mapped => Run {
            blocks: whole.saturating_add(u64::from(bytes & mask != 0)),
            status,
        },
    })
}

/// PRE-FETCH, SBC-4 5.12: GOOD, as nobody promises that all of it stays in the
/// cache (CONDITION MET would).
pub(crate) fn prefetch<S: Store>(unit: &Unit<S>, cmd: Cmd<Executing>) {
    match begin(unit, &cmd) {
        Ok(at) => match unit.store.prefetch(at) {
            Ok(()) => cmd.good(),
            Err(e) => io::end(cmd, Err(e), 0, false),
        },
        Err(sense) => commands::finish(cmd, Err(sense)),
    }
}

/// What to fetch: 0 blocks are all up to the end.
fn begin<S: Store>(unit: &Unit<S>, cmd: &Cmd<Executing>) -> Result<Extent, Sense> {
    let mut at = unit.extent(cmd.cdb())?;
    if at.len == 0 {
        at.len = unit.disk.size().saturating_sub(at.pos);
    }
    Ok(at)
}
