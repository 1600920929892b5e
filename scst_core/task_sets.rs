// SPDX-License-Identifier: GPL-2.0

//! Task sets: commands that have to wait for others, and ACA (SAM-6 clause 8, 5.8).
//!
//! What waits for what is `scst_proto`'s matter. A task set that has seen SIMPLE
//! commands only is not looked at and counts nothing: a nexus that is to count has
//! that in its gate. The first command with another attribute, or with NACA, sets
//! the gates; what came before it is not counted, and what has to wait for that
//! waits until [`settle`] finds none of it any more. When nothing special has come
//! for a while the nexuses stop counting.
//!
//! A command counts from its arrival until its response has been given to the
//! transport, so that the next one cannot be answered before it. An ACA condition keeps
//! what has not started; what a handler has cannot be called back, and ends as it would.

use crate::{
    cmd::{answer_failed, counted, status, Cmd, Command, CommandLoan, Executing, Task},
    config::core as scst_core,
    device::Device,
    nexus::{gate, Nexus},
    pipeline::{self, Refusal},
    session::NexusList,
};
use kapi::{
    counted::InUse,
    loan::LoanQueue,
    lock::{new_spinlock_irq, SpinLockIrq},
};
use kernel::{prelude::*, sync::Arc};
use scst_proto::{
    mode::Control,
    sense::Sense,
    task::{answer, Answer, Cause, State},
    task_set::{self, Arrival, Rules},
};

/// A nexus stops counting when it has been so long since the last special command
/// of its task set, and nothing is in that.
const QUIET_NS: u64 = 1_000_000_000;
/// The longest pause between two looks at commands that are not counted.
const PAUSE_MS: u32 = 20;

/// A task set.
pub(crate) struct TaskSet {
    state: Pin<KBox<SpinLockIrq<Inner>>>,
    /// It is of all nexuses of its device.
    shared: bool,
}

struct Inner {
    set: task_set::TaskSet,
    waiting: LoanQueue<Task, Command>,
    /// Somebody lets those start that may; who changes something leaves it to them.
    waking: bool,
    /// [`settle`] is under way.
    settling: bool,
    /// When the last special command arrived.
    special_ns: u64,
    /// What the transport calls the command with the ACA attribute that has started.
    aca_tag: Option<u64>,
}

impl TaskSet {
    /// An empty task set. May sleep.
    pub(crate) fn new(shared: bool) -> Result<Arc<Self>> {
        let state = Inner {
            set: task_set::TaskSet::new(),
            waiting: LoanQueue::new(),
            waking: false,
            settling: false,
            special_ns: 0,
            aca_tag: None,
        };
        let state = KBox::pin_init(new_spinlock_irq!(state), GFP_KERNEL)?;
        Ok(Arc::new(Self { state, shared }, GFP_KERNEL)?)
    }

    /// Whether it is of all nexuses of its device.
    pub(crate) fn is_shared(&self) -> bool {
        self.shared
    }

    /// Lets those commands start that may, in their order. Any context.
    pub(crate) fn wake(&self) {
        let mut state = self.state.lock();
        if state.waking {
            return;
        }
        state.waking = true;
        loop {
            let Inner { set, waiting, .. } = &mut *state;
            let may = waiting.first().and_then(|first| {
                let nexus = first.nexus.as_ref()?;
                let task = task_of(first, nexus);
                set.may_start(&task, rules(nexus.control())).then_some(task)
            });
            let next = may.and_then(|task| {
                set.start(&task);
                waiting.pop_front()
            });
            let Some(mut loan) = next else {
                state.waking = false;
                return;
            };
            drop(state);
            loan.counted = loan.counted & !counted::WAITS | counted::STARTED;
            pipeline::resume(loan);
            state = self.state.lock();
        }
    }

    /// Ends commands that wait, those that `which` chooses. Any context.
    pub(crate) fn end_waiting(&self, which: impl Fn(&CommandLoan) -> bool) {
        let found = self.take_waiting(which);
        if !found.is_empty() {
            pipeline::end_aborted(found);
            self.wake();
        }
    }

