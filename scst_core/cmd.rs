// SPDX-License-Identifier: GPL-2.0

//! A command, from the transport's request to its response.
//!
//! The command lives in a [`Slot`] of the transport's own request. Whoever has
//! to act on it next holds it as a [`Cmd`], whose type parameter says what that
//! is; acting consumes it:
//!
//! ```text
//! Cmd<Received> --receive()--> Cmd<DataOut> --data_received()--> Cmd<Executing>
//!     Cmd<Executing> --good(), check_condition(), status()--> Cmd<Answered>
//!     Cmd<Answered> --finish()--> the slot is the transport's again
//! ```
//!
//! A holder that drops a command does not lose it: the command is answered with
//! HARDWARE ERROR, INTERNAL TARGET FAILURE, or, already answered, finished.
//!
//! Task management sees the other half of the slot, [`Task`]: one word that
//! says how far the command is. Marking a command aborted and claiming the
//! right to respond are compare-and-exchange operations on that word, so exactly
//! one of them wins, and a command is answered exactly once.

use crate::nexus::Nexus;
pub use crate::task::{Outstanding, Task};
use kapi::{
    counted::InUse,
    loan::{self, Loan, Stage, Staged},
    pool::PooledSg,
    sg::SgList,
};
use kernel::{alloc::AllocError, prelude::*};
use scst_proto::{
    cdb::Cdb,
    sense::{Sense, SenseKey, INTERNAL_TARGET_FAILURE, PARAMETER_LIST_LENGTH_ERROR},
    task::State,
};

/// Status codes, SAM-6 5.3.1.
pub mod status {
    #![allow(missing_docs)]
    pub const GOOD: u8 = 0x00;
    pub const CHECK_CONDITION: u8 = 0x02;
    pub const BUSY: u8 = 0x08;
    pub const RESERVATION_CONFLICT: u8 = 0x18;
    pub const TASK_SET_FULL: u8 = 0x28;
    pub const ACA_ACTIVE: u8 = 0x30;
    pub const TASK_ABORTED: u8 = 0x40;
}

/// Memory for one command, to be embedded in the transport's request.
pub type Slot = loan::Slot<Task, Command>;
/// An idle [`Slot`], which a driver vouches for in its binding file.
pub type Vacant = loan::Vacant<Task, Command>;
pub(crate) type CommandLoan = Loan<Task, Command>;

/// Longest CDB that the core takes: READ(32) and its like.
pub const MAX_CDB: usize = 32;

/// Bits of [`Command::counted`].
pub(crate) mod counted {
    /// By its nexus, which has a limit.
    pub(crate) const ADMITTED: u8 = 1;
    /// By the task set, in which it waits.
    pub(crate) const WAITS: u8 = 2;
    /// By the task set, in which it has started.
    pub(crate) const STARTED: u8 = 4;
    /// It was to vanish when it arrived, and waits.
    pub(crate) const VANISHES: u8 = 8;
}

/// Direction of the data, as seen by the initiator.
pub use scst_proto::opcode::Direction;

/// Task attribute, SAM-6 8.9.
pub use scst_proto::task_set::Attribute as TaskAttribute;

/// Where the command's data are.
pub enum Data {
    /// Nowhere: the command moves none.
    None,
    /// In memory that the transport lends until the response is sent.
    Lent(SgList<'static>),
    /// In a buffer of the core's pool.
    Pooled(PooledSg),
    /// In no memory: zeros to read, and nobody looks at what is written. The
    /// transport sends zeros of its own, and receives to where nobody looks.
    Void,
}

/// The memory of `data`.
#[inline]
pub(crate) fn buffer(data: &Data) -> Option<SgList<'_>> {
    match data {
        Data::None | Data::Void => None,
        Data::Lent(sg) => Some(sg.reborrow()),
        Data::Pooled(sg) => Some(sg.list()),
    }
}

/// What a transport says of a command that has arrived.
pub struct Incoming<'a> {
    /// The command descriptor block, and what follows it in memory.
    pub cdb: &'a [u8; MAX_CDB],
    /// Its length in bytes. A longer one than [`MAX_CDB`] is refused.
    pub cdb_len: u8,
    /// Logical unit number field of the transport, SAM-6 4.7.
    pub lun: u64,
    /// What the transport calls the command in task management.
    pub tag: u64,
    /// Task attribute.
    pub attribute: TaskAttribute,
    /// Direction that the initiator said (where the transport carries it).
    pub direction: Direction,
    /// Bytes that the initiator prepared for the transfer.
    pub length: u32,
    /// The initiator's memory itself, for a transport that has it at hand; the
    /// core allocates otherwise.
    pub data: Data,
}

