// SPDX-License-Identifier: GPL-2.0

//! The life of a channel: what happens to its connection, and what is done about
//! it. The table is [`scst_proto::srp::channel`]; what may sleep is done by a
//! work item.

use crate::{
    channel::Channel,
    params::trace,
    port::Port,
    rdma::{
        cm::{ConnEvent, Connection, Events},
        queue::Queue,
        queue_pair::QueueEvents,
    },
};
use core::fmt::Arguments;
use kapi::{
    counted::Counted,
    lock::{new_spinlock_irq, SpinLockIrq},
    wait::{new_wait_queue, WaitQueue},
};
use kernel::{
    impl_has_work,
    prelude::*,
    sync::{
        atomic::{Acquire, Atomic, Relaxed, Release},
        new_mutex, Arc, Mutex,
    },
    workqueue::{new_work, Work, WorkItem},
};
use scst_proto::srp::{
    channel::{step, Actions, Event, State},
    LogoutReason,
};

/// How long an initiator may take to acknowledge an SRP_T_LOGOUT.
const LOGOUT_MS: u32 = 500;
/// How long an initiator may take to agree to disconnect.
const DISCONNECT_MS: u32 = 5_000;
/// How long a device may take to flush a queue pair.
const DRAIN_MS: u32 = 10_000;
/// After how long of that it is asked again.
const FLUSH_MS: u32 = 200;

/// What is to be done, and where the connection is.
struct Control {
    state: State,
    /// What is to be done has an order of its own, in which states only advance.
    todo: Actions,
    reason: LogoutReason,
}

/// A channel's link to its connection.
#[pin_data]
pub(crate) struct Link {
    port: Arc<Port>,
    state: Atomic<u32>,
    /// IB_EVENT_QP_LAST_WQE_REACHED has come.
    last_receive: Atomic<u32>,
    #[pin]
    control: SpinLockIrq<Control>,
    #[pin]
    channel: Mutex<Option<Arc<Counted<Channel>>>>,
    #[pin]
    connection: Mutex<Option<Connection>>,
    #[pin]
    wait: WaitQueue,
    #[pin]
    work: Work<Link>,
}

impl_has_work! {
    impl HasWork<Self> for Link { self.work }
}

impl WorkItem for Link {
    type Pointer = Arc<Self>;

    fn run(this: Arc<Self>) {
        while let Some(actions) = this.next() {
            this.act(actions);
        }
    }
}

impl Link {
    pub(crate) fn new(port: Arc<Port>) -> Result<Arc<Self>> {
        Arc::pin_init(
            try_pin_init!(Self {
                port,
                state: Atomic::new(State::Connecting as u32),
                last_receive: Atomic::new(0),
                control <- new_spinlock_irq!(Control {
                    state: State::Connecting,
                    todo: Actions::NONE,
                    reason: LogoutReason::Unspecified,
                }),
                channel <- new_mutex!(None),
                connection <- new_mutex!(None),
                wait <- new_wait_queue!(),
                work <- new_work!("ib_srpt link"),
            }? Error),
            GFP_KERNEL,
        )
    }

    /// Any context.
    #[inline]
    pub(crate) fn state(&self) -> State {
        State::from_u8(self.state.load(Acquire) as u8)
    }

    /// From here on there is a channel, which [`Actions::RELEASE`] lets go.
    pub(crate) fn attach(&self, channel: Arc<Counted<Channel>>) {
        *self.channel.lock() = Some(channel);
    }

    /// From here on there is a connection.
    pub(crate) fn connected(&self, connection: Connection) {
        *self.connection.lock() = Some(connection);
    }

    /// Something has happened. Any context.
    pub(crate) fn event(self: &Arc<Self>, event: Event) {
        let (before, after, work) = {
            let mut control = self.control.lock();
            let step = step(control.state, event);
            let before = core::mem::replace(&mut control.state, step.next);
            self.state.store(step.next as u32, Release);
            let work = step.actions.without(Actions::PER_UNIT);
            control.todo = control.todo.and(work);
            (before, step.next, work != Actions::NONE)
        };
        if event != Event::IuReceived {
            trace!(
                MGMT_DEBUG,
                "{}: {event:?}: a channel was {}, is {}\n",
                self.port.name(),
                before.name(),
                after.name()
            );
        }
        self.wait.wake_all();
        if work {
            // An error says that it is queued already.
            let _ = self.port.driver.queue().enqueue(self.clone());
        }
    }

