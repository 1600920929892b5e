// SPDX-License-Identifier: GPL-2.0

//! Task management: which commands a function affects, and when it is done.
//!
//! A function marks the affected commands aborted and then waits until every
//! one of them has ended: it is answered when, and only when, they can have no
//! more effect (SAM-6 clause 7). Marking is a race with the response that the
//! command's state word decides; see [`crate::cmd`].
//!
//! What is waited for depends on where a command is. One that a black hole holds
//! or that waits for a thread ends at once, as nobody works on it. One that the
//! backing store works on cannot be taken back: the function is answered after
//! the store's I/O has come back, however long that takes. A caller that will not
//! wait that long says so by `timeout_ms`, and gets [`TmResult::TimedOut`], which
//! promises nothing but that the commands stay marked.

use crate::{
    cmd::Outstanding,
    config::core,
    copy_manager::CopyManager,
    nexus::{Nexus, SeenLun},
    reservations::Reservations,
    session::{NexusList, Session},
    util::log_err,
};
use kapi::counted::Counted;
use kernel::{prelude::*, sync::Arc};
use scst_proto::{
    event::{
        code,
        tm_received::{self, function, Function},
    },
    sense::{COMMANDS_CLEARED, DEVICE_RESET_OCCURRED, NEXUS_LOSS_OCCURRED},
    task::{answer, Answer, Cause, State},
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
    /// FUNCTION SUCCEEDED: a query found what it asked for.
    Succeeded,
    /// Affected commands had not ended when the time was over.
    TimedOut,
    /// There was no memory to find the affected commands. None was aborted, or
    /// not all.
    NoMemory,
}

/// Who waits for commands looks for itself after so many milliseconds: one that
/// was marked on its way into a queue is found there then.
const LOOK_MS: u32 = 1000;

/// After so many milliseconds the log says what is waited for, again and again.
const REPORT_MS: u32 = 10_000;

/// A time in nanoseconds of [`kapi::time::now_ns`].
#[derive(Clone, Copy)]
struct Moment(u64);

impl Moment {
    fn in_ms(ms: u32) -> Self {
        let ns = u64::from(ms).saturating_mul(1_000_000);
        Self(kapi::time::now_ns().saturating_add(ns))
    }

    fn left_ms(self) -> u32 {
        let ns = self.0.saturating_sub(kapi::time::now_ns());
        u32::try_from(ns / 1_000_000).unwrap_or(u32::MAX)
    }
}

/// A function that waits for its commands.
struct Waiting {
    cause: Cause,
    /// When it gives up; `None`: never.
    until: Option<Moment>,
    report: Moment,
    /// How often it was reported.
    reports: u32,
}

impl Waiting {
    fn new(cause: Cause, timeout_ms: Option<u32>) -> Self {
        Self {
            cause,
            until: timeout_ms.map(Moment::in_ms),
            report: Moment::in_ms(REPORT_MS),
            reports: 0,
        }
    }

    /// Sleeps until an aborted command of `session` ends ([`Session::aborts_ended`]
    /// was `seen`), or it is time to look; false if the time is over.
    fn sleep(&mut self, session: &Session, affected: Affected<'_>, seen: u32) -> bool {
        let left = self.until.map_or(u32::MAX, Moment::left_ms);
        if left == 0 {
            return false;
        }
        session.wait_abort_ended(seen, left.min(LOOK_MS));
        if self.report.left_ms() == 0 {
            self.report = Moment::in_ms(REPORT_MS);
            self.reports = self.reports.saturating_add(1);
            log_err!(
                "{} of initiator {}: still waiting for its commands after {} s: {}",
                name(self.cause),
                session.initiator(),
                self.reports.saturating_mul(REPORT_MS / 1000),
                session.places(affected)
            );
        }
        true
    }

    fn end(self, done: bool) -> TmResult {
        kapi::trace::tmf(self.cause as u32, u32::from(done));
        match done {
            true => TmResult::Complete,
            false => TmResult::TimedOut,
        }
    }
}

/// Chooses the commands of a session that a function affects.
type Affected<'a> = &'a dyn Fn(&Outstanding<'_>) -> bool;

/// How many commands are where, for an administrator who wants to know what is waited for.
#[derive(Default)]
pub(crate) struct Places {
    waiting: usize,
    transport: usize,
    device: usize,
}

impl core::fmt::Display for Places {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(
            f,
            "{} executed by the device, {} moved by the transport, {} not begun",
            self.device, self.transport, self.waiting
        )
    }
}

