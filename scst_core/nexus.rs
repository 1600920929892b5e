// SPDX-License-Identifier: GPL-2.0

//! The I_T_L nexus: one logical unit as one session sees it (SAM-6 4.6.15).

use crate::{
    cmd::{Command, CommandLoan, Task},
    device::Device,
    protection::FailedChecks,
    reservations::id_of,
    session::Session,
    stats::Stats,
    task_sets::TaskSet,
    threads::ThreadPool,
    util::emit,
};
use kapi::{
    counted::Counted,
    loan::LoanQueue,
    lock::{new_spinlock_irq, SpinLockIrq},
    sysfs::{Attr, Page},
};
use kernel::{
    prelude::*,
    sync::{
        atomic::{Atomic, Full, Relaxed},
        Arc,
    },
};
use scst_proto::{
    alua::AccessState,
    mode::Control,
    opcode::Flags,
    pr::access::Access,
    sense::{Sense, POWER_ON_OR_RESET},
    task::{Function, State},
    ua::{Answered, UaQueue},
};

/// What may keep a command from going straight to its handler; a nexus without
/// any of them is the fast path, found by one load.
pub(crate) mod gate {
    /// A unit attention is pending.
    pub(crate) const UNIT_ATTENTION: u32 = 1;
    /// The LUN is mapped read-only.
    pub(crate) const READ_ONLY: u32 = 2;
    /// A test wants commands to vanish: [`super::swallows`].
    pub(crate) const BLACK_HOLE: u32 = 4;
    /// The initiator could have more commands outstanding than it may: they are
    /// counted.
    pub(crate) const LIMITED: u32 = 8;
    /// An administrator has blocked the device: commands wait.
    pub(crate) const BLOCKED: u32 = 16;
    /// The LUN is gone: nobody will unblock or abort what is kept here.
    pub(crate) const GONE: u32 = 32;
    /// Tokens stand for blocks of the device as they are: writes are compared with
    /// them.
    pub(crate) const WATCHED: u32 = 1 << 24;
    /// Commands are counted by the task set, which may keep them waiting.
    pub(crate) const TASKS: u32 = 64;
    /// The device has protection information.
    pub(crate) const PROTECTED: u32 = 128;
    /// The code of the [`Access`](scst_proto::pr::access::Access) that reservations
    /// leave to the nexus, 0 for all.
    pub(crate) const RESERVED: u32 = 0x3 << RESERVED_SHIFT;
    pub(crate) const RESERVED_SHIFT: u32 = 12;
    /// The code of the ALUA state of the target port, if that does not serve I/O.
    pub(crate) const ACCESS: u32 = 0xf << ACCESS_SHIFT;
    pub(crate) const ACCESS_SHIFT: u32 = 8;
}

/// The ALUA state that a gate tells.
pub(crate) fn access_of(gate: u32) -> AccessState {
    let code = (gate & gate::ACCESS) >> gate::ACCESS_SHIFT;
    AccessState::from_code(code as u8).unwrap_or(AccessState::Optimized)
}

/// What the reservation that a gate tells of leaves to the nexus.
pub(crate) fn reserved_of(gate: u32) -> Access {
    Access::from_code(((gate & gate::RESERVED) >> gate::RESERVED_SHIFT) as u8)
}

/// Whether `black_hole` in this mode keeps a command, which moves data or not,
/// until task management asks for it or the LUN goes. Task management is always
/// answered.
pub(crate) fn swallows(mode: u32, moves_data: bool) -> bool {
    match mode {
        1 | 2 => true,
        3 | 4 => moves_data,
        _ => false,
    }
}

/// A LUN as a session sees it, and whether it still is what it was.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SeenLun {
    /// The LUN.
    pub lun: u16,
    /// Differs from any earlier value if the LUN was unmapped in between.
    pub since: u64,
    /// Differs from any earlier value if another device was put there.
    pub mapping: u64,
}

