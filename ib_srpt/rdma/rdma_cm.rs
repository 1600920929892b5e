// SPDX-License-Identifier: GPL-2.0

//! The RDMA connection manager: connections to an IP port of all devices.
//!
//! C header: [`include/rdma/rdma_cm.h`](srctree/include/rdma/rdma_cm.h)
//!
//! The handlers of an id are called with a mutex of its held, which `rdma_destroy_id()` takes: so
//! at any time there is one at most, and none afterwards. A device that goes away waits for all ids
//! that are bound to it, so that none needs a [`super::cm::DeviceHold`].

use super::{
    cm::{Accept, ConnEvent, ConnParams, ConnectRequest, Manager},
    connection::{self, CmId, Context},
};
use core::{
    mem::MaybeUninit,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    ptr::{self, NonNull},
    slice,
};
use kernel::{
    bindings,
    error::{from_err_ptr, to_result},
    prelude::*,
    sync::{Arc, ArcBorrow},
};
use rdma_bindings as ib;

/// What a handler returns for the CM to destroy the id. Not `ENOMEM`, which would leave a request
/// unanswered.
const DESTROY: c_int = -(bindings::ECONNREFUSED as c_int);

/// Requests that wait, where the CM keeps a queue (iWARP).
const BACKLOG: c_int = 128;

/// A listening id's context.
struct Listening {
    accept: Arc<dyn Accept>,
}

/// Connections to one IP port of every device are taken for as long as this exists.
///
/// Dropping it waits for handlers; see [`super::cm`]. Connections that were made stay.
///
/// # Invariants
///
/// `id` is an id that is ours, and `context` is what it points to, from `KBox::into_raw`.
pub(crate) struct Listener {
    id: NonNull<ib::rdma_cm_id>,
    context: *mut Listening,
}

// SAFETY: The CM locks its ids itself.
unsafe impl Send for Listener {}
// SAFETY: There is nothing to do with a `&Listener`.
unsafe impl Sync for Listener {}

impl Listener {
    /// Listens in the initial network namespace, on all devices that there are and will be, at all
    /// of their addresses: bound to the unspecified IPv6 address, and set, whatever the
    /// administrator's `bindv6only` is, to take IPv4 too. Process context.
    ///
    /// `EADDRINUSE` if somebody else listens there, `EINVAL` for port 0, `ENOMEM`.
    pub(crate) fn new(port: u16, accept: Arc<dyn Accept>) -> Result<Self> {
        if port == 0 {
            return Err(EINVAL);
        }
        let context = KBox::into_raw(KBox::new(Listening { accept }, GFP_KERNEL)?);
        // SAFETY: The initial network namespace exists for ever; the name is static.
        let id = from_err_ptr(unsafe {
            ib::__rdma_create_kernel_id(
                &raw mut bindings::init_net,
                Some(listening),
                context.cast(),
                ib::rdma_ucm_port_space_RDMA_PS_TCP,
                ib::ib_qp_type_IB_QPT_RC,
                c"ib_srpt".as_char_ptr(),
            )
        })
        .and_then(|id| NonNull::new(id).ok_or(ENOMEM))
        .inspect_err(|_| {
            // SAFETY: From `into_raw`, and there is no id that points to it.
            drop(unsafe { KBox::from_raw(context) });
        })?;
        // INVARIANT: Both were just made; an id that does not listen yet is destroyed alike.
        let this = Self { id, context };
        // SAFETY: All of it is integers, for which zeros are valid.
        let mut addr: bindings::sockaddr_in6 = unsafe { MaybeUninit::zeroed().assume_init() };
        addr.sin6_family = bindings::AF_INET6 as u16;
        addr.sin6_port = port.to_be();
        // SAFETY: The id is valid, and nobody else knows it; the address is of its family's size.
        unsafe {
            to_result(ib::rdma_set_afonly(id.as_ptr(), 0))?;
            to_result(ib::rdma_bind_addr(
                id.as_ptr(),
                (&raw mut addr).cast::<bindings::sockaddr>(),
            ))?;
            to_result(ib::rdma_listen(id.as_ptr(), BACKLOG))?;
        }
        Ok(this)
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        // SAFETY: Ours by the type invariants. Afterwards no handler of a request runs, as those
        // have the mutex of a listening id that is part of this, and all other ids have another
        // context.
        unsafe { ib::rdma_destroy_id(self.id.as_ptr()) };
        // SAFETY: From `into_raw`, and nobody refers to it any more.
        drop(unsafe { KBox::from_raw(self.context) });
    }
}

