// SPDX-License-Identifier: GPL-2.0

//! The writing commands that are not a plain WRITE: UNMAP, WRITE SAME, WRITE ATOMIC,
//! COMPARE AND WRITE; and the comparing that VERIFY does too. They go through buffers
//! of their own, block by block, in a thread.

use crate::{
    io::{self, Extent, Store},
    protection::Task,
    unit::Unit,
};
use kernel::{alloc::AllocError, prelude::*};
use scst::{status, Cmd, Executing, Stage};
use scst_proto::{
    bytes::{be16, be32, be64, u8_at},
    cdb::{Cdb, TransferLength},
    inquiry::MAX_WRITE_SAME_BYTES,
    protection::CheckFailed,
    sense::{
        Sense, INVALID_FIELD_IN_CDB, INVALID_FIELD_IN_PARAMETER_LIST, INVALID_OPCODE,
        LBA_OUT_OF_RANGE, MISCOMPARE, PARAMETER_LIST_LENGTH_ERROR,
    },
};

/// Bytes that are moved at once.
const PIECE: usize = 64 << 10;

/// Why a command failed: by itself, or by the store below.
pub(crate) enum Failure {
    Sense(Sense),
    /// Protection information is wrong, as somebody on the way has found.
    Check(Stage, CheckFailed),
    Store(Error),
}

impl From<Sense> for Failure {
    fn from(sense: Sense) -> Self {
        Self::Sense(sense)
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::Store(error)
    }
}

impl From<AllocError> for Failure {
    fn from(error: AllocError) -> Self {
        Self::Store(error.into())
    }
}

/// Ends the command; all the data that it has was used.
pub(crate) fn finish(cmd: Cmd<Executing>, result: Result<(), Failure>) {
    let moved = cmd.length();
    match result {
        Ok(()) => cmd.good_with(moved),
        Err(Failure::Sense(sense)) => cmd.check_condition(sense),
        Err(Failure::Check(stage, failed)) => cmd.check_failed(stage, failed),
        Err(Failure::Store(e)) if e == ENOMEM => cmd.status(status::BUSY),
        Err(Failure::Store(e)) => io::end(cmd, Err(e), 0, true),
    }
}

/// Copies from the command's data-out; `Err` if it has less.
fn fetch(cmd: &Cmd<Executing>, offset: usize, buf: &mut [u8]) -> Result<(), Sense> {
    let copied = cmd.data().map_or(0, |sg| sg.copy_from(offset, buf));
    match copied == buf.len() {
        true => Ok(()),
        false => Err(PARAMETER_LIST_LENGTH_ERROR),
    }
}

/// UNMAP, SBC-4 5.35.
pub(crate) fn unmap<S: Store>(unit: &Unit<S>, cmd: Cmd<Executing>) {
    let result = try_unmap(unit, &cmd);
    finish(cmd, result);
}

const DESCRIPTOR: usize = 16;

fn try_unmap<S: Store>(unit: &Unit<S>, cmd: &Cmd<Executing>) -> Result<(), Failure> {
    const HEADER: usize = 8;

    unit.check_ready()?;
    if !unit.disk.thin.get() {
        return Err(INVALID_OPCODE.into());
    }
    if u8_at(cmd.raw_cdb(), 1).unwrap_or(0) & 1 != 0 {
        // ANCHOR.
        return Err(INVALID_FIELD_IN_CDB.in_cdb_bit(1, 0).into());
    }
    let list_len = cmd.length() as usize;
    if list_len == 0 {
        return Ok(());
    }
    let mut header = [0; HEADER];
    fetch(cmd, 0, &mut header)?;
    let described = usize::from(be16(&header, 2).unwrap_or(0));
    let end = HEADER
        .saturating_add(described - described % DESCRIPTOR)
        .min(list_len);
    let starts = || {
        (HEADER..end)
            .step_by(DESCRIPTOR)
            .filter(move |at| at.saturating_add(DESCRIPTOR) <= end)
    };
    // Nothing is unmapped if any descriptor is wrong.
    for at in starts() {
        descriptor(unit, cmd, at)?;
    }
    for at in starts() {
        let extent = descriptor(unit, cmd, at)?;
        if extent.len != 0 {
            unit.store.discard(extent)?;
            unit.moved(cmd, extent.len);
        }
    }
    Ok(())
}