/// An I_T_L nexus.
pub struct Nexus {
    session: Arc<Session>,
    pub(crate) device: Arc<Device>,
    seen: SeenLun,
    gate: Atomic<u32>,
    attentions: Pin<KBox<SpinLockIrq<UaQueue>>>,
    hole: Pin<KBox<SpinLockIrq<LoanQueue<Task, Command>>>>,
    /// Commands that wait until the device is unblocked.
    held: Pin<KBox<SpinLockIrq<LoanQueue<Task, Command>>>>,
    /// Commands that [`Nexus::admit`] has counted and that are not answered.
    admitted: Atomic<u32>,
    pub(crate) tasks: Arc<TaskSet>,
    /// 1 if the initiator prevents the removal of the medium.
    prevents: Atomic<u32>,
    pub(crate) stats: Stats,
    pub(crate) failed_checks: FailedChecks,
    /// Threads of this nexus alone (`threads_pool_type` per_initiator); none
    /// for a device that never sleeps, and for the core's own commands.
    pub(crate) pool: Option<Arc<ThreadPool>>,
}

impl Nexus {
    /// Makes a nexus with the power-on unit attention pending. May sleep.
    pub(crate) fn new(
        session: Arc<Session>,
        device: Arc<Device>,
        seen: SeenLun,
        read_only: bool,
    ) -> Result<Arc<Counted<Self>>> {
        let attentions = KBox::pin_init(new_spinlock_irq!(UaQueue::new()), GFP_KERNEL)?;
        attentions.lock().push(POWER_ON_OR_RESET);
        let pool = match session.transport().is_internal() {
            true => None,
            false => device.new_nexus_pool(session.cpus())?,
        };
        let hole = KBox::pin_init(new_spinlock_irq!(LoanQueue::new()), GFP_KERNEL)?;
        let held = KBox::pin_init(new_spinlock_irq!(LoanQueue::new()), GFP_KERNEL)?;
        let blocked = match device.blocks() {
            0 => 0,
            _ => gate::BLOCKED,
        };
        let read_only = if read_only { gate::READ_ONLY } else { 0 };
        let black_hole = match session.black_hole() {
            0 => 0,
            _ => gate::BLACK_HOLE,
        };
        let protected = match device.lu.protection() {
            Some(_) => gate::PROTECTED,
            None => 0,
        };
        let control = device.lu.control();
        // The core's own commands are part of others, and do not wait for those.
        let shared = control.tst() == 0 && !session.transport().is_internal();
        let tasks = match shared {
            true => device.tasks.clone(),
            false => TaskSet::new(false)?,
        };
        let counts = match shared || control.queue_algorithm() == 0 {
            true => gate::TASKS,
            false => 0,
        };
        let first = gate::UNIT_ATTENTION | read_only | black_hole | blocked | counts | protected;
        let nexus = Counted::new(Self {
            session,
            device,
            seen,
            gate: Atomic::new(first),
            attentions,
            hole,
            held,
            admitted: Atomic::new(0),
            tasks,
            prevents: Atomic::new(0),
            stats: Stats::new()?,
            failed_checks: FailedChecks::new(),
            pool,
        })?;
        nexus.update_limit();
        nexus.set_watched(nexus.device.watch.is_on());
        nexus.set_access(nexus.granted());
        nexus.set_reserved(nexus.device.reservations.access(&id_of(&nexus)));
        Ok(nexus)
    }

    /// The logical unit number.
    pub fn lun(&self) -> u16 {
        self.seen.lun
    }

    pub(crate) fn seen(&self) -> SeenLun {
        self.seen
    }

    /// The session that the nexus is of.
    #[inline]
    pub fn session(&self) -> &Session {
        &self.session
    }

    /// Whether this LUN is mapped read-only (whatever the device says).
    pub fn read_only(&self) -> bool {
        self.gate.load(Relaxed) & gate::READ_ONLY != 0
    }

    /// D_SENSE of the control mode page: sense data in descriptor format.
    pub(crate) fn descriptor_sense(&self) -> bool {
        self.device.lu.descriptor_sense()
    }

    #[inline]
    pub(crate) fn gate(&self) -> u32 {
        self.gate.load(Relaxed)
    }

    /// RELATIVE TARGET PORT IDENTIFIER (SPC-6 7.7.6.10) of the port that the
    /// nexus goes through; 0 while it has none.
    pub fn relative_target_port(&self) -> u16 {
        self.session.target.rel_tgt_id()
    }

