// SPDX-License-Identifier: GPL-2.0

//! `kapi::rcu`: readers on all CPUs against a writer.

use crate::check;
use kapi::{
    counted::{Counted, InUse},
    once::Once,
    rcu::{RcuArc, RcuBox, RetiredArc},
    thread::Thread,
};
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

/// A slot that is read, used and replaced at a time: nobody sees what has gone, nobody who found a
/// value is refused it, and one grace period frees many.
pub(crate) fn slots_end_what_they_had() -> Result {
    const PLACES: usize = 8;
    let (alive, bad, refused) = (counter()?, counter()?, counter()?);
    let new = |n: u64| -> Result<Arc<Counted<Pair>>> {
        Counted::new(KBox::into_inner(Pair::new(n, &alive)?))
    };
    let shared = Arc::new([const { RcuArc::null() }; PLACES], GFP_KERNEL)?;
    for place in shared.iter() {
        drop(place.replace(Some(new(0)?)));
    }
    let mut readers = KVec::new();
    for i in 0..3 {
        let (shared, bad, refused) = (shared.clone(), bad.clone(), refused.clone());
        let reader = Thread::spawn(fmt!("kapi_slots/{}", i), -1, move |ctx| {
            let mut uses = KVec::<InUse<Pair>>::new();
            while !ctx.should_stop() {
                for place in shared.iter() {
                    let guard = read_lock();
                    let Some(found) = place.load(&guard) else {
                        continue;
                    };
                    match found.get_rcu(&guard) {
                        Some(used) => drop(uses.push(used, GFP_ATOMIC)),
                        None => refused.add(1, Relaxed),
                    }
                }
                kapi::cond_resched();
                for used in uses.drain_all() {
                    if used.a != !used.b {
                        bad.add(1, Relaxed);
                    }
                    drop(used.clone());
                }
            }
        })?;
        readers.push(reader, GFP_KERNEL)?;
    }
    for round in 1..=100u64 {
        let mut gone = KVec::with_capacity(PLACES, GFP_KERNEL)?;
        for place in shared.iter() {
            let next = if round % 5 == 0 {
                None
            } else {
                Some(new(round)?)
            };
            gone.push(place.replace(next), GFP_KERNEL)?;
        }
        for old in &gone {
            old.end();
        }
        for old in gone.iter().filter_map(RetiredArc::get) {
            check!(old.wait_gone(Some(60_000)));
            check!(old.get().is_none());
        }
    }
    drop(readers);
    check!(bad.load(Relaxed) == 0);
    check!(refused.load(Relaxed) == 0);
    drop(shared);
    check!(alive.load(Relaxed) == 0);
    Ok(())
}

pub(crate) fn set_once() -> Result {
    let alive = counter()?;
    let place = Once::new();
    check!(place.get().is_none());
    check!(place.set(Pair::new(1, &alive)?).is_ok());
    let second = place.set(Pair::new(2, &alive)?);
    check!(second.is_err_and(|back| back.a == 2));
    check!(place.get().is_some_and(|pair| pair.a == 1));
    drop(place);
    check!(alive.load(Relaxed) == 0);
    Ok(())
}