    fn take_waiting(&self, which: impl Fn(&CommandLoan) -> bool) -> LoanQueue<Task, Command> {
        let mut state = self.state.lock();
        let Inner { set, waiting, .. } = &mut *state;
        waiting.extract(|loan| {
            let chosen = which(loan);
            if chosen {
                set.leave();
            }
            chosen
        })
    }

    /// A command that had started has been answered.
    fn ended(&self, task: &task_set::Task) {
        {
            let mut state = self.state.lock();
            state.set.end(task);
            if task.attribute == task_set::Attribute::Aca {
                state.aca_tag = None;
            }
        }
        self.wake();
    }

    /// The tag of the command with the ACA attribute, if `nexus` is the faulted one.
    pub(crate) fn aca_task(&self, nexus: &Nexus) -> Option<u64> {
        let state = self.state.lock();
        let ours = state.set.faulted() == Some(nexus.number());
        state.aca_tag.filter(|_| ours)
    }

    /// CLEAR ACA by `nexus`, or its loss; whether that ended an ACA condition. Any context.
    pub(crate) fn clear_aca(&self, nexus: &Nexus) -> bool {
        let cleared = self.state.lock().set.clear_aca(nexus.number());
        if cleared {
            self.wake();
        }
        cleared
    }

    /// A reset ends an ACA condition. Any context.
    pub(crate) fn reset(&self) {
        self.state.lock().set.reset();
        self.wake();
    }

    /// There may be commands that nobody counts. Any context.
    pub(crate) fn has_older(&self) {
        self.state.lock().set.set_older(true);
    }
}

/// What a task set has to know of a command of `nexus`.
fn task_of(cmd: &Command, nexus: &Nexus) -> task_set::Task {
    task_set::Task::new(&cmd.cdb, cmd.attribute, nexus.number())
}

fn rules(control: Control) -> Rules {
    Rules {
        restricted: control.queue_algorithm() == 0,
        tmf_only: control.tmf_only(),
    }
}

/// How a new command is refused.
fn refusal(arrival: Arrival) -> Option<Refusal> {
    match arrival {
        Arrival::Start | Arrival::Wait => None,
        Arrival::AcaActive => Some(Refusal::Status(status::ACA_ACTIVE)),
        Arrival::Busy => Some(Refusal::Status(status::BUSY)),
        Arrival::Invalid(sense) => Some(Refusal::Sense(sense)),
    }
}

/// Refuses a new command that an ACA condition keeps out: before anything else is
/// looked at (SAM-6 5.8.3).
pub(crate) fn check_aca(nexus: &Nexus, gate: u32, cmd: &Command) -> Result<(), Refusal> {
    if gate & gate::TASKS == 0 {
        return Ok(());
    }
    let state = nexus.tasks.state.lock();
    if state.set.faulted().is_none() {
        return Ok(());
    }
    let arrival = state
        .set
        .refusal(&task_of(cmd, nexus), rules(nexus.control()));
    arrival.and_then(refusal).map_or(Ok(()), Err)
}

/// How a command is refused that nobody knows: by `sense`, or because of an ACA
/// condition.
#[cold]
pub(crate) fn undecoded(cmd: &Command, sense: Sense) -> Refusal {
    let kept = cmd
        .nexus
        .as_ref()
        .and_then(|nexus| check_aca(nexus, nexus.gate(), cmd).err());
    kept.unwrap_or(Refusal::Sense(sense))
}