impl Session {
    /// Marks those commands aborted that `affected` chooses; how many there are. Whether
    /// their initiator is to be `told`, by TASK ABORTED status.
    fn mark(&self, cause: Cause, told: bool, affected: Affected<'_>) -> usize {
        let mut found = 0;
        self.transport().visit_commands(&mut |task| {
            if !affected(&task) {
                return;
            }
            found += 1;
            if task.abort(cause, told) {
                kapi::trace::cmd_aborted(task.tag, task.lun());
            }
        });
        found
    }

    /// Whether a command that `affected` chooses is marked aborted and there.
    fn has_aborted(&self, affected: Affected<'_>) -> bool {
        let mut found = false;
        self.transport().visit_commands(&mut |task| {
            found |= task.is_aborted() && affected(&task);
        });
        found
    }

    /// Where the commands are that `affected` chooses. Sleeps.
    pub(crate) fn places(&self, affected: Affected<'_>) -> Places {
        let mut places = Places::default();
        self.transport().visit_commands(&mut |task| {
            if !affected(&task) {
                return;
            }
            match task.state() {
                Some(State::Received | State::Queued) => places.waiting += 1,
                Some(State::DataOut | State::Responding) => places.transport += 1,
                Some(State::Executing) => places.device += 1,
                Some(State::Done) | None => {}
            }
        });
        places
    }

    /// Waits until those aborted commands have ended that `affected` chooses,
    /// of this function or another; false if they have not in time.
    fn wait_ended(&self, affected: Affected<'_>, waiting: &mut Waiting) -> bool {
        loop {
            // Before looking: what ends meanwhile ends the sleep below at once.
            let seen = self.aborts_ended();
            self.end_idle_aborted();
            if !self.has_aborted(affected) {
                return true;
            }
            if !waiting.sleep(self, affected, seen) {
                return false;
            }
        }
    }

    /// Marks commands of this session and waits for them.
    fn abort_own(&self, cause: Cause, affected: Affected<'_>, timeout_ms: Option<u32>) -> TmResult {
        let mut waiting = Waiting::new(cause, timeout_ms);
        if self.mark(cause, false, affected) == 0 {
            return TmResult::NoTask;
        }
        let done = self.wait_ended(affected, &mut waiting);
        waiting.end(done)
    }

    /// Tells daemons of the function `number` for `lun`.
    fn announce(&self, number: u32, lun: u16, tag: u64) {
        let Ok(core) = core() else { return };
        if !core.events.heard() {
            return;
        }
        let nexus = self.nexus(lun);
        let function = Function {
            function: number,
            lun: lun.into(),
            device: nexus.as_ref().map_or("", |nexus| nexus.device.name()),
            initiator: self.initiator(),
            target: self.target.name(),
            session: self.label(),
            tag,
        };
        core.events
            .send(code::TM_RECEIVED, tm_received::LEN, |payload| {
                function.write(payload);
            });
    }

    /// ABORT TASK (SAM-6 7.2): the command that the transport calls `tag`.
    /// Sleeps, at most `timeout_ms`.
    pub fn abort_task(&self, tag: u64, timeout_ms: Option<u32>) -> TmResult {
        self.announce(function::ABORT_TASK, 0, tag);
        self.abort_own(Cause::AbortTask, &|task| task.tag == tag, timeout_ms)
    }

    /// ABORT TASK SET (SAM-6 7.3): all commands of this nexus. Sleeps.
    pub fn abort_task_set(&self, lun: u16, timeout_ms: Option<u32>) -> TmResult {
        self.announce(function::ABORT_TASK_SET, lun, 0);
        if self.nexus(lun).is_none() {
            return TmResult::NoLun;
        }
        self.abort_all_of(Cause::AbortTaskSet, &of_lun(lun), timeout_ms)
    }

    /// CLEAR TASK SET (SAM-6 7.5): all commands of the task set, which may be that of
    /// every initiator. Sleeps.
    pub fn clear_task_set(&self, lun: u16, timeout_ms: Option<u32>) -> TmResult {
        self.announce(function::CLEAR_TASK_SET, lun, 0);
        match self.nexus(lun) {
            None => TmResult::NoLun,
            Some(nexus) if nexus.tasks.is_shared() => {
                self.clear(lun, Cause::ClearTaskSet, timeout_ms)
            }
            Some(_) => self.abort_all_of(Cause::ClearTaskSet, &of_lun(lun), timeout_ms),
        }
    }

