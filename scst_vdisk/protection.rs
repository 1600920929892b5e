// SPDX-License-Identifier: GPL-2.0

//! Protection information of a disk's blocks: READ, WRITE and VERIFY of a disk
//! that is formatted with it, and other commands that transfer it. It is checked, made, stripped and stored here; what
//! it means is `scst_proto::protection`'s matter.
//!
//! Blocks and their information go through buffers of ours, a piece at a time,
//! in a thread. A piece lies within one lane of the medium ([`piece_of`]), so that
//! who keeps blocks and information in two places can keep others from seeing
//! one of them without the other.

use crate::{
    disk::Disk,
    io::Extent,
    transferred::Buffer,
    writes::{self, Failure},
};
use kernel::{bindings, prelude::*, sync::atomic::Relaxed};
use scst::{Cmd, Executing, Protection, Stage};
use scst_proto::{
    cdb::TransferLength,
    options::DifMode,
    protection::{guard_anew, Access, CheckFailed, Format, Kind, Tuple, Wrong, TUPLE},
    sense::{MISCOMPARE, PARAMETER_LIST_LENGTH_ERROR},
};

/// log2 of the bytes of data that are moved at once, unless a block has more.
pub(crate) const PIECE_SHIFT: u32 = 15;

/// How buffers are allocated: without waiting, as memory may become free only by a
/// write to this very disk. Who gets none is told that the disk is busy.
pub(crate) const BUFFER_FLAGS: kernel::alloc::Flags = GFP_NOWAIT;

/// Blocks of a disk, with the information that a medium may keep of them. `lba`
/// and `data` are of whole blocks, `tags` has a tuple for each; all of them are
/// of one piece. May sleep.
pub(crate) trait Blocks {
    /// Reads blocks. True if `tags` was read with them: a medium that keeps none
    /// leaves it.
    fn read(&self, lba: u64, data: &mut [u8], tags: &mut [u8]) -> Result<bool>;

    /// Writes blocks.
    fn write(&self, lba: u64, data: &[u8], tags: &[u8]) -> Result;

    /// Brings all that was written to stable storage.
    fn sync(&self) -> Result {
        Ok(())
    }
}

impl Disk {
    /// How the blocks are protected, if they are.
    pub(crate) fn protection(&self) -> Option<Protection> {
        self.conf.protection
    }

    /// Whether 32-byte CDBs tell tags.
    pub(crate) fn has_type2(&self) -> bool {
        self.conf.protection.is_some_and(|p| p.kind == Kind::Type2)
    }

    /// The same with what may change, as it is now.
    pub(crate) fn format(&self) -> Option<Format> {
        let Protection { kind, mode } = self.conf.protection?;
        Some(Format {
            kind,
            checks: mode != DifMode::DEV_STORE,
            stored: self.conf.keeps_tags(),
            tag: self.dif_tag.load(Relaxed),
        })
    }
}

/// What a command does with blocks.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Task {
    /// From the medium to the initiator.
    Read,
    /// From the initiator to the medium.
    Write {
        /// Onto stable storage.
        stable: bool,
    },
    /// Reads and checks.
    Verify,
    /// As `Verify`, and compares with what the initiator sent; `one`: a block, which
    /// each is compared with.
    Compare {
        /// BYTCHK 11b.
        one: bool,
    },
    /// Checks what the initiator has sent.
    Check,
    /// WRITE SAME: one block from the initiator, to each.
    Same,
    /// COMPARE AND WRITE: as `Compare`, then as `Write` with what follows in the buffer.
    CompareAndWrite,
    /// ORWRITE.
    Or,
}

impl Task {
    /// Whether blocks are written.
    pub(crate) fn writes(self) -> bool {
        !matches!(
            self,
            Self::Read | Self::Verify | Self::Check | Self::Compare { .. }
        )
    }

    /// Whether what was read decides what is written, so that one has to come after
    /// the other.
    fn excludes(self) -> bool {
        matches!(self, Self::CompareAndWrite | Self::Or)
    }

    /// What is done to all blocks, one after the other.
    fn passes(&self) -> &[Self] {
        // What is wrong in what is to be written is found before any of it is.
        const ALL: &[Task] = &[
            Task::Compare { one: false },
            Task::Check,
            Task::Write { stable: false },
        ];
        match self {
            Self::CompareAndWrite => ALL,
            one => core::slice::from_ref(one),
        }
    }
}