/// A command enters the task set: it starts, waits, or is refused. Any context.
#[cold]
pub(crate) fn enter(nexus: &InUse<Nexus>, mut loan: CommandLoan) {
    let tasks = &nexus.tasks;
    if !nexus.device.lu.has_aca() {
        if let Err(sense) = loan.cdb.refuse_naca() {
            return pipeline::refuse(loan, Refusal::Sense(sense));
        }
    }
    let task = task_of(&loan, nexus);
    let rules = rules(nexus.control());
    let mut state = tasks.state.lock();
    if task.is_special() {
        state.special_ns = loan.started_ns;
        nexus.set_counting(true);
    } else if state.set.is_quiet() && !state.settling && !rules.restricted {
        let since = loan.started_ns.saturating_sub(state.special_ns);
        if since > QUIET_NS {
            state.set.set_older(true);
            nexus.set_counting(false);
            drop(state);
            return go(loan);
        }
    }
    let arrival = state.set.arrive(&task, rules);
    if let Some(refusal) = refusal(arrival) {
        drop(state);
        return pipeline::refuse(loan, refusal);
    }
    loan.shared().count();
    let waits = arrival == Arrival::Wait;
    let settle = state.set.has_older() && !state.settling && (waits || task.is_special());
    state.settling |= settle;
    let start = match waits {
        true => {
            loan.counted |= counted::WAITS;
            if pipeline::vanishes(&loan) {
                loan.counted |= counted::VANISHES;
            }
            // Nobody works on it.
            let _ = loan.shared().advance_to(State::Queued);
            state.waiting.push_back(loan);
            None
        }
        false => {
            if task.attribute == task_set::Attribute::Aca {
                state.aca_tag = Some(loan.tag);
            }
            loan.counted |= counted::STARTED;
            Some(loan)
        }
    };
    drop(state);
    if settle {
        begin_settling(nexus.clone());
    }
    match start {
        Some(loan) => go(loan),
        None => {
            nexus.release_late();
            // What it waited for may have ended before it was in the queue.
            tasks.wake();
        }
    }
}

/// Goes on with a command that starts.
fn go(loan: CommandLoan) {
    let blocked = loan
        .nexus
        .as_ref()
        .is_some_and(|n| n.gate() & gate::BLOCKED != 0);
    match blocked {
        true => pipeline::refuse(loan, Refusal::Hold),
        false => pipeline::start(loan),
    }
}

/// A command that somebody has counted is answered, and then nobody counts it any
/// more.
#[cold]
pub(crate) fn leave(mut loan: CommandLoan) {
    let Some(nexus) = loan.nexus.clone() else {
        return crate::cmd::respond(loan);
    };
    let task = task_of(&loan, &nexus);
    let by = core::mem::take(&mut loan.counted);
    if by & counted::ADMITTED != 0 {
        nexus.leave();
    }
    crate::cmd::respond(loan);
    if by & counted::STARTED != 0 {
        nexus.tasks.ended(&task);
    }
}

/// A command is terminated with CHECK CONDITION, which may establish or end an ACA
/// condition: before the initiator hears of it.
pub(crate) fn failed(loan: &CommandLoan) {
    let aca = loan.attribute == task_set::Attribute::Aca;
    let Some(nexus) = loan.nexus.as_ref().filter(|_| aca || loan.cdb.naca()) else {
        return;
    };
    if !nexus.device.lu.has_aca() {
        return;
    }
    let task = task_of(loan, nexus);
    let mut state = nexus.tasks.state.lock();
    if !state.set.check_condition(&task) {
        return;
    }
    state.special_ns = kapi::time::clock_ns();
    nexus.set_counting(true);
    let settle = state.set.has_older() && !state.settling;
    state.settling |= settle;
    drop(state);
    if settle {
        begin_settling(nexus.clone());
    }
}

/// Whether CHECK CONDITION of this command aborts others (QERR of the Control mode
/// page, SPC-6 7.5.10).
pub(crate) fn aborts_others(loan: &CommandLoan) -> bool {
    let qerr = loan.nexus.as_ref().map_or(0, |n| n.control().qerr());
    qerr != 0 && !loan.shared().is_aborted()
}

