// SPDX-License-Identifier: GPL-2.0

//! Completion queues, polled in softirq context where their events arrive.
//!
//! A verbs provider calls the completion handler in any context and may hold
//! its own lock of the queue then, so the queue cannot be polled right there.
//! `irq_poll` polls it in softirq context, with a budget, never on two CPUs at a
//! time. Where the handler is called from an interrupt, that is soon.
//!
//! Software providers call it from a task, a work item that may have more units
//! to bring. There raising a softirq would wake `ksoftirqd` as well, or run with
//! the next acknowledgement, for one unit. There are two ways instead, and the
//! queue finds out which is the better one ([`Pace`]):
//!
//! - at once: an `irq_work` gets the softirq to run when the interrupt that it
//!   causes on this CPU returns. Nobody is woken; best for a unit that is alone;
//! - in turn: a work item raises the softirq, when the provider's has ended. What
//!   came meanwhile is polled together, and what it causes is posted together.
//!
//! C headers: `include/rdma/ib_verbs.h`, `include/linux/irq_poll.h`,
//! `include/linux/irq_work.h`

use super::{device::Device, queue::Queue, receive::ReceiveBatch};
use core::{cell::UnsafeCell, mem::MaybeUninit, ptr, slice};
use kapi::work::WorkQueue;
use kernel::{
    bindings, container_of,
    error::from_err_ptr,
    ffi::{c_int, c_void},
    prelude::*,
    sync::{
        atomic::{Atomic, Full, Relaxed},
        Arc,
    },
    types::Opaque,
};
use pin_init::pinned_drop;
use rdma_bindings as ib;

extern "C" {
    fn ib_c_in_interrupt() -> bool;
    fn ib_c_irq_poll_run(poll: *mut ib::irq_poll);
}

/// Completions that one call of the provider's poll function returns.
const BATCH: usize = 16;
/// Completions after which other queues of the CPU have their turn.
const BUDGET: c_int = 256;

/// Events of which one is polled in turn although that was no use before.
const TRIAL: u32 = 32;
/// Polls in turn that may be of no use one after another.
const PATIENCE: u32 = 8;

/// Whether to poll at once or in turn: in turn as long as more than one
/// completion is found that way, which is tried now and then.
struct Pace {
    /// Events that were polled at once since the last trial.
    events: Atomic<u32>,
    /// Polls in turn that may yet find a single completion, or none.
    busy: Atomic<u32>,
    /// The next poll, or the one that is under way, is in turn.
    in_turn: Atomic<u32>,
}

impl Pace {
    const fn new() -> Self {
        Self {
            events: Atomic::new(0),
            busy: Atomic::new(0),
            in_turn: Atomic::new(0),
        }
    }

    /// An event has come; whether to poll in turn. Provider's lock; nothing here
    /// has to be exact.
    #[inline]
    fn event(&self) -> bool {
        if self.busy.load(Relaxed) != 0 {
            return true;
        }
        let events = self.events.load(Relaxed).wrapping_add(1);
        self.events.store(events, Relaxed);
        events % TRIAL == 0
    }

    /// A poll has found `done` completions.
    #[inline]
    fn polled(&self, done: usize) {
        if self.in_turn.load(Relaxed) != 0 {
            self.in_turn.store(0, Relaxed);
            self.busy.store(
                match done {
                    0 | 1 => self.busy.load(Relaxed).saturating_sub(1),
                    _ => PATIENCE,
                },
                Relaxed,
            );
        }
    }
}

/// A completed work request.
pub(crate) struct Completion {
    /// What the work request was posted with.
    pub(crate) id: u64,
    /// `enum ib_wc_status`; 0 is success.
    pub(crate) status: u32,
    /// Bytes that were received.
    pub(crate) len: u32,
}

/// What whoever polls the queue has for himself.
pub(crate) struct Poller {
    /// Requests to be posted for receiving again.
    pub(crate) receives: ReceiveBatch,
    /// Units that came too early.
    pub(crate) held: Queue,
}