    /// CLEAR ACA (SAM-6 7.4): ends the ACA condition of this nexus, and a command that
    /// has the ACA attribute. Sleeps.
    pub fn clear_aca(&self, lun: u16, timeout_ms: Option<u32>) -> TmResult {
        self.announce(function::CLEAR_ACA, lun, 0);
        let Some(nexus) = self.nexus(lun) else {
            return TmResult::NoLun;
        };
        let done = match nexus.tasks.aca_task(&nexus) {
            Some(tag) => self.abort_all_of(Cause::AbortTask, &|t| t.tag == tag, timeout_ms),
            None => TmResult::Complete,
        };
        nexus.tasks.clear_aca(&nexus);
        done
    }

    /// QUERY TASK (SAM-6 7.9): whether there is a command `tag`. Sleeps.
    pub fn query_task(&self, lun: u16, tag: u64) -> TmResult {
        self.query(&|task| task.tag == tag && task.lun() == u32::from(lun))
    }

    /// QUERY TASK SET (SAM-6 7.10): whether this nexus has a command in the task set.
    /// Sleeps.
    pub fn query_task_set(&self, lun: u16) -> TmResult {
        match self.nexus(lun) {
            Some(_) => self.query(&of_lun(lun)),
            None => TmResult::NoLun,
        }
    }

    /// QUERY ASYNCHRONOUS EVENT (SAM-6 7.8): whether a unit attention condition waits. Any
    /// context.
    pub fn query_async_event(&self, lun: u16) -> TmResult {
        match self.nexus(lun).map(|nexus| nexus.next_attention()) {
            None => TmResult::NoLun,
            Some(Some(_)) => TmResult::Succeeded,
            Some(None) => TmResult::Complete,
        }
    }

    fn query(&self, which: Affected<'_>) -> TmResult {
        let mut found = false;
        self.transport()
            .visit_commands(&mut |task| found |= which(&task) && !task.is_aborted());
        match found {
            true => TmResult::Succeeded,
            false => TmResult::Complete,
        }
    }

    /// LOGICAL UNIT RESET (SAM-6 7.7). Sleeps.
    pub fn lun_reset(&self, lun: u16, timeout_ms: Option<u32>) -> TmResult {
        self.announce(function::LUN_RESET, lun, 0);
        self.clear(lun, Cause::LunReset, timeout_ms)
    }

    /// The transport's TARGET RESET: LOGICAL UNIT RESET of every LUN that the
    /// session sees. Sleeps.
    pub fn target_reset(&self, timeout_ms: Option<u32>) -> TmResult {
        self.announce(function::TARGET_RESET, 0, 0);
        let cause = Cause::LunReset;
        let waiting = Waiting::new(cause, timeout_ms);
        let Ok(luns) = self.luns() else {
            return TmResult::NoMemory;
        };
        let mut affected = NexusList::new();
        for seen in &luns {
            match self.mark_device(seen.lun, cause, &mut affected) {
                TmResult::NoMemory => return TmResult::NoMemory,
                // Without the LUN there is nothing to reset.
                _ => continue,
            }
        }
        wait_cleared(&affected, waiting)
    }

    /// I_T NEXUS RESET, loss of the I_T nexus (SAM-6 7.6, 6.3.4): ends all commands of
    /// the session. Sleeps, and needs no memory.
    pub fn nexus_loss(&self, timeout_ms: Option<u32>) -> TmResult {
        self.announce(function::NEXUS_LOSS, 0, 0);
        self.for_each_nexus(|nexus| {
            nexus.forget();
            nexus.unit_attention(NEXUS_LOSS_OCCURRED);
        });
        let done = self.abort_all_of(Cause::NexusLoss, &|_| true, timeout_ms);
        let mut nexuses = NexusList::new();
        // Without memory what it has by RESERVE stays until the session ends.
        let _ = self.collect(&mut nexuses, |_| true);
        for nexus in &nexuses {
            Reservations::nexus_lost(nexus);
        }
        done
    }

    /// Marks all commands of the session aborted, for who waits for them some
    /// other way. Process context.
    pub(crate) fn abort_all(&self) {
        self.mark(Cause::NexusLoss, false, &|_| true);
        self.end_idle_aborted();
    }

    /// As [`Session::abort_own`], for functions that may find nothing to do.
    fn abort_all_of(
        &self,
        cause: Cause,
        affected: Affected<'_>,
        timeout_ms: Option<u32>,
    ) -> TmResult {
        match self.abort_own(cause, affected, timeout_ms) {
            TmResult::NoTask => TmResult::Complete,
            result => result,
        }
    }

