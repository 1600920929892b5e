// SPDX-License-Identifier: GPL-2.0

//! Queue pairs and shared receive queues: where work is posted.
//!
//! C header: `include/rdma/ib_verbs.h`

use super::{
    arena::{Body, Handle, Queue},
    cm,
    completion::CompletionQueue,
    device::ProtectionDomain,
    dma::Local,
    receive::{ReceiveQueue, SharedReceiveQueue},
};
use core::{
    cell::Cell,
    marker::PhantomData,
    mem::MaybeUninit,
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

/// Work requests of a chain that is posted at once.
pub(crate) const CHAIN_WRS: usize = 8;
/// Pieces of memory of such a chain.
pub(crate) const CHAIN_PIECES: usize = 16;

/// What a completion is of: part of its [`Completion::id`](super::completion::Completion::id).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u64)]
pub(crate) enum Kind {
    /// A unit has been received.
    Receive = 1 << 32,
    /// A chain of work requests of a request has been carried out.
    Chain = 2 << 32,
    /// A work request before the last one of a chain has failed. Of no request:
    /// the last one's completion comes, too.
    Part = 3 << 32,
}

impl Kind {
    /// Kind and request of a completion.
    #[inline]
    pub(crate) fn decode(id: u64) -> Option<(Self, u32)> {
        let kind = match id >> 32 {
            1 => Self::Receive,
            2 => Self::Chain,
            3 => Self::Part,
            _ => return None,
        };
        Some((kind, id as u32))
    }
}

/// A piece of the initiator's memory.
#[derive(Clone, Copy)]
pub(crate) struct Remote {
    /// Its virtual address there.
    pub(crate) addr: u64,
    /// The key for it.
    pub(crate) rkey: u32,
}

/// Which way a work request moves data.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Rdma {
    /// From the initiator's memory.
    Read,
    /// To the initiator's memory.
    Write,
}

/// Work requests under construction. The memory that they name is the
/// request's that they are for, whose body is borrowed for `'t`.
pub(crate) struct Chain<'t> {
    wrs: [MaybeUninit<ib::ib_rdma_wr>; CHAIN_WRS],
    sges: [MaybeUninit<ib::ib_sge>; CHAIN_PIECES],
    used_wrs: usize,
    used_sges: usize,
    id: u64,
    _request: PhantomData<&'t ()>,
}

/// There is no room in the chain: it has to be posted first.
pub(crate) struct Full;

impl<'t> Chain<'t> {
    #[inline]
    fn new(id: u64) -> Self {
        Self {
            wrs: [const { MaybeUninit::uninit() }; CHAIN_WRS],
            sges: [const { MaybeUninit::uninit() }; CHAIN_PIECES],
            used_wrs: 0,
            used_sges: 0,
            id,
            _request: PhantomData,
        }
    }

    /// Pieces of memory that there is room for.
    #[inline]
    pub(crate) fn room(&self) -> usize {
        CHAIN_PIECES.saturating_sub(self.used_sges)
    }

    /// Begins a work request without memory; [`Chain::piece`] adds that.
    #[inline]
    fn begin(
        &mut self,
        opcode: ib::ib_wr_opcode,
        flags: c_int,
        remote: Remote,
    ) -> Result<(), Full> {
        let slot = self.wrs.get_mut(self.used_wrs).ok_or(Full)?;
        let sges = self.sges.get_mut(self.used_sges..).ok_or(Full)?;
        slot.write(ib::ib_rdma_wr {
            wr: ib::ib_send_wr {
                next: ptr::null_mut(),
                __bindgen_anon_1: ib::ib_send_wr__bindgen_ty_1 {
                    wr_id: Kind::Part as u64,
                },
                sg_list: sges.as_mut_ptr().cast(),
                num_sge: 0,
                opcode,
                send_flags: flags,
                ex: ib::ib_send_wr__bindgen_ty_2 { imm_data: 0 },
            },
            remote_addr: remote.addr,
            rkey: remote.rkey,
        });
        self.used_wrs += 1;
        Ok(())
    }

