// SPDX-License-Identifier: GPL-2.0

//! The order of the commands of a task set, and the ACA condition (SAM-6 clause 8 and 5.8).
//!
//! A logical unit has one task set, or one for each I_T nexus, as TST of the Control mode page says. What commands wait
//! for each other is told by their task attributes:
//!
//! | attribute | starts when |
//! |---|---|
//! | HEAD OF QUEUE | at once |
//! | ACA | at once; only the faulted I_T nexus may send one, and only one at a time |
//! | ORDERED | no HEAD OF QUEUE command is left, and no older command of any attribute |
//! | SIMPLE | no HEAD OF QUEUE command is left, and no older ORDERED one; with restricted reordering ([`Rules`]) also no older one that writes, and if it writes itself, none at all |
//!
//! So those that wait start in the order of their arrival: what keeps one waiting keeps all younger ones waiting, too. What
//! an ACA condition lets pass counts as older than what it keeps.
//!
//! The caller keeps them in a queue and asks of the first, [`TaskSet::may_start`]; a [`TaskSet`] counts the others.
//!
//! While an ACA condition is in effect nothing that waits starts, and new commands are answered as [`TaskSet::arrive`]
//! says:
//!
//! | new command | of the faulted nexus | of another nexus of the task set |
//! |---|---|---|
//! | ACA attribute | starts, unless there is one or TMF_ONLY is set: ACA ACTIVE | as the others |
//! | other attribute | ACA ACTIVE | ACA ACTIVE if NACA is set, else BUSY |
//! | PREEMPT AND ABORT | ACA ACTIVE | starts |

use crate::cdb::Cdb;
use crate::opcode::Flags;
use crate::sense::{Sense, INVALID_MESSAGE};

/// Task attribute (SAM-6 8.9).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Hash)]
pub enum Attribute {
    /// SIMPLE.
    #[default]
    Simple,
    /// ORDERED.
    Ordered,
    /// HEAD OF QUEUE.
    HeadOfQueue,
    /// ACA.
    Aca,
}

/// What there is to know of a command.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Task {
    /// Its task attribute.
    pub attribute: Attribute,
    /// NACA: CHECK CONDITION of this command establishes an ACA condition.
    pub naca: bool,
    /// It changes the medium.
    pub writes: bool,
    /// It is a PERSISTENT RESERVE OUT with the service action PREEMPT AND ABORT.
    pub fences: bool,
    /// The I_T nexus that it came through, by a number of the caller's.
    pub nexus: u64,
}

impl Task {
    /// The command of `cdb`.
    pub fn new(cdb: &Cdb, attribute: Attribute, nexus: u64) -> Self {
        const PREEMPT_AND_ABORT: (u8, u16) = (0x5f, 0x05);

        Self {
            attribute,
            naca: cdb.naca(),
            writes: cdb.op.flags.contains(Flags::WRITES),
            fences: (cdb.op.opcode, cdb.service_action) == PREEMPT_AND_ABORT,
            nexus,
        }
    }

    /// Whether the task set has to know of it even if it has nothing else in it: others may have to wait for it, or be
    /// refused when it fails.
    pub const fn is_special(&self) -> bool {
        self.naca || !matches!(self.attribute, Attribute::Simple)
    }
}

/// What of the Control mode page (SPC-6 7.5.10) is about task sets.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Rules {
    /// QUEUE ALGORITHM MODIFIER is 0, restricted reordering: the medium looks as if commands had been executed in the
    /// order of their arrival.
    pub restricted: bool,
    /// TMF_ONLY: during an ACA condition no commands, only task management functions.
    pub tmf_only: bool,
}

/// What becomes of a new command.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Arrival {
    /// It starts now.
    Start,
    /// It waits behind the others.
    Wait,
    /// It gets ACA ACTIVE status.
    AcaActive,
    /// It gets BUSY status.
    Busy,
    /// It is terminated with CHECK CONDITION and this sense.
    Invalid(Sense),
}

/// The commands of a task set, counted, and its ACA condition.
///
/// # Invariants
///
/// Each command that [`TaskSet::arrive`] took counts once: in `waiting`, or in the count of its attribute.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TaskSet {
    simple: u32,
    ordered: u32,
    head_of_queue: u32,
    aca_tasks: u32,
    /// Those of the above that write.
    writers: u32,
    waiting: u32,
    /// There may be commands that are older than all that were counted.
    older: bool,
    /// The faulted I_T nexus.
    aca: Option<u64>,
}

impl TaskSet {
    /// A task set in which there may be commands that nobody has counted.
    pub const fn new() -> Self {
        Self {
            simple: 0,
            ordered: 0,
            head_of_queue: 0,
            aca_tasks: 0,
            writers: 0,
            waiting: 0,
            older: true,
            aca: None,
        }
    }