/// The half of a command that belongs to the holder of its [`Cmd`].
pub struct Command {
    pub(crate) nexus: Option<InUse<Nexus>>,
    pub(crate) cdb: Cdb,
    pub(crate) data: Data,
    pub(crate) sense: Option<Sense>,
    pub(crate) tag: u64,
    pub(crate) started_ns: u64,
    /// When its data-out was there, 0 before that; only while latencies are
    /// measured, as what follows.
    pub(crate) fetched_ns: u64,
    /// When it was answered.
    pub(crate) answered_ns: u64,
    /// Bytes that the CDB asks for.
    pub(crate) expected: u32,
    /// Bytes that the initiator prepared.
    pub(crate) prepared: u32,
    /// Bytes that were or will be moved.
    pub(crate) moved: u32,
    pub(crate) attribute: TaskAttribute,
    pub(crate) direction: Direction,
    pub(crate) status: u8,
    pub(crate) aborted: bool,
    /// Who has counted it: bits of [`counted`].
    pub(crate) counted: u8,
    /// The transport has fetched its data-out.
    pub(crate) fetched: bool,
    pub(crate) raw_len: u8,
    pub(crate) raw: [u8; MAX_CDB],
}

/// A command in the stage `P` of its life; see the [module](self).
pub struct Cmd<P: Stage<Task, Command>>(Staged<Task, Command, P>);

/// Arrived, not looked at.
pub struct Received;
/// Checked; its data-out is being fetched by the transport.
pub struct DataOut;
/// A device handler has it.
pub struct Executing;
/// It has a status; the transport has it.
pub struct Answered;

impl Stage<Task, Command> for Received {
    fn abandoned(loan: CommandLoan) {
        end(loan);
    }
}

impl Stage<Task, Command> for DataOut {
    fn abandoned(loan: CommandLoan) {
        fail(loan);
    }
}

impl Stage<Task, Command> for Executing {
    fn abandoned(loan: CommandLoan) {
        kernel::pr_err_once!(
            "A device handler dropped a command, answering INTERNAL TARGET FAILURE\n"
        );
        fail(loan);
    }
}

impl Stage<Task, Command> for Answered {
    fn abandoned(loan: CommandLoan) {
        end(loan);
    }
}

/// Ends the life of a command: counts it, wakes task management if that waits
/// for it, lets go of the nexus. The slot is free when this returns.
fn end(loan: CommandLoan) {
    end_by(loan, drop);
}

/// As [`end`]; `let_go` ends the loan.
#[inline]
fn end_by(mut loan: CommandLoan, let_go: impl FnOnce(CommandLoan)) {
    let nexus = loan.nexus.take();
    let aborted = loan.aborted;
    if let Some(nexus) = &nexus {
        nexus.account(&loan);
    }
    kapi::trace::cmd_done(loan.tag, u32::from(aborted));
    loan.shared().end();
    let_go(loan);
    if let (true, Some(nexus)) = (aborted, &nexus) {
        nexus.session().abort_ended();
    }
}

/// Hands the command to its transport, or ends it if it was aborted.
#[inline]
fn answer(mut loan: CommandLoan) {
    if !loan.shared().advance_to(State::Responding) {
        recall(&mut loan);
    }
    match loan.counted {
        0 => respond(loan),
        _ => crate::task_sets::leave(loan),
    }
}

/// As [`answer`], for CHECK CONDITION, which may be the affair of other commands.
pub(crate) fn answer_failed(mut loan: CommandLoan) {
    match loan.shared().advance_to(State::Responding) {
        true => crate::task_sets::failed(&loan),
        false => recall(&mut loan),
    }
    match loan.counted {
        0 => respond(loan),
        _ => crate::task_sets::leave(loan),
    }
}

/// The command was aborted: what it would have said is not said.
#[cold]
fn recall(loan: &mut CommandLoan) {
    loan.aborted = true;
    let sense = loan.sense.take();
    if let (Some(nexus), Some(sense)) = (&loan.nexus, sense) {
        nexus.attention_not_told(sense);
    }
    loan.status = status::TASK_ABORTED;
    loan.moved = 0;
}