/// The blocks of the UNMAP block descriptor at `at`.
fn descriptor<S: Store>(unit: &Unit<S>, cmd: &Cmd<Executing>, at: usize) -> Result<Extent, Sense> {
    let mut bytes = [0; DESCRIPTOR];
    fetch(cmd, at, &mut bytes)?;
    let lba = be64(&bytes, 0).unwrap_or(0);
    let blocks = u64::from(be32(&bytes, 8).unwrap_or(0));
    match lba.checked_add(blocks) {
        Some(end) if end <= unit.disk.blocks() => {}
        _ => return Err(LBA_OUT_OF_RANGE.with_information(lba)),
    }
    if blocks.wrapping_shl(unit.disk.conf.block_shift) > unmap_limit(unit) {
        return Err(INVALID_FIELD_IN_PARAMETER_LIST.in_data(at.saturating_add(8) as u16));
    }
    Ok(Extent {
        pos: lba.wrapping_shl(unit.disk.conf.block_shift),
        len: blocks.wrapping_shl(unit.disk.conf.block_shift),
    })
}

/// MAXIMUM UNMAP LBA COUNT in bytes.
fn unmap_limit<S: Store>(unit: &Unit<S>) -> u64 {
    let blocks = unit
        .disk
        .limits()
        .unmap
        .map_or(0, |u| u64::from(u.max_lba_count));
    blocks.wrapping_shl(unit.disk.conf.block_shift)
}

/// WRITE SAME, SBC-4 5.50.
///
/// Blocks that come with protection information are written in any case: with UNMAP a
/// device server may.
pub(crate) fn write_same<S: Store>(unit: &Unit<S>, cmd: Cmd<Executing>) {
    let at = match same_blocks(unit, &cmd) {
        Ok(at) => at,
        Err(sense) => return cmd.check_condition(sense),
    };
    if S::PROTECTED && cmd.cdb().protect() != 0 {
        return unit.store.protected(&unit.disk, cmd, at, Task::Same);
    }
    let result = try_write_same(unit, &cmd, at);
    finish(cmd, result);
}

/// The blocks of a WRITE SAME, if its CDB is right.
fn same_blocks<S: Store>(unit: &Unit<S>, cmd: &Cmd<Executing>) -> Result<Extent, Sense> {
    let cdb = cmd.cdb();
    let at = unit.span(cdb)?;
    if at.len == 0 || at.len > MAX_WRITE_SAME_BYTES {
        return Err(length_field(cdb));
    }
    if u8_at(cmd.raw_cdb(), 1).unwrap_or(0) & 0x06 != 0 {
        // PBDATA and LBDATA, obsolete.
        return Err(INVALID_FIELD_IN_CDB.in_cdb_bit(1, 2));
    }
    if cdb.anchor() {
        return Err(INVALID_FIELD_IN_CDB.in_cdb_bit(1, 4));
    }
    if cdb.unmap() && !unit.disk.thin.get() {
        return Err(INVALID_FIELD_IN_CDB.in_cdb_bit(1, 3));
    }
    Ok(at)
}

fn try_write_same<S: Store>(
    unit: &Unit<S>,
    cmd: &Cmd<Executing>,
    at: Extent,
) -> Result<(), Failure> {
    let cdb = cmd.cdb();
    let block = unit.disk.block_size() as usize;
    let mut piece = KVec::from_elem(0u8, PIECE.max(block), GFP_KERNEL)?;
    let mut zeros = true;
    if cdb.length != TransferLength::None {
        if cmd.prepared() as usize != block {
            return Err(PARAMETER_LIST_LENGTH_ERROR.into());
        }
        let (first, rest) = piece.split_at_mut_checked(block).ok_or(EINVAL)?;
        fetch(cmd, 0, first)?;
        zeros = first.iter().all(|b| *b == 0);
        if !zeros {
            for copy in rest.chunks_exact_mut(block) {
                copy.copy_from_slice(first);
            }
        }
    }
    if zeros && cdb.unmap() {
        unit.store.discard(at)?;
    } else {
        fill(unit, at, &piece)?;
    }
    unit.moved(cmd, at.len);
    settle(unit, false)
}

/// INVALID FIELD IN CDB for the length field.
fn length_field(cdb: &Cdb) -> Sense {
    INVALID_FIELD_IN_CDB.in_cdb(u16::from(cdb.op.length.at))
}

/// Writes `piece` again and again.
fn fill<S: Store>(unit: &Unit<S>, at: Extent, piece: &[u8]) -> Result {
    let mut done = 0;
    while done < at.len {
        let left = usize::try_from(at.len - done).unwrap_or(usize::MAX);
        let part = piece.get(..left).unwrap_or(piece);
        unit.store.write_now(at.pos.saturating_add(done), part)?;
        done = done.saturating_add(part.len() as u64);
        kapi::cond_resched();
    }
    Ok(())
}

