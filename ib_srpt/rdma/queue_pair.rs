// SPDX-License-Identifier: GPL-2.0

//! Queue pairs and shared receive queues: where work is posted.
//!
//! C header: `include/rdma/ib_verbs.h`

use super::{
    arena::{Body, Handle},
    chain::{Chain, Remote},
    cm,
    completion::CompletionQueue,
    device::ProtectionDomain,
    dma::Void,
    queue::Queue,
    receive::{ReceiveQueue, SharedReceiveQueue},
};
use core::{
    cell::Cell,
    ptr::{self, NonNull},
};
use kapi::lock::{new_spinlock_irq, SpinLockIrq};
use kernel::{
    error::{from_err_ptr, to_result},
    ffi::{c_int, c_void},
    prelude::*,
    sync::Arc,
    types::Opaque,
};
use rdma_bindings as ib;

/// What a completion is of: part of its [`Completion::id`](super::completion::Completion::id).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u64)]
pub(crate) enum Kind {
    /// A unit has been received.
    Receive = 1 << 32,
    /// A chain of work requests of a request has been carried out.
    Chain = 2 << 32,
    /// A work request that is to make no completion has failed. Of no request.
    Part = 3 << 32,
    /// Work of no request is complete, with all that was posted before it: the
    /// number is that of the places in the send queue that are free by it.
    Freed = 4 << 32,
}

impl Kind {
    /// Kind and request of a completion.
    #[inline]
    pub(crate) fn decode(id: u64) -> Option<(Self, u32)> {
        let kind = match id >> 32 {
            1 => Self::Receive,
            2 => Self::Chain,
            3 => Self::Part,
            4 => Self::Freed,
            _ => return None,
        };
        Some((kind, id as u32))
    }
}

/// What [`QueuePair::post`] is to do after a chain.
#[derive(PartialEq, Eq)]
pub(crate) enum More {
    /// Call for another one.
    Yes,
    /// That was the last one; it completes the request.
    No,
}

/// What a queue pair is to be able to do.
#[derive(Clone, Copy)]
pub(crate) struct Capacity {
    /// Work requests in the send queue.
    pub(crate) sends: u32,
    /// Work requests in its own receive queue, if there is no shared one.
    pub(crate) receives: u32,
    /// Pieces of memory of a send work request.
    pub(crate) pieces: u32,
    /// Longest unit that is copied when it is posted, bytes. A pair that cannot
    /// has none.
    pub(crate) copied: u32,
}

/// What happens to a queue pair, beside completions. Any context.
pub(crate) trait QueueEvents: Send + Sync + 'static {
    /// A unit has come before the connection manager knew of the connection.
    fn established(&self);
    /// No receive work request is left for the queue pair, which is in error.
    fn last_receive(&self);
    /// The queue pair is in error.
    fn failed(&self, what: &'static str);
}

/// A reliable connection's queue pair.
///
/// # Invariants
///
/// `raw` is valid and ours; its context is `events`.
pub(crate) struct QueuePair {
    raw: NonNull<ib::ib_qp>,
    /// What the C side points to.
    _events: KBox<Arc<dyn QueueEvents>>,
    /// After the pair itself: it is dropped later.
    cq: Pin<KBox<CompletionQueue>>,
    srq: Option<Arc<SharedReceiveQueue>>,
    void: Arc<Void>,
    /// Requests of which a part is posted and the rest could not be.
    stranded: Pin<KBox<SpinLockIrq<Queue>>>,
    capacity: Capacity,
}

// SAFETY: Posting synchronises in the provider.
unsafe impl Send for QueuePair {}
// SAFETY: As above.
unsafe impl Sync for QueuePair {}

impl QueuePair {
    /// A queue pair in the state RESET. Sleeps.
    pub(crate) fn new(
        void: &Arc<Void>,
        cq: Pin<KBox<CompletionQueue>>,
        srq: Option<Arc<SharedReceiveQueue>>,
        capacity: Capacity,
        events: Arc<dyn QueueEvents>,
    ) -> Result<Self> {
        let events = KBox::new(events, GFP_KERNEL)?;
        let stranded = KBox::pin_init(new_spinlock_irq!(Queue::new()), GFP_KERNEL)?;
        let init = Opaque::<ib::ib_qp_init_attr>::zeroed();
        // SAFETY: All zeros is a value of the structure; it is ours alone.
        unsafe {
            let init = init.get();
            (*init).event_handler = Some(event);
            (*init).qp_context = ptr::from_ref(&*events).cast_mut().cast();
            (*init).send_cq = cq.raw();
            (*init).recv_cq = cq.raw();
            (*init).sq_sig_type = ib::ib_sig_type_IB_SIGNAL_REQ_WR;
            (*init).qp_type = ib::ib_qp_type_IB_QPT_RC;
            if let Some(srq) = &srq {
                (*init).srq = srq.raw.as_ptr();
            }
        }
        let create = |copied| {
            let (receives, pieces) = match srq {
                Some(_) => (0, 0),
                None => (capacity.receives, 1),
            };
            // SAFETY: Everything in `init` is valid, and outlives the pair: it
            // is kept beside it. The provider says in `init` what it has made.
            unsafe {
                let init = init.get();
                (*init).cap = ib::ib_qp_cap {
                    max_send_wr: capacity.sends,
                    max_send_sge: capacity.pieces,
                    max_recv_wr: receives,
                    max_recv_sge: pieces,
                    max_inline_data: copied,
                    max_rdma_ctxs: 0,
                };
                let raw = void.domain().raw();
                let qp =
                    from_err_ptr(ib::ib_create_qp_kernel(raw, init, c"ib_srpt".as_char_ptr()))?;
                Ok((qp, (*init).cap.max_inline_data))
            }
        };
        let (qp, copied) = create(capacity.copied).or_else(|_: Error| create(0))?;
        let capacity = Capacity {
            copied: copied.min(capacity.copied),
            ..capacity
        };
        Ok(Self {
            raw: NonNull::new(qp).ok_or(ENOMEM)?,
            _events: events,
            cq,
            srq,
            void: void.clone(),
            stranded,
            capacity,
        })
    }