    /// Ends the channel, for a reason that the initiator and the log are told.
    /// Any context.
    pub(crate) fn close(self: &Arc<Self>, reason: LogoutReason, what: Arguments<'_>) {
        if self.state() < State::Disconnecting {
            trace!(
                MGMT,
                "Closing a channel of {}: {}\n",
                self.port.name(),
                what
            );
            self.control.lock().reason = reason;
        }
        self.event(Event::CloseRequested);
    }

    /// What the end of the channel waits for may have come about: the poller has
    /// emptied its completion queue, or a unit of the target's own is done with.
    /// Any context.
    pub(crate) fn progressed(&self) {
        self.wait.wake_all();
    }

    fn next(&self) -> Option<Actions> {
        let actions = core::mem::replace(&mut self.control.lock().todo, Actions::NONE);
        (actions != Actions::NONE).then_some(actions)
    }

    fn channel(&self) -> Option<Arc<Counted<Channel>>> {
        self.channel.lock().clone()
    }

    fn act(self: &Arc<Self>, actions: Actions) {
        if actions.contains(Actions::NOTIFY_CM) {
            if let Some(connection) = &*self.connection.lock() {
                connection.notify_established();
            }
        }
        if actions.contains(Actions::SERVE_HELD) || actions.contains(Actions::DROP_HELD) {
            self.kick();
        }
        if actions.contains(Actions::SEND_LOGOUT) {
            self.log_out();
        }
        if actions.contains(Actions::SEND_DREQ) {
            let asked = self.connection.lock().as_ref().map(Connection::disconnect);
            if !matches!(asked, Some(Ok(()))) {
                self.event(Event::DreqFailed);
            }
        }
        if actions.contains(Actions::START_TIMER) {
            let left = || self.state() != State::Disconnecting;
            if !self.wait.wait_until_timeout(DISCONNECT_MS, left) {
                self.event(Event::DisconnectTimeout);
            }
        }
        if actions.contains(Actions::DRAIN) {
            self.drain();
            self.event(Event::Drained);
        }
        if actions.contains(Actions::RELEASE) {
            self.release();
        }
    }

    /// Tells the initiator why the channel ends, and lets that arrive: a
    /// disconnection, which the connection manager sends by another queue pair,
    /// may overtake it, and may end this one first.
    fn log_out(&self) {
        let reason = self.control.lock().reason;
        let Some(channel) = self.channel() else {
            return;
        };
        if reason == LogoutReason::Unspecified {
            return;
        }
        if let Some(channel) = channel.get() {
            Channel::send_logout(&channel, reason);
        }
        let done =
            || channel.sending_own.load(Acquire) == 0 || self.state() != State::Disconnecting;
        if !self.wait.wait_until_timeout(LOGOUT_MS, done) {
            trace!(
                MINOR,
                "{}: {} has not acknowledged an SRP_T_LOGOUT within {LOGOUT_MS} ms\n",
                self.port.name(),
                channel.nexus.name()
            );
        }
    }

    fn kick(&self) {
        if let Some(qp) = self
            .channel()
            .as_ref()
            .and_then(|channel| channel.qp.as_ref())
        {
            qp.completions().kick();
        }
    }

    /// Waits until the device has given up all that was posted for receiving.
    ///
    /// It is asked again and again: whether a provider's flush, its event or the
    /// poll that follows was lost, then it is made up for in a moment.
    fn drain(&self) {
        let Some(channel) = self.channel() else {
            return;
        };
        let Some(qp) = channel.qp.as_ref() else {
            return;
        };
        let done = || match channel.shared {
            true => self.last_receive.load(Acquire) != 0,
            false => channel.receiving.load(Relaxed) == 0,
        };
        let mut waited = 0_u32;
        loop {
            if let Err(e) = qp.fail() {
                // Nothing is flushed: it comes back when the pair is destroyed.
                pr_err!("***ERROR***: {}: {e:?}\n", self.port.name());
                break;
            }
            qp.completions().kick();
            if self.wait.wait_until_timeout(FLUSH_MS, done) {
                break;
            }
            waited = waited.saturating_add(FLUSH_MS);
            if waited >= DRAIN_MS {
                pr_err!(
                    "***ERROR***: {}: the device did not flush a queue pair within {DRAIN_MS} ms, {} receives are left\n",
                    self.port.name(),
                    channel.receiving.load(Relaxed)
                );
                break;
            }
        }
        if waited != 0 && done() {
            trace!(
                MINOR,
                "{}: a queue pair was flushed only after {waited} ms\n",
                self.port.name()
            );
        }
        channel.fail_stranded();
        channel.fail_waiting();
    }