/// Whoever work requests are completed to. Softirq context, or process context at
/// the end ([`CompletionQueue::stop`]); one call at a time for one completion queue.
pub(crate) trait Completions: Send + Sync + 'static {
    /// One work request is complete.
    fn completed(&self, poller: &mut Poller, completion: Completion);

    /// There are no more at this moment.
    fn batch_done(&self, poller: &mut Poller);
}

/// A completion queue.
///
/// # Invariants
///
/// `raw` is valid and ours, with this as its context. `handler` is written, and
/// `poller` touched by others than who polls, only while nobody polls: before
/// the first event, and in [`CompletionQueue::stop`] after polling was disabled
/// for good.
#[pin_data(PinnedDrop)]
pub(crate) struct CompletionQueue {
    raw: UnsafeCell<*mut ib::ib_cq>,
    handler: UnsafeCell<Option<Arc<dyn Completions>>>,
    poller: UnsafeCell<Poller>,
    /// Set by [`CompletionQueue::kick`], and by a poll that has yet to look at
    /// what kicks are for: no other has to be scheduled then.
    kicked: Atomic<u32>,
    /// Kept, so that the device stays.
    _device: Arc<Device>,
    pace: Pace,
    turns: Arc<WorkQueue>,
    #[pin]
    poll: Opaque<ib::irq_poll>,
    #[pin]
    kick: Opaque<bindings::irq_work>,
    #[pin]
    turn: Opaque<bindings::work_struct>,
}

// SAFETY: Events and polling synchronise by `irq_poll`; the rest is constant.
unsafe impl Send for CompletionQueue {}
// SAFETY: As above.
unsafe impl Sync for CompletionQueue {}

impl CompletionQueue {
    /// A queue for `entries` completions, whose events come by completion vector
    /// `vector`, and which is polled in turn with what is in `turns`. Sleeps.
    pub(crate) fn new(
        device: &Arc<Device>,
        turns: &Arc<WorkQueue>,
        entries: u32,
        vector: u32,
        handler: Arc<dyn Completions>,
    ) -> Result<Pin<KBox<Self>>> {
        let this = KBox::pin_init(
            pin_init!(Self {
                raw: UnsafeCell::new(ptr::null_mut()),
                handler: UnsafeCell::new(Some(handler)),
                poller: UnsafeCell::new(Poller {
                    receives: ReceiveBatch::new(),
                    held: Queue::new(),
                }),
                kicked: Atomic::new(0),
                _device: device.clone(),
                pace: Pace::new(),
                turns: turns.clone(),
                // SAFETY: Initialises the memory that it gets.
                poll <- Opaque::ffi_init(|slot| unsafe {
                    ib::irq_poll_init(slot, BUDGET, Some(poll))
                }),
                kick <- Opaque::ffi_init(|slot: *mut bindings::irq_work| {
                    // SAFETY: `slot` is valid for writes; zeros and a function
                    // are what `init_irq_work()` makes of it.
                    unsafe {
                        ptr::write_bytes(slot, 0, 1);
                        (*slot).func = Some(kick);
                    }
                }),
                turn <- Opaque::ffi_init(|slot| {
                    let class = kernel::static_lock_class!().as_ptr();
                    // SAFETY: Initialises the memory that it gets.
                    unsafe {
                        bindings::init_work_with_key(
                            slot,
                            Some(turn),
                            false,
                            c"ib_srpt poll".as_char_ptr(),
                            class,
                        )
                    }
                }),
            }),
            GFP_KERNEL,
        )?;
        let attr = ib::ib_cq_init_attr {
            cqe: entries,
            comp_vector: vector,
            flags: 0,
        };
        // SAFETY: The device is valid; the context is pinned, and outlives the
        // queue by its `Drop`.
        let cq = from_err_ptr(unsafe {
            ib::__ib_create_cq(
                device.raw(),
                Some(event),
                Some(failed),
                ptr::from_ref(&*this).cast_mut().cast(),
                &attr,
                c"ib_srpt".as_char_ptr(),
            )
        })?;
        // SAFETY: No event comes before the queue was armed.
        unsafe { *this.raw.get() = cq };
        this.arm();
        Ok(this)
    }

