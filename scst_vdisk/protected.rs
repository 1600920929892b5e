// SPDX-License-Identifier: GPL-2.0

//! Stores of disks that are formatted with protection information: each is one of
//! the others with the information beside it. Disks without it have nothing of
//! this in their way.
//!
//! Where the information is kept (`dif_mode` dev_store): with the blocks, if the
//! medium below is a block device that has it, or in a file of its own, a tuple a
//! block, in the form that C SCST's have. What that file does not have yet is that
//! of blocks that were never written: all ones.

use crate::{
    disk::Disk,
    gate::Gate,
    io::{Extent, Store, Synchronous},
    log,
    medium::{Backing, Medium},
    nullio::Null,
    protection::{blocks_of_a_piece, piece_of, run, until_next_piece, Blocks, Task},
    thresholds,
    vfs::{File, OpenMode},
};
use core::ops::Range;
use kernel::{
    new_mutex,
    prelude::*,
    str::CString,
    sync::{
        atomic::{Atomic, Relaxed},
        Arc, Mutex,
    },
};
use scst::{Cmd, Executing};
use scst_proto::{
    lba_status::Provisioned,
    options::DifMode,
    protection::{Access, TUPLE},
    sense::NOT_READY,
    threshold::Resources,
};

/// Locks of a file of tuples; pieces far from one another have different ones.
const LANES: usize = 16;
/// Bytes of tuples that are written at once when a file is filled.
const FILL: usize = 16 << 10;

/// Protection information in a file of its own.
struct TagFile {
    file: File,
    /// Its length in bytes; what is behind that is all ones.
    len: Atomic<u64>,
    /// Each for pieces of the disk: held while blocks and their tuples are read or
    /// written.
    lanes: KVec<Pin<KBox<Mutex<()>>>>,
    /// Held while the file becomes longer.
    growing: Pin<KBox<Mutex<()>>>,
}

impl TagFile {
    fn open(path: &CStr, read_only: bool) -> Result<Self> {
        let mode = OpenMode {
            read_only,
            direct: false,
        };
        let file = File::open(path, mode)?;
        let mut lanes = KVec::with_capacity(LANES, GFP_KERNEL)?;
        for _ in 0..LANES {
            let lane = KBox::pin_init(new_mutex!((), "scst_vdisk_dif_lane"), GFP_KERNEL)?;
            lanes.push(lane, GFP_KERNEL)?;
        }
        let len = file.size()?;
        Ok(Self {
            file,
            len: Atomic::new(len),
            lanes,
            growing: KBox::pin_init(new_mutex!((), "scst_vdisk_dif_growing"), GFP_KERNEL)?,
        })
    }

    /// The lock of the piece that `lba` is in.
    fn lane(&self, lba: u64, block_shift: u32) -> Result<&Mutex<()>> {
        let piece = piece_of(lba, block_shift) as usize;
        let lane = self.lanes.get(piece % LANES).ok_or(EINVAL)?;
        Ok(lane)
    }

    fn read(&self, lba: u64, tags: &mut [u8]) -> Result {
        let pos = lba.checked_mul(TUPLE as u64).ok_or(EINVAL)?;
        let there = self.len.load(Relaxed).saturating_sub(pos);
        let there = usize::try_from(there).unwrap_or(usize::MAX).min(tags.len());
        let (known, unwritten) = tags.split_at_mut_checked(there).ok_or(EINVAL)?;
        unwritten.fill(0xff);
        match known {
            [] => Ok(()),
            known => self.file.read_now(pos, known),
        }
    }

    fn write(&self, lba: u64, tags: &[u8]) -> Result {
        let pos = lba.checked_mul(TUPLE as u64).ok_or(EINVAL)?;
        let end = pos.checked_add(tags.len() as u64).ok_or(EINVAL)?;
        if end <= self.len.load(Relaxed) {
            return self.file.write_now(pos, tags);
        }
        self.grow(pos)?;
        let _one = self.growing.lock();
        self.file.write_now(pos, tags)?;
        self.len.store(end.max(self.len.load(Relaxed)), Relaxed);
        Ok(())
    }

    /// Makes the file `len` bytes long, if it is shorter.
    fn grow(&self, len: u64) -> Result {
        let _one = self.growing.lock();
        let from = self.len.load(Relaxed);
        self.fill(from, len.saturating_sub(from))?;
        self.len.store(len.max(from), Relaxed);
        Ok(())
    }