/// Hands the command to its transport, which sends what it has to say, or nothing.
#[inline(always)]
pub(crate) fn respond(mut loan: CommandLoan) {
    if crate::latency::measuring() {
        loan.answered_ns = kapi::time::clock_ns();
    }
    kapi::trace::cmd_responded(loan.tag, u32::from(loan.status));
    // A use of its own: `send_response` may finish the command, and its use of
    // the nexus, while the transport still runs.
    match loan.nexus.clone() {
        Some(nexus) => nexus
            .session()
            .transport()
            .send_response(Cmd(Staged::new(loan))),
        None => end(loan),
    }
}

fn fail(mut loan: CommandLoan) {
    loan.status = status::CHECK_CONDITION;
    loan.sense = Some(INTERNAL_TARGET_FAILURE);
    loan.moved = 0;
    answer_failed(loan);
}

impl<P: Stage<Task, Command>> Cmd<P> {
    pub(crate) fn new(loan: CommandLoan) -> Self {
        Self(Staged::new(loan))
    }

    pub(crate) fn into_loan(self) -> CommandLoan {
        self.0.into_loan()
    }

    /// The decoded CDB.
    #[inline]
    pub fn cdb(&self) -> &Cdb {
        &self.0.cdb
    }

    /// The CDB as it arrived.
    pub fn raw_cdb(&self) -> &[u8] {
        self.0.raw.get(..usize::from(self.0.raw_len)).unwrap_or(&[])
    }

    /// What the transport calls the command.
    pub fn tag(&self) -> u64 {
        self.0.tag
    }

    /// Direction of the data.
    pub fn direction(&self) -> Direction {
        self.0.direction
    }

    /// Bytes to move: what the CDB asks for, but not more than the initiator
    /// prepared.
    #[inline]
    pub fn length(&self) -> u32 {
        self.0.expected.min(self.0.prepared)
    }

    /// Bytes that the initiator prepared, whatever the CDB asks for.
    pub fn prepared(&self) -> u32 {
        self.0.prepared
    }

    /// The data buffer; `None` if the command moves no data.
    #[inline]
    pub fn data(&self) -> Option<SgList<'_>> {
        buffer(&self.0.data)
    }

    /// Whether the command moves data that are nothing ([`Data::Void`]).
    #[inline]
    pub fn is_void(&self) -> bool {
        matches!(self.0.data, Data::Void)
    }

    /// Whether the command was aborted and its initiator gets no response.
    #[inline]
    pub fn is_aborted(&self) -> bool {
        self.0.shared().is_silent()
    }

    /// The I_T_L nexus; `None` only for a command to a LUN that does not exist.
    #[inline]
    pub fn nexus(&self) -> Option<&Nexus> {
        self.0.nexus.as_deref()
    }

    /// Another use of the command's nexus.
    #[inline]
    pub(crate) fn nexus_in_use(&self) -> Option<InUse<Nexus>> {
        self.0.nexus.clone()
    }

    /// Address of the command's slot, from which the driver finds its request.
    #[inline]
    pub fn slot(&self) -> core::ptr::NonNull<Slot> {
        self.0.as_ptr()
    }
}

impl Cmd<DataOut> {
    /// The data-out buffer is complete.
    pub fn data_received(self) {
        let mut loan = self.into_loan();
        loan.fetched = true;
        if crate::latency::measuring() {
            loan.fetched_ns = kapi::time::clock_ns();
        }
        crate::pipeline::run(loan);
    }

    /// The transport could not fetch the data.
    pub fn data_failed(self, sense: Sense) {
        let mut loan = self.into_loan();
        loan.status = status::CHECK_CONDITION;
        loan.sense = Some(sense);
        answer_failed(loan);
    }
}

impl Cmd<Executing> {
    /// Copies `bytes` to the start of the data-in buffer, as much of it as the
    /// command asks for, and notes that as the length of the transfer.
    pub fn put(&mut self, bytes: &[u8]) {
        let length = self.length() as usize;
        let bytes = bytes.get(..length).unwrap_or(bytes);
        let moved = self.data().map_or(0, |sg| sg.copy_to(0, bytes));
        self.0.moved = moved as u32;
    }

