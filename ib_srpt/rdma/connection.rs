// SPDX-License-Identifier: GPL-2.0

//! Requests to connect, and the connections that they become. [`super::cm`] describes the whole.

use super::{
    cm::{Accept, ConnEvent, ConnParams, ConnectRequest, DeviceHold, Events, QueuePair},
    ib_cm, rdma_cm,
};
use core::{cell::Cell, mem::MaybeUninit};
use kernel::{
    error::to_result,
    prelude::*,
    sync::{
        atomic::{Atomic, Relaxed},
        Arc,
    },
    task::Task,
};
use rdma_bindings as ib;

/// How often an unacknowledged packet is sent again at most. Initiators ask for 7, the most there
/// is, which Soft-RoCE takes for no limit at all: it would never notice that they are gone.
const MOST_RETRIES: u8 = 6;

/// Private data that a reply has room for, in bytes.
const REPLY_PRIVATE: usize = ib::ib_cm_data_size_IB_CM_REP_PRIVATE_DATA_SIZE as usize;

/// An id of a connection; whoever has one says how long it is valid.
#[derive(Clone, Copy)]
pub(super) enum CmId {
    Ib(ib_cm::Id),
    Rdma(rdma_cm::Id),
}

macro_rules! each {
    ($self:expr, $id:ident => $do:expr) => {
        match $self {
            CmId::Ib($id) => $do,
            CmId::Rdma($id) => $do,
        }
    };
}

/// What a connection's id points to.
pub(super) struct Context {
    events: Arc<dyn Events>,
    /// The task that is in a handler now, of those that come one after another; or 0.
    handler: Atomic<usize>,
    /// The connection was dropped in that handler.
    abandoned: Atomic<bool>,
    /// `disconnect` was called.
    asked: Atomic<bool>,
    _device: Option<Arc<dyn DeviceHold>>,
}

fn current() -> usize {
    Task::current_raw().addr()
}

impl Context {
    fn enter(&self) {
        self.handler.store(current(), Relaxed);
    }

    /// Leaves a handler. Whether the CM has to destroy the id, which then has no context any more.
    fn leave(self: Arc<Self>, id: CmId) -> bool {
        self.handler.store(0, Relaxed);
        // Only this very task can have set it, in the handler.
        let abandoned = self.abandoned.load(Relaxed);
        if abandoned {
            each!(id, id => id.disown());
            // SAFETY: The id's reference, which was left to this task by the connection's drop. No
            // handler can find it any more.
            drop(unsafe { Arc::from_raw(Arc::as_ptr(&self)) });
        }
        abandoned
    }

    /// Tells of an event, in a handler that does not run at the same time as another one. Whether
    /// the CM has to destroy the id.
    pub(super) fn tell(self: Arc<Self>, id: CmId, event: ConnEvent) -> bool {
        self.enter();
        self.events.event(event);
        self.leave(id)
    }

    /// Tells of an event, in a handler that the id does not wait for: there the connection may be
    /// dropped as anywhere else.
    pub(super) fn tell_detached(&self, event: ConnEvent) {
        self.events.event(event);
    }

    /// The event that a finished disconnect is.
    pub(super) fn disconnected(&self) -> ConnEvent {
        match self.asked.load(Relaxed) {
            true => ConnEvent::DisconnectDone,
            false => ConnEvent::DisconnectRequested,
        }
    }
}

/// What has been done with a [`Pending`].
enum Fate {
    Open,
    Rejected,
    Accepted(Arc<Context>),
}

/// Lets `accept` decide on a new id, in its handler. Whether the CM has to destroy the id.
pub(super) fn request(
    id: CmId,
    device: Option<&Arc<dyn DeviceHold>>,
    accept: &dyn Accept,
    request: &ConnectRequest<'_>,
) -> bool {
    let fate = Cell::new(Fate::Open);
    // INVARIANT: The id is valid while its handler runs, and this is it.
    let pending = Pending {
        id,
        device,
        fate: &fate,
    };
    accept.connect(request, pending);
    match fate.into_inner() {
        Fate::Open => {
            each!(id, id => id.reject(&[]));
            true
        }
        Fate::Rejected => true,
        Fate::Accepted(context) => context.leave(id),
    }
}

/// A request that has not been answered. If it is dropped it is rejected, without private data.
///
/// # Invariants
///
/// The current task is in the handler of `id`, for this request.
pub(crate) struct Pending<'a> {
    id: CmId,
    device: Option<&'a Arc<dyn DeviceHold>>,
    fate: &'a Cell<Fate>,
}

impl<'a> Pending<'a> {
    /// Brings a queue pair of the request's device from RESET to INIT, on the port and in the
    /// partition of the request, and closed to RDMA by the initiator: receives may be posted then.
    /// May sleep.
    pub(crate) fn init_qp(&self, qp: &(impl QueuePair + ?Sized)) -> Result {
        self.modify(qp, ib::ib_qp_state_IB_QPS_INIT, |attr, mask| {
            // With iWARP, which has no partitions, the answer to a READ is an access as well.
            if mask & ib::ib_qp_attr_mask_IB_QP_PKEY_INDEX != 0 {
                attr.qp_access_flags = 0;
            }
        })
    }