    pub(super) fn raw(&self) -> *mut ib::ib_cq {
        // SAFETY: Written once, in `new`.
        unsafe { *self.raw.get() }
    }

    /// Asks for an event when there is a completion; true if there is one now.
    #[inline]
    fn arm(&self) -> bool {
        let cq = self.raw();
        let flags = ib::ib_cq_notify_flags_IB_CQ_NEXT_COMP
            | ib::ib_cq_notify_flags_IB_CQ_REPORT_MISSED_EVENTS;
        // SAFETY: The queue is valid, and every provider has this function.
        unsafe {
            match (*(*cq).device).ops.req_notify_cq {
                Some(arm) => arm(cq, flags) > 0,
                None => false,
            }
        }
    }

    /// Gets [`Completions::batch_done`] called soon, also without an event. Any
    /// context.
    #[inline]
    pub(crate) fn kick(&self) {
        if self.kicked.xchg(1, Full) == 0 {
            self.schedule();
        }
    }

    fn schedule(&self) {
        // SAFETY: Both are initialised, and last until `Drop`.
        unsafe {
            match ib_c_in_interrupt() {
                true => ib::irq_poll_sched(self.poll.get()),
                false => {
                    ib::irq_work_queue(self.kick.get());
                }
            }
        }
    }

    /// The provider says that the queue is not empty. Any context.
    #[inline]
    fn event(&self) {
        // SAFETY: Calls nothing that needs anything.
        if unsafe { ib_c_in_interrupt() } || !self.pace.event() {
            return self.schedule();
        }
        // SAFETY: The item is initialised, and both last until `Drop`.
        unsafe {
            let cpu = bindings::wq_misc_consts_WORK_CPU_UNBOUND as c_int;
            bindings::queue_work_on(cpu, self.turns.as_raw(), self.turn.get());
        }
    }

    /// Takes completions, at most `budget`; how many.
    #[inline]
    fn process(&self, handler: &dyn Completions, poller: &mut Poller, budget: usize) -> usize {
        let cq = self.raw();
        // SAFETY: The queue is valid.
        let Some(poll_cq) = (unsafe { (*(*cq).device).ops.poll_cq }) else {
            return 0;
        };
        let mut done = 0;
        while done < budget {
            let mut batch = [const { MaybeUninit::<ib::ib_wc>::uninit() }; BATCH];
            let want = BATCH.min(budget - done);
            // SAFETY: There is room for `want` completions.
            let got = unsafe { poll_cq(cq, want as c_int, batch.as_mut_ptr().cast()) };
            let got = usize::try_from(got).unwrap_or(0).min(want);
            // SAFETY: The provider filled in so many, as far as their status
            // says: of a failed one only `wr_id`, `status` and `qp` are defined.
            let list = unsafe { slice::from_raw_parts(batch.as_ptr().cast::<ib::ib_wc>(), got) };
            for wc in list {
                let completion = Completion {
                    // SAFETY: Any bytes are a number.
                    id: unsafe { wc.__bindgen_anon_1.wr_id },
                    status: wc.status,
                    len: wc.byte_len,
                };
                handler.completed(poller, completion);
            }
            done += got;
            if got < want {
                break;
            }
        }
        // Kicks from here on are for the next poll.
        self.kicked.xchg(0, Full);
        handler.batch_done(poller);
        done
    }

    /// Ends all polling and lets go of the handler; what the poller had is the
    /// caller's. What has completed by now the handler is told first: a receive
    /// that a shared queue had given away would never come back otherwise.
    /// Process context, once, not from the handler itself.
    pub(crate) fn stop(&self) -> Option<Poller> {
        // SAFETY: `poll` is initialised. This waits until nobody polls, and from
        // then on nobody does, so that handler and poller are this function's.
        unsafe {
            (*self.handler.get()).as_ref()?;
            ib::irq_poll_disable(self.poll.get());
            // A poll arms the queue after it has ended as far as `irq_poll`
            // knows; softirqs are read-side sections.
            bindings::synchronize_rcu();
            let handler = (*self.handler.get()).take()?;
            let poller = &mut *self.poller.get();
            if !self.raw().is_null() {
                while self.process(&*handler, poller, BATCH) != 0 {}
            }
            let empty = Poller {
                receives: ReceiveBatch::new(),
                held: Queue::new(),
            };
            Some(core::mem::replace(poller, empty))
        }
    }
}

