// SPDX-License-Identifier: GPL-2.0

//! A disk with its backing store, as the core sees it; the data path.

use crate::{
    commands,
    disk::Disk,
    io::{Extent, Store},
    log,
};
use kernel::{prelude::*, sync::Arc};
use scst::{Cmd, Context, DeviceHandle, Executing, LogicalUnit, Protection};
use scst_proto::{
    cdb::Cdb,
    inquiry,
    mode::Control,
    options::Handler,
    sense::{Sense, INVALID_FIELD_IN_CDB, NOT_READY, NO_MEDIUM},
};

/// Operation codes of the data path.
mod opcode {
    pub(super) const TEST_UNIT_READY: u8 = 0x00;
    pub(super) const READ_6: u8 = 0x08;
    pub(super) const WRITE_6: u8 = 0x0a;
    pub(super) const READ_10: u8 = 0x28;
    pub(super) const WRITE_10: u8 = 0x2a;
    pub(super) const READ_16: u8 = 0x88;
    pub(super) const WRITE_16: u8 = 0x8a;
    pub(super) const READ_12: u8 = 0xa8;
    pub(super) const WRITE_12: u8 = 0xaa;
}

/// A virtual disk: the logical unit of a device.
pub(crate) struct Unit<S> {
    pub(crate) disk: Arc<Disk>,
    pub(crate) store: S,
    /// Threads of a new device.
    pub(crate) threads: u32,
}

impl<S: Store> Unit<S> {
    /// `Err` without a medium.
    #[inline]
    pub(crate) fn check_ready(&self) -> Result<(), Sense> {
        if self.disk.ready.get() {
            return Ok(());
        }
        Err(match self.disk.conf.handler {
            Handler::BlockIo | Handler::FileIo => NOT_READY,
            Handler::NullIo | Handler::Cdrom => NO_MEDIUM,
        })
    }

    /// `Err` if the size is not known. That of a medium that is only closed because
    /// of ALUA still is.
    pub(crate) fn check_size(&self) -> Result<(), Sense> {
        match self.disk.conf.dummy || self.disk.blocks() == 0 {
            true => self.check_ready(),
            false => Ok(()),
        }
    }

    /// The blocks that `cdb` is about, if the disk has them.
    #[inline]
    pub(crate) fn extent(&self, cdb: &Cdb) -> Result<Extent, Sense> {
        self.check_ready()?;
        cdb.check_range(self.disk.blocks())?;
        if cdb.protect() != 0 {
            // There is no protection information, or not for this command.
            return Err(INVALID_FIELD_IN_CDB.in_cdb_bit(1, 7));
        }
        Ok(self.bytes_of(cdb))
    }

    /// As [`Unit::extent`], for commands that may transfer protection information.
    #[inline]
    pub(crate) fn span(&self, cdb: &Cdb) -> Result<Extent, Sense> {
        if !S::PROTECTED {
            return self.extent(cdb);
        }
        self.check_ready()?;
        cdb.check_range(self.disk.blocks())?;
        Ok(self.bytes_of(cdb))
    }

    /// Where the blocks of `cdb` are; in range, so nothing overflows.
    #[inline]
    fn bytes_of(&self, cdb: &Cdb) -> Extent {
        let shift = self.disk.conf.block_shift;
        Extent {
            pos: cdb.lba.wrapping_shl(shift),
            len: u64::from(cdb.blocks).wrapping_shl(shift),
        }
    }

    /// What of `at` the command moves: the initiator may have prepared less, of
    /// which whole blocks count.
    #[inline]
    fn prepared(&self, cmd: &Cmd<Executing>, at: Extent) -> Extent {
        if S::PROTECTED {
            return at;
        }
        let whole = !u64::from(self.disk.block_size().wrapping_sub(1));
        let len = at.len.min(u64::from(cmd.length())) & whole;
        Extent { len, ..at }
    }

    #[inline]
    pub(crate) fn read(&self, cmd: Cmd<Executing>) {
        match self.span(cmd.cdb()) {
            Ok(at) => match self.prepared(&cmd, at) {
                Extent { len: 0, .. } => cmd.good(),
                at => self.store.read(&self.disk, cmd, at),
            },
            Err(sense) => cmd.check_condition(sense),
        }
    }