    /// Ends the channel, and the nexus if it was the last. The queue pair is in
    /// the error state and flushed.
    fn release(self: &Arc<Self>) {
        let Some(channel) = self.channel.lock().take() else {
            return;
        };
        let (nexus, requests) = (channel.nexus.clone(), channel.requests.clone());
        let shared = channel.shared;
        if self.port.leave(&nexus) {
            nexus.end_session();
        }
        // Every request that a command, or posted work, has holds a use.
        channel.kill();
        let mut seconds = 0u32;
        while !channel.wait_gone(Some(10_000)) {
            channel.fail_stranded();
            channel.fail_waiting();
            seconds = seconds.saturating_add(10);
            pr_err!(
                "***ERROR***: {}: a channel of {} has waited {seconds} s for its commands\n",
                self.port.name(),
                nexus.name()
            );
        }
        nexus.remove(channel.id);
        let connection = self.connection.lock().take();
        drop(connection);
        let mut left = Queue::new();
        let mut take = |mut queue: Queue| {
            while let Some(handle) = queue.pop() {
                left.push(handle);
            }
        };
        if let Some(qp) = channel.qp.as_ref() {
            if let Some(mut poller) = qp.completions().stop() {
                take(poller.held);
                while let Some(handle) = poller.receives.pop() {
                    let mut one = Queue::new();
                    one.push(handle);
                    take(one);
                }
            }
            take(qp.stranded());
        }
        if shared {
            let spare = core::mem::replace(&mut *channel.spare.lock(), Queue::new());
            channel.hca.unreserve(spare);
        }
        for queue in [&channel.waiting, &channel.spare] {
            take(core::mem::replace(&mut *queue.lock(), Queue::new()));
        }
        take(channel.returned.take());
        let hca = channel.hca.clone();
        // The last reference: queue pair and completion queue go with it.
        drop(channel);
        match (&hca.srq, shared) {
            (Some(srq), true) => crate::channel::back_to(&**srq, &requests, left),
            _ => {
                while let Some(handle) = left.pop() {
                    requests.retire(handle);
                }
                // What the device did not flush in time it cannot touch now.
                requests.all_back();
            }
        }
        pr_debug!(
            "{}: a channel of {} is gone\n",
            self.port.name(),
            nexus.name()
        );
        self.port.released();
    }
}

impl Events for Lasting {
    fn event(&self, event: ConnEvent) {
        let event = match event {
            ConnEvent::Established => Event::Established,
            ConnEvent::DisconnectRequested => Event::Dreq,
            ConnEvent::DisconnectDone => Event::Drep,
            ConnEvent::Rejected => Event::Rejected,
            ConnEvent::Unreachable => Event::ConnectFailed,
            ConnEvent::TimewaitExit => Event::TimewaitExit,
            ConnEvent::DeviceRemoved => Event::DeviceRemoved,
            // The connection goes on, or breaks.
            ConnEvent::AddressChanged => return,
        };
        self.0.event(event);
    }
}

/// A link as connection and queue pair know it.
pub(crate) struct Lasting(pub(crate) Arc<Link>);

impl QueueEvents for Lasting {
    fn established(&self) {
        self.0.event(Event::CommEstablished);
    }

    fn last_receive(&self) {
        self.0.last_receive.store(1, Release);
        self.0.event(Event::LastWqe);
    }

    fn failed(&self, what: &'static str) {
        trace!(MINOR, "{}: queue pair: {what}\n", self.0.port.name());
        self.0.event(Event::QpError);
    }
}