/// Brings what was written to stable storage if that has to be.
fn settle<S: Store>(unit: &Unit<S>, fua: bool) -> Result<(), Failure> {
    if unit.disk.must_be_stable(fua) {
        unit.store.sync_now()?;
    }
    Ok(())
}

/// COMPARE AND WRITE, SBC-4 5.3: the first half of the data is compared, the
/// second written if the first is what was there.
pub(crate) fn compare_and_write<S: Store>(unit: &Unit<S>, cmd: Cmd<Executing>) {
    with_protection(unit, cmd, Task::CompareAndWrite, try_compare_and_write);
}

/// Does `task` if the command has a protect field and there is a use for it, else
/// `plain`.
fn with_protection<S: Store>(
    unit: &Unit<S>,
    cmd: Cmd<Executing>,
    task: Task,
    plain: impl FnOnce(&Unit<S>, &Cmd<Executing>) -> Result<(), Failure>,
) {
    if S::PROTECTED && cmd.cdb().protect() != 0 {
        return match unit.span(cmd.cdb()) {
            Ok(at) => unit.store.protected(&unit.disk, cmd, at, task),
            Err(sense) => cmd.check_condition(sense),
        };
    }
    let result = plain(unit, &cmd);
    finish(cmd, result);
}

fn try_compare_and_write<S: Store>(unit: &Unit<S>, cmd: &Cmd<Executing>) -> Result<(), Failure> {
    let cdb = cmd.cdb();
    let at = unit.extent(cdb)?;
    let half = at.len as usize;
    if half == 0 {
        return Ok(());
    }
    // One at a time, so that of two with the same expectation one fails.
    let _one = unit.disk.comparing.lock();
    compare(unit, cmd, at, false)?;
    let block = unit.disk.block_size() as usize;
    let mut buf = KVec::from_elem(0u8, block, GFP_KERNEL)?;
    let mut done = 0;
    while done < half {
        fetch(cmd, half.saturating_add(done), &mut buf)?;
        unit.store
            .write_now(at.pos.saturating_add(done as u64), &buf)?;
        done = done.saturating_add(block);
    }
    unit.moved(cmd, at.len);
    settle(unit, cdb.fua())
}

/// ORWRITE, SBC-4 5.11: what is there, or what comes.
pub(crate) fn or_write<S: Store>(unit: &Unit<S>, cmd: Cmd<Executing>) {
    with_protection(unit, cmd, Task::Or, try_or_write);
}

fn try_or_write<S: Store>(unit: &Unit<S>, cmd: &Cmd<Executing>) -> Result<(), Failure> {
    let at = unit.extent(cmd.cdb())?;
    // Nobody else may read what this is about to change, to change it too.
    let _one = unit.disk.comparing.lock();
    let mut old = KVec::from_elem(0u8, PIECE.min(at.len as usize), GFP_KERNEL)?;
    let mut new = KVec::from_elem(0u8, old.len(), GFP_KERNEL)?;
    each_piece(at, PIECE, |pos, done, len| {
        let (Some(old), Some(new)) = (old.get_mut(..len), new.get_mut(..len)) else {
            return Err(EINVAL.into());
        };
        fetch(cmd, done, new)?;
        unit.store.read_now(pos, old)?;
        for (new, old) in new.iter_mut().zip(&*old) {
            *new |= *old;
        }
        Ok(unit.store.write_now(pos, new)?)
    })?;
    unit.moved(cmd, at.len);
    settle(unit, cmd.cdb().fua())
}

/// Calls `f` for each piece of `at`: where it is on the disk, where in the data,
/// how long.
fn each_piece(
    at: Extent,
    piece: usize,
    mut f: impl FnMut(u64, usize, usize) -> Result<(), Failure>,
) -> Result<(), Failure> {
    let mut done = 0;
    while done < at.len {
        let len = piece.min(usize::try_from(at.len - done).unwrap_or(piece));
        f(at.pos.saturating_add(done), done as usize, len)?;
        done = done.saturating_add(len as u64);
        kapi::cond_resched();
    }
    Ok(())
}

