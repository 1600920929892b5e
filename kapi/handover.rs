// SPDX-License-Identifier: GPL-2.0

//! Handing loans over to threads.
//!
//! A wait queue would do, but costs more than the work that is handed over: it takes a lock of its
//! own for each of going to sleep, waking and having woken, and wakes a thread for each loan, also
//! while the last one that was woken is still on its way. Here one lock guards the loans and the
//! sleepers, and while a thread is on its way no other is woken, unless much has come together: its
//! CPU may be busy. If it finds more than it can take when it arrives, it wakes the next.
//!
//! C header: [`include/linux/sched.h`](srctree/include/linux/sched.h)

use crate::{
    c,
    loan::{Loan, LoanQueue},
    lock::SpinLockIrq,
    thread::ThreadCtx,
    time,
};
use core::{cell::UnsafeCell, ptr};
use kernel::{
    bindings,
    prelude::*,
    sync::{rcu, LockClassKey},
};

/// Loans that come while a thread is on its way before another is woken.
const PATIENCE: u32 = 32;

/// How often a thread that polls pauses before it looks again.
const POLL_PAUSE: u32 = 32;

/// A thread that sleeps or is about to, in the frame of [`Handover::sleep`].
struct Sleeper {
    task: *mut bindings::task_struct,
    next: *mut Sleeper,
    /// It is in the list.
    listed: bool,
}

/// # Invariants
///
/// `first` to `last` is a null-terminated chain of all sleepers that are listed. Those are valid,
/// and their tasks have not ended.
struct Sleepers {
    first: *mut Sleeper,
    last: *mut Sleeper,
}

impl Sleepers {
    /// Appends `sleeper`.
    ///
    /// # Safety
    ///
    /// It is valid, not listed, and the running task's. It stays valid, and nobody else accesses it,
    /// until it is taken out of the list.
    unsafe fn append(&mut self, sleeper: *mut Sleeper) {
        // SAFETY: By the function's contract, and the type invariants for `last`.
        unsafe {
            (*sleeper).next = ptr::null_mut();
            (*sleeper).listed = true;
            match self.last.is_null() {
                true => self.first = sleeper,
                false => (*self.last).next = sleeper,
            }
        }
        self.last = sleeper;
    }

    /// Takes out the one that has slept longest, which the scheduler lets run soonest; its task.
    #[inline]
    fn take_first(&mut self) -> Option<*mut bindings::task_struct> {
        // SAFETY: The first is null or valid, by the type invariants.
        let first = unsafe { self.first.as_mut() }?;
        self.first = first.next;
        if self.first.is_null() {
            self.last = ptr::null_mut();
        }
        first.listed = false;
        Some(first.task)
    }

    /// Takes out `sleeper`, which is listed.
    #[cold]
    fn take(&mut self, sleeper: *mut Sleeper) {
        let mut before: *mut Sleeper = ptr::null_mut();
        let mut at = self.first;
        while !at.is_null() {
            // SAFETY: One of the chain, so valid by the type invariants.
            let next = unsafe { (*at).next };
            if at == sleeper {
                match before.is_null() {
                    true => self.first = next,
                    // SAFETY: As above.
                    false => unsafe { (*before).next = next },
                }
                if next.is_null() {
                    self.last = before;
                }
                // SAFETY: As above.
                unsafe { (*at).listed = false };
                return;
            }
            before = at;
            at = next;
        }
    }
}

/// A wake-up that is due.
///
/// # Invariants
///
/// `task` had not ended when `_alive` began.
struct Wake {
    task: *mut bindings::task_struct,
    _alive: rcu::Guard,
}

impl Wake {
    /// Wakes the thread. Without the lock, as that is the first thing that it takes.
    #[inline]
    fn now(self) {
        // SAFETY: A task is freed a grace period after it has ended, so by the type invariants this
        // one is still there. It may have woken for another reason; tasks put up with that.
        unsafe { bindings::wake_up_process(self.task) };
    }
}

struct State<S, T> {
    loans: LoanQueue<S, T>,
    sleepers: Sleepers,
    /// A thread was woken, and has not arrived yet.
    on_its_way: bool,
    /// Loans that came since then.
    since: u32,
}

// SAFETY: The loans are `Send` under these bounds, and sleepers may be woken from everywhere.
unsafe impl<S: Sync, T: Send> Send for State<S, T> {}
// What it owns is elsewhere.
impl<S, T> Unpin for State<S, T> {}

impl<S, T> State<S, T> {
    /// The wake-up that is due now: of a sleeper, if there is a loan that nobody is coming for.
    #[inline]
    fn due(&mut self) -> Option<Wake> {
        if self.loans.is_empty() || (self.on_its_way && self.since < PATIENCE) {
            return None;
        }
        let alive = rcu::read_lock();
        let task = self.sleepers.take_first()?;
        self.on_its_way = true;
        self.since = 0;
        // INVARIANT: It was listed after `alive` began.
        Some(Wake {
            task,
            _alive: alive,
        })
    }
}