    /// Writes ones.
    fn fill(&self, from: u64, len: u64) -> Result {
        if len == 0 {
            return Ok(());
        }
        let ones = KVec::from_elem(0xffu8, FILL, GFP_KERNEL)?;
        let mut done = 0;
        while done < len {
            let left = usize::try_from(len.saturating_sub(done)).unwrap_or(FILL);
            let part = ones.get(..left).unwrap_or(&ones);
            self.file.write_now(from.saturating_add(done), part)?;
            done = done.saturating_add(part.len() as u64);
            kapi::cond_resched();
        }
        Ok(())
    }

    /// Forgets the tuples of `blocks` blocks.
    fn forget(&self, lba: u64, blocks: u64) -> Result {
        let pos = lba.saturating_mul(TUPLE as u64);
        let there = self.len.load(Relaxed).saturating_sub(pos);
        self.fill(pos, blocks.saturating_mul(TUPLE as u64).min(there))
    }
}

/// An open medium, and where the protection information of its blocks is.
pub(crate) struct Guarded<O> {
    data: O,
    /// `None`: with the blocks, or nowhere.
    tags: Option<TagFile>,
    /// The medium keeps it.
    beside: bool,
    disk: Arc<Disk>,
}

/// The blocks of an open medium.
struct Opened<'a, M: Medium>(&'a Guarded<M::Open>);

impl<M: Medium> Blocks for Opened<'_, M> {
    fn read(&self, lba: u64, data: &mut [u8], tags: &mut [u8]) -> Result<bool> {
        let Guarded { disk, .. } = self.0;
        let pos = lba.wrapping_shl(disk.conf.block_shift);
        if self.0.beside {
            return M::read_tagged(&self.0.data, disk, pos, data, tags).map(|()| true);
        }
        match &self.0.tags {
            Some(file) => {
                let _lane = file.lane(lba, disk.conf.block_shift)?.lock();
                M::read_at(&self.0.data, pos, data)?;
                file.read(lba, tags)?;
                Ok(true)
            }
            None => M::read_at(&self.0.data, pos, data).map(|()| false),
        }
    }

    fn write(&self, lba: u64, data: &[u8], tags: &[u8]) -> Result {
        let Guarded { disk, .. } = self.0;
        let pos = lba.wrapping_shl(disk.conf.block_shift);
        if self.0.beside {
            return M::write_tagged(&self.0.data, disk, pos, data, tags);
        }
        match &self.0.tags {
            Some(file) => {
                let _lane = file.lane(lba, disk.conf.block_shift)?.lock();
                M::write_at(&self.0.data, pos, data)?;
                file.write(lba, tags)
            }
            None => M::write_at(&self.0.data, pos, data),
        }
    }

    fn sync(&self) -> Result {
        sync::<M>(self.0)
    }
}

fn sync<M: Medium>(open: &Guarded<M::Open>) -> Result {
    M::sync_all(&open.data)?;
    match &open.tags {
        Some(file) => file.file.sync(0, u64::MAX),
        None => Ok(()),
    }
}

/// A store like `M` with protection information.
pub(crate) struct Protected<M: Medium> {
    inner: M,
    backing: Pin<KBox<Backing<Guarded<M::Open>>>>,
    tags: Option<CString>,
    disk: Arc<Disk>,
}

impl<M: Medium> Protected<M> {
    /// A store that is not open yet: `inner` is how `path` is opened, `tags` the
    /// file of the information, if it has one.
    pub(crate) fn new(
        inner: M,
        path: Option<CString>,
        tags: Option<CString>,
        disk: &Arc<Disk>,
    ) -> Result<Self> {
        Ok(Self {
            inner,
            backing: Backing::new(path)?,
            tags,
            disk: disk.clone(),
        })
    }

    /// The file of the information, for the attribute; nothing if it has none.
    pub(crate) fn tag_path(&self) -> &str {
        self.tags
            .as_ref()
            .and_then(|path| path.to_str().ok())
            .unwrap_or("")
    }

    fn gate(&self) -> &Gate<Guarded<M::Open>> {
        self.backing.gate()
    }

