// SPDX-License-Identifier: GPL-2.0

//! Aborting commands: what a task management function does to a command, by the state that the command is in.
//!
//! SAM-6 7 defines the functions, 5.6 what "aborted" means to the initiator. [`effect`] is the whole decision; the
//! core only carries it out. The rules behind the table:
//!
//! 1. A command whose response has been handed to the transport cannot be aborted any more: **too late**. The function
//!    that came too late still succeeds (SAM-6 7.2: the command may have been completed before).
//! 2. A command that the backing store works on cannot be taken back: its outcome is **waited** for, so that no data
//!    move after the function has been answered. Its response is suppressed.
//! 3. A command whose data the transport is moving is **cancelled** at the transport, and the end of that waited for.
//! 4. A command that nobody works on is **dropped** at once.
//! 5. When the nexus is gone there is nobody to respond to: a response in flight is waited for as well, for its memory.

/// Where a command is on its way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum State {
    /// Received, not yet in the task set.
    Received,
    /// Waiting for the data of the initiator.
    DataOut,
    /// In the task set, blocked by others or waiting for a thread.
    Queued,
    /// With the device handler.
    Executing,
    /// The transport sends data or status.
    Responding,
    /// Finished.
    Done,
}

impl State {
    /// All of them, in order.
    pub const ALL: [Self; 6] = [
        Self::Received,
        Self::DataOut,
        Self::Queued,
        Self::Executing,
        Self::Responding,
        Self::Done,
    ];
}

/// Why commands are aborted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Cause {
    /// ABORT TASK: this one command (SAM-6 7.2).
    AbortTask,
    /// ABORT TASK SET: the commands of this nexus for the logical unit (SAM-6 7.3).
    AbortTaskSet,
    /// CLEAR TASK SET: all commands in the task set (SAM-6 7.5), PREEMPT AND ABORT likewise (SPC-6 5.14.11.2.6).
    ClearTaskSet,
    /// LOGICAL UNIT RESET (SAM-6 7.7).
    LunReset,
    /// A hard reset of the target (SAM-6 6.3.2).
    TargetReset,
    /// I_T nexus loss, I_T NEXUS RESET, the end of a session (SAM-6 6.3.4, 7.6).
    NexusLoss,
}

impl Cause {
    /// All of them.
    pub const ALL: [Self; 6] = [
        Self::AbortTask,
        Self::AbortTaskSet,
        Self::ClearTaskSet,
        Self::LunReset,
        Self::TargetReset,
        Self::NexusLoss,
    ];

    /// Whether a command of nexus `theirs` is meant when nexus `ours` is the cause; the logical unit is the same.
    pub fn reaches_other_nexuses(self) -> bool {
        matches!(
            self,
            Self::ClearTaskSet | Self::LunReset | Self::TargetReset
        )
    }
}

/// What to do with the command.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Effect {
    /// Nobody works on it: forget it now.
    DropSilently,
    /// Tell the transport to stop moving its data, then wait until it has.
    CancelThenWait,
    /// Let it finish, and wait for that.
    Wait,
    /// It is as good as done: neither touch it nor wait for it.
    TooLate,
}

/// The table: what `cause` does to a command in `state`.
pub const fn effect(state: State, cause: Cause) -> Effect {
    match (state, cause) {
        (State::Received | State::Queued, _) => Effect::DropSilently,
        (State::DataOut, _) => Effect::CancelThenWait,
        (State::Executing, _) => Effect::Wait,
        (State::Responding, Cause::NexusLoss) => Effect::CancelThenWait,
        (State::Responding, Cause::TargetReset) => Effect::Wait,
        (State::Responding, _) => Effect::TooLate,
        (State::Done, _) => Effect::TooLate,
    }
}

/// What the initiator of an aborted command gets instead of its status.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Answer {
    /// Nothing.
    Silence,
    /// TASK ABORTED status (SAM-6 5.3.1).
    TaskAborted,
    /// Nothing, but a unit attention condition COMMANDS CLEARED BY ANOTHER INITIATOR (SAM-6 5.14.5).
    CommandsCleared,
}

