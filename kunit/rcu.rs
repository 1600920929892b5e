// SPDX-License-Identifier: GPL-2.0

//! `kapi::rcu`: readers on all CPUs against a writer.

use crate::check;
use kapi::{rcu::RcuBox, thread::Thread};
use kernel::{
    prelude::*,
    sync::{
        atomic::{Atomic, Relaxed},
        rcu::read_lock,
        Arc,
    },
};

/// A value that is easily seen to be whole, and counts how many of it exist.
struct Pair {
    a: u64,
    b: u64,
    alive: Arc<Atomic<i32>>,
}

impl Pair {
    fn new(a: u64, alive: &Arc<Atomic<i32>>) -> Result<KBox<Pair>> {
        alive.add(1, Relaxed);
        let pair = Pair {
            a,
            b: !a,
            alive: alive.clone(),
        };
        Ok(KBox::new(pair, GFP_KERNEL)?)
    }
}

impl Drop for Pair {
    fn drop(&mut self) {
        // What a reader must never see.
        self.b = self.a;
        self.alive.fetch_sub(1, Relaxed);
    }
}

fn counter() -> Result<Arc<Atomic<i32>>> {
    Ok(Arc::new(Atomic::new(0), GFP_KERNEL)?)
}

pub(crate) fn readers_see_whole_values() -> Result {
    let (alive, bad) = (counter()?, counter()?);
    let shared = Arc::new(RcuBox::new(Some(Pair::new(0, &alive)?)), GFP_KERNEL)?;
    let mut readers = KVec::new();
    for i in 0..3 {
        let (shared, bad) = (shared.clone(), bad.clone());
        let reader = Thread::spawn(fmt!("kapi_reader/{}", i), -1, move |ctx| {
            while !ctx.should_stop() {
                for _ in 0..100 {
                    let guard = read_lock();
                    if shared.load(&guard).is_some_and(|p| p.a != !p.b) {
                        bad.add(1, Relaxed);
                    }
                }
                kapi::cond_resched();
            }
        })?;
        readers.push(reader, GFP_KERNEL)?;
    }
    for i in 1..=300u64 {
        let new = if i % 7 == 0 {
            None
        } else {
            Some(Pair::new(i, &alive)?)
        };
        let old = shared.replace(new);
        if i % 50 == 0 {
            drop(old);
        } else {
            old.defer();
        }
    }
    drop(readers);
    check!(bad.load(Relaxed) == 0);
    drop(shared);
    kapi::rcu::barrier();
    check!(alive.load(Relaxed) == 0);
    Ok(())
}

pub(crate) fn deferred_values_are_freed() -> Result {
    let alive = counter()?;
    let shared = RcuBox::null();
    check!(shared.is_null());
    for i in 0..100 {
        shared.replace(Some(Pair::new(i, &alive)?)).defer();
    }
    check!(!shared.is_null());
    let back = shared.replace(None).wait().ok_or(ENOENT)?;
    check!(back.a == 99 && back.b == !99);
    drop(back);
    shared.replace(None).defer();
    kapi::rcu::barrier();
    check!(alive.load(Relaxed) == 0);
    Ok(())
}

pub(crate) fn shared_values() -> Result {
    let alive = counter()?;
    let value = Arc::new(KBox::into_inner(Pair::new(1, &alive)?), GFP_KERNEL)?;
    let shared = RcuBox::new(Some(KBox::new(value, GFP_KERNEL)?));
    let kept = shared.load(&read_lock()).cloned().ok_or(ENOENT)?;
    drop(shared);
    check!(kept.a == !kept.b);
    drop(kept);
    check!(alive.load(Relaxed) == 0);
    Ok(())
}