    /// Copies the start of the data-out buffer; returns how many bytes.
    pub fn get(&self, buf: &mut [u8]) -> usize {
        let length = (self.length() as usize).min(buf.len());
        match (self.data(), buf.get_mut(..length)) {
            (Some(sg), Some(buf)) => sg.copy_from(0, buf),
            _ => 0,
        }
    }

    /// The parameter list of a command; PARAMETER LIST LENGTH ERROR if its buffer is of
    /// more than `most` bytes. May sleep.
    pub(crate) fn parameter_list<E>(&self, most: usize) -> Result<KVec<u8>, E>
    where
        E: From<Sense> + From<AllocError>,
    {
        let length = self.length() as usize;
        if length > most {
            return Err(PARAMETER_LIST_LENGTH_ERROR.into());
        }
        let mut list = KVec::from_elem(0u8, length, GFP_KERNEL)?;
        let got = self.get(&mut list);
        list.truncate(got);
        Ok(list)
    }

    /// GOOD; the transfer is as long as [`Cmd::put`] noted (0 without one).
    #[inline]
    pub fn good(self) {
        answer(self.into_loan());
    }

    /// GOOD after a transfer of `bytes` bytes.
    #[inline]
    pub fn good_with(mut self, bytes: u32) {
        self.0.moved = bytes;
        answer(self.into_loan());
    }

    /// CHECK CONDITION with `sense`. A device that is not ready because the ALUA
    /// state of the port has changed meanwhile is said to be that.
    pub fn check_condition(self, sense: Sense) {
        let mut loan = self.into_loan();
        let sense = match (&loan.nexus, sense.key) {
            (Some(nexus), SenseKey::NotReady) => nexus.not_ready(loan.cdb.op.flags, sense),
            _ => sense,
        };
        loan.status = status::CHECK_CONDITION;
        loan.sense = Some(sense);
        loan.moved = 0;
        if crate::task_sets::aborts_others(&loan) {
            return crate::task_sets::abort_others(Self::new(loan));
        }
        answer_failed(loan);
    }

    /// Another status than GOOD and CHECK CONDITION.
    pub fn status(self, status: u8) {
        let mut loan = self.into_loan();
        loan.status = status;
        loan.moved = 0;
        answer(loan);
    }
}

impl Cmd<Answered> {
    /// The status code.
    #[inline]
    pub fn status_code(&self) -> u8 {
        self.0.status
    }

    /// Writes the sense data to `buf`; returns its length, 0 if there are none.
    pub fn sense(&self, buf: &mut [u8]) -> usize {
        match (&self.0.sense, self.0.status) {
            (Some(sense), status::CHECK_CONDITION) => {
                let descriptor = self.nexus().is_some_and(Nexus::descriptor_sense);
                sense.encode(descriptor, buf)
            }
            _ => 0,
        }
    }

    /// Bytes of data-in (or data-out) that were moved.
    #[inline]
    pub fn moved(&self) -> u32 {
        self.0.moved
    }

    /// Bytes that the initiator prepared and that were not moved, and whether
    /// the CDB asked for more than it prepared, and how much.
    #[inline]
    pub fn residual(&self) -> Residual {
        Residual {
            under: self.0.prepared.saturating_sub(self.0.moved),
            over: self.0.expected.saturating_sub(self.0.prepared),
        }
    }

    /// Sense, if there is any.
    pub(crate) fn sense_value(&self) -> Option<Sense> {
        self.0.sense
    }

    /// The data buffer, for who answers itself and goes on with the data.
    pub(crate) fn take_data(&mut self) -> Data {
        core::mem::replace(&mut self.0.data, Data::None)
    }

    /// As [`Cmd::finish`]; `let_go` ends the loan of the slot.
    pub(crate) fn finish_by(self, let_go: impl FnOnce(CommandLoan)) {
        end_by(self.into_loan(), let_go);
    }

    /// Ends the command; its slot is the transport's again.
    #[inline]
    pub fn finish(self) {
        end(self.into_loan());
    }
}

/// The two residual counts of a response, in bytes (SAM-6 5.4.1, SRP 6.9).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Residual {
    /// The initiator prepared so many bytes more than were moved.
    pub under: u32,
    /// The command wanted to move so many bytes more than were prepared.
    pub over: u32,
}