/// The answer to the command's initiator. `by_other` is: the cause came from another nexus; `tas` the bit of the
/// Control mode page (SPC-6 7.5.10).
///
/// A reset has its own unit attention, and a lost nexus nobody to hear.
pub const fn answer(cause: Cause, by_other: bool, tas: bool) -> Answer {
    match (cause, by_other) {
        (Cause::NexusLoss | Cause::TargetReset, _) | (_, false) => Answer::Silence,
        (Cause::AbortTask | Cause::AbortTaskSet, true) => Answer::Silence,
        (Cause::ClearTaskSet | Cause::LunReset, true) if tas => Answer::TaskAborted,
        (Cause::ClearTaskSet, true) => Answer::CommandsCleared,
        (Cause::LunReset, true) => Answer::Silence,
    }
}

/// Task management functions as transports deliver them (SAM-6 table 41).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Function {
    /// ABORT TASK.
    AbortTask,
    /// ABORT TASK SET.
    AbortTaskSet,
    /// CLEAR ACA.
    ClearAca,
    /// CLEAR TASK SET.
    ClearTaskSet,
    /// LOGICAL UNIT RESET.
    LogicalUnitReset,
    /// TARGET RESET (obsolete in SAM-4, still sent).
    TargetReset,
    /// I_T NEXUS RESET.
    NexusReset,
    /// QUERY TASK.
    QueryTask,
    /// QUERY TASK SET.
    QueryTaskSet,
    /// QUERY ASYNCHRONOUS EVENT.
    QueryAsyncEvent,
}

impl Function {
    /// All of them.
    pub const ALL: [Self; 10] = [
        Self::AbortTask,
        Self::AbortTaskSet,
        Self::ClearAca,
        Self::ClearTaskSet,
        Self::LogicalUnitReset,
        Self::TargetReset,
        Self::NexusReset,
        Self::QueryTask,
        Self::QueryTaskSet,
        Self::QueryAsyncEvent,
    ];

    /// Why it aborts commands; `None` if it does not, as the queries and CLEAR ACA.
    pub const fn cause(self) -> Option<Cause> {
        match self {
            Self::AbortTask => Some(Cause::AbortTask),
            Self::AbortTaskSet => Some(Cause::AbortTaskSet),
            Self::ClearTaskSet => Some(Cause::ClearTaskSet),
            Self::LogicalUnitReset => Some(Cause::LunReset),
            Self::TargetReset => Some(Cause::TargetReset),
            Self::NexusReset => Some(Cause::NexusLoss),
            Self::ClearAca | Self::QueryTask | Self::QueryTaskSet | Self::QueryAsyncEvent => None,
        }
    }
}

/// SERVICE RESPONSE of a task management function (SAM-6 7.1). Transports have their own codes for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Response {
    /// FUNCTION COMPLETE.
    Complete,
    /// FUNCTION SUCCEEDED: a query found something.
    Succeeded,
    /// FUNCTION REJECTED: not supported.
    Rejected,
    /// INCORRECT LOGICAL UNIT NUMBER.
    IncorrectLun,
    /// SERVICE DELIVERY OR TARGET FAILURE.
    Failure,
    /// The command of an ABORT TASK is not there. To the initiator that is complete (SAM-6 7.2); some transports tell.
    NoSuchTask,
}

impl Response {
    /// RESPONSE CODE of FCP (FCP-5 table 25). For SRP see [`srp::tsk_mgmt`](crate::srp::tsk_mgmt).
    pub const fn fcp_code(self) -> u8 {
        match self {
            Self::Complete | Self::NoSuchTask => 0x00,
            Self::Rejected => 0x04,
            Self::Failure => 0x05,
            Self::Succeeded => 0x08,
            Self::IncorrectLun => 0x09,
        }
    }

    /// RESPONSE of an iSCSI task management response (RFC 7143 11.6.1).
    pub const fn iscsi_code(self) -> u8 {
        match self {
            Self::Complete | Self::Succeeded => 0,
            Self::NoSuchTask => 1,
            Self::IncorrectLun => 2,
            Self::Rejected => 5,
            Self::Failure => 255,
        }
    }
}
