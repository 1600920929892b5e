// SPDX-License-Identifier: GPL-2.0

//! The InfiniBand connection manager: connections to a service ID of one device.
//!
//! C header: [`include/rdma/ib_cm.h`](srctree/include/rdma/ib_cm.h)
//!
//! # The context of an id
//!
//! `ib_destroy_cm_id()` waits for the handlers of an id, but not for one that reports a message
//! which nobody answered: the CM gives up its reference before it calls that. So handlers find
//! their context under RCU and keep a reference of their own, and an id's reference is given up a
//! grace period after it has been taken out of the id.

use super::{
    cm::{Accept, ConnEvent, ConnParams, ConnectRequest, DeviceHold, Manager},
    connection::{self, CmId, Context},
};
use core::{
    mem::MaybeUninit,
    ptr::{self, NonNull},
    slice,
};
use kernel::{
    bindings,
    error::{from_err_ptr, to_result},
    prelude::*,
    sync::{
        atomic::{Acquire, Atomic, Release},
        rcu, Arc, ArcBorrow,
    },
};
use rdma_bindings as ib;

/// What a handler returns for the CM to destroy the id. Not `ENOMEM`, which would leave a request
/// unanswered.
const DESTROY: c_int = -(bindings::ECONNREFUSED as c_int);

/// A listening id's context.
struct Listening {
    device: Arc<dyn DeviceHold>,
    accept: Arc<dyn Accept>,
}

/// Connections to one service of one device are taken for as long as this exists.
///
/// Dropping it waits for handlers; see [`super::cm`]. Connections that were made stay.
///
/// # Invariants
///
/// `id` is a listening id, ours, and `context` is what it points to, from `KBox::into_raw`.
pub(crate) struct Listener {
    id: NonNull<ib::ib_cm_id>,
    context: *mut Listening,
}

// SAFETY: The CM locks its ids itself.
unsafe impl Send for Listener {}
// SAFETY: There is nothing to do with a `&Listener`.
unsafe impl Sync for Listener {}

