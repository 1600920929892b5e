// SPDX-License-Identifier: GPL-2.0

//! `kapi::lock`.

use crate::check;
use kapi::{
    lock::{new_spinlock_irq, SpinLockIrq},
    thread::Thread,
};
use kernel::{
    prelude::*,
    sync::{
        atomic::{Atomic, Relaxed},
        Arc,
    },
};

pub(crate) fn excludes() -> Result {
    const EACH: u64 = 5000;
    let shared: Arc<SpinLockIrq<(u64, u64)>> =
        Arc::pin_init(new_spinlock_irq!((0, 0), "kapi_kunit"), GFP_KERNEL)?;
    let bad = Arc::new(Atomic::<i32>::new(0), GFP_KERNEL)?;
    let mut threads = KVec::new();
    for i in 0..3 {
        let (shared, bad) = (shared.clone(), bad.clone());
        let thread = Thread::spawn(fmt!("kapi_locker/{}", i), -1, move |_| {
            for _ in 0..EACH {
                let mut pair = shared.lock();
                if pair.0 != pair.1 {
                    bad.add(1, Relaxed);
                }
                pair.0 += 1;
                pair.1 += 1;
            }
        })?;
        threads.push(thread, GFP_KERNEL)?;
    }
    drop(threads);
    check!(bad.load(Relaxed) == 0);
    check!(*shared.lock() == (3 * EACH, 3 * EACH));
    Ok(())
}

pub(crate) fn try_lock_fails_when_held() -> Result {
    let shared = Arc::pin_init(new_spinlock_irq!(1u8), GFP_KERNEL)?;
    let guard = shared.lock();
    check!(shared.try_lock().is_none());
    drop(guard);
    check!(shared.try_lock().is_some_and(|g| *g == 1));
    check!(shared.try_lock().is_some());
    Ok(())
}
