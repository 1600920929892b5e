// SPDX-License-Identifier: GPL-2.0

//! Kernel threads.
//!
//! C header: [`include/linux/kthread.h`](srctree/include/linux/kthread.h)

use crate::cpumask::CpuMask;
use core::{marker::PhantomData, ptr};
use kernel::{
    bindings,
    error::{from_err_ptr, to_result},
    fmt,
    prelude::*,
    sync::Completion,
    types::NotThreadSafe,
};
use pin_init::stack_pin_init;

/// A running kernel thread. Dropping it asks the thread to stop and waits until
/// it has: may sleep, and must not be done by the thread itself.
///
/// # Invariants
///
/// `0` is a kthread that `kthread_stop` has not been called for: it does not
/// end before, so the pointer is valid.
pub struct Thread(*mut bindings::task_struct);

// SAFETY: A task may be stopped and looked at from any other task.
unsafe impl Send for Thread {}
// SAFETY: As above.
unsafe impl Sync for Thread {}

/// What a thread knows of itself; only its own closure has it.
pub struct ThreadCtx(PhantomData<NotThreadSafe>);

impl ThreadCtx {
    /// Whether somebody waits for the thread to end.
    pub fn should_stop(&self) -> bool {
        // SAFETY: The current task is a kthread, as only `run` makes a context.
        unsafe { bindings::kthread_should_stop() }
    }
}

/// What a new thread is given.
struct Start<F> {
    body: F,
    /// In the frame of `Thread::spawn`, which waits for it.
    runs: *const Completion,
}

/// The thread's function.
///
/// # Safety
///
/// `data` is a `Start<F>` from `KBox::into_raw` that this takes over, and its
/// `runs` is valid until it is completed.
unsafe extern "C" fn run<F: FnOnce(&ThreadCtx)>(data: *mut c_void) -> c_int {
    // SAFETY: By the contract above.
    let start = KBox::into_inner(unsafe { KBox::<Start<F>>::from_raw(data.cast()) });
    // SAFETY: By the contract above; not used after this.
    unsafe { (*start.runs).complete_all() };
    (start.body)(&ThreadCtx(PhantomData));
    // The pointer in `Thread` stays valid only if the thread waits to be told.
    // SAFETY: This is a kthread, which may sleep here.
    unsafe {
        while !bindings::kthread_should_stop() {
            bindings::schedule_timeout_interruptible(bindings::HZ as isize);
        }
    }
    0
}

impl Thread {
    /// Starts a thread called `name` (the kernel keeps 15 characters of it) on
    /// NUMA node `node`, or on any for -1, and waits until it runs `body`.
    /// Sleeps. `ENOMEM`, `EINTR`.
    ///
    /// The wait has two reasons. A kthread that is stopped before it runs never
    /// does, and `body` would be dropped in silence. And a kthread sets its CPUs
    /// when it first runs, so that an earlier [`Thread::set_cpus`] would be lost.
    pub fn spawn<F>(name: fmt::Arguments<'_>, node: i32, body: F) -> Result<Self>
    where
        F: FnOnce(&ThreadCtx) + Send + 'static,
    {
        stack_pin_init!(let runs = Completion::new());
        let start = Start {
            body,
            runs: ptr::from_ref(&*runs),
        };
        let start = KBox::into_raw(KBox::new(start, GFP_KERNEL)?);
        // SAFETY: `run::<F>` takes what `start` is. `%pA` prints format arguments.
        let created = from_err_ptr(unsafe {
            bindings::kthread_create_on_node(
                Some(run::<F>),
                start.cast(),
                node,
                c"%pA".as_char_ptr(),
                ptr::from_ref(&name).cast::<c_void>(),
            )
        });
        let task = match created {
            Ok(task) => task,
            Err(e) => {
                // SAFETY: No thread was made, so the box is still ours.
                drop(unsafe { KBox::from_raw(start) });
                return Err(e);
            }
        };
        // INVARIANT: Just created; nobody else knows it.
        let thread = Self(task);
        // SAFETY: The task is valid by the type invariants.
        unsafe { bindings::wake_up_process(task) };
        // Nobody can stop the thread before this function returns, so it runs.
        runs.wait_for_completion();
        Ok(thread)
    }

    /// The thread's PID in the initial namespace.
    pub fn pid(&self) -> i32 {
        // SAFETY: The task is valid by the type invariants, and keeps its PID.
        unsafe { (*self.0).pid }
    }

    /// Lets the thread run on `cpus` only. Sleeps. `EINVAL` if none is online.
    pub fn set_cpus(&self, cpus: &CpuMask) -> Result {
        // SAFETY: The task is valid by the type invariants, the mask is borrowed.
        to_result(unsafe { bindings::set_cpus_allowed_ptr(self.0, cpus.as_raw()) })
    }

    /// Sets the thread's nice value, -20 to 19.
    pub fn set_nice(&self, nice: i32) {
        // SAFETY: The task is valid by the type invariants.
        unsafe { bindings::set_user_nice(self.0, nice as isize) };
    }
}

impl Drop for Thread {
    fn drop(&mut self) {
        // SAFETY: Valid by the type invariants, and not used after this.
        unsafe { bindings::kthread_stop(self.0) };
    }
}