/// Who checks what comes from the initiator: the first on its way.
fn first_stage(mode: DifMode) -> Stage {
    match mode {
        mode if mode.contains(DifMode::TGT) => Stage::Tgt,
        mode if mode.contains(DifMode::SCST) => Stage::Scst,
        _ => Stage::Dev,
    }
}

/// Who checks what comes from the medium.
fn last_stage(mode: DifMode) -> Stage {
    match mode {
        mode if mode.contains(DifMode::DEV_CHECK) => Stage::Dev,
        mode if mode.contains(DifMode::SCST) => Stage::Scst,
        _ => Stage::Tgt,
    }
}

/// Carries out a command on a protected disk, and answers it.
pub(crate) fn run(disk: &Disk, blocks: &impl Blocks, cmd: Cmd<Executing>, at: Extent, task: Task) {
    match try_run(disk, blocks, &cmd, at, task) {
        Ok(moved) => cmd.good_with(moved),
        Err(failure) => writes::finish(cmd, Err(failure)),
    }
}

/// Returns the bytes of the data buffer that were moved.
fn try_run(
    disk: &Disk,
    medium: &impl Blocks,
    cmd: &Cmd<Executing>,
    at: Extent,
    task: Task,
) -> Result<u32, Failure> {
    let (Some(format), Some(protection)) = (disk.format(), disk.protection()) else {
        return Err(EINVAL.into());
    };
    let dpicz = disk.control().dpicz();
    let access = Access::of(&format, cmd.cdb(), cmd.raw_cdb(), dpicz)?;
    let block = disk.block_size() as usize;
    let shift = disk.conf.block_shift;
    let all = (at.len as usize).wrapping_shr(shift);
    let most = blocks_of_a_piece(shift).min(all.max(1));
    let mut buffer = Buffer::new(cmd, &access, block, most)?;
    let prepared = (cmd.length() as usize).checked_div(buffer.stride());
    let prepared = prepared.unwrap_or(0);
    let count = match task {
        Task::Read | Task::Write { .. } => all.min(prepared),
        _ => all,
    };
    let room = |needed: bool, bytes: usize| match needed {
        true => KVec::from_elem(0u8, most.saturating_mul(bytes), BUFFER_FLAGS),
        false => Ok(KVec::new()),
    };
    let compares = matches!(task, Task::Compare { .. } | Task::CompareAndWrite);
    let mut run = Run {
        disk,
        medium,
        access,
        format,
        mode: protection.mode,
        data: room(true, block)?,
        tags: room(true, TUPLE)?,
        sent: room(compares || task == Task::Or, block)?,
        sent_tags: room(compares || task == Task::Or, TUPLE)?,
        same: Tuple::ESCAPE,
        compares_info: matches!(task, Task::Compare { .. }) && buffer.has_info(),
    };
    if task == Task::Same {
        run.take_same(&mut buffer)?;
    }
    let _one = task.excludes().then(|| disk.comparing.lock());
    for (number, pass) in task.passes().iter().enumerate() {
        buffer.skip = if number == 0 { 0 } else { count };
        run.pass(&mut buffer, *pass, count)?;
    }
    let stable = match task {
        Task::Write { stable } => stable,
        task => task.writes() && disk.must_be_stable(cmd.cdb().fua()),
    };
    if stable {
        medium.sync()?;
    }
    Ok(match task {
        Task::Read | Task::Write { .. } => count.saturating_mul(buffer.stride()) as u32,
        _ => cmd.length(),
    })
}

/// The number of the piece that `lba` is in, with blocks of `1 << block_shift` bytes.
pub(crate) fn piece_of(lba: u64, block_shift: u32) -> u64 {
    lba.wrapping_shr(PIECE_SHIFT.saturating_sub(block_shift))
}

/// Blocks that a piece has.
pub(crate) fn blocks_of_a_piece(block_shift: u32) -> usize {
    1usize.wrapping_shl(PIECE_SHIFT.saturating_sub(block_shift))
}

