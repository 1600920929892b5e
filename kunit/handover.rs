// SPDX-License-Identifier: GPL-2.0

//! `kapi::handover`: every loan gets to one thread, and none waits while a thread is idle.

use crate::check;
use core::{mem::MaybeUninit, ptr::NonNull};
use kapi::{
    handover::{new_handover, Handover},
    loan::{Loan, Slot, Vacant},
    thread::Thread,
    time::sleep_ms,
};
use kernel::{
    prelude::*,
    sync::{
        atomic::{Acquire, Atomic, Relaxed},
        Arc,
    },
};

type Queue = Arc<Handover<(), usize>>;

/// Memory for loans, each of which is lent once. To be dropped after them.
struct Memory(KVec<KBox<MaybeUninit<Slot<(), usize>>>>);

impl Memory {
    fn new(count: usize) -> Result<Self> {
        let mut slots = KVec::with_capacity(count, GFP_KERNEL)?;
        for _ in 0..count {
            let mut slot = KBox::<Slot<(), usize>>::new_uninit(GFP_KERNEL)?;
            // SAFETY: New memory of the right size.
            unsafe { Slot::init(slot.as_mut_ptr(), ()) };
            slots.push(slot, GFP_KERNEL)?;
        }
        Ok(Self(slots))
    }

    /// Loans of the values 0, 1, and so on. To be called once.
    fn lend(&mut self) -> impl Iterator<Item = Loan<(), usize>> + '_ {
        self.0.iter_mut().enumerate().map(|(i, slot)| {
            let slot = NonNull::from(&mut **slot).cast();
            // SAFETY: Initialised, and lent here only. Every test drops the queue and the threads,
            // and with them the loans, before the memory.
            unsafe { Vacant::new(slot) }.lend(i)
        })
    }
}

fn queue() -> Result<Queue> {
    Ok(Arc::pin_init(new_handover!("kapi_kunit"), GFP_KERNEL)?)
}

/// Threads that call `f` with the value of every loan that they get.
fn threads<F>(queue: &Queue, count: usize, f: F) -> Result<KVec<Thread>>
where
    F: Fn(usize) + Clone + Send + 'static,
{
    let mut threads = KVec::new();
    for i in 0..count {
        let (queue, f) = (queue.clone(), f.clone());
        let thread = Thread::spawn(fmt!("kapi_taker/{}", i), -1, move |ctx| {
            while let Some(loan) = queue.next(ctx) {
                f(*loan);
            }
        })?;
        threads.push(thread, GFP_KERNEL)?;
    }
    Ok(threads)
}

pub(crate) fn one_thread_keeps_the_order() -> Result {
    const COUNT: usize = 2000;
    let mut memory = Memory::new(COUNT)?;
    let (next, bad) = (
        Arc::new(Atomic::<i64>::new(0), GFP_KERNEL)?,
        Arc::new(Atomic::<i32>::new(0), GFP_KERNEL)?,
    );
    let queue = queue()?;
    let (next_, bad_) = (next.clone(), bad.clone());
    let threads = threads(&queue, 1, move |i| {
        if next_.fetch_add(1, Relaxed) != i as i64 {
            bad_.add(1, Relaxed);
        }
    })?;
    for loan in memory.lend() {
        queue.push(loan);
    }
    // A thread that is to stop sees to the rest first.
    drop(threads);
    check!(next.load(Relaxed) == COUNT as i64);
    check!(bad.load(Relaxed) == 0);
    Ok(())
}

pub(crate) fn each_gets_to_one_thread() -> Result {
    const COUNT: usize = 2000;
    let mut memory = Memory::new(COUNT)?;
    let mut seen = KVec::with_capacity(COUNT, GFP_KERNEL)?;
    for _ in 0..COUNT {
        seen.push(Atomic::<i32>::new(0), GFP_KERNEL)?;
    }
    let seen = Arc::new(seen, GFP_KERNEL)?;
    let queue = queue()?;
    let seen_ = seen.clone();
    let mut takers = threads(&queue, 5, move |i| {
        if let Some(seen) = seen_.get(i) {
            seen.add(1, Relaxed);
        }
    })?;
    for (i, loan) in memory.lend().enumerate() {
        queue.push(loan);
        if i % 16 == 0 {
            // Lets them fall asleep now and then, and one of them go.
            sleep_ms(1);
        }
        if i % 500 == 499 {
            drop(takers.pop());
        }
    }
    drop(takers);
    check!(seen.iter().all(|n| n.load(Relaxed) == 1));
    Ok(())
}

pub(crate) fn blocked_threads_hold_up_nobody() -> Result {
    const THREADS: usize = 6;
    for _ in 0..20 {
        let mut memory = Memory::new(THREADS)?;
        let inside = Arc::new(Atomic::<i32>::new(0), GFP_KERNEL)?;
        let queue = queue()?;
        let here = inside.clone();
        let threads = threads(&queue, THREADS, move |_| {
            here.add(1, Relaxed);
            for _ in 0..10_000 {
                if here.load(Acquire) == THREADS as i32 {
                    break;
                }
                sleep_ms(1);
            }
        })?;
        // They come all at once, and one wake-up is under way at a time.
        for loan in memory.lend() {
            queue.push(loan);
        }
        for _ in 0..10_000 {
            if inside.load(Acquire) == THREADS as i32 {
                break;
            }
            sleep_ms(1);
        }
        let all = inside.load(Relaxed) == THREADS as i32;
        // Lets those go that wait for the rest.
        inside.store(THREADS as i32, Relaxed);
        drop(threads);
        check!(all);
    }
    Ok(())
}

pub(crate) fn idle_threads_stop() -> Result {
    for _ in 0..50 {
        let queue = queue()?;
        let threads = threads(&queue, 3, |_| {})?;
        drop(threads);
    }
    let mut memory = Memory::new(3)?;
    let queue = queue()?;
    // Without a thread, they go with the queue.
    for loan in memory.lend() {
        queue.push(loan);
    }
    drop(queue);
    Ok(())
}

pub(crate) fn extracts_what_no_thread_has() -> Result {
    const COUNT: usize = 100;
    let mut memory = Memory::new(COUNT)?;
    let (next, bad) = (
        Arc::new(Atomic::<i64>::new(1), GFP_KERNEL)?,
        Arc::new(Atomic::<i32>::new(0), GFP_KERNEL)?,
    );
    let queue = queue()?;
    for loan in memory.lend() {
        queue.push(loan);
    }
    let mut even = queue.extract(|i| **i % 2 == 0);
    for i in 0..COUNT / 2 {
        check!(even.pop_front().is_some_and(|loan| *loan == 2 * i));
    }
    check!(even.is_empty());
    let (next_, bad_) = (next.clone(), bad.clone());
    let threads = threads(&queue, 1, move |i| {
        if next_.fetch_add(2, Relaxed) != i as i64 {
            bad_.add(1, Relaxed);
        }
    })?;
    drop(threads);
    check!(next.load(Relaxed) == COUNT as i64 + 1);
    check!(bad.load(Relaxed) == 0);
    check!(queue.extract(|_| true).is_empty());
    Ok(())
}