    /// Brings a queue pair that is in INIT to RTS and sends a reply with `private` data: up to 196
    /// bytes, which arrive padded with zeros. May sleep.
    ///
    /// Gives the request back if it fails, so that it can be rejected with a reason; where only
    /// the reply itself could not be sent, RDMA/CM has rejected it already. The queue pair may be
    /// in any state then, and is of no further use. `EINVAL` if `private` is too long or the
    /// initiator has given up; `ENOMEM`; and what the device says to a change of state.
    pub(crate) fn accept(
        self,
        qp: &(impl QueuePair + ?Sized),
        private: &[u8],
        params: &ConnParams,
        events: Arc<dyn Events>,
    ) -> Result<Connection, (Error, Pending<'a>)> {
        match self.reply(qp, private, params, events) {
            Ok(context) => {
                self.fate.set(Fate::Accepted(context.clone()));
                // INVARIANT: The id belongs to this now, as the handler is going to say.
                Ok(Connection {
                    id: self.id,
                    context,
                })
            }
            Err(e) => Err((e, self)),
        }
    }

    /// Rejects the request as the consumer's decision, with `private` data: up to 148 bytes, which
    /// arrive padded with zeros (without any if there are more). May sleep.
    pub(crate) fn reject(self, private: &[u8]) {
        each!(self.id, id => id.reject(private));
        self.fate.set(Fate::Rejected);
    }

    fn reply(
        &self,
        qp: &(impl QueuePair + ?Sized),
        private: &[u8],
        params: &ConnParams,
        events: Arc<dyn Events>,
    ) -> Result<Arc<Context>> {
        if private.len() > REPLY_PRIVATE {
            return Err(EINVAL);
        }
        let context = Arc::new(
            Context {
                events,
                handler: Atomic::new(current()),
                abandoned: Atomic::new(false),
                asked: Atomic::new(false),
                _device: self.device.cloned(),
            },
            GFP_KERNEL,
        )?;
        self.modify(qp, ib::ib_qp_state_IB_QPS_RTR, |attr, _| {
            attr.max_dest_rd_atomic = params.responder_resources;
        })?;
        self.modify(qp, ib::ib_qp_state_IB_QPS_RTS, |attr, _| {
            attr.max_rd_atomic = params.initiator_depth;
            attr.retry_cnt = attr.retry_cnt.min(MOST_RETRIES);
        })?;
        // SAFETY: The queue pair is valid while it is borrowed, and keeps its number.
        let qpn = unsafe { (*qp.as_raw().as_ptr()).qp_num };
        let raw = Arc::into_raw(context.clone());
        each!(self.id, id => id.adopt(raw));
        each!(self.id, id => id.reply(qpn, private, params)).inspect_err(|_| {
            each!(self.id, id => id.disown());
            // SAFETY: The id's reference. No reply is under way, so no handler is going to run.
            drop(unsafe { Arc::from_raw(raw) });
        })?;
        Ok(context)
    }

    /// Moves `qp` to `state`, with the CM's attributes as changed by `tune`.
    fn modify(
        &self,
        qp: &(impl QueuePair + ?Sized),
        state: ib::ib_qp_state,
        tune: impl FnOnce(&mut ib::ib_qp_attr, u32),
    ) -> Result {
        // SAFETY: All of it is integers and pointers, for which zeros are valid.
        let mut attr: ib::ib_qp_attr = unsafe { MaybeUninit::zeroed().assume_init() };
        attr.qp_state = state;
        let mask = each!(self.id, id => id.qp_attr(&mut attr))?;
        if mask & ib::ib_qp_attr_mask_IB_QP_STATE == 0 {
            // iWARP: the driver does it when the reply is sent.
            return Ok(());
        }
        tune(&mut attr, mask);
        // SAFETY: The queue pair is valid while it is borrowed.
        to_result(unsafe { ib::ib_modify_qp(qp.as_raw().as_ptr(), &mut attr, mask as c_int) })
    }
}

/// A connection. How it is brought to an end is described in [`super::cm`].
///
/// Dropping it ends the connection if that has not happened yet (the initiator is told, but not
/// waited for) and waits until no handler runs; in its own handler it only takes note.
///
/// # Invariants
///
/// `id` is valid, nobody else destroys it unless `context.abandoned` is set, and its context is a
/// reference to `context`.
pub(crate) struct Connection {
    id: CmId,
    context: Arc<Context>,
}

// SAFETY: The CMs lock their ids themselves.
unsafe impl Send for Connection {}
// SAFETY: As above.
unsafe impl Sync for Connection {}

impl Connection {
    /// Ends the connection. The first time, [`ConnEvent::DisconnectDone`] follows, in the end also
    /// if the initiator does not answer; later it does nothing. May sleep.
    ///
    /// `EINVAL` (IB/CM only; the RDMA/CM does not say it) if the connection is not established yet
    /// or any more: then there is nothing to wait for.
    pub(crate) fn disconnect(&self) -> Result {
        self.context.asked.store(true, Relaxed);
        each!(self.id, id => id.disconnect())
    }

    /// To be called when a message arrives, or the device reports the queue pair's communication
    /// established, before [`ConnEvent::Established`], which then comes at once and not only with
    /// an answer that may have been lost. Any context.
    pub(crate) fn notify_established(&self) {
        each!(self.id, id => id.notify_established());
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        if self.context.handler.load(Relaxed) == current() {
            self.context.abandoned.store(true, Relaxed);
            return;
        }
        // SAFETY: Ours by the type invariants, and not used after this.
        unsafe { each!(self.id, id => id.destroy()) };
        // SAFETY: The id's reference. The id is gone, and so no handler can find it any more.
        drop(unsafe { Arc::from_raw(Arc::as_ptr(&self.context)) });
    }
}
