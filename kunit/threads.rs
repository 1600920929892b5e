// SPDX-License-Identifier: GPL-2.0

//! `kapi::thread`: closures run or are freed, and dropping joins.

use crate::check;
use kapi::{cpumask::CpuMask, thread::Thread, time::sleep_ms};
use kernel::{
    cpu::CpuId,
    prelude::*,
    sync::{
        atomic::{Acquire, Atomic, Relaxed, Release},
        Arc,
    },
};

/// Counts how often it was dropped.
struct Token(Arc<Atomic<i32>>);

impl Drop for Token {
    fn drop(&mut self) {
        self.0.add(1, Relaxed);
    }
}

pub(crate) fn start_and_stop() -> Result {
    let (ran, freed) = (
        Arc::new(Atomic::<i32>::new(0), GFP_KERNEL)?,
        Arc::new(Atomic::<i32>::new(0), GFP_KERNEL)?,
    );
    for i in 0..250 {
        let (token, ran) = (Token(freed.clone()), ran.clone());
        // Stopped at once: while it runs, or after.
        let thread = Thread::spawn(fmt!("kapi_t/{}", i), -1, move |_| {
            let _token = token;
            ran.add(1, Relaxed);
        })?;
        drop(thread);
        check!(freed.load(Relaxed) == i + 1);
    }
    check!(ran.load(Relaxed) == 250);
    Ok(())
}

pub(crate) fn joins() -> Result {
    let ended = Arc::new(Atomic::<i32>::new(0), GFP_KERNEL)?;
    let mut threads = KVec::new();
    for i in 0..4 {
        let ended = ended.clone();
        let thread = Thread::spawn(fmt!("kapi_t/{}", i), -1, move |ctx| {
            while !ctx.should_stop() {
                sleep_ms(1);
            }
            sleep_ms(20);
            ended.add(1, Relaxed);
        })?;
        threads.push(thread, GFP_KERNEL)?;
    }
    sleep_ms(10);
    drop(threads);
    check!(ended.load(Relaxed) == 4);
    Ok(())
}

pub(crate) fn name_nice_and_cpus() -> Result {
    let thread = Thread::spawn(fmt!("kapi_t/{}", "long name"), -1, |ctx| {
        while !ctx.should_stop() {
            sleep_ms(1);
        }
    })?;
    check!(thread.pid() > 0);
    thread.set_nice(-5);
    thread.set_cpus(&CpuMask::parse(b"1")?)?;
    check!(thread.set_cpus(&CpuMask::empty()?).is_err());
    thread.set_cpus(&CpuMask::all()?)?;
    Ok(())
}

pub(crate) fn cpus_stay_as_set() -> Result {
    let second = CpuMask::parse(b"2");
    let Ok(second) = second else {
        pr_info!("skipped: there is only one CPU\n");
        return Ok(());
    };
    let wrong = Arc::new(Atomic::<i32>::new(0), GFP_KERNEL)?;
    for _ in 0..100 {
        let wrong = wrong.clone();
        let set = Arc::new(Atomic::<i32>::new(0), GFP_KERNEL)?;
        let seen = set.clone();
        let thread = Thread::spawn(fmt!("kapi_bound"), -1, move |ctx| {
            while !ctx.should_stop() {
                // Only what was read before the question counts.
                let is_set = seen.load(Acquire) != 0;
                if is_set && CpuId::current().as_u32() != 1 {
                    wrong.store(1, Relaxed);
                }
                kapi::cond_resched();
            }
        })?;
        thread.set_cpus(&second)?;
        set.store(1, Release);
        sleep_ms(2);
    }
    check!(wrong.load(Relaxed) == 0);
    Ok(())
}