/// The id of a connection.
///
/// # Invariants
///
/// It is valid for as long as its holder uses this: a handler while it runs, a `Connection` until
/// it destroys it.
#[derive(Clone, Copy)]
pub(super) struct Id(NonNull<ib::rdma_cm_id>);

impl Id {
    fn as_ptr(&self) -> *mut ib::rdma_cm_id {
        self.0.as_ptr()
    }

    /// Fills in what `attr.qp_state` needs, returns the mask.
    pub(super) fn qp_attr(&self, attr: &mut ib::ib_qp_attr) -> Result<u32> {
        let mut mask = 0;
        // SAFETY: The id is valid.
        to_result(unsafe { ib::rdma_init_qp_attr(self.as_ptr(), attr, &mut mask) })?;
        Ok(mask as u32)
    }

    /// Makes the id, whose handler this is, a connection's.
    pub(super) fn adopt(&self, context: *const Context) {
        // SAFETY: The id is valid. The CM reads both with the id's mutex held, which now is held
        // for this handler.
        unsafe {
            (*self.as_ptr()).context = context.cast_mut().cast();
            (*self.as_ptr()).event_handler = Some(connected);
        }
    }

    /// Takes the context away, in the id's handler, after which the CM destroys it.
    pub(super) fn disown(&self) {
        // SAFETY: As in `adopt`.
        unsafe { (*self.as_ptr()).context = ptr::null_mut() };
    }

    pub(super) fn reply(&self, qpn: u32, private: &[u8], params: &ConnParams) -> Result {
        let mut reply = ib::rdma_conn_param {
            private_data: private.as_ptr().cast(),
            private_data_len: u8::try_from(private.len()).map_err(|_| EINVAL)?,
            responder_resources: params.responder_resources,
            initiator_depth: params.initiator_depth,
            flow_control: params.flow_control.into(),
            retry_count: 0,
            rnr_retry_count: params.rnr_retry_count,
            srq: params.srq.into(),
            qp_num: qpn,
            qkey: 0,
        };
        // SAFETY: The id is valid, this is its handler, and the private data are as long as said.
        to_result(unsafe { ib::rdma_accept(self.as_ptr(), &mut reply) })
    }

    pub(super) fn reject(&self, private: &[u8]) {
        let send = |private: &[u8], len| {
            // SAFETY: The id is valid, and the private data are as long as is said.
            unsafe {
                ib::rdma_reject(
                    self.as_ptr(),
                    private.as_ptr().cast(),
                    len,
                    ib::ib_cm_rej_reason_IB_CM_REJ_CONSUMER_DEFINED as u8,
                )
            }
        };
        // If that fails the CM rejects when it destroys the id.
        let _ = u8::try_from(private.len()).map(|len| send(private, len));
    }

    pub(super) fn disconnect(&self) -> Result {
        // SAFETY: The id is valid.
        to_result(unsafe { ib::rdma_disconnect(self.as_ptr()) })
    }

    pub(super) fn notify_established(&self) {
        // It fails if that has been noticed otherwise.
        // SAFETY: The id is valid.
        unsafe { ib::rdma_notify(self.as_ptr(), ib::ib_event_type_IB_EVENT_COMM_EST) };
    }

    /// Destroys the id. When this returns no handler runs.
    ///
    /// # Safety
    ///
    /// The id is the caller's, and not used after this; this is not one of its handlers.
    pub(super) unsafe fn destroy(self) {
        // SAFETY: By the function's contract.
        unsafe { ib::rdma_destroy_id(self.as_ptr()) };
    }
}

