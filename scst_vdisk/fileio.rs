// SPDX-License-Identifier: GPL-2.0

//! `vdisk_fileio`: a disk in a file, through the page cache or past it.

use crate::{
    disk::{Discard, Disk},
    io::{self, Extent, Pending, Store},
    log,
    medium::{Backing, Medium},
    thresholds,
    vfs::{self, Content, File, OpenMode, Way},
};
use kernel::{prelude::*, str::CString};
use scst::{Cmd, Executing};
use scst_proto::{
    lba_status::Provisioned,
    options::Handler,
    sense::{NOT_READY, NO_MEDIUM},
    threshold::Resources,
};

/// The store of a disk or a CD-ROM in a file.
pub(crate) struct FileStore {
    backing: Pin<KBox<Backing<File>>>,
}

impl FileStore {
    /// A store that is not open yet.
    pub(crate) fn new(path: Option<CString>) -> Result<Self> {
        Ok(Self {
            backing: Backing::new(path)?,
        })
    }

    /// Moves the command's data, here or in the background.
    fn transfer(&self, disk: &Disk, cmd: Cmd<Executing>, at: Extent, way: Way) {
        let Some(file) = self.backing.gate().enter() else {
            return not_ready(disk, cmd);
        };
        let (len, write) = (at.len as u32, matches!(way, Way::Write { .. }));
        if disk.async_io.get() {
            if write {
                // What this one takes is seen by the next.
                thresholds::moved(disk, &cmd, at.len, || FileStore::resources_of(&file));
            }
            let pending = Pending::new(cmd, len, write);
            if let Err((pending, e)) = vfs::start(file, way, at.pos, at.len as usize, pending) {
                vfs::Completion::complete(pending, Err(e));
            }
            return;
        }
        let moved = match cmd.data() {
            Some(sg) => file.transfer(way, at.pos, &sg, at.len as usize),
            None => Err(EINVAL),
        };
        if write {
            thresholds::moved(disk, &cmd, at.len, || FileStore::resources_of(&file));
        }
        drop(file);
        vfs::Completion::complete(Pending::new(cmd, len, write), moved);
    }
}

fn not_ready(disk: &Disk, cmd: Cmd<Executing>) {
    cmd.check_condition(match disk.conf.handler {
        Handler::Cdrom => NO_MEDIUM,
        _ => NOT_READY,
    });
}

impl Store for FileStore {
    const SLEEPS: bool = true;

    fn read(&self, disk: &Disk, cmd: Cmd<Executing>, at: Extent) {
        self.transfer(disk, cmd, at, Way::Read);
    }

    fn write(&self, disk: &Disk, cmd: Cmd<Executing>, at: Extent, stable: bool) {
        self.transfer(disk, cmd, at, Way::Write { stable });
    }

    fn flush(&self, disk: &Disk, cmd: Cmd<Executing>, at: Extent, immed: bool) {
        let Some(file) = self.backing.gate().enter() else {
            return not_ready(disk, cmd);
        };
        let cmd = match immed {
            true => {
                cmd.good();
                None
            }
            false => Some(cmd),
        };
        let result = match at.len {
            0 => Ok(()),
            len => file.sync(at.pos, at.pos.saturating_add(len - 1)),
        };
        drop(file);
        match (cmd, result) {
            (Some(cmd), result) => io::end(cmd, result, 0, true),
            (None, Ok(())) => {}
            // SBC-4 wants a deferred error; until there is one, the log has it.
            (None, Err(e)) => log::error!("{}: sync failed: {}", disk.name(), e.to_errno()),
        }
    }
}

impl Medium for FileStore {
    type Open = File;

    fn backing(&self) -> &Backing<File> {
        &self.backing
    }

    fn open(&self, disk: &Disk, path: &CStr) -> Result<File> {
        let mode = OpenMode {
            read_only: disk.conf.read_only,
            direct: disk.conf.o_direct,
        };
        File::open(path, mode).inspect_err(|e| {
            log::error!(
                "opening {} failed: {}",
                path.to_str().unwrap_or("?"),
                e.to_errno()
            );
        })
    }

    fn adopt(&self, disk: &Disk, _path: &CStr, open: &File) -> Result {
        disk.set_discard(Discard {
            granularity: 1,
            alignment: None,
        });
        disk.thresholds
            .set_there(disk.thin.get() && open.is_regular());
        Ok(())
    }

    fn size_of(open: &File) -> Result<u64> {
        open.size()
    }

    fn sync_all(open: &File) -> Result {
        open.sync(0, u64::MAX)
    }
    fn read_at(open: &File, pos: u64, buf: &mut [u8]) -> Result {
        open.read_now(pos, buf)
    }

    fn write_at(open: &File, pos: u64, buf: &[u8]) -> Result {
        open.write_now(pos, buf)
    }

    fn discard_at(open: &File, at: Extent) -> Result {
        open.punch(at.pos, at.len)
    }

    /// A file system that does not know its holes takes all for data, and so does
    /// this for files that have none (block special files).
    fn provisioned_at(open: &File, pos: u64) -> Result<(Provisioned, u64)> {
        Ok(match open.next(Content::Data, pos) {
            Err(e) if e == ENXIO => (Provisioned::Deallocated, u64::MAX),
            Err(_) => (Provisioned::Mapped, u64::MAX),
            Ok(data) if data > pos => (Provisioned::Deallocated, data - pos),
            Ok(_) => {
                let hole = open.next(Content::Hole, pos).unwrap_or(u64::MAX);
                (Provisioned::Mapped, hole.saturating_sub(pos))
            }
        })
    }

    fn resources_of(open: &File) -> Result<Option<Resources>> {
        match open.is_regular() {
            true => open.space().map(Some),
            false => Ok(None),
        }
    }

    fn prefetch_at(open: &File, at: Extent) -> Result {
        open.will_need(at.pos, at.len)
    }
}