    pub(crate) fn completions(&self) -> &CompletionQueue {
        &self.cq
    }

    pub(crate) fn domain(&self) -> &Arc<ProtectionDomain> {
        self.void.domain()
    }

    pub(crate) fn capacity(&self) -> Capacity {
        self.capacity
    }

    /// Puts the pair into the error state: all work is flushed. Sleeps.
    pub(crate) fn fail(&self) -> Result {
        let attr = Opaque::<ib::ib_qp_attr>::zeroed();
        // SAFETY: All zeros is a value of the structure; of it only the state
        // is looked at.
        unsafe {
            (*attr.get()).qp_state = ib::ib_qp_state_IB_QPS_ERR;
            let mask = ib::ib_qp_attr_mask_IB_QP_STATE as c_int;
            to_result(ib::ib_modify_qp(self.raw.as_ptr(), attr.get(), mask))
        }
    }

    /// Posts for the request `handle` the chains that `fill` makes, until it
    /// says that there are no more. When the last work request is complete, so
    /// is the request: [`Requests::completed`](super::arena::Requests::completed)
    /// gives the handle back then.
    ///
    /// An error gives it back at once, and nothing is posted; unless that is not
    /// so, because the provider refused a later chain. Then the pair keeps the
    /// handle ([`QueuePair::stranded`]); the caller has to end the connection in
    /// either case. Any context.
    #[inline]
    pub(crate) fn post(
        &self,
        handle: Handle,
        mut fill: impl for<'t> FnMut(&'t Body, &mut Chain<'t>) -> More,
    ) -> Result<(), Option<Handle>> {
        let qp = self.raw.as_ptr();
        // SAFETY: The pair is valid.
        let Some(post_send) = (unsafe { (*(*qp).device).ops.post_send }) else {
            return Err(Some(handle));
        };
        let id = Kind::Chain as u64 | u64::from(handle.index());
        let outstanding = Cell::new(false);
        loop {
            let mut chain = Chain::new(id);
            let more = fill(&handle, &mut chain);
            let last = more == More::No;
            let Some(first) = chain.finish(last) else {
                // An empty chain has no completion.
                return self.refused(handle, outstanding.get());
            };
            let address = handle.address();
            if last {
                // It may be complete, and somebody else's, before the call
                // returns.
                handle.posted();
                let mut bad = ptr::null();
                // SAFETY: The chain is valid, and copied by the provider. The
                // memory that it names is that of the body, which stays as it
                // is until the completion.
                if unsafe { post_send(qp, first, &mut bad) } == 0 {
                    return Ok(());
                }
                // SAFETY: The last work request was not posted, so that the
                // handle given away above will not be given back.
                let handle = unsafe { Handle::not_posted(address) };
                return self.refused(handle, outstanding.get() || !ptr::eq(bad, first));
            }
            let mut bad = ptr::null();
            // SAFETY: As above; the handle stays here meanwhile.
            if unsafe { post_send(qp, first, &mut bad) } != 0 {
                return self.refused(handle, outstanding.get() || !ptr::eq(bad, first));
            }
            outstanding.set(true);
        }
    }