    /// Whether there may be commands that nobody has counted.
    pub const fn has_older(&self) -> bool {
        self.older
    }

    /// There may be such commands, or there are none any more.
    pub fn set_older(&mut self, older: bool) {
        self.older = older;
    }

    /// Whether commands wait.
    pub const fn has_waiting(&self) -> bool {
        self.waiting != 0
    }

    /// The faulted I_T nexus of the ACA condition that is in effect.
    pub const fn faulted(&self) -> Option<u64> {
        self.aca
    }

    /// Whether nothing in the set asks for commands to be counted.
    pub const fn is_quiet(&self) -> bool {
        !self.has_waiting() && !self.runs() && self.head_of_queue == 0 && self.aca.is_none()
    }

    /// Whether a command has started, of another attribute than HEAD OF QUEUE.
    const fn runs(&self) -> bool {
        self.simple != 0 || self.ordered != 0 || self.aca_tasks != 0
    }

    /// How a new command is refused because of an ACA condition, or for want of one; `None`: it is not.
    pub fn refusal(&self, task: &Task, rules: Rules) -> Option<Arrival> {
        let aca = matches!(task.attribute, Attribute::Aca);
        match self.aca {
            None if aca => Some(Arrival::Invalid(INVALID_MESSAGE)),
            None => None,
            Some(faulted) if faulted == task.nexus => {
                let taken = aca && !rules.tmf_only && self.aca_tasks == 0;
                (!taken).then_some(Arrival::AcaActive)
            }
            Some(_) if task.fences => None,
            Some(_) if task.naca => Some(Arrival::AcaActive),
            Some(_) => Some(Arrival::Busy),
        }
    }

    /// A command arrives; [`Arrival::Start`] and [`Arrival::Wait`] count it.
    pub fn arrive(&mut self, task: &Task, rules: Rules) -> Arrival {
        if let Some(refusal) = self.refusal(task, rules) {
            return refusal;
        }
        let at_once = match task.attribute {
            Attribute::HeadOfQueue | Attribute::Aca => true,
            // The one that an ACA condition does not keep.
            _ if self.aca.is_some() => true,
            _ => !self.has_waiting() && self.may_start(task, rules),
        };
        if at_once {
            self.count(task, true);
            return Arrival::Start;
        }
        self.waiting = self.waiting.saturating_add(1);
        Arrival::Wait
    }

    /// Whether the command that has waited longest may start.
    pub fn may_start(&self, task: &Task, rules: Rules) -> bool {
        let alone = !self.runs() && !self.older;
        self.aca.is_none()
            && self.head_of_queue == 0
            && match task.attribute {
                Attribute::Ordered => alone,
                _ if !rules.restricted => self.ordered == 0,
                _ if task.writes => alone,
                _ => self.ordered == 0 && self.writers == 0 && !self.older,
            }
    }

    /// A command that waited starts.
    pub fn start(&mut self, task: &Task) {
        self.leave();
        self.count(task, true);
    }

    /// A command that waited leaves without having started.
    pub fn leave(&mut self) {
        self.waiting = self.waiting.saturating_sub(1);
    }

    /// A command that had started has ended.
    pub fn end(&mut self, task: &Task) {
        self.count(task, false);
    }

    fn count(&mut self, task: &Task, more: bool) {
        let change = |n: &mut u32| {
            *n = match more {
                true => n.saturating_add(1),
                false => n.saturating_sub(1),
            }
        };
        change(match task.attribute {
            Attribute::Simple => &mut self.simple,
            Attribute::Ordered => &mut self.ordered,
            Attribute::HeadOfQueue => &mut self.head_of_queue,
            Attribute::Aca => &mut self.aca_tasks,
        });
        if task.writes {
            change(&mut self.writers);
        }
    }

    /// A command is terminated with CHECK CONDITION. One with the ACA attribute ends the ACA condition, and each with
    /// NACA establishes one, if there is none (SAM-6 5.8). Whether one is in effect that was not before.
    pub fn check_condition(&mut self, task: &Task) -> bool {
        if matches!(task.attribute, Attribute::Aca) && self.aca == Some(task.nexus) {
            self.aca = None;
        }
        let establishes = task.naca && self.aca.is_none();
        if establishes {
            self.aca = Some(task.nexus);
        }
        establishes
    }

    /// CLEAR ACA by `nexus`, or its loss, or that its commands were cleared by PREEMPT AND ABORT; whether there was an
    /// ACA condition of that nexus.
    pub fn clear_aca(&mut self, nexus: u64) -> bool {
        let cleared = self.aca == Some(nexus);
        if cleared {
            self.aca = None;
        }
        cleared
    }

    /// A reset: no ACA condition any more.
    pub fn reset(&mut self) {
        self.aca = None;
    }
}

impl Default for TaskSet {
    fn default() -> Self {
        Self::new()
    }
}
