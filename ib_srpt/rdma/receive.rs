// SPDX-License-Identifier: GPL-2.0

//! Receiving: shared receive queues, and requests that are posted many at once.
//!
//! C header: `include/rdma/ib_verbs.h`

use super::{arena::Handle, device::ProtectionDomain, queue::Queue, queue_pair::Kind};
use core::{
    mem::MaybeUninit,
    ptr::{self, NonNull},
};
use kernel::{error::from_err_ptr, ffi::c_int, prelude::*, sync::Arc, types::Opaque};
use rdma_bindings as ib;

/// A shared receive queue.
///
/// # Invariants
///
/// `raw` is valid and ours.
pub(crate) struct SharedReceiveQueue {
    pub(super) raw: NonNull<ib::ib_srq>,
    /// Kept, as the queue is of it.
    _pd: Arc<ProtectionDomain>,
}

// SAFETY: Posting synchronises in the provider.
unsafe impl Send for SharedReceiveQueue {}
// SAFETY: As above.
unsafe impl Sync for SharedReceiveQueue {}

impl SharedReceiveQueue {
    /// A queue for `entries` requests. Sleeps.
    pub(crate) fn new(pd: &Arc<ProtectionDomain>, entries: u32) -> Result<Arc<Self>> {
        let init = Opaque::<ib::ib_srq_init_attr>::zeroed();
        // SAFETY: All zeros is a value of the structure; it is ours alone.
        unsafe {
            let init = init.get();
            (*init).attr.max_wr = entries;
            (*init).attr.max_sge = 1;
            (*init).srq_type = ib::ib_srq_type_IB_SRQT_BASIC;
        }
        // SAFETY: The domain is valid and of a device that says whether it can.
        let srq = from_err_ptr(unsafe {
            ib::ib_create_srq_user(pd.raw(), init.get(), ptr::null_mut(), ptr::null_mut())
        })?;
        let this = Self {
            raw: NonNull::new(srq).ok_or(ENOMEM)?,
            _pd: pd.clone(),
        };
        Ok(Arc::new(this, GFP_KERNEL)?)
    }
}

impl Drop for SharedReceiveQueue {
    fn drop(&mut self) {
        // SAFETY: Ours; every queue pair that uses it holds a reference.
        unsafe { ib::ib_destroy_srq_user(self.raw.as_ptr(), ptr::null_mut()) };
    }
}

/// Requests that wait to be posted for receiving, all at once.
pub(crate) struct ReceiveBatch {
    queue: Queue,
    len: usize,
}

/// Receives posted with one call.
pub(crate) const RECEIVE_BATCH: usize = 16;

impl ReceiveBatch {
    pub(crate) const fn new() -> Self {
        Self {
            queue: Queue::new(),
            len: 0,
        }
    }

    /// Adds a request; true if it is time to post.
    pub(crate) fn push(&mut self, handle: Handle) -> bool {
        self.queue.push(handle);
        self.len += 1;
        self.len >= RECEIVE_BATCH
    }

    /// Takes all that wait.
    pub(crate) fn take(&mut self) -> Self {
        core::mem::replace(self, Self::new())
    }

    /// Takes one that waits.
    pub(crate) fn pop(&mut self) -> Option<Handle> {
        let handle = self.queue.pop()?;
        self.len -= 1;
        Some(handle)
    }

    /// How many wait.
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// Whether none waits.
    pub(crate) fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }
}

/// Where received units go.
pub(crate) trait ReceiveQueue {
    /// Posts work requests.
    ///
    /// # Safety
    ///
    /// `wr` is a valid chain.
    unsafe fn post_raw(&self, wr: *const ib::ib_recv_wr, bad: *mut *const ib::ib_recv_wr) -> c_int;

    /// Posts all requests of `batch`. On failure it returns those that were not
    /// posted. Any context.
    fn post_receives(&self, batch: &mut ReceiveBatch) -> Result<(), ReceiveBatch> {
        let mut failed = ReceiveBatch::new();
        while !batch.is_empty() {
            let mut wrs = [const { MaybeUninit::<ib::ib_recv_wr>::uninit() }; RECEIVE_BATCH];
            let mut sges = [const { MaybeUninit::<ib::ib_sge>::uninit() }; RECEIVE_BATCH];
            let mut items = [None; RECEIVE_BATCH];
            let mut next = ptr::null_mut::<ib::ib_recv_wr>();
            let slots = wrs.iter_mut().zip(sges.iter_mut()).zip(items.iter_mut());
            for ((wr, sge), item) in slots {
                let Some(handle) = batch.pop() else { break };
                let local = handle.recv().local();
                sge.write(ib::ib_sge {
                    addr: local.addr,
                    length: local.len(),
                    lkey: local.lkey,
                });
                let id = Kind::Receive as u64 | u64::from(handle.index());
                wr.write(ib::ib_recv_wr {
                    next,
                    __bindgen_anon_1: ib::ib_recv_wr__bindgen_ty_1 { wr_id: id },
                    sg_list: sge.as_mut_ptr(),
                    num_sge: 1,
                });
                next = wr.as_mut_ptr();
                *item = Some((handle.address(), id));
                handle.posted();
            }
            let mut bad = ptr::null();
            // SAFETY: `next` is the chain made above, which the provider copies.
            if unsafe { self.post_raw(next, &mut bad) } == 0 {
                continue;
            }
            // What is from the bad one on was not posted: the chain runs from
            // the last to the first.
            let bad_id = match bad.is_null() {
                true => None,
                // SAFETY: It is one of the chain's.
                false => Some(unsafe { (*bad).__bindgen_anon_1.wr_id }),
            };
            let mut posted = false;
            for (item, id) in items.into_iter().flatten() {
                if posted {
                    continue;
                }
                // SAFETY: Given away above, and not posted: the provider stopped
                // at the bad one, and goes from the end of `items` to its start.
                failed.push(unsafe { Handle::not_posted(item) });
                posted = Some(id) == bad_id;
            }
            while let Some(handle) = batch.pop() {
                failed.push(handle);
            }
        }
        match failed.is_empty() {
            true => Ok(()),
            false => Err(failed),
        }
    }
}

impl ReceiveQueue for SharedReceiveQueue {
    #[inline]
    unsafe fn post_raw(&self, wr: *const ib::ib_recv_wr, bad: *mut *const ib::ib_recv_wr) -> c_int {
        let srq = self.raw.as_ptr();
        // SAFETY: The queue is valid; the chain is by this function's contract.
        unsafe {
            match (*(*srq).device).ops.post_srq_recv {
                Some(post) => post(srq, wr, bad),
                None => ENOTSUPP.to_errno(),
            }
        }
    }
}