    /// Whether the device has target port groups: it is in a device group. May
    /// sleep.
    pub fn has_target_port_groups(&self) -> bool {
        self.device.group().is_some()
    }

    /// TARGET PORT GROUP of the port that the nexus goes through, if it is in one.
    /// May sleep.
    pub fn target_port_group(&self) -> Option<u16> {
        self.device.group()?.target_port_group(&self.session.target)
    }

    /// The ALUA state of the port, as the device's groups have it. May sleep.
    pub(crate) fn granted(&self) -> AccessState {
        self.device.group().map_or(AccessState::Optimized, |group| {
            group.access(&self.session.target)
        })
    }

    /// The ALUA state of the port, as commands meet it: active stands for all
    /// states that serve I/O. Any context.
    pub(crate) fn access(&self) -> AccessState {
        access_of(self.gate.load(Relaxed))
    }

    /// Lets commands meet this ALUA state. Management.
    pub(crate) fn set_access(&self, state: AccessState) {
        if self.is_internal() {
            return;
        }
        let code = match state.serves_io() {
            true => 0,
            false => u32::from(state.code()) << gate::ACCESS_SHIFT,
        };
        self.change_gate(|old| old & !gate::ACCESS | code);
    }

    /// Whether it is the core itself whose nexus this is: it looks at what the
    /// initiator may do that it works for.
    fn is_internal(&self) -> bool {
        self.session.transport().is_internal()
    }

    /// Lets commands meet a reservation. Management, and who changes it.
    pub(crate) fn set_reserved(&self, access: Access) {
        if self.is_internal() {
            return;
        }
        let code = u32::from(access as u8) << gate::RESERVED_SHIFT;
        self.change_gate(|old| old & !gate::RESERVED | code);
    }

    /// The sense of a device that is not ready: that the state of the port is the
    /// reason, if it is, for a command with these flags. Any context.
    pub(crate) fn not_ready(&self, flags: Flags, sense: Sense) -> Sense {
        self.access().refusal(flags).unwrap_or(sense)
    }

    /// Whether the initiator can ask for this task management function.
    pub fn has_function(&self, function: Function) -> bool {
        self.session.transport().has_function(function)
    }

    /// What INQUIRY says of the transport, see
    /// [`Transport::version_descriptors`](crate::Transport::version_descriptors).
    pub fn version_descriptors(&self) -> [u16; 2] {
        self.session.transport().version_descriptors()
    }

    /// Establishes a unit attention on every other nexus of the device, as
    /// MODE SELECT has to (SPC-6 6.12). May sleep; takes the configuration's
    /// lock.
    pub fn unit_attention_others(&self, sense: Sense) {
        let nexuses = crate::config::core().and_then(|c| c.nexuses_of(&self.device));
        for nexus in nexuses.iter().flatten() {
            let other: &Nexus = nexus;
            if !::core::ptr::eq(other, self) {
                other.unit_attention(sense);
            }
        }
    }

    /// Establishes a unit attention condition (SAM-6 5.14). Any context.
    pub fn unit_attention(&self, sense: Sense) {
        let mut queue = self.attentions.lock();
        queue.push(sense);
        self.set_attention(true);
    }

    /// Takes the unit attention to report next. Any context.
    pub(crate) fn take_attention(&self) -> Option<Sense> {
        self.session.attention_is_taken();
        let mut queue = self.attentions.lock();
        let sense = queue.pop();
        self.set_attention(!queue.is_empty());
        sense
    }

    /// What a command was to report, and did not, as it was aborted: a unit attention
    /// is reported by the next one. Any context.
    pub(crate) fn attention_not_told(&self, sense: Sense) {
        if sense.is_unit_attention() {
            let mut queue = self.attentions.lock();
            queue.unpop(sense);
            self.set_attention(true);
        }
    }

    /// The unit attention that would be reported next. Any context.
    pub(crate) fn next_attention(&self) -> Option<Sense> {
        self.attentions.lock().first()
    }

    /// Takes the unit attention that REQUEST SENSE reports as its data (SPC-6 6.39). Any context.
    pub fn request_sense(&self) -> Option<Sense> {
        match self.gate() & gate::UNIT_ATTENTION {
            0 => None,
            _ => self.take_attention(),
        }
    }