/// Aborts the other commands, of the nexus or of the whole task set, and then
/// answers this one. Any context.
#[cold]
pub(crate) fn abort_others(cmd: Cmd<Executing>) {
    let queued = scst_core().and_then(|core| {
        core.work.queue_atomic(move || {
            if let Some(nexus) = cmd.nexus_in_use() {
                abort_beside(&nexus, cmd.tag());
            }
            answer_failed(cmd.into_loan());
        })
    });
    // Without memory the command is dropped, and so answered.
    let _ = queued;
}

fn abort_beside(nexus: &InUse<Nexus>, tag: u64) {
    const ALL: u8 = 1;

    let control = nexus.control();
    let cause = Cause::ClearTaskSet;
    if control.qerr() == ALL && nexus.tasks.shared {
        for other in members(nexus).iter().flatten() {
            if !core::ptr::eq::<Nexus>(&***other, &**nexus) {
                let told = answer(cause, true, control.tas());
                let aborted = other.abort_commands(cause, told == Answer::TaskAborted, None);
                if aborted && told == Answer::CommandsCleared {
                    other.unit_attention(scst_proto::sense::COMMANDS_CLEARED);
                }
            }
        }
    }
    nexus.abort_commands(cause, false, Some(tag));
}

/// The nexuses of a task set: of the device, for a shared one. Sleeps; takes the
/// configuration's lock.
fn members(nexus: &Nexus) -> Result<NexusList> {
    let mut all = scst_core()?.nexuses_of(&nexus.device)?;
    all.retain(|other| Arc::ptr_eq(&other.tasks, &nexus.tasks));
    Ok(all)
}

/// Lets all nexuses of a device count commands from now on, as what the Control mode
/// page says of task sets has changed. Sleeps; takes the configuration's lock.
pub(crate) fn rules_changed(device: &Arc<Device>) {
    let nexuses = scst_core().and_then(|core| core.nexuses_of(device));
    for nexus in nexuses.iter().flatten() {
        nexus.tasks.has_older();
        nexus.set_counting(true);
    }
}

/// Has [`settle`] run. Any context.
fn begin_settling(nexus: InUse<Nexus>) {
    let tasks = nexus.tasks.clone();
    let queued = scst_core().and_then(|core| core.work.queue_atomic(move || settle(nexus)));
    if queued.is_err() {
        give_up(&tasks);
    }
}

/// There is no memory to find out what is older than the commands that wait: they
/// are to be sent again.
fn give_up(tasks: &TaskSet) {
    tasks.state.lock().settling = false;
    let mut waiting = tasks.take_waiting(|_| true);
    while let Some(loan) = waiting.pop_front() {
        Cmd::<Executing>::new(loan).status(status::BUSY);
    }
}

/// Waits until all commands of the task set are counted.
fn settle(nexus: InUse<Nexus>) {
    let tasks = &nexus.tasks;
    let members = match tasks.shared {
        true => members(&nexus),
        false => Ok(NexusList::new()),
    };
    let Ok(members) = members else {
        return give_up(tasks);
    };
    for other in &members {
        other.set_counting(true);
    }
    // Who did not see that yet is to be found after this.
    kapi::rcu::synchronize();
    let mut pause = 1;
    loop {
        let mut uncounted = nexus.has_uncounted();
        for other in &members {
            uncounted |= other.has_uncounted();
        }
        let mut state = tasks.state.lock();
        if !uncounted {
            state.set.set_older(false);
        }
        if !uncounted || state.set.is_quiet() {
            state.settling = false;
            break;
        }
        if nexus.gate() & gate::GONE != 0 {
            // Who waits of another nexus has that one look.
            let next = state.waiting.first().and_then(|cmd| cmd.nexus.clone());
            state.settling = next.is_some();
            drop(state);
            drop(members);
            return next.map_or((), begin_settling);
        }
        drop(state);
        kapi::time::sleep_ms(pause);
        pause = pause.saturating_mul(2).min(PAUSE_MS);
    }
    tasks.wake();
}
