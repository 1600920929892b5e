// SPDX-License-Identifier: GPL-2.0

//! What commands and backing stores have in common: the store's trait, the
//! command that waits for its transfer, and errors as sense data.

use crate::{
    disk::Disk,
    protection::{is_protection_error, Task},
    vfs::Completion,
};
use kapi::sg::SgList;
use kernel::{bindings, prelude::*};
use scst::{status, Cmd, Executing};
use scst_proto::lba_status::Provisioned;
use scst_proto::sense::{
    Sense, ABORTED, COMMAND_TIMEOUT, GUARD_CHECK_FAILED, INTERNAL_TARGET_FAILURE, INVALID_OPCODE,
    NOT_READY, READ_ERROR, SPACE_ALLOCATION_FAILED, WRITE_ERROR, WRITE_PROTECTED,
};
use scst_proto::threshold::Resources;

/// A piece of the disk in bytes; in range, and whole blocks.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Extent {
    pub(crate) pos: u64,
    pub(crate) len: u64,
}

/// Where a disk's data are.
///
/// Each method completes the command it gets, now or later. They may sleep if
/// [`Store::SLEEPS`].
pub(crate) trait Store: Synchronous {
    /// Whether commands need a thread.
    const SLEEPS: bool;

    /// Whether it keeps nothing: all reads are zeros.
    const VOID: bool = false;

    /// Whether blocks have protection information: [`Store::read`] and
    /// [`Store::write`] then find out themselves how much of `at` the initiator has
    /// prepared, and [`Store::protected`] is there.
    const PROTECTED: bool = false;

    /// Fills the command's buffer from `at`.
    fn read(&self, disk: &Disk, cmd: Cmd<Executing>, at: Extent);

    /// Writes the command's buffer to `at`; `stable`: onto stable storage.
    fn write(&self, disk: &Disk, cmd: Cmd<Executing>, at: Extent, stable: bool);

    /// Writes the command's buffer to `at` whole or, if power fails, not at all; within
    /// [`Disk::atomic`].
    fn write_atomic(&self, _disk: &Disk, cmd: Cmd<Executing>, _at: Extent, _stable: bool) {
        cmd.check_condition(INVALID_OPCODE);
    }

    /// Does `task` with the blocks of `at`.
    fn protected(&self, _disk: &Disk, cmd: Cmd<Executing>, _at: Extent, _task: Task) {
        cmd.check_condition(INVALID_OPCODE);
    }

    /// Forgets all protection information: formats.
    fn format(&self, _disk: &Disk) -> Result {
        Ok(())
    }

    /// Brings what was written within `at` to stable storage. `immed`: the
    /// command is done before that.
    fn flush(&self, disk: &Disk, cmd: Cmd<Executing>, at: Extent, immed: bool);
}

/// What is done to a disk's data here and now, for commands that need a result
/// before they go on. A store that can be opened and closed has it from
/// [`Medium`](crate::medium::Medium).
pub(crate) trait Synchronous: Send + Sync + 'static {
    /// Fills `buf`, whole blocks, from `pos`.
    fn read_now(&self, pos: u64, buf: &mut [u8]) -> Result;

    /// Writes `buf`, whole blocks, to `pos`.
    fn write_now(&self, pos: u64, buf: &[u8]) -> Result;

    /// Brings all that was written to stable storage.
    fn sync_now(&self) -> Result {
        Ok(())
    }

    /// Gives up the blocks of `at`; they read as zeros or as before.
    fn discard(&self, _at: Extent) -> Result {
        Err(Error::from_errno(-(bindings::EOPNOTSUPP as c_int)))
    }

    /// Whether the block at `pos` has memory behind it, and how many bytes from
    /// there on are the same; those who cannot tell say that all has.
    fn provisioned(&self, _pos: u64) -> Result<(Provisioned, u64)> {
        Ok((Provisioned::Mapped, u64::MAX))
    }

    /// LBA mapping resources now, where they are counted. May sleep.
    fn resources(&self) -> Result<Option<Resources>> {
        Ok(None)
    }

    /// Begins to bring `at` into a cache, where there is one.
    fn prefetch(&self, _at: Extent) -> Result {
        Ok(())
    }

    /// No port serves I/O any more (ALUA), so others may use the medium: lets go of
    /// it. Sleeps.
    fn suspend(&self, _disk: &Disk) {}

    /// A port is going to serve I/O again: takes hold of the medium. Sleeps.
    fn reopen(&self, _disk: &Disk) {}

    /// The device goes: nothing uses the store any more.
    fn close(&self, _disk: &Disk) {}

    /// What log lines call it.
    fn describe(&self, f: &mut dyn FnMut(&str)) {
        f("none");
    }
}

/// How a failed command is answered.
enum Answer {
    Sense(Sense),
    Status(u8),
}

/// The answer for the errno of a backing store.
fn answer(error: Error, write: bool) -> Answer {
    let medium = if write { WRITE_ERROR } else { READ_ERROR };
    if is_protection_error(error) {
        return Answer::Sense(GUARD_CHECK_FAILED);
    }
    Answer::Sense(match error.to_errno().unsigned_abs() {
        // It may work when it is tried again.
        bindings::EAGAIN | bindings::ENOMEM | bindings::EBUSY => {
            return Answer::Status(status::BUSY)
        }
        bindings::EINTR => ABORTED,
        bindings::ETIMEDOUT => COMMAND_TIMEOUT,
        bindings::ENOSPC | bindings::EDQUOT | bindings::EFBIG => SPACE_ALLOCATION_FAILED,
        bindings::EROFS | bindings::EPERM | bindings::EACCES => WRITE_PROTECTED,
        bindings::ENODEV | bindings::ENXIO | bindings::ENOMEDIUM => NOT_READY,
        bindings::EIO | bindings::ENODATA => medium,
        _ => INTERNAL_TARGET_FAILURE,
    })
}

/// Ends `cmd` with what became of it: GOOD after `moved` bytes, or the error.
pub(crate) fn end(cmd: Cmd<Executing>, result: Result, moved: u32, write: bool) {
    match result {
        Ok(()) => cmd.good_with(moved),
        Err(e) => {
            note(&cmd, e, write);
            match answer(e, write) {
                Answer::Sense(sense) => cmd.check_condition(sense),
                Answer::Status(status) => cmd.status(status),
            }
        }
    }
}

#[cold]
fn note(cmd: &Cmd<Executing>, e: Error, write: bool) {
    // What an initiator can cause again and again must not flood the log.
    pr_debug!(
        "{} at LBA {} failed: {}\n",
        if write { "Write" } else { "Read" },
        cmd.cdb().lba,
        e.to_errno()
    );
}

/// A command whose transfer is under way.
pub(crate) struct Pending {
    cmd: Cmd<Executing>,
    /// Bytes that the transfer is to move.
    len: u32,
    write: bool,
}

impl Pending {
    pub(crate) fn new(cmd: Cmd<Executing>, len: u32, write: bool) -> Self {
        Self { cmd, len, write }
    }
}

impl Completion for Pending {
    fn memory(&self) -> Option<SgList<'_>> {
        self.cmd.data()
    }

    fn complete(self, result: Result<usize>) {
        let result = match result {
            Ok(moved) if moved == self.len as usize => Ok(()),
            // The file has become shorter than the disk.
            Ok(_) => Err(EIO),
            Err(e) => Err(e),
        };
        end(self.cmd, result, self.len, self.write);
    }
}