    /// Posts `unit`, which is copied, and before it zeros for a piece of the
    /// initiator's memory, if there is one: nothing of it is anybody's any more
    /// when this returns. Of `freed` places in the send queue it is said when it
    /// is complete ([`Kind::Freed`]); without that nothing is, unless it fails.
    ///
    /// On an error the caller has to end the connection. Any context.
    #[inline]
    pub(crate) fn post_copied(
        &self,
        unit: &[u8],
        solicited: bool,
        zeros: Option<(Remote, u32)>,
        freed: Option<u32>,
    ) -> Result {
        let qp = self.raw.as_ptr();
        // SAFETY: The pair is valid.
        let post_send = unsafe { (*(*qp).device).ops.post_send }.ok_or(ENOTSUPP)?;
        if unit.len() > self.capacity.copied as usize {
            return Err(EMSGSIZE);
        }
        let mut flags = ib::ib_send_flags_IB_SEND_INLINE;
        if solicited {
            flags |= ib::ib_send_flags_IB_SEND_SOLICITED;
        }
        let mut id = Kind::Part as u64;
        if let Some(places) = freed {
            flags |= ib::ib_send_flags_IB_SEND_SIGNALED;
            id = Kind::Freed as u64 | u64::from(places);
        }
        let mut unit = ib::ib_sge {
            // Of what is copied the provider wants the CPU's address.
            addr: unit.as_ptr() as u64,
            length: unit.len() as u32,
            lkey: 0,
        };
        let mut send = ib::ib_send_wr {
            next: ptr::null_mut(),
            __bindgen_anon_1: ib::ib_send_wr__bindgen_ty_1 { wr_id: id },
            sg_list: &raw mut unit,
            num_sge: 1,
            opcode: ib::ib_wr_opcode_IB_WR_SEND,
            send_flags: flags,
            ex: ib::ib_send_wr__bindgen_ty_2 { imm_data: 0 },
        };
        let mut bad = ptr::null();
        let Some((remote, len)) = zeros else {
            // SAFETY: The work request is valid, and the provider copies it and
            // what it names.
            return to_result(unsafe { post_send(qp, &send, &mut bad) });
        };
        let local = self.void.zeros().first(len);
        if local.len() != len {
            return Err(EMSGSIZE);
        }
        let mut memory = ib::ib_sge {
            addr: local.addr,
            length: len,
            lkey: local.lkey,
        };
        let write = ib::ib_rdma_wr {
            wr: ib::ib_send_wr {
                next: &raw mut send,
                __bindgen_anon_1: ib::ib_send_wr__bindgen_ty_1 {
                    wr_id: Kind::Part as u64,
                },
                sg_list: &raw mut memory,
                num_sge: 1,
                opcode: ib::ib_wr_opcode_IB_WR_RDMA_WRITE,
                send_flags: 0,
                ex: ib::ib_send_wr__bindgen_ty_2 { imm_data: 0 },
            },
            remote_addr: remote.addr,
            rkey: remote.rkey,
        };
        // SAFETY: As above; the memory is that of `void`, which is dropped after
        // the pair.
        to_result(unsafe { post_send(qp, &write.wr, &mut bad) })
    }

    #[cold]
    fn refused(&self, handle: Handle, outstanding: bool) -> Result<(), Option<Handle>> {
        match outstanding {
            false => Err(Some(handle)),
            true => {
                self.stranded.lock().push(handle);
                Err(None)
            }
        }
    }

    /// Takes the requests that the pair kept. They may be used again when it is
    /// destroyed.
    pub(crate) fn stranded(&self) -> Queue {
        core::mem::replace(&mut *self.stranded.lock(), Queue::new())
    }
}

// SAFETY: The pair is valid and the same as long as this exists.
unsafe impl cm::QueuePair for QueuePair {
    fn as_raw(&self) -> NonNull<ib::ib_qp> {
        self.raw
    }
}

impl ReceiveQueue for QueuePair {
    #[inline]
    unsafe fn post_raw(&self, wr: *const ib::ib_recv_wr, bad: *mut *const ib::ib_recv_wr) -> c_int {
        let qp = self.raw.as_ptr();
        // SAFETY: The pair is valid; the chain is by this function's contract.
        unsafe {
            match (&self.srq, (*(*qp).device).ops.post_recv) {
                (Some(srq), _) => srq.post_raw(wr, bad),
                (None, Some(post)) => post(qp, wr, bad),
                (None, None) => ENOTSUPP.to_errno(),
            }
        }
    }
}

impl Drop for QueuePair {
    fn drop(&mut self) {
        // SAFETY: Ours; nobody can post any more. No event comes after this.
        unsafe { ib::ib_destroy_qp_user(self.raw.as_ptr(), ptr::null_mut()) };
    }
}

/// Something has happened to a queue pair. Any context.
///
/// # Safety
///
/// `context` is that of a pair, by its making, and `event` is valid.
unsafe extern "C" fn event(event: *mut ib::ib_event, context: *mut c_void) {
    // SAFETY: The context is the pair's `events`, which outlives the pair.
    let (events, what) = unsafe { (&*context.cast::<Arc<dyn QueueEvents>>(), (*event).event) };
    match what {
        ib::ib_event_type_IB_EVENT_COMM_EST => events.established(),
        ib::ib_event_type_IB_EVENT_QP_LAST_WQE_REACHED => events.last_receive(),
        ib::ib_event_type_IB_EVENT_QP_FATAL => events.failed("fatal error"),
        ib::ib_event_type_IB_EVENT_QP_REQ_ERR => events.failed("invalid request"),
        ib::ib_event_type_IB_EVENT_QP_ACCESS_ERR => events.failed("access violation"),
        _ => (),
    }
}