    /// A command has reported a condition by being carried out. Any context.
    pub fn answered(&self, what: Answered) {
        if self.gate() & gate::UNIT_ATTENTION != 0 {
            let mut queue = self.attentions.lock();
            queue.answered(what);
            self.set_attention(!queue.is_empty());
        }
    }

    /// Under the lock of `attentions`.
    fn set_attention(&self, pending: bool) {
        self.set_gate(gate::UNIT_ATTENTION, pending);
    }

    fn set_gate(&self, bit: u32, on: bool) {
        self.change_gate(|old| if on { old | bit } else { old & !bit });
    }

    fn change_gate(&self, change: impl Fn(u32) -> u32) {
        let mut old = self.gate.load(Relaxed);
        while let Err(now) = self.gate.cmpxchg(old, change(old), Relaxed) {
            old = now;
        }
    }

    /// The device's limit or the transport's bound has changed, or the nexus was
    /// not to be found when one of them did. Any context.
    pub(crate) fn update_limit(&self) {
        // Of two at a time the later one has read what both have changed.
        let _lock = self.attentions.lock();
        let most = self.session.transport().queue_depth();
        self.set_gate(gate::LIMITED, self.device.max_commands() < most);
    }

    /// Counts a command into the task set; false if that is full (SAM-6 5.3.1,
    /// TASK SET FULL).
    pub(crate) fn admit(&self) -> bool {
        let full = self.admitted.fetch_add(1, Relaxed) >= self.device.max_commands();
        if full {
            self.leave();
        }
        !full
    }

    /// A command that [`Nexus::admit`] let in leaves the task set.
    pub(crate) fn leave(&self) {
        let _ = self.admitted.fetch_sub(1, Relaxed);
    }

    /// Tokens stand for blocks of the device, or do not any more. Any context.
    pub(crate) fn set_watched(&self, on: bool) {
        self.set_gate(gate::WATCHED, on);
    }

    /// `black_hole` of the session became `mode`.
    pub(crate) fn set_hole(&self, mode: u32) {
        self.set_gate(gate::BLACK_HOLE, mode != 0);
    }

    /// Keeps a command unanswered.
    pub(crate) fn swallow(&self, loan: CommandLoan) {
        // Nobody works on it.
        let _ = loan.shared().advance_to(State::Queued);
        self.hole.lock().push_back(loan);
        self.release_late();
    }

    /// Ends all commands that are swallowed or held, now and from now on: the LUN
    /// is gone.
    pub(crate) fn release_all(&self) {
        self.set_gate(gate::GONE, true);
        self.release(|_| true);
    }

    fn release(&self, which: impl Fn(&CommandLoan) -> bool) {
        for queue in [&self.hole, &self.held] {
            let found = queue.lock().extract(&which);
            crate::pipeline::end_aborted(found);
        }
        let own = |loan: &CommandLoan| {
            let nexus = loan.nexus.as_deref();
            nexus.is_some_and(|nexus| ::core::ptr::eq(nexus, self))
        };
        self.tasks.end_waiting(|loan| own(loan) && which(loan));
    }

    /// Blocks the nexus, or lets commands through again; those that wait are
    /// [resumed](Nexus::resume) by the caller. Management.
    pub(crate) fn set_blocked(&self, on: bool) {
        self.set_gate(gate::BLOCKED, on);
    }

    /// Keeps a command until the device is unblocked. Any context.
    pub(crate) fn hold(&self, loan: CommandLoan) {
        let _ = loan.shared().advance_to(State::Queued);
        self.held.lock().push_back(loan);
        if self.gate() & gate::BLOCKED == 0 {
            self.resume();
        }
        self.release_late();
    }

    /// Ends commands that were put into a queue when they were already marked, or
    /// when the LUN was gone.
    pub(crate) fn release_late(&self) {
        let gone = self.gate() & gate::GONE != 0;
        self.release(|loan| gone || loan.shared().is_aborted());
    }

    /// Its number, which no other nexus has or had.
    pub(crate) fn number(&self) -> u64 {
        self.seen.mapping
    }

    /// The Control mode page.
    pub(crate) fn control(&self) -> Control {
        self.device.lu.control()
    }