    #[inline]
    pub(crate) fn write(&self, cmd: Cmd<Executing>, fua: bool) {
        match self.span(cmd.cdb()) {
            Ok(at) => match self.prepared(&cmd, at) {
                Extent { len: 0, .. } => cmd.good(),
                at => {
                    let stable = self.disk.must_be_stable(fua);
                    self.store.write(&self.disk, cmd, at, stable);
                }
            },
            Err(sense) => cmd.check_condition(sense),
        }
    }
}

impl<S: Store> LogicalUnit for Unit<S> {
    #[inline]
    fn context(&self, cdb: &Cdb) -> Context {
        if commands::is_inline(cdb.op.opcode, S::SLEEPS) {
            Context::Inline
        } else {
            Context::Thread
        }
    }

    #[inline]
    fn execute(&self, cmd: Cmd<Executing>) {
        use opcode::*;
        match cmd.cdb().op.opcode {
            READ_10 | READ_16 | READ_12 | READ_6 => self.read(cmd),
            WRITE_10 | WRITE_16 | WRITE_12 | WRITE_6 => {
                let fua = cmd.cdb().fua();
                self.write(cmd, fua);
            }
            TEST_UNIT_READY => match self.check_ready() {
                Ok(()) => cmd.good(),
                Err(sense) => cmd.check_condition(sense),
            },
            _ => commands::execute(self, cmd),
        }
    }

    #[inline]
    fn void(&self, cdb: &Cdb) -> bool {
        use opcode::*;
        let opcode = cdb.op.opcode;
        S::VOID
            && !S::PROTECTED
            && matches!(
                opcode,
                READ_10 | READ_16 | READ_12 | READ_6 | WRITE_10 | WRITE_16 | WRITE_12 | WRITE_6
            )
    }

    #[inline]
    fn block_shift(&self) -> u32 {
        self.disk.conf.block_shift
    }

    #[inline]
    fn read_only(&self) -> bool {
        self.disk.write_protected()
    }

    fn sleeps(&self) -> bool {
        S::SLEEPS
    }

    fn protection(&self) -> Option<Protection> {
        self.disk.protection()
    }

    fn descriptor_sense(&self) -> bool {
        self.disk.control().d_sense()
    }

    fn is_designated(&self, code_set: u8, kind: u8, designator: &[u8]) -> bool {
        self.disk
            .with_identity(|id| inquiry::is_designated(id, code_set, kind, designator))
    }

    fn capacity(&self) -> u64 {
        self.disk.blocks()
    }

    fn cscd(&self) -> [u8; 32] {
        let length = self.disk.block_size();
        self.disk.with_identity(|id| inquiry::cscd(id, length))
    }

    fn control(&self) -> Control {
        self.disk.control()
    }

    fn has_aca(&self) -> bool {
        true
    }

    fn reset(&self) {
        let saved = self.disk.saved_mode();
        let cache_off = self.disk.write_cache.get() && !saved.wce;
        self.disk.set_mode(&saved);
        self.disk.thresholds.rearm();
        // As for MODE SELECT: nobody needs to ask for what is in the cache any more.
        if let (true, Err(e)) = (cache_off, self.store.sync_now()) {
            log::error!(
                "{}: writing the cache after a reset failed ({:?})",
                self.disk.name(),
                e
            );
        }
    }

    fn default_threads(&self) -> u32 {
        self.threads
    }

    fn access_changed(&self, serves: bool) {
        if !self.disk.bind_alua_state.get() {
            return;
        }
        match serves {
            true => self.store.reopen(&self.disk),
            false => self.store.suspend(&self.disk),
        }
    }

    fn published(&self, device: DeviceHandle) {
        self.disk.set_device(Some(device));
    }

    fn detach(&self) {
        self.disk.set_device(None);
        self.store.close(&self.disk);
        self.store.describe(&mut |name| {
            log::info!(
                "Detached virtual device {} (\"{}\")",
                self.disk.name(),
                name
            );
        });
        log::info!("Virtual device {} unregistered", self.disk.name());
    }
}
