// SPDX-License-Identifier: GPL-2.0

//! Work queues of our own.
//!
//! The kernel crate has queues and work items, but only the system's queues; those cannot be
//! drained by a module that unloads.
//!
//! C header: [`include/linux/workqueue.h`](srctree/include/linux/workqueue.h)

use core::{ops::Deref, ptr::NonNull};
use kernel::{
    alloc::Flags,
    bindings, impl_has_work, new_work,
    prelude::*,
    workqueue::{Queue, Work, WorkItem},
};

/// A closure that is called once.
trait Call: Send {
    fn call(&mut self);
}

impl<F: FnOnce() + Send> Call for Option<F> {
    fn call(&mut self) {
        if let Some(f) = self.take() {
            f()
        }
    }
}

/// A closure on a queue: one type, and so one class of lockdep, whatever the closure
/// is. The kernel crate's own is made anew in each module, with one key and several names.
#[pin_data]
struct Spawned {
    #[pin]
    work: Work<Spawned>,
    call: KBox<dyn Call>,
}

impl_has_work! {
    impl HasWork<Self> for Spawned { self.work }
}

impl WorkItem for Spawned {
    type Pointer = Pin<KBox<Self>>;

    fn run(mut this: Pin<KBox<Self>>) {
        this.as_mut().project().call.call();
    }
}

/// A work queue, unbound unless it says so: concurrent items run concurrently.
///
/// For work items that are reused (no allocation in the data path), embed a
/// [`kernel::workqueue::Work`] and enqueue that on the [`Queue`] that this derefs to.
///
/// # Invariants
///
/// `0` is a work queue, and is ours.
pub struct WorkQueue(NonNull<bindings::workqueue_struct>);

/// The same, as some spell it.
pub type Workqueue = WorkQueue;

// SAFETY: Work queues are used from any context.
unsafe impl Send for WorkQueue {}
// SAFETY: As above.
unsafe impl Sync for WorkQueue {}

impl WorkQueue {
    /// A queue of this name. May sleep. `ENOMEM`.
    ///
    /// Not for memory reclaim: its work may wait for other queues that are not either.
    pub fn new(name: &CStr) -> Result<Self> {
        Self::with_flags(name, bindings::wq_flags_WQ_UNBOUND)
    }

    /// A queue for work on which I/O depends, and which waits for no other. May sleep. `ENOMEM`.
    pub fn for_io(name: &CStr) -> Result<Self> {
        let flags = bindings::wq_flags_WQ_UNBOUND | bindings::wq_flags_WQ_MEM_RECLAIM;
        Self::with_flags(name, flags)
    }

    /// As [`WorkQueue::for_io`]; what is queued runs on the processor that it is queued on, which
    /// is less work than to look for one. For work that never takes long.
    pub fn for_short_io(name: &CStr) -> Result<Self> {
        let flags = bindings::wq_flags_WQ_PERCPU | bindings::wq_flags_WQ_MEM_RECLAIM;
        Self::with_flags(name, flags)
    }

    fn with_flags(name: &CStr, flags: bindings::wq_flags) -> Result<Self> {
        // SAFETY: The format has one string, and the name is one; it is copied.
        let wq = unsafe {
            bindings::alloc_workqueue_noprof(c"%s".as_char_ptr(), flags, 0, name.as_char_ptr())
        };
        // INVARIANT: Just allocated.
        Ok(WorkQueue(NonNull::new(wq).ok_or(ENOMEM)?))
    }

    /// Runs `f` on the queue, once, soon. May sleep, as it allocates. `ENOMEM`.
    pub fn queue(&self, f: impl FnOnce() + Send + 'static) -> Result {
        self.spawn(KBox::new(Some(f), GFP_KERNEL)?, GFP_KERNEL)
    }

    /// As [`WorkQueue::queue`], in atomic context; `ENOMEM` is more likely.
    pub fn queue_atomic(&self, f: impl FnOnce() + Send + 'static) -> Result {
        self.spawn(KBox::new(Some(f), GFP_ATOMIC)?, GFP_ATOMIC)
    }

    fn spawn(&self, call: KBox<dyn Call>, flags: Flags) -> Result {
        let item = pin_init!(Spawned {
            work <- new_work!("scst_spawned"),
            call,
        });
        self.enqueue(KBox::pin_init(item, flags)?);
        Ok(())
    }

    /// The C side's queue, for work items of the C side's making.
    pub fn as_raw(&self) -> *mut bindings::workqueue_struct {
        self.0.as_ptr()
    }

    /// Waits until all that is queued now has run. Process context, not on this queue.
    pub fn flush(&self) {
        // SAFETY: By the type invariant.
        unsafe { bindings::__flush_workqueue(self.0.as_ptr()) }
    }
}

impl Deref for WorkQueue {
    type Target = Queue;

    fn deref(&self) -> &Queue {
        // SAFETY: By the type invariant, it is valid as long as the reference is.
        unsafe { Queue::from_raw(self.0.as_ptr()) }
    }
}

impl Drop for WorkQueue {
    /// Waits until all work has run, also what that work queues here. Process context.
    fn drop(&mut self) {
        // SAFETY: By the type invariant, it is ours, and nobody else refers to it.
        unsafe { bindings::destroy_workqueue(self.0.as_ptr()) }
    }
}