    /// Lets the task set count the commands of this nexus, or not any more.
    pub(crate) fn set_counting(&self, on: bool) {
        self.set_gate(gate::TASKS, on);
    }

    /// PREVENT ALLOW MEDIUM REMOVAL (SPC-6 6.17) by this initiator, or what ends it. Any
    /// context.
    pub fn prevent_removal(&self, on: bool) {
        let on = u32::from(on);
        match (self.prevents.xchg(on, Full), on) {
            (0, 1) => self.device.preventing.add(1, Relaxed),
            (1, 0) => {
                let _ = self.device.preventing.fetch_sub(1, Relaxed);
            }
            _ => {}
        }
    }

    /// Whether this initiator or another prevents the removal of the medium.
    pub fn removal_prevented(&self) -> bool {
        self.device.removal_prevented()
    }

    /// What the Control mode page says of task sets has changed. May sleep; takes the
    /// configuration's lock.
    pub fn control_changed(&self) {
        crate::task_sets::rules_changed(&self.device);
    }

    /// The nexus is lost (SAM-6 6.3.4), and with it what the initiator has done to the
    /// logical unit, but for what it has by RESERVE. Any context.
    pub(crate) fn forget(&self) {
        self.tasks.clear_aca(self);
        self.prevent_removal(false);
    }

    /// Goes on with the commands that were held, in their order. Any context.
    pub(crate) fn resume(&self) {
        let mut held = self.held.lock().take();
        while let Some(loan) = held.pop_front() {
            crate::pipeline::resume(loan);
        }
    }

    /// Whether the device's handler has a command of this nexus. Sleeps.
    pub(crate) fn executes(&self) -> bool {
        let mut any = false;
        self.session.transport().visit_commands(&mut |task| {
            any |= task.is_executing() && task.lun() == u32::from(self.lun());
        });
        any
    }

    /// Whether the initiator has a command that the task set does not count. Sleeps.
    pub(crate) fn has_uncounted(&self) -> bool {
        let mut any = false;
        self.session.transport().visit_commands(&mut |task| {
            any |= !task.is_counted() && task.lun() == u32::from(self.lun());
        });
        any
    }

    /// Ends the commands that are marked aborted and that nobody works on: those
    /// in the black hole, those that are held, and those that wait for a thread of the device. Those
    /// that wait for one of the core's, of whatever nexus: [`crate::config::end_aborted_global`]. Any
    /// context.
    pub(crate) fn end_idle_aborted(&self) {
        self.release(|loan| loan.shared().is_aborted());
        if let Some(pool) = &self.pool {
            pool.end_aborted();
        }
        self.device.end_aborted();
    }

    #[inline]
    pub(crate) fn account(&self, cmd: &Command) {
        self.stats.account(cmd, self.device.lu.block_shift());
        if cmd.answered_ns != 0 {
            self.session.latency.record(cmd);
        }
    }
}

/// Attributes of `sessions/<name>/lun<N>`.
pub(crate) static ATTRS: &[Attr<Counted<Nexus>>] = &[
    Attr::ro(
        c"active_commands",
        |n, p| {
            emit!(p, "{}\n", n.session().count_active(Some(n.lun())));
            Ok(())
        },
        "Commands that this LUN has now.",
    ),
    Attr::ro(
        c"latency",
        |n, p| n.stats.show_latency(p),
        "Command latencies: a histogram for each direction, and how many commands took how long.",
    ),
    Attr::ro(
        c"stats",
        |n, p| n.stats.show_all(p),
        "Counters of this LUN.",
    ),
    Attr::ro(
        c"thread_index",
        |n, p| {
            emit!(p, "{}\n", if n.pool.is_some() { 0 } else { -1 });
            Ok(())
        },
        "Index of the LUN's thread pool, -1 if it has none of its own.",
    ),
    Attr::ro(
        c"thread_pid",
        show_pids,
        "PIDs of the threads that execute this LUN's commands.",
    ),
];

fn show_pids(nexus: &Counted<Nexus>, page: &mut Page<'_>) -> Result {
    let mut first = true;
    nexus.device.for_each_pid(nexus, |pid| {
        emit!(page, "{}{}", if first { "" } else { " " }, pid);
        first = false;
    });
    emit!(page, "\n");
    Ok(())
}
