// SPDX-License-Identifier: GPL-2.0

//! Device management: the datagrams (MADs) by which the initiators of an InfiniBand fabric find out
//! what a port offers.
//!
//! C header: [`include/rdma/ib_mad.h`](srctree/include/rdma/ib_mad.h)

use super::cm::DeviceHold;
use core::{
    mem::ManuallyDrop,
    ptr::{self, NonNull},
};
use kernel::{
    bindings,
    error::{from_err_ptr, to_result},
    prelude::*,
    sync::Arc,
};
use rdma_bindings as ib;

/// Bytes of a MAD.
pub(crate) const MAD_LEN: usize = ib::IB_MGMT_MAD_SIZE as usize;

/// Class version of device management.
const CLASS_VERSION: u8 = 1;

/// Who answers requests of the class Device Management (IBA vol 1, 16.3).
pub(crate) trait DeviceManagement: Send + Sync + 'static {
    /// Answers `request`, a whole MAD with the method Get or Set, in `response`, which is all
    /// zeros; `false` if there is to be no answer. Both are in the byte order of the wire.
    ///
    /// Called in a work queue of the MAD layer, for several requests at a time; may sleep, but the
    /// connection manager of the port waits for it.
    fn answer(&self, request: &[u8; MAD_LEN], response: &mut [u8; MAD_LEN]) -> bool;
}

/// What an agent's context is.
struct Context {
    handler: Arc<dyn DeviceManagement>,
}

/// A port answers device management requests for as long as this exists, and says so in its
/// PortInfo.
///
/// Dropping it waits for [`DeviceManagement::answer`]: process context, under no lock that this
/// takes. The handler must not own it.
///
/// # Invariants
///
/// `agent` is a registered agent, ours, of `port` of `device`, and `context` is its context, from
/// `KBox::into_raw`.
pub(crate) struct MadAgent {
    agent: NonNull<ib::ib_mad_agent>,
    context: *mut Context,
    port: u32,
    device: Arc<dyn DeviceHold>,
}

// SAFETY: The MAD layer locks its agents itself.
unsafe impl Send for MadAgent {}
// SAFETY: There is nothing to do with a `&MadAgent`.
unsafe impl Sync for MadAgent {}

impl MadAgent {
    /// Answers the device management requests that come to `port` (from 1) with `handler`. Process
    /// context.
    ///
    /// That it fails does not keep initiators from connecting that know where to: `EPROTONOSUPPORT`
    /// where there are no such datagrams (iWARP); `EOPNOTSUPP`, or what else the driver says, where
    /// the port's capabilities cannot be changed (RoCE of some devices, virtual functions);
    /// `EINVAL` if somebody else answers on this port; `ENOMEM`.
    pub(crate) fn register(
        device: Arc<dyn DeviceHold>,
        port: u32,
        handler: Arc<dyn DeviceManagement>,
    ) -> Result<Self> {
        let mut methods = [0; 2];
        methods[0] = 1 << ib::IB_MGMT_METHOD_GET | 1 << ib::IB_MGMT_METHOD_SET;
        let mut wanted = ib::ib_mad_reg_req {
            mgmt_class: ib::IB_MGMT_CLASS_DEVICE_MGMT as u8,
            mgmt_class_version: CLASS_VERSION,
            oui: [0; 3],
            method_mask: methods,
        };
        let context = KBox::into_raw(KBox::new(Context { handler }, GFP_KERNEL)?);
        // SAFETY: The device is registered, by the contract of `DeviceHold`; `wanted` is copied.
        let agent = from_err_ptr(unsafe {
            ib::ib_register_mad_agent(
                device.as_raw().as_ptr(),
                port,
                ib::ib_qp_type_IB_QPT_GSI,
                &mut wanted,
                0,
                Some(sent),
                Some(received),
                context.cast(),
                0,
            )
        })
        .and_then(|agent| NonNull::new(agent).ok_or(ENOMEM))
        .inspect_err(|_| {
            // SAFETY: From `into_raw`, and there is no agent that points to it.
            drop(unsafe { KBox::from_raw(context) });
        })?;
        // INVARIANT: All of it was just made.
        let this = Self {
            agent,
            context,
            port,
            device,
        };
        this.set_capability(true)?;
        Ok(this)
    }

    /// Says in the port's PortInfo whether it answers.
    fn set_capability(&self, on: bool) -> Result {
        let bit = ib::ib_port_capability_mask_bits_IB_PORT_DEVICE_MGMT_SUP;
        let mut modify = ib::ib_port_modify {
            set_port_cap_mask: if on { bit } else { 0 },
            clr_port_cap_mask: if on { 0 } else { bit },
            init_type: 0,
        };
        // SAFETY: The device is registered; the function checks the port.
        to_result(unsafe {
            ib::ib_modify_port(self.device.as_raw().as_ptr(), self.port, 0, &mut modify)
        })
    }
}

impl Drop for MadAgent {
    fn drop(&mut self) {
        // Where it could not be set it need not be cleared.
        let _ = self.set_capability(false);
        // SAFETY: Ours by the type invariants. Afterwards no handler runs.
        unsafe { ib::ib_unregister_mad_agent(self.agent.as_ptr()) };
        // SAFETY: From `into_raw`, and nobody refers to it any more.
        drop(unsafe { KBox::from_raw(self.context) });
    }
}