    /// Ends the commands of the logical unit `lun`, of every initiator.
    fn clear(&self, lun: u16, cause: Cause, timeout_ms: Option<u32>) -> TmResult {
        let waiting = Waiting::new(cause, timeout_ms);
        let mut affected = NexusList::new();
        match self.mark_device(lun, cause, &mut affected) {
            TmResult::Complete => wait_cleared(&affected, waiting),
            result => result,
        }
    }

    /// Marks the commands of a logical unit, of every initiator, and adds their
    /// nexuses to `affected`. Establishes the unit attentions.
    fn mark_device(&self, lun: u16, cause: Cause, affected: &mut NexusList) -> TmResult {
        let Some(nexus) = self.nexus(lun) else {
            return TmResult::NoLun;
        };
        let Ok(mut nexuses) = core().and_then(|core| core.nexuses_of(&nexus.device)) else {
            return TmResult::NoMemory;
        };
        if affected.reserve(nexuses.len(), GFP_KERNEL).is_err() {
            return TmResult::NoMemory;
        }
        let reset = cause == Cause::LunReset;
        let tas = nexus.control().tas();
        if reset {
            Reservations::reset(&nexus.device);
            if let Some(manager) = copy_manager() {
                manager.jobs.cancel_all(nexus.device.id);
            }
            nexus.device.lu.reset();
        }
        for other in nexuses.drain_all() {
            if reset {
                other.tasks.reset();
                other.prevent_removal(false);
                other.unit_attention(DEVICE_RESET_OCCURRED);
            }
            let own = ::core::ptr::eq(other.session(), self);
            let told = answer(cause, !own, tas);
            let aborted = other.abort_commands(cause, told == Answer::TaskAborted, None);
            if aborted && told == Answer::CommandsCleared {
                other.unit_attention(COMMANDS_CLEARED);
            }
            let _ = affected.push_within_capacity(other);
        }
        TmResult::Complete
    }

    /// The LUNs that the session sees, ascending. Sleeps.
    pub fn luns(&self) -> Result<KVVec<SeenLun>> {
        loop {
            let mut count = 0;
            self.for_each_nexus(|_| count += 1);
            let mut luns = KVVec::with_capacity(count, GFP_KERNEL)?;
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

fn copy_manager() -> Option<Arc<CopyManager>> {
    core().ok()?.copy_manager()
}

/// Chooses the commands of `lun`.
pub(crate) fn of_lun(lun: u16) -> impl Fn(&Outstanding<'_>) -> bool {
    move |task| task.lun() == u32::from(lun)
}

/// Ends the commands of nexuses that PREEMPT AND ABORT took the reservation from
/// (SPC-6 5.14.11.5). Sleeps until they have ended.
pub(crate) fn abort_preempted(affected: &[Arc<Counted<Nexus>>]) {
    let cause = Cause::ClearTaskSet;
    let waiting = Waiting::new(cause, None);
    for nexus in affected {
        let told = answer(cause, true, nexus.control().tas());
        nexus.abort_commands(cause, told == Answer::TaskAborted, None);
        nexus.forget();
    }
    // What copies do elsewhere on behalf of those nexuses.
    if let Some(manager) = copy_manager() {
        manager.io.end_for(affected);
    }
    let _ = wait_cleared(affected, waiting);
}

impl Nexus {
    /// Marks the commands of this nexus aborted, but for the one that is called `but`;
    /// whether there were any. Sleeps.
    pub(crate) fn abort_commands(&self, cause: Cause, told: bool, but: Option<u64>) -> bool {
        let lun = of_lun(self.lun());
        let affected = |task: &Outstanding<'_>| lun(task) && Some(task.tag) != but;
        let any = self.session().mark(cause, told, &affected) != 0;
        self.end_idle_aborted();
        any
    }
}

/// Waits for the marked commands of all of `affected`.
fn wait_cleared(affected: &[Arc<Counted<Nexus>>], mut waiting: Waiting) -> TmResult {
    let mut done = true;
    for nexus in affected {
        let lun = of_lun(nexus.lun());
        done &= nexus.session().wait_ended(&lun, &mut waiting);
    }
    if let (Cause::LunReset, Some(manager)) = (waiting.cause, copy_manager()) {
        for nexus in affected {
            let left = waiting.until.map_or(u32::MAX, Moment::left_ms);
            done &= manager.jobs.wait_ended(nexus.device.id, left);
        }
    }
    waiting.end(done)
}
