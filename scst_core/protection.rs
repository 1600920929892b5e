// SPDX-License-Identifier: GPL-2.0

//! Protection information (SBC-4 4.21) on its way between transport and logical
//! unit.
//!
//! The core itself moves it where the standard has it, behind each block in the
//! data buffer, which every transport can do; a transport whose initiator keeps
//! it apart says so by [`Transport::protection`]. Checking and storing it is the
//! logical unit's: it knows what is on the medium. What the core keeps is who
//! found how much wrong.
//!
//! [`Transport::protection`]: crate::Transport::protection

use crate::{
    cmd::{Cmd, CommandLoan, Executing, Slot},
    nexus::Nexus,
    session::Session,
    target::Target,
    util::{emit, log_err},
};
use core::{marker::PhantomData, ptr::NonNull};
use kapi::{
    counted::Counted,
    sg::SgList,
    sysfs::{Attr, Page},
};
use kernel::{
    prelude::*,
    sync::atomic::{Atomic, Relaxed},
};
use scst_proto::{
    options::DifMode,
    protection::{expected_bytes, CheckFailed, Kind, Wrong},
};

/// The protection information of a logical unit.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Protection {
    /// How the logical unit is formatted.
    pub kind: Kind,
    /// Who checks, and whether it is stored (`dif_mode`).
    pub mode: DifMode,
}

/// Where the protection information of a command's blocks is.
pub enum InTransfer<'a> {
    /// Behind each block in the data buffer.
    Interleaved,
    /// In memory of its own, in the order of the blocks.
    Apart(SgList<'a>),
    /// Nowhere: the initiator's port makes it for a write, and takes that of a
    /// read away.
    Absent,
}

/// A command that the core has, for its transport to look at.
pub struct Held<'a> {
    slot: NonNull<Slot>,
    _command: PhantomData<&'a CommandLoan>,
}

impl<'a> Held<'a> {
    fn of(loan: &'a CommandLoan) -> Self {
        Self {
            slot: loan.as_ptr(),
            _command: PhantomData,
        }
    }

    fn executing(cmd: &'a Cmd<Executing>) -> Self {
        Self {
            slot: cmd.slot(),
            _command: PhantomData,
        }
    }

    /// Address of the command's slot, from which the driver finds its request.
    pub fn slot(&self) -> NonNull<Slot> {
        self.slot
    }
}

/// Who on the way between initiator and medium has found a check to fail.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Stage {
    /// The target port.
    Tgt = 0,
    /// The core.
    Scst = 1,
    /// The device.
    Dev = 2,
}

/// Counters of checks that have failed: `dif_checks_failed`.
pub(crate) struct FailedChecks([[Atomic<u64>; 3]; 3]);

impl FailedChecks {
    pub(crate) const fn new() -> Self {
        Self([const { [const { Atomic::new(0) }; 3] }; 3])
    }

    fn count(&self, stage: Stage, wrong: Wrong) {
        // The columns of the file.
        let column = match wrong {
            Wrong::App => 0,
            Wrong::Reference => 1,
            Wrong::Guard => 2,
        };
        let row = self.0.get(stage as usize);
        if let Some(counter) = row.and_then(|row| row.get(column)) {
            let _ = counter.fetch_add(1, Relaxed);
        }
    }

    pub(crate) fn show(&self, page: &mut Page<'_>) -> Result {
        emit!(page, "\tapp\tref\tguard\n");
        for (name, row) in ["tgt", "scst", "dev"].iter().zip(&self.0) {
            emit!(page, "{}", name);
            for counter in row {
                emit!(page, "\t{}", counter.load(Relaxed));
            }
            emit!(page, "\n");
        }
        Ok(())
    }

    pub(crate) fn reset(&self) -> Result {
        for counter in self.0.iter().flatten() {
            counter.store(0, Relaxed);
        }
        Ok(())
    }
}

/// Bytes that a command for a protected device transfers in its data buffer; as
/// [`Cdb::expected_bytes`](scst_proto::cdb::Cdb::expected_bytes).
#[cold]
pub(crate) fn expected(loan: &CommandLoan, nexus: &Nexus) -> Option<u64> {
    let shift = nexus.device.lu.block_shift();
    match nexus.session().transport().protection(Held::of(loan)) {
        InTransfer::Interleaved => expected_bytes(&loan.cdb, shift),
        InTransfer::Apart(_) | InTransfer::Absent => loan.cdb.expected_bytes(shift),
    }
}

impl Cmd<Executing> {
    /// Where the protection information of the command is, whose protect field is
    /// not 0.
    pub fn protection(&self) -> InTransfer<'_> {
        match self.nexus() {
            Some(nexus) => {
                let transport = nexus.session().transport();
                transport.protection(Held::executing(self))
            }
            None => InTransfer::Absent,
        }
    }

    /// ABORTED COMMAND: `stage` has found protection information to be wrong.
    pub fn check_failed(self, stage: Stage, failed: CheckFailed) {
        if let Some(nexus) = self.nexus() {
            let session = nexus.session();
            for counters in [
                &nexus.failed_checks,
                &session.failed_checks,
                &session.target.failed_checks,
            ] {
                counters.count(stage, failed.wrong);
            }
        }
        self.check_condition(failed.sense());
    }
}

impl Target {
    /// `Err` after a log line if LUNs of this target cannot be the device `name`
    /// with this protection information.
    pub(crate) fn check_protection(&self, name: &str, protection: Option<Protection>) -> Result {
        let tgt = protection.filter(|p| p.mode.contains(DifMode::TGT));
        match tgt {
            Some(protection) if !self.driver.ops().checks_protection() => {
                log_err!(
                    "Target {} does not check type {} protection information itself, as dif_mode tgt \
                     of device {} wants: one with dif_mode scst, dev_check or dev_store can be mapped",
                    self.name(),
                    protection.kind.number(),
                    name
                );
                Err(EINVAL)
            }
            _ => Ok(()),
        }
    }
}

/// Shows what a target driver does with protection information.
pub(crate) fn show_capabilities(page: &mut Page<'_>, checks: bool) -> Result {
    emit!(page, "dif_supported");
    for kind in 1..=3 {
        if checks {
            emit!(page, ", hw_dif_type{}_supported", kind);
        }
    }
    emit!(page, "\n");
    Ok(())
}

const FAILED_HELP: &str =
    "Checks of protection information that have failed, in the target port, the core and the \
                           device: application tag, reference tag, guard. Write to reset.";

/// Attributes of targets.
pub(crate) static TARGET: &[Attr<Target>] = &[
    Attr::ro(
        c"dif_capabilities",
        |t, p| show_capabilities(p, t.driver.ops().checks_protection()),
        "Protection information: hw_dif_type<N>_supported is a type that the port checks itself (dif_mode tgt).",
    ),
    Attr::rw(
        c"dif_checks_failed",
        |t, p| t.failed_checks.show(p),
        |t, _| t.failed_checks.reset(),
        FAILED_HELP,
    ),
];

/// Attributes of sessions.
pub(crate) static SESSION: &[Attr<Session>] = &[Attr::rw(
    c"dif_checks_failed",
    |s, p| s.failed_checks.show(p),
    |s, _| s.failed_checks.reset(),
    FAILED_HELP,
)];

/// Attributes of a protected LUN of a session.
pub(crate) static LUN: &[Attr<Counted<Nexus>>] = &[Attr::rw(
    c"dif_checks_failed",
    |n, p| n.failed_checks.show(p),
    |n, _| n.failed_checks.reset(),
    FAILED_HELP,
)];
