// SPDX-License-Identifier: GPL-2.0

//! Kernel threads.
//!
//! C header: [`include/linux/kthread.h`](srctree/include/linux/kthread.h)

use crate::cpumask::CpuMask;
use core::marker::PhantomData;
use kernel::{
    bindings,
    error::{from_err_ptr, to_result},
    fmt,
    prelude::*,
    str::CString,
    types::NotThreadSafe,
};

/// A running kernel thread. Dropping it asks the thread to stop and waits until
/// it has: may sleep, and must not be done by the thread itself.
///
/// # Invariants
///
/// `task` is a kthread that `kthread_stop` has not been called for: it does not
/// end before, so the pointer is valid.
/// `start` is what the thread was given, and `free` frees it; it is the thread's
/// as soon as that has run.
pub struct Thread {
    task: *mut bindings::task_struct,
    pid: i32,
    start: *mut c_void,
    free: unsafe fn(*mut c_void),
}

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

/// What a new thread is given: its closure, until it takes it.
struct Start<F>(Option<F>);

/// The thread's function.
///
/// # Safety
///
/// `data` is a `Start<F>` that nobody else uses before `kthread_stop` returns.
unsafe extern "C" fn run<F: FnOnce(&ThreadCtx)>(data: *mut c_void) -> c_int {
    // SAFETY: By the contract above.
    let start = unsafe { KBox::<Start<F>>::from_raw(data.cast()) };
    if let Some(body) = KBox::into_inner(start).0 {
        body(&ThreadCtx(PhantomData));
    }
    // The pointer in `Thread` stays valid only if the thread waits to be told.
    // SAFETY: This is a kthread, which may sleep here.
    unsafe {
        while !bindings::kthread_should_stop() {
            bindings::schedule_timeout_interruptible(bindings::HZ as isize);
        }
    }
    0
}

/// Frees the closure of a thread that never ran.
///
/// # Safety
///
/// `start` is a `Start<F>` given up by `Thread::spawn`, and nobody else's.
unsafe fn free<F>(start: *mut c_void) {
    // SAFETY: By the contract above.
    drop(unsafe { KBox::<Start<F>>::from_raw(start.cast()) });
}

impl Thread {
    /// Starts a thread called `name` (the kernel keeps 15 characters of it) on
    /// NUMA node `node`, or on any for -1. Sleeps. `ENOMEM`, `EINTR`.
    pub fn spawn<F>(name: fmt::Arguments<'_>, node: i32, body: F) -> Result<Self>
    where
        F: FnOnce(&ThreadCtx) + Send + 'static,
    {
        let name = CString::try_from_fmt(name)?;
        let start = KBox::into_raw(KBox::new(Start(Some(body)), GFP_KERNEL)?);
        // SAFETY: `run::<F>` takes what `start` is. The format has one string.
        let created = from_err_ptr(unsafe {
            bindings::kthread_create_on_node(
                Some(run::<F>),
                start.cast(),
                node,
                c"%s".as_char_ptr(),
                name.as_char_ptr(),
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
        // SAFETY: The task was just created and cannot end before it is stopped.
        let pid = unsafe {
            bindings::wake_up_process(task);
            (*task).pid
        };
        Ok(Self {
            task,
            pid,
            start: start.cast(),
            free: free::<F>,
        })
    }

    /// The thread's PID in the initial namespace.
    pub fn pid(&self) -> i32 {
        self.pid
    }

    /// Lets the thread run on `cpus` only. Sleeps. `EINVAL` if none is online.
    pub fn set_cpus(&self, cpus: &CpuMask) -> Result {
        // SAFETY: The task is valid by the type invariants, the mask is borrowed.
        to_result(unsafe { bindings::set_cpus_allowed_ptr(self.task, cpus.as_raw()) })
    }

    /// Sets the thread's nice value, -20 to 19.
    pub fn set_nice(&self, nice: i32) {
        // SAFETY: The task is valid by the type invariants.
        unsafe { bindings::set_user_nice(self.task, nice as isize) };
    }
}

impl Drop for Thread {
    fn drop(&mut self) {
        // SAFETY: Valid by the type invariants, and not used after this.
        let result = unsafe { bindings::kthread_stop(self.task) };
        // `run` returns 0: this is a thread that was stopped before it ran.
        if result == EINTR.to_errno() {
            // SAFETY: `run` did not take the closure, and never will.
            unsafe { (self.free)(self.start) };
        }
    }
}
