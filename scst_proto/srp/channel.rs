// SPDX-License-Identifier: GPL-2.0

//! The life of an RDMA channel, from the accepted login to the release of its queue pair: one table.
//!
//! A state only ever advances. Whoever moves the channel from `old` to [`Step::next`] (by compare-and-exchange, or
//! under the channel's lock) carries out [`Step::actions`], so each happens once.
//!
//! ```text
//! Connecting ──► Live ──► Disconnecting ──► Draining ──► Disconnected
//!      └───────────┴──────────────────────────▲
//! ```
//!
//! No state depends on the peer for its end: the connection manager gives up an unanswered REP
//! ([`Event::ConnectFailed`]), a channel that is disconnecting has a timer ([`Event::DisconnectTimeout`]), and the work
//! requests of a queue pair in the error state are flushed ([`Event::Drained`]).
//!
//! # Events
//!
//! | event | IB/CM | RDMA/CM |
//! |---|---|---|
//! | `Established` | RTU_RECEIVED, USER_ESTABLISHED | ESTABLISHED |
//! | `ConnectFailed` | REP_ERROR | UNREACHABLE, CONNECT_ERROR |
//! | `Rejected` | REJ_RECEIVED | REJECTED |
//! | `Dreq` | DREQ_RECEIVED | DISCONNECTED |
//! | `Drep` | DREP_RECEIVED | |
//! | `DreqFailed` | DREQ_ERROR, or sending it failed | sending it failed |
//! | `TimewaitExit` | TIMEWAIT_EXIT | TIMEWAIT_EXIT |

/// Where a channel is. The names are those of the session's `ch_state`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum State {
    /// The login is accepted, the initiator has not said that it is ready. Requests may overtake that message.
    Connecting,
    /// Requests are served.
    Live,
    /// The target has asked the initiator to disconnect. No new requests; responses may still be sent.
    Disconnecting,
    /// The queue pair is in the error state; its work requests are being flushed.
    Draining,
    /// No completion comes any more. The channel is released when its last command has ended.
    Disconnected,
}

impl State {
    /// All of them, in order.
    pub const ALL: [Self; 5] = [
        Self::Connecting,
        Self::Live,
        Self::Disconnecting,
        Self::Draining,
        Self::Disconnected,
    ];

    /// The attribute's word.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Connecting => "connecting",
            Self::Live => "live",
            Self::Disconnecting => "disconnecting",
            Self::Draining => "draining",
            Self::Disconnected => "disconnected",
        }
    }

    /// The state whose number `state as u8` is, for one that is kept in an atomic. What is none is the last.
    #[inline]
    pub const fn from_u8(number: u8) -> Self {
        match number {
            0 => Self::Connecting,
            1 => Self::Live,
            2 => Self::Disconnecting,
            3 => Self::Draining,
            _ => Self::Disconnected,
        }
    }
}

/// What happens to a channel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Event {
    /// The initiator is ready to use the channel.
    Established,
    /// The queue pair has received something before the initiator was known to be ready (IB_EVENT_COMM_EST, which not
    /// every device reports of a queue pair that may send already).
    CommEstablished,
    /// An information unit was received.
    IuReceived,
    /// The connection manager has given up connecting.
    ConnectFailed,
    /// The initiator has rejected the connection after all.
    Rejected,
    /// The initiator wants to disconnect.
    Dreq,
    /// The initiator has agreed to disconnect.
    Drep,
    /// It does not answer that, or it could not be asked.
    DreqFailed,
    /// The connection manager has forgotten the connection.
    TimewaitExit,
    /// The timer of [`Actions::START_TIMER`] has run out.
    DisconnectTimeout,
    /// SRP_I_LOGOUT.
    InitiatorLogout,
    /// The target wants the channel to end: disabled, `force_close`, another login, a violation of the protocol.
    CloseRequested,
    /// A work request or the queue pair has failed, or the queue pair could not be made ready to send.
    QpError,
    /// IB_EVENT_QP_LAST_WQE_REACHED: the queue pair has taken its last buffer of a shared receive queue, because it is
    /// in the error state.
    LastWqe,
    /// The HCA goes away: nothing is to be waited for that needs it.
    DeviceRemoved,
    /// All work requests of the queue pair have completed.
    Drained,
}

impl Event {
    /// All of them.
    pub const ALL: [Self; 16] = [
        Self::Established,
        Self::CommEstablished,
        Self::IuReceived,
        Self::ConnectFailed,
        Self::Rejected,
        Self::Dreq,
        Self::Drep,
        Self::DreqFailed,
        Self::TimewaitExit,
        Self::DisconnectTimeout,
        Self::InitiatorLogout,
        Self::CloseRequested,
        Self::QpError,
        Self::LastWqe,
        Self::DeviceRemoved,
        Self::Drained,
    ];
}

/// What is to be done, in the order of the constants.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Actions(u16);