/// Blocks from `lba` on up to the next one that begins a piece.
pub(crate) fn until_next_piece(lba: u64, block_shift: u32) -> usize {
    let blocks = blocks_of_a_piece(block_shift);
    let passed = lba as usize & blocks.wrapping_sub(1);
    blocks.wrapping_sub(passed)
}

/// A command under way.
struct Run<'a, B> {
    disk: &'a Disk,
    medium: &'a B,
    access: Access,
    format: Format,
    mode: DifMode,
    data: KVec<u8>,
    tags: KVec<u8>,
    sent: KVec<u8>,
    sent_tags: KVec<u8>,
    /// The information of the block that WRITE SAME writes.
    same: Tuple,
    /// The information is compared, not only the data.
    compares_info: bool,
}

impl<B: Blocks> Run<'_, B> {
    /// Does `task` with the first `count` blocks of the command.
    fn pass(&mut self, buffer: &mut Buffer<'_>, task: Task, count: usize) -> Result<(), Failure> {
        let first = buffer.cmd.cdb().lba;
        let mut index = 0;
        while index < count {
            let lba = first.saturating_add(index as u64);
            let left = count.saturating_sub(index);
            let n = until_next_piece(lba, self.disk.conf.block_shift).min(left);
            match task {
                Task::Read => self.read(buffer, index, lba, n)?,
                Task::Write { .. } => self.write(buffer, index, lba, n)?,
                Task::Check => self.take(buffer, index, n)?,
                Task::Verify => self.verify(index, lba, n)?,
                Task::Compare { one } => self.compare(buffer, index, lba, n, one)?,
                Task::Same => self.same(index, lba, n)?,
                Task::Or => self.or(buffer, index, lba, n)?,
                // Passes of its own.
                Task::CompareAndWrite => return Err(EINVAL.into()),
            }
            index = index.saturating_add(n);
            kapi::cond_resched();
        }
        Ok(())
    }

    /// Reads `n` blocks and checks them. True if there was something to check.
    fn fill(&mut self, index: usize, lba: u64, n: usize) -> Result<bool, Failure> {
        let block = self.disk.block_size() as usize;
        let (data, tags) = parts(&mut self.data, &mut self.tags, block, n)?;
        let kept = match self.medium.read(lba, data, tags) {
            Err(e) if is_protection_error(e) => {
                // The device below has checked, and does not say what.
                return Err(self.found_below(index, lba, n));
            }
            kept => kept?,
        };
        if kept {
            check(
                &self.access,
                last_stage(self.mode),
                index,
                data,
                block,
                tags,
            )?;
        }
        Ok(kept)
    }

    fn read(
        &mut self,
        buffer: &mut Buffer<'_>,
        index: usize,
        lba: u64,
        n: usize,
    ) -> Result<(), Failure> {
        let kept = self.fill(index, lba, n)?;
        let block = self.disk.block_size() as usize;
        let (data, tags) = parts(&mut self.data, &mut self.tags, block, n)?;
        if !kept && buffer.has_info() {
            let crc = kapi::crc::t10dif;
            self.access.generate(index as u64, data, block, tags, crc);
        }
        Ok(buffer.put(index, data, tags)?)
    }

    fn write(
        &mut self,
        buffer: &mut Buffer<'_>,
        index: usize,
        lba: u64,
        n: usize,
    ) -> Result<(), Failure> {
        self.take(buffer, index, n)?;
        self.store(index, lba, n)
    }

    /// Fetches `n` blocks; checks their information, or makes it.
    fn take(&mut self, buffer: &mut Buffer<'_>, index: usize, n: usize) -> Result<(), Failure> {
        let block = self.disk.block_size() as usize;
        let (data, tags) = parts(&mut self.data, &mut self.tags, block, n)?;
        take_into(buffer, &self.access, self.mode, index, data, block, tags)
    }

    /// Writes the `n` blocks at hand.
    fn store(&mut self, index: usize, lba: u64, n: usize) -> Result<(), Failure> {
        let block = self.disk.block_size() as usize;
        let (data, tags) = parts(&mut self.data, &mut self.tags, block, n)?;
        match self.medium.write(lba, data, tags) {
            Err(e) if is_protection_error(e) => Err(self.found_below(index, lba, n)),
            result => Ok(result?),
        }
    }

    /// Fetches and checks the block of a WRITE SAME, and fills a piece with it. Without
    /// a data-out buffer (NDOB) it is zeros, and not checked by anybody (SBC-4 5.51).
    fn take_same(&mut self, buffer: &mut Buffer<'_>) -> Result<(), Failure> {
        let block = self.disk.block_size() as usize;
        if buffer.cmd.cdb().length == TransferLength::None {
            return Ok(());
        }
        if buffer.cmd.prepared() as usize != buffer.stride() {
            return Err(PARAMETER_LIST_LENGTH_ERROR.into());
        }
        self.take(buffer, 0, 1)?;
        self.same = Tuple::from_bytes(self.tags.first_chunk().ok_or(EINVAL)?);
        let (first, rest) = self.data.split_at_mut_checked(block).ok_or(EINVAL)?;
        for copy in rest.chunks_exact_mut(block) {
            copy.copy_from_slice(first);
        }
        Ok(())
    }

    /// Writes the block of a WRITE SAME.
    fn same(&mut self, index: usize, lba: u64, n: usize) -> Result<(), Failure> {
        for (number, tuple) in self.tags.chunks_exact_mut(TUPLE).take(n).enumerate() {
            let number = index.saturating_add(number) as u64;
            tuple.copy_from_slice(&self.access.repeat(self.same, number).to_bytes());
        }
        self.store(index, lba, n)
    }

    /// What was sent is checked as a write's, what is on the medium as without a protect
    /// field; the tags are those that were sent.
    fn or(
        &mut self,
        buffer: &mut Buffer<'_>,
        index: usize,
        lba: u64,
        n: usize,
    ) -> Result<(), Failure> {
        let block = self.disk.block_size() as usize;
        let (sent, tags) = parts(&mut self.sent, &mut self.sent_tags, block, n)?;
        take_into(buffer, &self.access, self.mode, index, sent, block, tags)?;
        self.fill_plain(index, lba, n)?;
        for (data, sent) in self.data.iter_mut().zip(&self.sent) {
            *data |= *sent;
        }
        let (data, tags) = parts(&mut self.data, &mut self.tags, block, n)?;
        tags.copy_from_slice(self.sent_tags.get(..tags.len()).ok_or(EINVAL)?);
        guard_anew(data, block, tags, kapi::crc::t10dif);
        self.store(index, lba, n)
    }

    /// As `fill`, checking what a command without a protect field has checked.
    fn fill_plain(&mut self, index: usize, lba: u64, n: usize) -> Result<(), Failure> {
        let plain = Access::plain(&self.format, lba.saturating_sub(index as u64));
        let sent = core::mem::replace(&mut self.access, plain);
        let filled = self.fill(index, lba, n);
        self.access = sent;
        filled.map(drop)
    }

    fn verify(&mut self, index: usize, lba: u64, n: usize) -> Result<(), Failure> {
        self.fill(index, lba, n).map(drop)
    }

    /// What was sent is checked as a write's, what is on the medium as without a
    /// protect field, and the data of both are compared. VERIFY compares the information
    /// too where it was sent, and then does not check that on the medium (SBC-4 tables
    /// 126 to 128).
    fn compare(
        &mut self,
        buffer: &mut Buffer<'_>,
        index: usize,
        lba: u64,
        n: usize,
        one: bool,
    ) -> Result<(), Failure> {
        let block = self.disk.block_size() as usize;
        let (sent_from, blocks) = if one { (0, 1) } else { (index, n) };
        let (sent, tags) = parts(&mut self.sent, &mut self.sent_tags, block, blocks)?;
        buffer.fetch(sent_from, sent, tags)?;
        if buffer.has_info() {
            let stage = first_stage(self.mode);
            check(&self.access, stage, sent_from, sent, block, tags)?;
        }
        match self.compares_info {
            true => self.fill_unchecked(index, lba, n)?,
            false => self.fill_plain(index, lba, n)?,
        }
        let (sent, sent_tags) = parts(&mut self.sent, &mut self.sent_tags, block, blocks)?;
        let (data, tags) = parts(&mut self.data, &mut self.tags, block, n)?;
        let found = data.chunks_exact(block).zip(tags.chunks_exact(TUPLE));
        let sent = sent.chunks_exact(block).zip(sent_tags.chunks_exact(TUPLE));
        for (number, ((data, tuple), (sent, sent_tuple))) in found.zip(sent.cycle()).enumerate() {
            // In the data-out buffer.
            let from = if one { 0 } else { index.saturating_add(number) };
            let at = |byte: usize| from.saturating_mul(buffer.stride()).saturating_add(byte) as u64;
            if let Some(byte) = data.iter().zip(sent).position(|(f, s)| f != s) {
                return Err(MISCOMPARE.with_information(at(byte)).into());
            }
            let (Some(tuple), Some(sent)) = (tuple.first_chunk(), sent_tuple.first_chunk()) else {
                continue;
            };
            if self.compares_info {
                let mut sent = Tuple::from_bytes(sent);
                if one {
                    let number = index.saturating_add(number) as u64;
                    sent = self.access.repeat(sent, number);
                }
                let compared = self.access.compare(sent, Tuple::from_bytes(tuple));
                compared.map_err(|sense| sense.with_information(at(block)))?;
            }
        }
        Ok(())
    }

    /// As `fill`, checking nothing; a medium that keeps no information has what would be
    /// read of it.
    fn fill_unchecked(&mut self, index: usize, lba: u64, n: usize) -> Result<(), Failure> {
        let checks = core::mem::take(&mut self.access.checks);
        let filled = self.fill(index, lba, n);
        self.access.checks = checks;
        if !filled? {
            let block = self.disk.block_size() as usize;
            let (data, tags) = parts(&mut self.data, &mut self.tags, block, n)?;
            let crc = kapi::crc::t10dif;
            self.access.generate(index as u64, data, block, tags, crc);
        }
        Ok(())
    }

    /// What the device below has found to be wrong with the blocks at hand; it does
    /// not say more than that something is.
    fn found_below(&self, index: usize, lba: u64, n: usize) -> Failure {
        let block = self.disk.block_size() as usize;
        let data = self.data.get(..n.saturating_mul(block)).unwrap_or(&[]);
        let tags = self.tags.get(..n.saturating_mul(TUPLE)).unwrap_or(&[]);
        let guessed = CheckFailed {
            wrong: Wrong::Guard,
            lba,
        };
        let crc = kapi::crc::t10dif;
        let found = self
            .access
            .checking_all()
            .verify(index as u64, data, block, tags, crc);
        Failure::Check(Stage::Dev, found.err().unwrap_or(guessed))
    }
}

