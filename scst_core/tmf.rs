// SPDX-License-Identifier: GPL-2.0

//! Task management: which commands a function affects, and when it is done.
//!
//! A function marks the affected commands aborted and then waits until every
//! one of them has ended: it is answered when, and only when, they can have no
//! more effect (SAM-6 clause 7). Marking is a race with the response that the
//! command's state word decides; see [`crate::cmd`].

use crate::{cmd::Outstanding, config::core, nexus::SeenLun, session::Session, util::log_err};
use kernel::{
    prelude::*,
    sync::atomic::{Acquire, Relaxed},
};
use scst_proto::{
    sense::{Sense, COMMANDS_CLEARED, DEVICE_RESET_OCCURRED},
    task::Cause,
};

/// How a task management function ended (SAM-6 7.1).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum TmResult {
    /// FUNCTION COMPLETE: no affected command has any more effect.
    Complete,
    /// The task does not exist (FUNCTION COMPLETE for ABORT TASK, too).
    NoTask,
    /// INCORRECT LOGICAL UNIT NUMBER.
    NoLun,
    /// Affected commands had not ended when the time was over.
    TimedOut,
}

impl Session {
    /// Marks those commands aborted that `affected` chooses; how many.
    fn mark(&self, cause: Cause, mut affected: impl FnMut(&Outstanding<'_>) -> bool) -> usize {
        let mut marked = 0;
        self.transport().visit_commands(&mut |task| {
            if !affected(&task) {
                return;
            }
            // Counted before it is marked: the command may end at once.
            self.aborting().add(1, Relaxed);
            if task.abort(cause) {
                kapi::trace::cmd_aborted(task.tag, task.lun());
                marked += 1;
            } else {
                self.abort_ended();
            }
        });
        let _ = self.release_aborted();
        marked
    }

    /// Waits until every command marked aborted has ended.
    fn wait_aborted(&self, timeout_ms: u32) -> bool {
        self.abort_wait()
            .wait_until_timeout(timeout_ms, || self.aborting().load(Acquire) == 0)
    }

    fn finish_function(&self, cause: Cause, timeout_ms: u32) -> TmResult {
        let done = self.wait_aborted(timeout_ms);
        kapi::trace::tmf(cause as u32, u32::from(done));
        let name = name(cause);
        match done {
            true => TmResult::Complete,
            false => {
                log_err!(
                    "{}: commands of initiator {} had not ended after {} ms",
                    name,
                    self.initiator(),
                    timeout_ms
                );
                TmResult::TimedOut
            }
        }
    }

    /// ABORT TASK (SAM-6 7.2): the command that the transport calls `tag`.
    /// Sleeps, at most `timeout_ms`.
    pub fn abort_task(&self, tag: u64, timeout_ms: u32) -> TmResult {
        let mut found = false;
        self.mark(Cause::AbortTask, |task| {
            found |= task.tag == tag;
            task.tag == tag
        });
        match found {
            true => self.finish_function(Cause::AbortTask, timeout_ms),
            false => TmResult::NoTask,
        }
    }

    /// ABORT TASK SET (SAM-6 7.3): all commands of this nexus. Sleeps.
    pub fn abort_task_set(&self, lun: u16, timeout_ms: u32) -> TmResult {
        if self.nexus(lun).is_none() {
            return TmResult::NoLun;
        }
        self.mark(Cause::AbortTaskSet, |task| task.lun() == u32::from(lun));
        self.finish_function(Cause::AbortTaskSet, timeout_ms)
    }

    /// CLEAR TASK SET (SAM-6 7.5): all commands of the logical unit, of every
    /// initiator. Sleeps.
    pub fn clear_task_set(&self, lun: u16, timeout_ms: u32) -> TmResult {
        self.clear_device(lun, Cause::ClearTaskSet, COMMANDS_CLEARED, timeout_ms)
    }

    /// LOGICAL UNIT RESET (SAM-6 7.7). Sleeps.
    pub fn lun_reset(&self, lun: u16, timeout_ms: u32) -> TmResult {
        self.clear_device(lun, Cause::LunReset, DEVICE_RESET_OCCURRED, timeout_ms)
    }

    /// The transport's TARGET RESET: LOGICAL UNIT RESET of every LUN that the
    /// session sees. Sleeps.
    pub fn target_reset(&self, timeout_ms: u32) -> TmResult {
        for lun in self.luns().unwrap_or_default() {
            match self.lun_reset(lun.lun, timeout_ms) {
                TmResult::TimedOut => return TmResult::TimedOut,
                _ => continue,
            }
        }
        TmResult::Complete
    }

    /// Loss of the I_T nexus (SAM-6 6.3.4): ends all commands of the session.
    /// Sleeps.
    pub fn nexus_loss(&self, timeout_ms: u32) -> TmResult {
        self.mark(Cause::NexusLoss, |_| true);
        self.finish_function(Cause::NexusLoss, timeout_ms)
    }

    fn clear_device(&self, lun: u16, cause: Cause, attention: Sense, timeout_ms: u32) -> TmResult {
        let Some(nexus) = self.nexus(lun) else {
            return TmResult::NoLun;
        };
        let Ok(affected) = core().and_then(|core| core.nexuses_of(&nexus.device)) else {
            return TmResult::TimedOut;
        };
        for other in &affected {
            let theirs = u32::from(other.lun());
            other.session().mark(cause, |task| task.lun() == theirs);
            let own = ::core::ptr::eq(other.session(), self);
            if !own || attention.is(&DEVICE_RESET_OCCURRED) {
                other.unit_attention(attention);
            }
        }
        let mut result = TmResult::Complete;
        for other in &affected {
            if other.session().finish_function(cause, timeout_ms) == TmResult::TimedOut {
                result = TmResult::TimedOut;
            }
        }
        result
    }

    /// The LUNs that the session sees, ascending.
    pub fn luns(&self) -> Result<KVec<SeenLun>> {
        self.luns_with(GFP_KERNEL)
    }

    /// As [`Session::luns`], in any context.
    pub(crate) fn luns_atomic(&self) -> Result<KVec<SeenLun>> {
        self.luns_with(GFP_ATOMIC)
    }

    fn luns_with(&self, flags: kernel::alloc::Flags) -> Result<KVec<SeenLun>> {
        loop {
            let mut count = 0;
            self.for_each_nexus(|_| count += 1);
            let mut luns = KVec::with_capacity(count, flags)?;
            let mut all = true;
            // The map may be another one by now, with more LUNs.
            self.for_each_nexus(|nexus| {
                all &= luns.push_within_capacity(nexus.seen()).is_ok();
            });
            if all {
                return Ok(luns);
            }
        }
    }
}

fn name(cause: Cause) -> &'static str {
    match cause {
        Cause::AbortTask => "ABORT TASK",
        Cause::AbortTaskSet => "ABORT TASK SET",
        Cause::ClearTaskSet => "CLEAR TASK SET",
        Cause::LunReset => "LOGICAL UNIT RESET",
        Cause::TargetReset => "TARGET RESET",
        Cause::NexusLoss => "I_T NEXUS LOSS",
    }
}
