// SPDX-License-Identifier: GPL-2.0

//! `kapi::uses`: a count drains, and only when all users are gone.

use crate::check;
use kapi::{thread::Thread, time::sleep_ms, uses::UseCount};
use kernel::{
    prelude::*,
    sync::{
        atomic::{Acquire, Atomic, Full, Relaxed, Release},
        Arc,
    },
};

pub(crate) fn counts_drain() -> Result {
    let count = UseCount::new()?;
    let guard = count.enter().ok_or(EBUSY)?;
    check!(count.try_get());
    count.get_again();
    count.kill();
    count.get_again();
    check!(!count.wait_gone(Some(20)));
    count.put();
    count.put();
    count.put();
    check!(!count.wait_gone(Some(20)));
    drop(guard);
    check!(count.wait_gone(Some(10_000)));
    check!(count.wait_gone(None));
    Ok(())
}

pub(crate) fn kill_is_final() -> Result {
    let count = UseCount::new()?;
    check!(!count.is_killed());
    count.kill();
    count.kill();
    check!(count.is_killed());
    check!(!count.try_get());
    check!(count.enter().is_none());
    check!(count.wait_gone(None));
    // A count that was never killed has to be dropped without ado, too.
    drop(UseCount::new()?);
    Ok(())
}

pub(crate) fn wait_times_out() -> Result {
    let count = UseCount::new()?;
    let start = kapi::time::now_ns();
    check!(!count.wait_gone(Some(30)));
    check!(kapi::time::now_ns() - start >= 15_000_000);
    Ok(())
}

pub(crate) fn many_users() -> Result {
    for _ in 0..5 {
        let count = Arc::new(UseCount::new()?, GFP_KERNEL)?;
        let inside = Arc::new(Atomic::<i32>::new(0), GFP_KERNEL)?;
        let late = Arc::new(Atomic::<i32>::new(0), GFP_KERNEL)?;
        let gone = Arc::new(Atomic::<i32>::new(0), GFP_KERNEL)?;
        let mut users = KVec::new();
        for i in 0..4 {
            let (count, inside, late, gone) =
                (count.clone(), inside.clone(), late.clone(), gone.clone());
            let user = Thread::spawn(fmt!("kapi_user/{}", i), -1, move |_| {
                while count.try_get() {
                    inside.fetch_add(1, Full);
                    if gone.load(Acquire) != 0 {
                        late.add(1, Relaxed);
                    }
                    inside.fetch_sub(1, Full);
                    count.put();
                    kapi::cond_resched();
                }
            })?;
            users.push(user, GFP_KERNEL)?;
        }
        sleep_ms(20);
        count.kill();
        check!(count.wait_gone(Some(60_000)));
        gone.store(1, Release);
        check!(inside.load(Acquire) == 0);
        drop(users);
        check!(late.load(Relaxed) == 0);
    }
    Ok(())
}