    fn run(&self, disk: &Disk, cmd: Cmd<Executing>, at: Extent, task: Task) {
        let Some(open) = self.gate().enter() else {
            return cmd.check_condition(NOT_READY);
        };
        if task.writes() {
            // What this one takes is seen by the next.
            thresholds::moved(disk, &cmd, at.len, || M::resources_of(&open.data));
        }
        run(disk, &Opened::<M>(&open), cmd, at, task);
    }
}

impl<M: Medium> Store for Protected<M> {
    const SLEEPS: bool = true;
    const PROTECTED: bool = true;

    fn read(&self, disk: &Disk, cmd: Cmd<Executing>, at: Extent) {
        self.run(disk, cmd, at, Task::Read);
    }

    fn write(&self, disk: &Disk, cmd: Cmd<Executing>, at: Extent, stable: bool) {
        self.run(disk, cmd, at, Task::Write { stable });
    }

    fn protected(&self, disk: &Disk, cmd: Cmd<Executing>, at: Extent, task: Task) {
        self.run(disk, cmd, at, task);
    }

    fn format(&self, disk: &Disk) -> Result {
        let open = self.gate().enter().ok_or(ENODEV)?;
        match &open.tags {
            Some(file) => file.forget(0, disk.blocks()),
            None => Ok(()),
        }
    }

    fn flush(&self, disk: &Disk, cmd: Cmd<Executing>, _at: Extent, immed: bool) {
        let Some(open) = self.gate().enter() else {
            return cmd.check_condition(NOT_READY);
        };
        if !immed {
            let result = sync::<M>(&open);
            drop(open);
            return crate::io::end(cmd, result, 0, true);
        }
        cmd.good();
        if let Err(e) = sync::<M>(&open) {
            // SBC-4 wants a deferred error; until there is one, the log has it.
            log::error!("{}: sync failed: {}", disk.name(), e.to_errno());
        }
    }
}

/// Calls `f` for each piece of `len` bytes of whole blocks at `pos`: how its
/// information is checked and made, its LBA, where it is in the buffer, and room for the
/// tuples of its blocks.
fn each_piece(
    disk: &Disk,
    pos: u64,
    len: usize,
    mut f: impl FnMut(&Access, u64, Range<usize>, &mut [u8]) -> Result,
) -> Result {
    let format = disk.format().ok_or(EINVAL)?;
    let (block, shift) = (disk.block_size() as usize, disk.conf.block_shift);
    let most = blocks_of_a_piece(shift).saturating_mul(TUPLE);
    let mut tags = KVec::from_elem(0u8, most, GFP_KERNEL)?;
    let mut done = 0usize;
    while done < len {
        let lba = pos.saturating_add(done as u64).wrapping_shr(shift);
        let left = len.saturating_sub(done);
        let bytes = until_next_piece(lba, shift).saturating_mul(block).min(left);
        let tagged = bytes.wrapping_shr(shift).saturating_mul(TUPLE);
        let tags = tags.get_mut(..tagged).ok_or(EINVAL)?;
        let end = done.saturating_add(bytes);
        f(&Access::plain(&format, lba), lba, done..end, tags)?;
        done = end;
    }
    Ok(())
}

/// Fills `buf` from `pos` and checks what is kept of its blocks.
fn read_plain(disk: &Disk, medium: &impl Blocks, pos: u64, buf: &mut [u8]) -> Result {
    let block = disk.block_size() as usize;
    each_piece(disk, pos, buf.len(), |access, lba, piece, tags| {
        let data = buf.get_mut(piece).ok_or(EINVAL)?;
        if !medium.read(lba, data, tags)? {
            return Ok(());
        }
        let checked = access.verify(0, data, block, tags, kapi::crc::t10dif);
        checked.map_err(|_| crate::protection::protection_error())
    })
}

/// Writes `buf` to `pos` with information that is made for it.
fn write_plain(disk: &Disk, medium: &impl Blocks, pos: u64, buf: &[u8]) -> Result {
    let block = disk.block_size() as usize;
    each_piece(disk, pos, buf.len(), |access, lba, piece, tags| {
        let data = buf.get(piece).ok_or(EINVAL)?;
        access.generate(0, data, block, tags, kapi::crc::t10dif);
        medium.write(lba, data, tags)
    })
}

impl<M: Medium> Medium for Protected<M> {
    type Open = Guarded<M::Open>;

    fn backing(&self) -> &Backing<Self::Open> {
        &self.backing
    }

