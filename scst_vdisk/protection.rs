// SPDX-License-Identifier: GPL-2.0

//! Protection information of a disk's blocks: READ, WRITE and VERIFY of a disk
//! that is formatted with it. It is checked, made, stripped and stored here; what
//! it means is `scst_proto::protection`'s matter.
//!
//! Blocks and their information go through buffers of ours, a piece at a time,
//! in a thread. A piece lies within one lane of the medium ([`piece_of`]), so that
//! who keeps blocks and information in two places can keep others from seeing
//! one of them without the other.

use crate::{
    disk::Disk,
    io::Extent,
    writes::{self, Failure},
};
use kernel::{bindings, prelude::*, sync::atomic::Relaxed};
use scst::{Cmd, Executing, InTransfer, Protection, Stage};
use scst_proto::{
    options::DifMode,
    protection::{join, split, Access, CheckFailed, Format, Kind, Wrong, TUPLE},
    sense::{MISCOMPARE, PARAMETER_LIST_LENGTH_ERROR},
};

/// log2 of the bytes of data that are moved at once, unless a block has more.
pub(crate) const PIECE_SHIFT: u32 = 15;

/// How buffers are allocated: without waiting, as memory may become free only by a
/// write to this very disk. Who gets none is told that the disk is busy.
const BUFFER_FLAGS: kernel::alloc::Flags = GFP_NOWAIT;

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
}

impl Task {
    /// Whether blocks are written.
    pub(crate) fn writes(self) -> bool {
        matches!(self, Self::Write { .. })
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

/// The data buffer of a command, and where the information of its blocks is.
struct Buffer<'a> {
    cmd: &'a Cmd<Executing>,
    info: InTransfer<'a>,
    block: usize,
    /// A piece as it is transferred, if the information is in it.
    wire: KVec<u8>,
}

impl<'a> Buffer<'a> {
    fn new(cmd: &'a Cmd<Executing>, access: &Access, block: usize, blocks: usize) -> Result<Self> {
        let info = match access.transferred {
            true => cmd.protection(),
            false => InTransfer::Absent,
        };
        let wire = match info {
            InTransfer::Interleaved => KVec::from_elem(
                0u8,
                blocks.saturating_mul(block.saturating_add(TUPLE)),
                BUFFER_FLAGS,
            )?,
            _ => KVec::new(),
        };
        Ok(Self {
            cmd,
            info,
            block,
            wire,
        })
    }

    /// Whether the initiator has sent information, or wants some.
    fn has_info(&self) -> bool {
        !matches!(self.info, InTransfer::Absent)
    }

    /// Bytes of a block in the data buffer.
    fn stride(&self) -> usize {
        match self.info {
            InTransfer::Interleaved => self.block.saturating_add(TUPLE),
            _ => self.block,
        }
    }

    /// Copies blocks from the initiator, the first of them `index` blocks after
    /// that of the command.
    fn fetch(&mut self, index: usize, data: &mut [u8], tags: &mut [u8]) -> Result<(), Failure> {
        let at = index.saturating_mul(self.stride());
        let whole = |copied: usize, wanted: usize| match copied == wanted {
            true => Ok(()),
            false => Err(Failure::from(PARAMETER_LIST_LENGTH_ERROR)),
        };
        let memory = self.cmd.data().ok_or(EINVAL)?;
        match &self.info {
            InTransfer::Interleaved => {
                let len = data.len().saturating_add(tags.len());
                let wire = self.wire.get_mut(..len).ok_or(EINVAL)?;
                whole(memory.copy_from(at, wire), len)?;
                split(wire, self.block, data, tags);
                return Ok(());
            }
            InTransfer::Apart(list) => {
                let from = index.saturating_mul(TUPLE);
                whole(list.copy_from(from, tags), tags.len())?;
            }
            InTransfer::Absent => {}
        }
        whole(memory.copy_from(at, data), data.len())
    }