    /// Adds memory of this machine to the last work request.
    #[inline]
    pub(crate) fn piece(&mut self, local: Local<'t>) -> Result<(), Full> {
        let last = self.used_wrs.checked_sub(1).ok_or(Full)?;
        let wr = self.wrs.get_mut(last).ok_or(Full)?;
        let sge = self.sges.get_mut(self.used_sges).ok_or(Full)?;
        sge.write(ib::ib_sge {
            addr: local.addr,
            length: local.len(),
            lkey: local.lkey,
        });
        self.used_sges += 1;
        // SAFETY: The first `used_wrs` work requests were written.
        unsafe { wr.assume_init_mut() }.wr.num_sge += 1;
        Ok(())
    }

    /// Begins to move data between this machine's memory, as [`Chain::piece`]
    /// says, and the initiator's.
    #[inline]
    pub(crate) fn rdma(&mut self, way: Rdma, remote: Remote) -> Result<(), Full> {
        let opcode = match way {
            Rdma::Read => ib::ib_wr_opcode_IB_WR_RDMA_READ,
            Rdma::Write => ib::ib_wr_opcode_IB_WR_RDMA_WRITE,
        };
        self.begin(opcode, 0, remote)
    }

    /// Sends `local` as a unit. With `solicited`, the initiator gets an event
    /// for it where it waits for those only.
    #[inline]
    pub(crate) fn send(&mut self, local: Local<'t>, solicited: bool) -> Result<(), Full> {
        let flags = match solicited {
            true => ib::ib_send_flags_IB_SEND_SOLICITED,
            false => 0,
        };
        let nowhere = Remote { addr: 0, rkey: 0 };
        if self.room() == 0 {
            return Err(Full);
        }
        self.begin(ib::ib_wr_opcode_IB_WR_SEND, flags, nowhere)?;
        self.piece(local)
    }

    /// Links the work requests; with `last`, the last one makes a completion.
    #[inline]
    fn finish(&mut self, last: bool) -> Option<*const ib::ib_send_wr> {
        let used = self.wrs.get_mut(..self.used_wrs)?;
        let mut next = ptr::null_mut::<ib::ib_send_wr>();
        for wr in used.iter_mut().rev() {
            let wr = wr.as_mut_ptr();
            // SAFETY: The first `used_wrs` work requests were written.
            unsafe {
                if next.is_null() && last {
                    (*wr).wr.__bindgen_anon_1.wr_id = self.id;
                    (*wr).wr.send_flags |= ib::ib_send_flags_IB_SEND_SIGNALED;
                }
                (*wr).wr.next = next;
                next = ptr::addr_of_mut!((*wr).wr);
            }
        }
        (!next.is_null()).then_some(next.cast_const())
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
    pd: Arc<ProtectionDomain>,
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
        pd: &Arc<ProtectionDomain>,
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
            (*init).cap.max_send_wr = capacity.sends;
            (*init).cap.max_send_sge = capacity.pieces;
            (*init).sq_sig_type = ib::ib_sig_type_IB_SIGNAL_REQ_WR;
            (*init).qp_type = ib::ib_qp_type_IB_QPT_RC;
            match &srq {
                Some(srq) => (*init).srq = srq.raw.as_ptr(),
                None => {
                    (*init).cap.max_recv_wr = capacity.receives;
                    (*init).cap.max_recv_sge = 1;
                }
            }
        }
        // SAFETY: Everything in `init` is valid, and outlives the pair: it is
        // kept beside it.
        let qp = from_err_ptr(unsafe {
            ib::ib_create_qp_kernel(pd.raw(), init.get(), c"ib_srpt".as_char_ptr())
        })?;
        Ok(Self {
            raw: NonNull::new(qp).ok_or(ENOMEM)?,
            _events: events,
            cq,
            srq,
            pd: pd.clone(),
            stranded,
            capacity,
        })
    }

    pub(crate) fn completions(&self) -> &CompletionQueue {
        &self.cq
    }

    pub(crate) fn domain(&self) -> &Arc<ProtectionDomain> {
        &self.pd
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