    fn open(&self, disk: &Disk, path: &CStr) -> Result<Self::Open> {
        let data = self.inner.open(disk, path)?;
        let kept = disk
            .protection()
            .is_some_and(|p| p.mode.contains(DifMode::DEV_STORE));
        let tags = match self.tags.as_ref().filter(|_| kept) {
            Some(path) => Some(TagFile::open(path, disk.conf.read_only).inspect_err(|e| {
                log::error!(
                    "opening {} (dif_filename) failed: {}",
                    path.to_str().unwrap_or("?"),
                    e.to_errno()
                );
            })?),
            None => None,
        };
        let beside = kept && tags.is_none();
        if beside {
            M::check_tagged(&data, disk)?;
        }
        Ok(Guarded {
            data,
            tags,
            beside,
            disk: self.disk.clone(),
        })
    }

    fn adopt(&self, disk: &Disk, path: &CStr, open: &Self::Open) -> Result {
        self.inner.adopt(disk, path, &open.data)?;
        let blocks = M::size_of(&open.data)?.wrapping_shr(disk.conf.block_shift);
        match &open.tags {
            Some(file) if !disk.conf.read_only => file.grow(blocks.saturating_mul(TUPLE as u64)),
            _ => Ok(()),
        }
    }

    fn size_of(open: &Self::Open) -> Result<u64> {
        M::size_of(&open.data)
    }

    fn sync_all(open: &Self::Open) -> Result {
        sync::<M>(open)
    }

    fn read_at(open: &Self::Open, pos: u64, buf: &mut [u8]) -> Result {
        read_plain(&open.disk, &Opened::<M>(open), pos, buf)
    }

    fn write_at(open: &Self::Open, pos: u64, buf: &[u8]) -> Result {
        write_plain(&open.disk, &Opened::<M>(open), pos, buf)
    }

    /// What is discarded is as formatted (SBC-4 4.7.4.4).
    fn discard_at(open: &Self::Open, at: Extent) -> Result {
        M::discard_at(&open.data, at)?;
        let shift = open.disk.conf.block_shift;
        match &open.tags {
            Some(file) => file.forget(at.pos.wrapping_shr(shift), at.len.wrapping_shr(shift)),
            None => Ok(()),
        }
    }

    fn provisioned_at(open: &Self::Open, pos: u64) -> Result<(Provisioned, u64)> {
        M::provisioned_at(&open.data, pos)
    }

    fn resources_of(open: &Self::Open) -> Result<Option<Resources>> {
        M::resources_of(&open.data)
    }

    fn prefetch_at(open: &Self::Open, at: Extent) -> Result {
        M::prefetch_at(&open.data, at)
    }
}

/// The store of a nullio disk with protection information, which it checks and
/// makes, but does not keep either.
pub(crate) struct ProtectedNull(pub(crate) Null);

impl Blocks for Null {
    fn read(&self, _lba: u64, data: &mut [u8], _tags: &mut [u8]) -> Result<bool> {
        data.fill(0);
        Ok(false)
    }

    fn write(&self, _lba: u64, _data: &[u8], _tags: &[u8]) -> Result {
        Ok(())
    }
}

impl Store for ProtectedNull {
    const SLEEPS: bool = true;
    const VOID: bool = true;
    const PROTECTED: bool = true;

    fn read(&self, disk: &Disk, cmd: Cmd<Executing>, at: Extent) {
        run(disk, &self.0, cmd, at, Task::Read);
    }

    fn write(&self, disk: &Disk, cmd: Cmd<Executing>, at: Extent, stable: bool) {
        run(disk, &self.0, cmd, at, Task::Write { stable });
    }

    fn protected(&self, disk: &Disk, cmd: Cmd<Executing>, at: Extent, task: Task) {
        run(disk, &self.0, cmd, at, task);
    }

    fn flush(&self, disk: &Disk, cmd: Cmd<Executing>, at: Extent, immed: bool) {
        self.0.flush(disk, cmd, at, immed);
    }
}

impl Synchronous for ProtectedNull {
    fn read_now(&self, pos: u64, buf: &mut [u8]) -> Result {
        self.0.read_now(pos, buf)
    }

    fn write_now(&self, pos: u64, buf: &[u8]) -> Result {
        self.0.write_now(pos, buf)
    }
}
