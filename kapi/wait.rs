// SPDX-License-Identifier: GPL-2.0

//! Wait queues: sleep until a condition is true.
//!
//! C header: [`include/linux/wait.h`](srctree/include/linux/wait.h)

use crate::{c, time};
use kernel::{bindings, prelude::*, sync::LockClassKey, types::Opaque};

/// A `wait_queue_head_t`.
///
/// Who makes a condition true calls [`WaitQueue::wake_all`] *afterwards*; then no wake-up is lost.
/// The conditions run while the task is already marked as sleeping: they may read atomics and take
/// spinlocks, but must not sleep. In a [`crate::thread::Thread`] include `ctx.should_stop()` in
/// the condition; stopping the thread wakes it.
#[pin_data]
pub struct WaitQueue {
    #[pin]
    head: Opaque<bindings::wait_queue_head>,
}

// SAFETY: A wait queue head is protected by its own lock.
unsafe impl Send for WaitQueue {}
// SAFETY: As above.
unsafe impl Sync for WaitQueue {}

/// How a sleep came to an end.
enum Woken {
    /// The condition is true.
    True,
    /// The time is over, and the condition false.
    Timeout,
    /// A signal came.
    Signal,
}

impl WaitQueue {
    /// An initialiser; use [`new_wait_queue!`] for one with a lock class and a name of its own.
    pub fn new(name: &'static CStr, key: Pin<&'static LockClassKey>) -> impl PinInit<Self> {
        pin_init!(Self {
            head <- Opaque::ffi_init(|slot| {
                // SAFETY: `slot` is valid for writes, and what is made there is pinned; name and
                // key are static.
                unsafe { bindings::__init_waitqueue_head(slot, name.as_char_ptr(), key.as_ptr()) }
            }),
        })
    }

    /// Sleeps until `cond` is true; uninterruptible. Process context.
    #[inline]
    pub fn wait_until(&self, mut cond: impl FnMut() -> bool) {
        if !cond() {
            self.sleep(bindings::TASK_UNINTERRUPTIBLE, None, &mut cond);
        }
    }

    /// As [`WaitQueue::wait_until`], but does not count as load and never trips the hung-task
    /// watchdog: for threads that wait for work.
    #[inline]
    pub fn wait_idle(&self, mut cond: impl FnMut() -> bool) {
        if !cond() {
            self.sleep(bindings::TASK_IDLE, None, &mut cond);
        }
    }

    /// As [`WaitQueue::wait_until`], for at most `ms` milliseconds; whether `cond` came true.
    #[inline]
    pub fn wait_until_timeout(&self, ms: u32, mut cond: impl FnMut() -> bool) -> bool {
        cond()
            || matches!(
                self.sleep(bindings::TASK_UNINTERRUPTIBLE, Some(ms), &mut cond),
                Woken::True
            )
    }

    /// As [`WaitQueue::wait_idle`], for at most `ms` milliseconds; whether `cond` came true.
    #[inline]
    pub fn wait_idle_timeout(&self, ms: u32, mut cond: impl FnMut() -> bool) -> bool {
        cond()
            || matches!(
                self.sleep(bindings::TASK_IDLE, Some(ms), &mut cond),
                Woken::True
            )
    }

    /// As [`WaitQueue::wait_until`], but `ERESTARTSYS` when a signal comes first.
    #[inline]
    pub fn wait_interruptible(&self, mut cond: impl FnMut() -> bool) -> Result {
        if cond() {
            return Ok(());
        }
        match self.sleep(bindings::TASK_INTERRUPTIBLE, None, &mut cond) {
            Woken::Signal => Err(ERESTARTSYS),
            _ => Ok(()),
        }
    }

    /// The C object; valid as long as this is.
    pub(crate) fn as_raw(&self) -> *mut bindings::wait_queue_head {
        self.head.get()
    }

    /// Wakes all sleepers. Any context but NMI.
    #[inline]
    pub fn wake_all(&self) {
        // SAFETY: By construction, `head` is initialised.
        unsafe { c::scst_c_wake_up_all(self.head.get()) }
    }

    /// `___wait_event()`: not inlined, as who comes here is going to sleep.
    fn sleep(&self, state: u32, ms: Option<u32>, cond: &mut dyn FnMut() -> bool) -> Woken {
        let head = self.head.get();
        let entry = Opaque::<bindings::wait_queue_entry>::uninit();
        // The states are small bits.
        let state = state as c_int;
        let mut left = ms.map(|ms| time::jiffies(ms).min(c_long::MAX as c_ulong) as c_long);

        // SAFETY: `entry` is valid for writes, and is taken off the queue before it goes.
        unsafe { bindings::init_wait_entry(entry.get(), 0) };
        let how = loop {
            // SAFETY: `head` and `entry` are initialised.
            let signal = unsafe { bindings::prepare_to_wait_event(head, entry.get(), state) };
            if cond() {
                break Woken::True;
            }
            if signal != 0 {
                // The entry is off the queue; finish_wait() does not mind.
                break Woken::Signal;
            }
            match &mut left {
                None => {
                    // SAFETY: Process context, by the contract of the callers.
                    unsafe { bindings::schedule() }
                }
                Some(0) => break Woken::Timeout,
                Some(left) => {
                    // SAFETY: Process context, by the contract of the callers.
                    *left = unsafe { bindings::schedule_timeout(*left) }
                }
            }
        };
        // SAFETY: `head` and `entry` are initialised; afterwards nothing refers to `entry`.
        unsafe { bindings::finish_wait(head, entry.get()) };
        how
    }
}

/// An initialiser of a [`WaitQueue`] with a lock class of its own.
#[macro_export]
macro_rules! new_wait_queue {
    ($($name:literal)? $(,)?) => {
        $crate::wait::WaitQueue::new(
            ::kernel::optional_name!($($name)?), ::kernel::static_lock_class!())
    };
}
pub use new_wait_queue;