/// Fetches blocks, `index` blocks after the command's first; checks their information as
/// the first who has them, or makes it.
fn take_into(
    buffer: &mut Buffer<'_>,
    access: &Access,
    mode: DifMode,
    index: usize,
    data: &mut [u8],
    block: usize,
    tags: &mut [u8],
) -> Result<(), Failure> {
    buffer.fetch(index, data, tags)?;
    if buffer.has_info() {
        return check(access, first_stage(mode), index, data, block, tags);
    }
    access.generate(index as u64, data, block, tags, kapi::crc::t10dif);
    Ok(())
}

/// Checks the information of blocks, `index` blocks after the command's first, in the
/// name of `stage`.
fn check(
    access: &Access,
    stage: Stage,
    index: usize,
    data: &[u8],
    block: usize,
    tags: &[u8],
) -> Result<(), Failure> {
    access
        .verify(index as u64, data, block, tags, kapi::crc::t10dif)
        .map_err(|failed| Failure::Check(stage, failed))
}

/// As much of two buffers as `n` blocks and their information need.
fn parts<'a>(
    data: &'a mut KVec<u8>,
    tags: &'a mut KVec<u8>,
    block: usize,
    n: usize,
) -> Result<(&'a mut [u8], &'a mut [u8])> {
    let data = data.get_mut(..n.saturating_mul(block)).ok_or(EINVAL)?;
    let tags = tags.get_mut(..n.saturating_mul(TUPLE)).ok_or(EINVAL)?;
    Ok((data, tags))
}

/// Whether the block layer says that protection information is wrong
/// (`BLK_STS_PROTECTION`).
pub(crate) fn is_protection_error(e: Error) -> bool {
    e.to_errno().unsigned_abs() == bindings::EILSEQ
}

/// The same, for what was found here.
pub(crate) fn protection_error() -> Error {
    Error::from_errno(-(bindings::EILSEQ as c_int))
}