impl Actions {
    /// Nothing.
    pub const NONE: Self = Self(0);
    /// Serve the unit that was received.
    pub const HANDLE_IU: Self = Self(1 << 0);
    /// Keep it until the channel is live.
    pub const HOLD_IU: Self = Self(1 << 1);
    /// Forget it. Its buffer is not posted again.
    pub const DROP_IU: Self = Self(1 << 2);
    /// Tell the connection manager that there is communication (`rdma_notify`, `ib_cm_notify`); it will say
    /// [`Event::Established`].
    pub const NOTIFY_CM: Self = Self(1 << 3);
    /// Make the queue pair ready to send, where the connection manager has not. If that fails:
    /// [`Event::QpError`].
    pub const READY_TO_SEND: Self = Self(1 << 4);
    /// Serve the units that were kept, in their order, before any other.
    pub const SERVE_HELD: Self = Self(1 << 5);
    /// Forget them.
    pub const DROP_HELD: Self = Self(1 << 6);
    /// Send an SRP_T_LOGOUT, if the reason is worth telling. That may fail.
    pub const SEND_LOGOUT: Self = Self(1 << 7);
    /// Ask the initiator to disconnect. If that fails while disconnecting: [`Event::DreqFailed`].
    pub const SEND_DREQ: Self = Self(1 << 8);
    /// Agree to disconnect. That may fail.
    pub const SEND_DREP: Self = Self(1 << 9);
    /// Start the timer of disconnecting.
    pub const START_TIMER: Self = Self(1 << 10);
    /// Put the queue pair into the error state and wait for its work requests: post a last one on each queue, and say
    /// [`Event::Drained`] when it completes (or when it cannot be posted and no completion is left to come).
    pub const DRAIN: Self = Self(1 << 11);
    /// End the session: wait for its commands, then destroy queue pair and connection.
    pub const RELEASE: Self = Self(1 << 12);

    /// What is done with a unit, by whoever has received it.
    pub const PER_UNIT: Self = Self::HANDLE_IU.and(Self::HOLD_IU).and(Self::DROP_IU);

    /// These, but for those that are in `other`.
    #[inline]
    pub const fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    /// Whether all of `other` are among these.
    #[inline]
    pub const fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// These, and `other`.
    #[inline]
    pub const fn and(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

/// A row of the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Step {
    /// The state afterwards.
    pub next: State,
    /// What to do.
    pub actions: Actions,
}

/// The table: what `event` does to a channel in `state`.
pub const fn step(state: State, event: Event) -> Step {
    let (next, actions) = match state {
        State::Connecting => connecting(event),
        State::Live => live(event),
        State::Disconnecting => disconnecting(event),
        State::Draining => draining(event),
        State::Disconnected => disconnected(event),
    };
    Step { next, actions }
}

const fn connecting(event: Event) -> (State, Actions) {
    let give_up = Actions::DROP_HELD.and(Actions::DRAIN);
    match event {
        Event::Established => (State::Live, Actions::READY_TO_SEND.and(Actions::SERVE_HELD)),
        Event::CommEstablished => (State::Connecting, Actions::NOTIFY_CM),
        // It says as much as the message that it has overtaken, or that was lost (IBA vol. 1, 12.9).
        Event::IuReceived => (State::Connecting, Actions::HOLD_IU.and(Actions::NOTIFY_CM)),
        Event::Dreq => (State::Draining, give_up.and(Actions::SEND_DREP)),
        // Destroying the connection in this state rejects it.
        Event::CloseRequested
        | Event::ConnectFailed
        | Event::Rejected
        | Event::Drep
        | Event::DreqFailed
        | Event::TimewaitExit
        | Event::InitiatorLogout
        | Event::QpError
        | Event::LastWqe
        | Event::DeviceRemoved => (State::Draining, give_up),
        Event::DisconnectTimeout | Event::Drained => (State::Connecting, Actions::NONE),
    }
}

const fn live(event: Event) -> (State, Actions) {
    let ask = Actions::SEND_DREQ.and(Actions::START_TIMER);
    match event {
        Event::IuReceived => (State::Live, Actions::HANDLE_IU),
        Event::CloseRequested => (State::Disconnecting, ask.and(Actions::SEND_LOGOUT)),
        Event::InitiatorLogout => (State::Disconnecting, ask),
        // It no longer reads responses: there is nothing to wait for.
        Event::Dreq => (State::Draining, Actions::SEND_DREP.and(Actions::DRAIN)),
        // The initiator cannot know yet.
        Event::QpError | Event::LastWqe => {
            (State::Draining, Actions::SEND_DREQ.and(Actions::DRAIN))
        }
        Event::ConnectFailed
        | Event::Rejected
        | Event::Drep
        | Event::DreqFailed
        | Event::TimewaitExit
        | Event::DeviceRemoved => (State::Draining, Actions::DRAIN),
        Event::Established | Event::CommEstablished | Event::DisconnectTimeout | Event::Drained => {
            (State::Live, Actions::NONE)
        }
    }
}

const fn disconnecting(event: Event) -> (State, Actions) {
    match event {
        Event::IuReceived => (State::Disconnecting, Actions::DROP_IU),
        // Both sides have asked.
        Event::Dreq => (State::Draining, Actions::SEND_DREP.and(Actions::DRAIN)),
        Event::Drep
        | Event::DreqFailed
        | Event::TimewaitExit
        | Event::DisconnectTimeout
        | Event::ConnectFailed
        | Event::Rejected
        | Event::QpError
        | Event::LastWqe
        | Event::DeviceRemoved => (State::Draining, Actions::DRAIN),
        Event::Established
        | Event::CommEstablished
        | Event::InitiatorLogout
        | Event::CloseRequested
        | Event::Drained => (State::Disconnecting, Actions::NONE),
    }
}

const fn draining(event: Event) -> (State, Actions) {
    match event {
        Event::Drained => (State::Disconnected, Actions::RELEASE),
        Event::IuReceived => (State::Draining, Actions::DROP_IU),
        Event::Dreq => (State::Draining, Actions::SEND_DREP),
        _ => (State::Draining, Actions::NONE),
    }
}

const fn disconnected(event: Event) -> (State, Actions) {
    match event {
        Event::IuReceived => (State::Disconnected, Actions::DROP_IU),
        _ => (State::Disconnected, Actions::NONE),
    }
}
