// SPDX-License-Identifier: GPL-2.0

//! Connections of reliable queue pairs, the passive side.
//!
//! An initiator connects by the InfiniBand connection manager, to a service ID of one device
//! ([`super::ib_cm::Listener`]), or by the RDMA connection manager, to an IP port of all devices
//! ([`super::rdma_cm::Listener`]). This file has what both have in common.
//!
//! C headers: [`include/rdma/ib_cm.h`](srctree/include/rdma/ib_cm.h),
//! [`include/rdma/rdma_cm.h`](srctree/include/rdma/rdma_cm.h)
//!
//! # The life of a connection
//!
//! A request makes a new id, which [`Accept::connect`] gets as [`Pending`]. That exists only in
//! the frame of `connect`: it is accepted there, or rejected, at the latest when `connect` returns.
//! Accepting it makes a [`Connection`], which owns the id; what happens to the connection from
//! there on is told to its [`Events`].
//!
//! The queue pair is not the CM's. It is lent to [`Pending::init_qp`] and [`Pending::accept`],
//! which bring it from RESET to RTS, and then the CM does not know it any more: the owner of the
//! queue pair moves it to the error state, drains and destroys it. (RTS is reached before the reply
//! is sent, not with the initiator's answer to that; both CMs allow it, and so the first command,
//! which may overtake the answer, can be executed at once. What must not be is a message that the
//! initiator has not asked for before it is known to be ready: before [`ConnEvent::Established`] or
//! the first receive.)
//!
//! # Handlers, and the end of a connection
//!
//! [`Accept::connect`] and [`Events::event`] are called in handlers of the CM: threads of work
//! queues, which may sleep, but which other connections wait for. The events of one connection
//! come one after another, and not before `connect` has returned; the exceptions are those of
//! messages of the IB/CM that nobody answered ([`ConnEvent::Unreachable`] and
//! [`ConnEvent::DisconnectDone`]), which may come at the same time as another.
//!
//! Destroying an id waits for its handlers, and destroying a listener for those of all requests
//! that it lets in. So
//!
//! - a connection may be dropped in its own handler (where `connect` fails after it has accepted,
//!   that happens by itself): then the id goes when the handler returns;
//! - it must not be dropped in a handler of another connection, nor under a lock that [`Events`] or
//!   [`Accept`] take; and neither there nor then may anybody wait for such a drop (flush the work
//!   queue that it is done on). [`Connection::disconnect`] may be called in both cases. An owner
//!   leaves the drop to a work item, which has to drain the queue pair anyway;
//! - a listener is dropped in process context, in no handler, and under no lock that [`Accept`]
//!   takes. What it calls must not own it.
//!
//! A module waits at its end until all its connections are dropped, and until all that implements
//! [`Events`] is gone, for example with a token of a [`kapi::tracker::Tracker`] in it.
//!
//! In the order in which an owner lets go: [`Connection::disconnect`], the queue pair to the error
//! state, a bounded wait for [`ConnEvent::DisconnectDone`], the queue pair drained, the connection
//! dropped, the queue pair destroyed (iWARP drivers keep a reference to it for as long as there is
//! an id).

pub(crate) use super::connection::{Connection, Pending};
use core::{net::IpAddr, ptr::NonNull};
use rdma_bindings as ib;

/// An RC queue pair.
///
/// # Safety
///
/// `as_raw` returns a queue pair that is valid for as long as `self` is borrowed, and always the
/// same.
pub(crate) unsafe trait QueuePair {
    /// The queue pair.
    fn as_raw(&self) -> NonNull<ib::ib_qp>;
}

/// Keeps a device: a listener of the IB/CM, its connections and a MAD agent have a clone each of
/// the `Arc` that they were made with.
///
/// # Safety
///
/// `as_raw` returns a device that is registered for as long as `self` exists, and always the same:
/// the `remove` of the client that made it does not return before it is dropped.
pub(crate) unsafe trait DeviceHold: Send + Sync + 'static {
    /// The device.
    fn as_raw(&self) -> NonNull<ib::ib_device>;
}

/// The two connection managers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Manager {
    /// The InfiniBand CM: the private data is the consumer's own, 92 bytes.
    Ib,
    /// The RDMA CM: there are 56 bytes of private data (iWARP: as many as were sent).
    Rdma,
}

/// What a request to connect says. Numbers are in the CPU's byte order, GIDs as on the wire. What is
/// not here (queue pair number, MTU, retries, flow control) is between the CM and the queue pair.
pub(crate) struct ConnectRequest<'a> {
    /// Where it came through.
    pub(crate) manager: Manager,
    /// The consumer's private data, with the padding of the message.
    pub(crate) private_data: &'a [u8],
    /// The device that it came to, registered at least until `connect` returns.
    pub(crate) device: NonNull<ib::ib_device>,
    /// The port of that device, from 1.
    pub(crate) port: u32,
    /// Partition key of the path; the default partition where there is none.
    pub(crate) pkey: u16,
    /// GID of the initiator port.
    pub(crate) remote_gid: [u8; 16],
    /// Address of the initiator, RDMA/CM only.
    pub(crate) remote_ip: Option<IpAddr>,
    /// RDMA READs that the initiator would have outstanding at the target.
    pub(crate) responder_resources: u8,
    /// RDMA READs that the target may have outstanding at the initiator.
    pub(crate) initiator_depth: u8,
}

/// What a reply says, and what the queue pair is set to. All numbers are 3 or 8 bits wide on the
/// wire, and the device's limits apply.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ConnParams {
    /// RDMA READs that the initiator may have outstanding here; a target needs none.
    pub(crate) responder_resources: u8,
    /// RDMA READs that the target will have outstanding: at most what the request says.
    pub(crate) initiator_depth: u8,
    /// How often the initiator is to retry when the target is not ready to receive.
    pub(crate) rnr_retry_count: u8,
    /// End-to-end flow control.
    pub(crate) flow_control: bool,
    /// Whether the queue pair takes its receives from an SRQ.
    pub(crate) srq: bool,
}

/// Who takes connections.
pub(crate) trait Accept: Send + Sync + 'static {
    /// Somebody wants to connect. Called in a handler of the CM (see the [module](self)), for
    /// several requests at a time. What is done with `id` is done before this returns.
    fn connect(&self, request: &ConnectRequest<'_>, id: Pending<'_>);
}

/// What happens to a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ConnEvent {
    /// The initiator is ready, too. A receive may have come before.
    Established,
    /// The initiator has ended the connection; that has been answered.
    DisconnectRequested,
    /// The connection is ended, after [`Connection::disconnect`]: answered by the initiator, which
    /// may have had the same idea, or not answered. Also if the CM has ended it by itself, because
    /// the initiator makes a new one with the same queue pair.
    DisconnectDone,
    /// The initiator does not want the connection any more.
    Rejected,
    /// The initiator did not answer the reply, or (RDMA/CM) is somewhere else now.
    Unreachable,
    /// Nothing of this connection is under way in the fabric any more. After a disconnect only,
    /// long after it, and not if the connection was dropped before.
    TimewaitExit,
    /// The local address has changed, RDMA/CM only. The connection goes on, or breaks.
    AddressChanged,
    /// The device goes away, and waits for the connection to be dropped; RDMA/CM only.
    DeviceRemoved,
}

/// Who is told of a connection.
pub(crate) trait Events: Send + Sync + 'static {
    /// Called in a handler of the CM; see the [module](self) for what that means. Not called any
    /// more when the drop of the [`Connection`] has returned. What may go on then is the call that
    /// it was dropped in, or one of those that come at the same time as others.
    fn event(&self, event: ConnEvent);
}
