// SPDX-License-Identifier: GPL-2.0

//! `kapi::wait`: no wake-up is lost, times are kept.

use crate::check;
use kapi::{
    thread::Thread,
    time::now_ns,
    wait::{new_wait_queue, WaitQueue},
};
use kernel::{
    prelude::*,
    sync::{
        atomic::{Acquire, Atomic, Relaxed, Release},
        Arc,
    },
};

#[pin_data]
struct Court {
    ball: Atomic<i32>,
    awake: Atomic<i32>,
    #[pin]
    queue: WaitQueue,
}

impl Court {
    fn new() -> Result<Arc<Court>> {
        Arc::pin_init(
            pin_init!(Court {
                ball: Atomic::new(0),
                awake: Atomic::new(0),
                queue <- new_wait_queue!("kapi_kunit"),
            }),
            GFP_KERNEL,
        )
    }
}

pub(crate) fn ping_pong() -> Result {
    const ROUNDS: i32 = 500;
    let court = Court::new()?;
    let other = court.clone();
    let thread = Thread::spawn(fmt!("kapi_pong"), -1, move |_| {
        for i in 0..ROUNDS {
            other
                .queue
                .wait_idle(|| other.ball.load(Acquire) == 2 * i + 1);
            other.ball.store(2 * i + 2, Release);
            other.queue.wake_all();
        }
    })?;
    for i in 0..ROUNDS {
        court.ball.store(2 * i + 1, Release);
        court.queue.wake_all();
        court
            .queue
            .wait_until(|| court.ball.load(Acquire) == 2 * i + 2);
    }
    drop(thread);
    check!(court.ball.load(Relaxed) == 2 * ROUNDS);
    Ok(())
}

pub(crate) fn timeouts() -> Result {
    let court = Court::new()?;
    let start = now_ns();
    check!(!court.queue.wait_until_timeout(30, || false));
    check!(now_ns() - start >= 15_000_000);
    check!(!court.queue.wait_idle_timeout(5, || false));
    check!(!court.queue.wait_until_timeout(0, || false));
    check!(court.queue.wait_until_timeout(0, || true));
    court.queue.wait_interruptible(|| true)?;

    let other = court.clone();
    let thread = Thread::spawn(fmt!("kapi_waker"), -1, move |_| {
        kapi::time::sleep_ms(20);
        other.ball.store(1, Release);
        other.queue.wake_all();
    })?;
    check!(court
        .queue
        .wait_until_timeout(60_000, || court.ball.load(Acquire) == 1));
    drop(thread);
    Ok(())
}

pub(crate) fn all_wake() -> Result {
    let court = Court::new()?;
    let mut sleepers = KVec::new();
    for i in 0..8 {
        let court = court.clone();
        let sleeper = Thread::spawn(fmt!("kapi_sleeper/{}", i), -1, move |ctx| {
            court
                .queue
                .wait_idle(|| court.ball.load(Acquire) == 1 || ctx.should_stop());
            court.awake.add(1, Relaxed);
        })?;
        sleepers.push(sleeper, GFP_KERNEL)?;
    }
    kapi::time::sleep_ms(20);
    check!(court.awake.load(Relaxed) == 0);
    court.ball.store(1, Release);
    court.queue.wake_all();
    for _ in 0..1000 {
        if court.awake.load(Relaxed) == 8 {
            break;
        }
        kapi::time::sleep_ms(10);
    }
    check!(court.awake.load(Relaxed) == 8);
    drop(sleepers);

    // Stopping a thread wakes it from a wait whose condition asks for that.
    let other = Court::new()?;
    let thread = Thread::spawn(fmt!("kapi_sleeper"), -1, move |ctx| {
        other.queue.wait_idle(|| ctx.should_stop());
    })?;
    kapi::time::sleep_ms(10);
    drop(thread);
    Ok(())
}