#[pinned_drop]
impl PinnedDrop for CompletionQueue {
    fn drop(self: Pin<&mut Self>) {
        let _ = self.stop();
        if !self.raw().is_null() {
            // SAFETY: Ours; nothing is attached to it any more. No event comes
            // after this.
            unsafe { ib::ib_destroy_cq_user(self.raw(), ptr::null_mut()) };
        }
        // SAFETY: Both are initialised, and nobody queues them any more.
        unsafe {
            ib::irq_work_sync(self.kick.get());
            bindings::cancel_work_sync(self.turn.get());
        }
    }
}

/// The provider says that the queue is not empty. Any context.
///
/// # Safety
///
/// `context` is the queue's, by its making.
unsafe extern "C" fn event(_cq: *mut ib::ib_cq, context: *mut c_void) {
    // SAFETY: The context is the queue, by its making.
    unsafe { &*context.cast::<CompletionQueue>() }.event();
}

/// The provider had to drop completions. The queue pairs of the queue fail with
/// it, and say so.
///
/// # Safety
///
/// None is needed: nothing is looked at.
unsafe extern "C" fn failed(_event: *mut ib::ib_event, _context: *mut c_void) {
    kernel::pr_err!(
        "***ERROR***: a completion queue overflowed: its initiator ignores its request limit\n"
    );
}

/// The interrupt that gets the softirq to run.
///
/// # Safety
///
/// `work` is the member of a queue.
unsafe extern "C" fn kick(work: *mut bindings::irq_work) {
    // SAFETY: `work` is the member of a queue that is not dropped before this
    // has run.
    unsafe {
        let cq = container_of!(Opaque::cast_from(work), CompletionQueue, kick);
        ib::irq_poll_sched((*cq).poll.get());
    }
}

/// It is the queue's turn. Process context.
///
/// # Safety
///
/// `work` is the member of a queue.
unsafe extern "C" fn turn(work: *mut bindings::work_struct) {
    // SAFETY: `work` is the member of a queue, which waits for this function
    // before it goes.
    unsafe {
        let cq = container_of!(Opaque::cast_from(work), CompletionQueue, turn);
        (*cq).pace.in_turn.store(1, Relaxed);
        ib_c_irq_poll_run((*cq).poll.get());
    }
}

/// Polls a queue. Softirq context.
///
/// # Safety
///
/// `poll` is the member of a queue, and `irq_poll` has it polled.
unsafe extern "C" fn poll(poll: *mut ib::irq_poll, budget: c_int) -> c_int {
    // SAFETY: `poll` is the member of a queue, which waits for this function
    // before it goes; `handler` does not change while it runs.
    // `poller` is this function's alone.
    let (cq, handler, poller) = unsafe {
        let cq = &*container_of!(Opaque::cast_from(poll), CompletionQueue, poll);
        (cq, &*cq.handler.get(), &mut *cq.poller.get())
    };
    cq.kicked.store(1, Relaxed);
    let budget_left = usize::try_from(budget).unwrap_or(0);
    let done = match handler {
        Some(handler) => cq.process(&**handler, poller, budget_left) as c_int,
        None => 0,
    };
    cq.pace.polled(done as usize);
    if done < budget {
        // SAFETY: It is being polled, and stops that here.
        unsafe { ib::irq_poll_complete(poll) };
        // As long as it was scheduled, scheduling it had no effect: events are
        // made up for by arming, kicks here.
        if cq.arm() || cq.kicked.xchg(0, Full) != 0 {
            // SAFETY: As above; a completion came in between.
            unsafe { ib::irq_poll_sched(poll) };
        }
    }
    done
}