    /// Copies blocks to the initiator; see [`Buffer::fetch`].
    fn put(&mut self, index: usize, data: &[u8], tags: &[u8]) -> Result {
        let at = index.saturating_mul(self.stride());
        let memory = self.cmd.data().ok_or(EINVAL)?;
        match &self.info {
            InTransfer::Interleaved => {
                let len = data.len().saturating_add(tags.len());
                let wire = self.wire.get_mut(..len).ok_or(EINVAL)?;
                join(wire, self.block, data, tags);
                memory.copy_to(at, wire);
                return Ok(());
            }
            InTransfer::Apart(list) => {
                list.copy_to(index.saturating_mul(TUPLE), tags);
            }
            InTransfer::Absent => {}
        }
        memory.copy_to(at, data);
        Ok(())
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
        Task::Verify | Task::Compare { .. } => all,
    };
    let mut run = Run {
        disk,
        medium,
        access,
        format,
        mode: protection.mode,
        data: KVec::from_elem(0u8, most.saturating_mul(block), BUFFER_FLAGS)?,
        tags: KVec::from_elem(0u8, most.saturating_mul(TUPLE), BUFFER_FLAGS)?,
        sent: match task {
            Task::Compare { .. } => KVec::from_elem(0u8, most.saturating_mul(block), BUFFER_FLAGS)?,
            _ => KVec::new(),
        },
    };
    let first = cmd.cdb().lba;
    let mut index = 0;
    while index < count {
        let lba = first.saturating_add(index as u64);
        let n = until_next_piece(lba, shift).min(count.saturating_sub(index));
        match task {
            Task::Read => run.read(&mut buffer, index, lba, n)?,
            Task::Write { .. } => run.write(&mut buffer, index, lba, n)?,
            Task::Verify => run.verify(index, lba, n)?,
            Task::Compare { one } => run.compare(&mut buffer, index, lba, n, one)?,
        }
        index = index.saturating_add(n);
        kapi::cond_resched();
    }
    if task == (Task::Write { stable: true }) {
        medium.sync()?;
    }
    Ok(match task {
        Task::Read | Task::Write { .. } => count.saturating_mul(buffer.stride()) as u32,
        Task::Verify | Task::Compare { .. } => cmd.length(),
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
}

impl<B: Blocks> Run<'_, B> {
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
        let block = self.disk.block_size() as usize;
        let (data, tags) = parts(&mut self.data, &mut self.tags, block, n)?;
        buffer.fetch(index, data, tags)?;
        if buffer.has_info() {
            check(
                &self.access,
                first_stage(self.mode),
                index,
                data,
                block,
                tags,
            )?;
        } else {
            let crc = kapi::crc::t10dif;
            self.access.generate(index as u64, data, block, tags, crc);
        }
        match self.medium.write(lba, data, tags) {
            Err(e) if is_protection_error(e) => Err(self.found_below(index, lba, n)),
            result => Ok(result?),
        }
    }

    fn verify(&mut self, index: usize, lba: u64, n: usize) -> Result<(), Failure> {
        self.fill(index, lba, n).map(drop)
    }

    /// What was sent is checked as a write's, what is on the medium as without a
    /// protect field, and the data of both are compared.
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
        let (sent, tags) = parts(&mut self.sent, &mut self.tags, block, blocks)?;
        buffer.fetch(sent_from, sent, tags)?;
        if buffer.has_info() {
            check(
                &self.access,
                first_stage(self.mode),
                sent_from,
                sent,
                block,
                tags,
            )?;
        }
        let sent_access = core::mem::replace(
            &mut self.access,
            Access::plain(&self.format, lba.saturating_sub(index as u64)),
        );
        let filled = self.fill(index, lba, n);
        self.access = sent_access;
        filled?;
        let found = self.data.get(..n.saturating_mul(block)).unwrap_or(&[]);
        let sent = self.sent.get(..blocks.saturating_mul(block)).unwrap_or(&[]);
        match found
            .iter()
            .zip(sent.iter().cycle())
            .position(|(f, s)| f != s)
        {
            Some(at) => {
                let at = sent_from.saturating_mul(block).saturating_add(at);
                Err(MISCOMPARE.with_information(at as u64).into())
            }
            None => Ok(()),
        }
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