/// A received MAD.
///
/// # Invariants
///
/// It is valid, and ours.
struct Received(*mut ib::ib_mad_recv_wc);

impl Drop for Received {
    fn drop(&mut self) {
        // SAFETY: By the type invariants.
        unsafe { ib::ib_free_recv_mad(self.0) };
    }
}

/// The handler of received MADs.
///
/// # Safety
///
/// For the MAD layer; `agent` has the context of a [`MadAgent`], and `received` is given away.
unsafe extern "C" fn received(
    agent: *mut ib::ib_mad_agent,
    _sent: *mut ib::ib_mad_send_buf,
    received: *mut ib::ib_mad_recv_wc,
) {
    if received.is_null() {
        return;
    }
    // INVARIANT: By this function's contract.
    let received = Received(received);
    // SAFETY: The agent is valid during the call, and its context is, as `ib_unregister_mad_agent`
    // waits for its handlers. The MAD is as long as all are, at least.
    let (context, request) = unsafe {
        let mad = (*received.0).recv_buf.__bindgen_anon_1.mad;
        (
            &*(*agent).context.cast::<Context>(),
            &*mad.cast::<[u8; MAD_LEN]>(),
        )
    };
    // SAFETY: The agent is valid during the call.
    let Ok(mut response) = (unsafe { Response::new(agent, &received) }) else {
        // There is no memory, or no way back; the initiator asks again.
        return;
    };
    if context.handler.answer(request, response.data()) {
        response.send();
    }
}

/// A MAD to be sent.
///
/// # Invariants
///
/// It is valid, ours, and has an address handle that is its own.
struct Response(NonNull<ib::ib_mad_send_buf>);

impl Response {
    /// An answer to `to`, all zeros. `ENOMEM`, and what the device says to the address.
    ///
    /// # Safety
    ///
    /// `agent` is the agent that has received `to`.
    unsafe fn new(agent: *mut ib::ib_mad_agent, to: &Received) -> Result<Self> {
        // SAFETY: Both are valid, by this function's contract.
        let (wc, grh, pd, port) = unsafe {
            (
                (*to.0).wc,
                (*to.0).recv_buf.grh,
                (*(*agent).qp).pd,
                (*agent).port_num,
            )
        };
        // SAFETY: They belong together.
        let ah = from_err_ptr(unsafe { ib::ib_create_ah_from_wc(pd, wc, grh, port.into()) })?;
        // SAFETY: The agent and the completion are valid.
        let buf = from_err_ptr(unsafe {
            ib::ib_create_send_mad(
                agent,
                (*wc).src_qp,
                (*wc).pkey_index,
                0,
                ib::IB_MGMT_DEVICE_HDR as c_int,
                ib::IB_MGMT_DEVICE_DATA as c_int,
                bindings::GFP_KERNEL,
                ib::IB_MGMT_BASE_VERSION as u8,
            )
        })
        .and_then(|buf| NonNull::new(buf).ok_or(ENOMEM))
        .inspect_err(|_| {
            // SAFETY: The address handle was just made, and nobody uses it.
            unsafe { destroy_ah(ah) };
        })?;
        // SAFETY: The buffer was just made.
        unsafe { (*buf.as_ptr()).ah = ah };
        // INVARIANT: Both were just made.
        Ok(Self(buf))
    }

    fn data(&mut self) -> &mut [u8; MAD_LEN] {
        // SAFETY: The buffer was made for header and data of this length together.
        unsafe { &mut *(*self.0.as_ptr()).mad.cast::<[u8; MAD_LEN]>() }
    }

    fn send(self) {
        let this = ManuallyDrop::new(self);
        // SAFETY: It is valid, and if that succeeds it is given away, to `sent`.
        if unsafe { ib::ib_post_send_mad(this.0.as_ptr(), ptr::null_mut()) } != 0 {
            drop(ManuallyDrop::into_inner(this));
        }
    }
}

impl Drop for Response {
    fn drop(&mut self) {
        // SAFETY: By the type invariants.
        unsafe {
            destroy_ah((*self.0.as_ptr()).ah);
            ib::ib_free_send_mad(self.0.as_ptr());
        }
    }
}

/// # Safety
///
/// `ah` is the caller's. Process context.
unsafe fn destroy_ah(ah: *mut ib::ib_ah) {
    let flags = ib::rdma_destroy_ah_flags_RDMA_DESTROY_AH_SLEEPABLE;
    // SAFETY: By the function's contract.
    unsafe { ib::rdma_destroy_ah_user(ah, flags, ptr::null_mut()) };
}

/// The handler of MADs that have been sent, or not.
///
/// # Safety
///
/// For the MAD layer; the buffer is one that [`Response::send`] gave away.
unsafe extern "C" fn sent(_agent: *mut ib::ib_mad_agent, done: *mut ib::ib_mad_send_wc) {
    // SAFETY: By this function's contract. INVARIANT: It comes back whole.
    let buf = unsafe { NonNull::new_unchecked((*done).send_buf) };
    drop(Response(buf));
}
