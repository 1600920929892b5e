// SPDX-License-Identifier: GPL-2.0

//! `kapi::sg` and `kapi::pool`.

use crate::check;
use kapi::{
    pool::{SgPool, SgShare, CLASSES, LARGEST},
    sg::{Gfp, OwnedSg},
    thread::Thread,
};
use kernel::{
    prelude::*,
    sync::{
        atomic::{Atomic, Relaxed},
        Arc,
    },
};

/// Bytes that differ from one to the next.
fn pattern(seed: usize, len: usize) -> Result<KVec<u8>> {
    let mut bytes = KVec::with_capacity(len, GFP_KERNEL)?;
    for i in 0..len {
        bytes.push((seed.wrapping_mul(31) ^ i ^ (i >> 8)) as u8, GFP_KERNEL)?;
    }
    Ok(bytes)
}

pub(crate) fn copies() -> Result {
    let owned = OwnedSg::alloc(3 * 4096, Gfp::Kernel)?;
    let list = owned.list();
    let all = pattern(1, 3 * 4096)?;
    check!(list.copy_to(0, &all) == all.len());
    let mut back = KVec::from_elem(0u8, 5000, GFP_KERNEL)?;
    for offset in [0, 1, 4095, 4096, 7000] {
        check!(list.copy_from(offset, &mut back) == 5000);
        check!(Some(&back[..]) == all.get(offset..offset + 5000));
    }
    // Over the end.
    check!(list.copy_from(3 * 4096 - 10, &mut back) == 10);
    check!(list.copy_from(3 * 4096, &mut back) == 0);
    check!(list.copy_from(usize::MAX, &mut back) == 0);

    check!(list.zero(4000, 5000) == 5000);
    check!(list.copy_from(3999, &mut back) == 5000);
    check!(back.first() == all.get(3999));
    check!(back.iter().skip(1).all(|b| *b == 0));
    check!(list.copy_from(9000, &mut back) == 3 * 4096 - 9000);
    check!(back.first() == all.get(9000));
    check!(list.zero(3 * 4096 - 1, 100) == 1);
    Ok(())
}

pub(crate) fn segments() -> Result {
    let owned = OwnedSg::alloc(20_000, Gfp::Kernel)?;
    check!(owned.len() >= 20_000);
    let list = owned.list_of(10_000);
    check!(list.len() == 10_000);
    let total: usize = list.segments().map(|s| s.len as usize).sum();
    check!(total == 10_000);
    check!(list.segments().all(|s| !s.page.is_null() && s.len > 0));
    check!(owned.list_of(usize::MAX).len() == owned.len());
    Ok(())
}

pub(crate) fn hits() -> Result {
    let pool = SgPool::new(64)?;
    let share = pool.share(64)?;
    for class in 0..CLASSES {
        let len = 4096usize << class;
        drop(share.get(len, Gfp::Kernel)?);
        drop(share.get(len - 1, Gfp::Kernel)?);
        let stats = pool.stats(class);
        check!(stats.total == 2 && stats.hits == 1);
        check!(stats.pages == 1 << class);
    }
    check!(pool.cached_pages() == (1 << CLASSES) - 1);
    check!(pool.big() == 0);
    drop(share.get(LARGEST + 1, Gfp::Kernel)?);
    check!(pool.big() == 1);
    pool.shrink();
    check!(pool.cached_pages() == 0);
    drop(share.get(0, Gfp::Atomic)?);
    check!(pool.cached_pages() == 1);
    Ok(())
}

pub(crate) fn limit() -> Result {
    let pool = SgPool::new(1)?;
    let share = pool.share(2)?;
    let mut held = KVec::new();
    for _ in 0..4 {
        held.push(share.get(256 << 10, Gfp::Kernel)?, GFP_KERNEL)?;
    }
    check!(matches!(share.get(1, Gfp::Kernel), Err(e) if e == ENOMEM));
    check!(matches!(share.get(usize::MAX, Gfp::Kernel), Err(e) if e == ENOMEM));
    drop(held.pop());
    check!(share.get(256 << 10, Gfp::Kernel).is_ok());
    drop(held);
    check!(share.get(1 << 20, Gfp::Kernel).is_ok());
    Ok(())
}

pub(crate) fn limit_of_a_share() -> Result {
    let pool = SgPool::new(3)?;
    let (one, two) = (pool.share(1)?, pool.share(4)?);
    let held = one.get(1 << 20, Gfp::Kernel)?;
    check!(matches!(one.get(1, Gfp::Kernel), Err(e) if e == ENOMEM));
    // What one was refused is not held, neither from it nor from the pool.
    let rest = two.get(2 << 20, Gfp::Kernel)?;
    check!(matches!(two.get(1, Gfp::Kernel), Err(e) if e == ENOMEM));
    drop(held);
    check!(two.get(1 << 20, Gfp::Kernel).is_ok());
    check!(one.get(1 << 20, Gfp::Kernel).is_ok());
    drop(rest);
    check!(two.get(2 << 20, Gfp::Kernel).is_ok());
    Ok(())
}

pub(crate) fn shared_by_threads() -> Result {
    let pool = SgPool::new(64)?;
    let share = pool.share(64)?;
    let bad = Arc::new(Atomic::<i32>::new(0), GFP_KERNEL)?;
    let mut threads = KVec::new();
    for seed in 0..4usize {
        let (share, bad) = (share.clone(), bad.clone());
        let thread = Thread::spawn(fmt!("kapi_pool/{}", seed), -1, move |_| {
            if hammer(&share, seed).is_err() {
                bad.add(1, Relaxed);
            }
        })?;
        threads.push(thread, GFP_KERNEL)?;
    }
    for _ in 0..20 {
        kapi::time::sleep_ms(2);
        pool.shrink();
    }
    drop(threads);
    check!(bad.load(Relaxed) == 0);
    let total: u64 = (0..CLASSES).map(|c| pool.stats(c).total).sum();
    check!(total > 0);
    // Everything is back: the whole limit can be had.
    pool.shrink();
    let mut held = KVec::new();
    for _ in 0..16 {
        held.push(share.get(LARGEST, Gfp::Kernel)?, GFP_KERNEL)?;
    }
    check!(share.get(1, Gfp::Kernel).is_err());
    Ok(())
}

/// Takes buffers of all sizes and looks whether somebody else writes to them.
fn hammer(share: &Arc<SgShare>, seed: usize) -> Result {
    let mut back = KVec::from_elem(0u8, 512, GFP_KERNEL)?;
    for i in 0..400 {
        let len = 512 + ((i * 7919 + seed * 104_729) % (128 << 10));
        let (one, two) = (share.get(len, Gfp::Kernel)?, share.get(4096, Gfp::Kernel)?);
        let (a, b) = (pattern(seed + i, 512)?, pattern(seed + i + 1, 512)?);
        let last = len - 512;
        if one.list().copy_to(last, &a) != 512 || two.list().copy_to(0, &b) != 512 {
            return Err(EIO);
        }
        kapi::cond_resched();
        one.list().copy_from(last, &mut back);
        if back[..] != a[..] {
            return Err(EIO);
        }
        two.list().copy_from(0, &mut back);
        if back[..] != b[..] {
            return Err(EIO);
        }
    }
    Ok(())
}