/// The handler of a listening id, which is called with the new id.
///
/// # Safety
///
/// For the CM; `id` has the context of a [`Listener`].
unsafe extern "C" fn listening(id: *mut ib::rdma_cm_id, event: *mut ib::rdma_cm_event) -> c_int {
    // SAFETY: The CM's pointers are valid during the call.
    let (raw, event) = unsafe { (NonNull::new_unchecked(id), &*event) };
    if event.event != ib::rdma_cm_event_type_RDMA_CM_EVENT_CONNECT_REQUEST {
        return 0;
    }
    // SAFETY: The context is valid by this function's contract and as a listener waits for its
    // handlers; a new id has a device; the event says which of the union's it is.
    let (context, device, param) = unsafe {
        (
            &*(*id).context.cast::<Listening>(),
            NonNull::new_unchecked((*id).device),
            event.param.conn.as_ref(),
        )
    };
    let private_data = match param.private_data.is_null() {
        true => &[][..],
        // SAFETY: The private data are as long as is said, and valid during the call.
        false => unsafe {
            slice::from_raw_parts(param.private_data.cast(), param.private_data_len.into())
        },
    };
    let (mut _local_gid, mut remote_gid) = ([0u8; 16], [0; 16]);
    // SAFETY: The id is valid, and so are two times 16 bytes. The addresses do not change.
    let (port, pkey, remote_ip) = unsafe {
        let route = &raw mut (*id).route;
        let addr = &raw mut (*route).addr;
        ib::rdma_read_gids(
            id,
            (&raw mut _local_gid).cast(),
            (&raw mut remote_gid).cast(),
        );
        (
            (*id).port_num,
            (*route).path_rec.as_ref().map(|path| path.pkey),
            ip((&raw const (*addr).dst_addr).cast()),
        )
    };
    let request = ConnectRequest {
        manager: Manager::Rdma,
        private_data,
        device,
        port,
        pkey: pkey.map_or(ib::IB_DEFAULT_PKEY_FULL as u16, u16::from_be),
        remote_gid,
        remote_ip,
        responder_resources: param.responder_resources,
        initiator_depth: param.initiator_depth,
    };
    match connection::request(CmId::Rdma(Id(raw)), None, &*context.accept, &request) {
        true => DESTROY,
        false => 0,
    }
}

/// The address in a `struct sockaddr_storage`.
///
/// # Safety
///
/// `addr` is valid for reads of one.
unsafe fn ip(addr: *const [u8; 24]) -> Option<IpAddr> {
    // SAFETY: By this function's contract: a `sockaddr_storage` is larger.
    let [f0, f1, _, _, rest @ ..] = unsafe { *addr };
    let [a, b, c, d, v6 @ ..] = rest;
    match u16::from_ne_bytes([f0, f1]).into() {
        bindings::AF_INET => Some(Ipv4Addr::new(a, b, c, d).into()),
        bindings::AF_INET6 => Some(Ipv6Addr::from(v6).into()),
        _ => None,
    }
}

/// The handler of a connection's id.
///
/// # Safety
///
/// For the CM; `id` has the context of a connection, or none any more.
unsafe extern "C" fn connected(id: *mut ib::rdma_cm_id, event: *mut ib::rdma_cm_event) -> c_int {
    // SAFETY: The CM's pointers are valid during the call.
    let (raw, event) = unsafe { (NonNull::new_unchecked(id), &*event) };
    // SAFETY: As above; the id's mutex is held.
    let context = unsafe { (*id).context.cast::<Context>() };
    if context.is_null() {
        return 0;
    }
    // SAFETY: It came from `Arc::into_raw`, and that reference is given up after the id's mutex has
    // been taken once more.
    let context: Arc<Context> = unsafe { ArcBorrow::from_raw(context) }.into();
    let id = Id(raw);
    let what = match event.event {
        ib::rdma_cm_event_type_RDMA_CM_EVENT_ESTABLISHED => ConnEvent::Established,
        // Not answered: then this has been called for.
        ib::rdma_cm_event_type_RDMA_CM_EVENT_DISCONNECTED if event.status != 0 => {
            ConnEvent::DisconnectDone
        }
        ib::rdma_cm_event_type_RDMA_CM_EVENT_DISCONNECTED => {
            // Answers the initiator, if it was the initiator that asked; else it does nothing.
            let _ = id.disconnect();
            context.disconnected()
        }
        ib::rdma_cm_event_type_RDMA_CM_EVENT_REJECTED => ConnEvent::Rejected,
        ib::rdma_cm_event_type_RDMA_CM_EVENT_UNREACHABLE
        | ib::rdma_cm_event_type_RDMA_CM_EVENT_CONNECT_ERROR => ConnEvent::Unreachable,
        ib::rdma_cm_event_type_RDMA_CM_EVENT_TIMEWAIT_EXIT => ConnEvent::TimewaitExit,
        ib::rdma_cm_event_type_RDMA_CM_EVENT_ADDR_CHANGE => ConnEvent::AddressChanged,
        ib::rdma_cm_event_type_RDMA_CM_EVENT_DEVICE_REMOVAL => ConnEvent::DeviceRemoved,
        _ => return 0,
    };
    match context.tell(CmId::Rdma(id), what) {
        true => DESTROY,
        false => 0,
    }
}