/// Loans on their way to the threads that see to them.
#[pin_data]
pub struct Handover<S, T> {
    #[pin]
    state: SpinLockIrq<State<S, T>>,
}

impl<S: Sync, T: Send> Handover<S, T> {
    /// An initialiser; use [`new_handover!`](crate::new_handover) for one with a lock class of its
    /// own.
    pub fn new(name: &'static CStr, key: Pin<&'static LockClassKey>) -> impl PinInit<Self> {
        let state = State {
            loans: LoanQueue::new(),
            // INVARIANT: None is listed.
            sleepers: Sleepers {
                first: ptr::null_mut(),
                last: ptr::null_mut(),
            },
            on_its_way: false,
            since: 0,
        };
        pin_init!(Self { state <- SpinLockIrq::new(state, name, key) })
    }

    /// Gives `loan` to a thread: one that is awake and comes back for more, or one that this wakes.
    /// If there is none it waits for one. Any context but NMI.
    #[inline]
    pub fn push(&self, loan: Loan<S, T>) {
        let mut state = self.state.lock();
        state.loans.push_back(loan);
        state.since = state.since.saturating_add(1);
        let wake = state.due();
        drop(state);
        if let Some(wake) = wake {
            wake.now();
        }
    }

    /// The next loan, in the order of [`Handover::push`]; sleeps until there is one. `None` if there
    /// is none and the thread is to stop.
    #[inline]
    pub fn next(&self, ctx: &ThreadCtx) -> Option<Loan<S, T>> {
        let next = self.state.lock().loans.pop_front();
        next.or_else(|| self.sleep(ctx))
    }

    /// As [`Handover::next`], but looks for loans for `us` microseconds before it sleeps, unless
    /// another task wants the CPU.
    #[inline]
    pub fn next_polling(&self, ctx: &ThreadCtx, us: u32) -> Option<Loan<S, T>> {
        let next = self.state.lock().loans.pop_front();
        match us {
            0 => next.or_else(|| self.sleep(ctx)),
            us => next
                .or_else(|| self.poll(ctx, us))
                .or_else(|| self.sleep(ctx)),
        }
    }

    fn poll(&self, ctx: &ThreadCtx, us: u32) -> Option<Loan<S, T>> {
        let until = time::now_ns().saturating_add(u64::from(us).saturating_mul(1000));
        loop {
            // Between two looks, so that who has something to give is not kept from it.
            for _ in 0..POLL_PAUSE {
                // SAFETY: Just waits a moment.
                unsafe { c::scst_c_cpu_relax() };
            }
            if let Some(loan) = self.state.lock().loans.pop_front() {
                return Some(loan);
            }
            // SAFETY: It has no requirements.
            let wanted = unsafe { c::scst_c_need_resched() };
            if wanted || ctx.should_stop() || time::now_ns() >= until {
                return None;
            }
        }
    }

    /// Takes those back that `which` chooses and that no thread has; they and the others keep their
    /// order. `which` runs under a lock with interrupts off. Any context but NMI.
    pub fn extract(&self, which: impl FnMut(&Loan<S, T>) -> bool) -> LoanQueue<S, T> {
        self.state.lock().loans.extract(which)
    }

    fn sleep(&self, ctx: &ThreadCtx) -> Option<Loan<S, T>> {
        let me = UnsafeCell::new(Sleeper {
            task: kernel::current!().as_ptr(),
            next: ptr::null_mut(),
            listed: false,
        });
        let mut state = self.state.lock();
        loop {
            if let Some(loan) = state.loans.pop_front() {
                let wake = state.due();
                drop(state);
                if let Some(wake) = wake {
                    wake.now();
                }
                return Some(loan);
            }
            // SAFETY: This task's, and not listed: not yet, or not any more. It is taken out below
            // before this function returns, and accessed with the lock held only.
            unsafe { state.sleepers.append(me.get()) };
            // Before the lock is given up and the question put: who wakes or stops the thread after
            // that finds it in this state, and makes it run.
            // SAFETY: A thread may set its own state.
            unsafe { c::scst_c_set_current_state(bindings::TASK_IDLE) };
            drop(state);
            let stop = ctx.should_stop();
            if !stop {
                // SAFETY: Process context, and no lock is held.
                unsafe { bindings::schedule() };
            }
            // SAFETY: As above.
            unsafe { c::scst_c_set_current_state(bindings::TASK_RUNNING) };
            state = self.state.lock();
            // SAFETY: The lock is held.
            match unsafe { (*me.get()).listed } {
                true => state.sleepers.take(me.get()),
                false => state.on_its_way = false,
            }
            if stop && state.loans.is_empty() {
                return None;
            }
        }
    }
}

/// An initialiser of a [`Handover`] with a lock class of its own.
#[macro_export]
macro_rules! new_handover {
    ($($name:literal)? $(,)?) => {
        $crate::handover::Handover::new(
            ::kernel::optional_name!($($name)?), ::kernel::static_lock_class!())
    };
}
pub use new_handover;