impl Listener {
    /// Listens. Process context. `EBUSY` if somebody else listens there, `ENOMEM`, `EINVAL` for a
    /// `service_id` from the range that the CM assigns (IBA A3.2.3.1).
    pub(crate) fn new(
        device: Arc<dyn DeviceHold>,
        service_id: u64,
        accept: Arc<dyn Accept>,
    ) -> Result<Self> {
        let raw = device.as_raw().as_ptr();
        let context = KBox::into_raw(KBox::new(Listening { device, accept }, GFP_KERNEL)?);
        // SAFETY: The device is registered, by the contract of `DeviceHold`.
        let id = from_err_ptr(unsafe { ib::ib_create_cm_id(raw, Some(listening), context.cast()) })
            .and_then(|id| NonNull::new(id).ok_or(ENOMEM))
            .inspect_err(|_| {
                // SAFETY: From `into_raw`, and there is no id that points to it.
                drop(unsafe { KBox::from_raw(context) });
            })?;
        // INVARIANT: Both were just made; an id that does not listen yet is destroyed alike.
        let this = Self { id, context };
        // SAFETY: The id is valid.
        to_result(unsafe { ib::ib_cm_listen(id.as_ptr(), service_id.to_be()) })?;
        Ok(this)
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        // SAFETY: Ours by the type invariants. Afterwards no handler of a request runs, as those
        // have a reference to the id, and all other ids have another context.
        unsafe { ib::ib_destroy_cm_id(self.id.as_ptr()) };
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
pub(super) struct Id {
    id: NonNull<ib::ib_cm_id>,
    /// Packet sequence number that the initiator is to start with: another one each time, so that
    /// packets of an earlier connection are not taken for this one's.
    psn: u32,
}

impl Id {
    /// The context of the id: null or a reference.
    fn context(&self) -> &Atomic<*mut c_void> {
        // SAFETY: The id is valid, and its context is only accessed like this once it is shared.
        unsafe { Atomic::from_ptr(&raw mut (*self.id.as_ptr()).context) }
    }

    /// Fills in what `attr.qp_state` needs, returns the mask.
    pub(super) fn qp_attr(&self, attr: &mut ib::ib_qp_attr) -> Result<u32> {
        let mut mask = 0;
        // SAFETY: The id is valid.
        to_result(unsafe { ib::ib_cm_init_qp_attr(self.id.as_ptr(), attr, &mut mask) })?;
        if attr.qp_state == ib::ib_qp_state_IB_QPS_RTR {
            attr.rq_psn = self.psn;
        }
        Ok(mask as u32)
    }

    /// Makes the id, whose handler this is, a connection's.
    pub(super) fn adopt(&self, context: *const Context) {
        // SAFETY: The id is valid. The CM reads the handler for events, of which there are none
        // before a reply has been sent and this handler has returned.
        unsafe { (*self.id.as_ptr()).cm_handler = Some(connected) };
        self.context().store(context.cast_mut().cast(), Release);
    }

    /// Takes the context away. Afterwards no handler finds it. Sleeps.
    pub(super) fn disown(&self) {
        self.context().store(ptr::null_mut(), Release);
        // SAFETY: Process context.
        unsafe { bindings::synchronize_rcu() };
    }

    pub(super) fn reply(&self, qpn: u32, private: &[u8], params: &ConnParams) -> Result {
        // SAFETY: All of it is integers and a pointer, for which zeros are valid.
        let mut reply: ib::ib_cm_rep_param = unsafe { MaybeUninit::zeroed().assume_init() };
        reply.qp_num = qpn;
        reply.starting_psn = self.psn;
        reply.private_data = private.as_ptr().cast();
        reply.private_data_len = u8::try_from(private.len()).map_err(|_| EINVAL)?;
        reply.responder_resources = params.responder_resources;
        reply.initiator_depth = params.initiator_depth;
        reply.flow_control = params.flow_control.into();
        reply.rnr_retry_count = params.rnr_retry_count.min(7);
        reply.srq = params.srq.into();
        // SAFETY: The id is valid, and the private data are as long as is said.
        to_result(unsafe { ib::ib_send_cm_rep(self.id.as_ptr(), &mut reply) })
    }

    pub(super) fn reject(&self, private: &[u8]) {
        let send = |private: &[u8], len| {
            // SAFETY: The id is valid, and the private data are as long as is said.
            unsafe {
                ib::ib_send_cm_rej(
                    self.id.as_ptr(),
                    ib::ib_cm_rej_reason_IB_CM_REJ_CONSUMER_DEFINED,
                    ptr::null_mut(),
                    0,
                    private.as_ptr().cast(),
                    len,
                )
            }
        };
        // If that fails the CM rejects when it destroys the id.
        let _ = u8::try_from(private.len()).map(|len| send(private, len));
    }

    pub(super) fn disconnect(&self) -> Result {
        // SAFETY: The id is valid.
        to_result(unsafe { ib::ib_send_cm_dreq(self.id.as_ptr(), ptr::null(), 0) })
    }

    pub(super) fn notify_established(&self) {
        // It fails if that has been noticed otherwise.
        // SAFETY: The id is valid.
        unsafe { ib::ib_cm_notify(self.id.as_ptr(), ib::ib_event_type_IB_EVENT_COMM_EST) };
    }

    /// Destroys the id. When this returns no handler finds its context.
    ///
    /// # Safety
    ///
    /// The id is the caller's, and not used after this.
    pub(super) unsafe fn destroy(self) {
        self.context().store(ptr::null_mut(), Release);
        // SAFETY: By the function's contract.
        unsafe { ib::ib_destroy_cm_id(self.id.as_ptr()) };
        // SAFETY: Process context.
        unsafe { bindings::synchronize_rcu() };
    }
}

/// The handler of a listening id, which is called with the new id.
///
/// # Safety
///
/// For the CM; `id` has the context of a [`Listener`].
unsafe extern "C" fn listening(id: *mut ib::ib_cm_id, event: *const ib::ib_cm_event) -> c_int {
    // SAFETY: The CM's pointers are valid during the call; so is the context, by this function's
    // contract and as a listener waits for its handlers.
    let (id, event, context) = unsafe {
        (
            NonNull::new_unchecked(id),
            &*event,
            &*(*id).context.cast::<Listening>(),
        )
    };
    if event.event != ib::ib_cm_event_type_IB_CM_REQ_RECEIVED {
        return DESTROY;
    }
    // SAFETY: The event says which of the union's it is. It has a primary path, and 92 bytes of
    // private data, which are valid during the call.
    let (param, path, private_data) = unsafe {
        let param = &event.param.req_rcvd;
        (
            param,
            &*param.primary_path,
            slice::from_raw_parts(event.private_data.cast::<u8>().cast_const(), REQ_PRIVATE),
        )
    };
    let request = ConnectRequest {
        manager: Manager::Ib,
        private_data,
        device: context.device.as_raw(),
        port: param.port.into(),
        pkey: u16::from_be(path.pkey),
        remote_gid: gid(&path.dgid),
        remote_ip: None,
        responder_resources: param.responder_resources,
        initiator_depth: param.initiator_depth,
    };
    // SAFETY: No requirements.
    let psn = unsafe { bindings::get_random_u32() } & 0xff_ffff;
    let id = CmId::Ib(Id { id, psn });
    match connection::request(id, Some(&context.device), &*context.accept, &request) {
        true => DESTROY,
        false => 0,
    }
}

/// Bytes of private data of a request.
const REQ_PRIVATE: usize = ib::ib_cm_data_size_IB_CM_REQ_PRIVATE_DATA_SIZE as usize;

fn gid(gid: &ib::ib_gid) -> [u8; 16] {
    // SAFETY: A GID is 16 bytes, of which there are two views.
    unsafe { ptr::from_ref(gid).cast::<[u8; 16]>().read() }
}

/// The handler of a connection's id.
///
/// # Safety
///
/// For the CM; `id` has the context of a connection, or none any more.
unsafe extern "C" fn connected(id: *mut ib::ib_cm_id, event: *const ib::ib_cm_event) -> c_int {
    // SAFETY: The CM's pointers are valid during the call.
    let (id, event) = unsafe { (NonNull::new_unchecked(id), (*event).event) };
    let id = Id { id, psn: 0 };
    let Some(context) = find(&id) else {
        // It is being destroyed.
        return 0;
    };
    let what = match event {
        ib::ib_cm_event_type_IB_CM_RTU_RECEIVED | ib::ib_cm_event_type_IB_CM_USER_ESTABLISHED => {
            ConnEvent::Established
        }
        ib::ib_cm_event_type_IB_CM_DREQ_RECEIVED => {
            // If it fails the initiator asks again.
            // SAFETY: The id is valid during the call.
            unsafe { ib::ib_send_cm_drep(id.id.as_ptr(), ptr::null(), 0) };
            context.disconnected()
        }
        ib::ib_cm_event_type_IB_CM_DREP_RECEIVED => ConnEvent::DisconnectDone,
        ib::ib_cm_event_type_IB_CM_REJ_RECEIVED => ConnEvent::Rejected,
        ib::ib_cm_event_type_IB_CM_TIMEWAIT_EXIT => ConnEvent::TimewaitExit,
        ib::ib_cm_event_type_IB_CM_REP_ERROR => {
            context.tell_detached(ConnEvent::Unreachable);
            return 0;
        }
        ib::ib_cm_event_type_IB_CM_DREQ_ERROR => {
            context.tell_detached(ConnEvent::DisconnectDone);
            return 0;
        }
        _ => return 0,
    };
    match context.tell(CmId::Ib(id), what) {
        true => DESTROY,
        false => 0,
    }
}

/// A reference to the context of a connection's id.
fn find(id: &Id) -> Option<Arc<Context>> {
    let _guard = rcu::read_lock();
    let context = NonNull::new(id.context().load(Acquire))?.cast::<Context>();
    // SAFETY: It came from `Arc::into_raw`, and that reference is given up a grace period after it
    // was taken out of the id.
    Some(unsafe { ArcBorrow::from_raw(context.as_ptr()) }.into())
}