/// WRITE ATOMIC(16), SBC-4 5.46: where the store can.
pub(crate) fn write_atomic<S: Store>(unit: &Unit<S>, cmd: Cmd<Executing>) {
    let Some(limits) = unit.disk.atomic() else {
        return cmd.check_condition(INVALID_OPCODE);
    };
    let cdb = cmd.cdb();
    let at = unit
        .extent(cdb)
        .and_then(|at| limits.check(cdb, cmd.raw_cdb()).map(|()| at));
    match at {
        Ok(Extent { len: 0, .. }) => cmd.good(),
        // Not a part of it.
        Ok(at) if u64::from(cmd.length()) < at.len => {
            let sense = length_field(cdb);
            cmd.check_condition(sense);
        }
        Ok(at) => {
            let stable = unit.disk.must_be_stable(cdb.fua());
            unit.store.write_atomic(&unit.disk, cmd, at, stable);
        }
        Err(sense) => cmd.check_condition(sense),
    }
}

/// WRITE AND VERIFY, SBC-4 5.49. The write is stable before it is reported; that
/// it reads back is what the store promises. With BYTCHK it is compared, unless
/// the disk keeps nothing.
pub(crate) fn write_and_verify<S: Store>(unit: &Unit<S>, cmd: Cmd<Executing>) {
    match cmd.cdb().bytchk() {
        // Checked on its way, and with its information.
        0 | 1 if S::PROTECTED => unit.write(cmd, true),
        1 if !S::VOID => {
            let result = try_write_and_compare(unit, &cmd);
            finish(cmd, result);
        }
        0 | 1 => unit.write(cmd, true),
        _ => cmd.check_condition(INVALID_FIELD_IN_CDB.in_cdb_bit(1, 2)),
    }
}

fn try_write_and_compare<S: Store>(unit: &Unit<S>, cmd: &Cmd<Executing>) -> Result<(), Failure> {
    let at = unit.extent(cmd.cdb())?;
    let mut buf = KVec::from_elem(0u8, PIECE.min(at.len as usize), GFP_KERNEL)?;
    each_piece(at, PIECE, |pos, done, len| {
        let buf = buf.get_mut(..len).ok_or(EINVAL)?;
        fetch(cmd, done, buf)?;
        Ok(unit.store.write_now(pos, buf)?)
    })?;
    unit.moved(cmd, at.len);
    settle(unit, true)?;
    compare(unit, cmd, at, false)
}

/// VERIFY, SBC-4 5.39: without data the medium is trusted, with data compared.
pub(crate) fn verify<S: Store>(unit: &Unit<S>, cmd: Cmd<Executing>) {
    let cdb = *cmd.cdb();
    if S::PROTECTED {
        return match (unit.span(&cdb), cdb.bytchk()) {
            (Err(sense), _) => cmd.check_condition(sense),
            (Ok(at), 0) => unit.store.protected(&unit.disk, cmd, at, Task::Verify),
            (Ok(at), 1) => unit
                .store
                .protected(&unit.disk, cmd, at, Task::Compare { one: false }),
            (Ok(at), 3) => unit
                .store
                .protected(&unit.disk, cmd, at, Task::Compare { one: true }),
            _ => cmd.check_condition(INVALID_FIELD_IN_CDB.in_cdb_bit(1, 2)),
        };
    }
    let result = unit
        .extent(&cdb)
        .map_err(Failure::from)
        .and_then(|at| match cdb.bytchk() {
            0 => Ok(()),
            1 => compare(unit, &cmd, at, false),
            3 => compare(unit, &cmd, at, true),
            _ => Err(INVALID_FIELD_IN_CDB.in_cdb_bit(1, 2).into()),
        });
    finish(cmd, result);
}

/// Compares the command's data with `at`; `one`: the data are one block, which
/// each block of `at` is compared with.
fn compare<S: Store>(
    unit: &Unit<S>,
    cmd: &Cmd<Executing>,
    at: Extent,
    one: bool,
) -> Result<(), Failure> {
    let block = unit.disk.block_size() as usize;
    let mut expected = KVec::from_elem(0u8, block, GFP_KERNEL)?;
    let mut found = KVec::from_elem(0u8, block, GFP_KERNEL)?;
    let mut offset = 0usize;
    for pos in (at.pos..at.pos.saturating_add(at.len)).step_by(block.max(1)) {
        fetch(cmd, offset, &mut expected)?;
        unit.store.read_now(pos, &mut found)?;
        if let Some(first) = expected.iter().zip(&found).position(|(e, f)| e != f) {
            let offset = offset.saturating_add(first) as u64;
            return Err(MISCOMPARE.with_information(offset).into());
        }
        if !one {
            offset = offset.saturating_add(block);
        }
        kapi::cond_resched();
    }
    Ok(())
}
