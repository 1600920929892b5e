// SPDX-License-Identifier: GPL-2.0

//! A pool of data buffers.
//!
//! Buffers are kept by size, powers of two from one page to [`LARGEST`], and
//! taken and given back in any context. Larger ones are allocated and freed each
//! time. What commands hold is limited: a command that would go over the limit
//! is refused, as BUSY is better for an initiator than a target that swaps.
//!
//! Buffers are not cleared. Whoever sends one to an initiator writes all of it
//! first, or sends only what was written.

use crate::{
    lock::{new_spinlock_irq, SpinLockIrq},
    sg::{Gfp, OwnedSg, SgList},
};
use core::mem::ManuallyDrop;
use kernel::{
    page::PAGE_SIZE,
    prelude::*,
    sync::{
        atomic::{Atomic, Relaxed},
        Arc,
    },
};

/// Size classes: 4 KiB, 8 KiB, ... 4 MiB.
pub const CLASSES: usize = 11;
/// The largest buffer that is kept.
pub const LARGEST: usize = PAGE_SIZE << (CLASSES - 1);
/// Most bytes that a class keeps unused.
const KEEP_BYTES: usize = 8 << 20;
/// Most buffers that a class keeps unused.
const KEEP: usize = 256;

/// One size of buffers.
#[pin_data]
struct Class {
    #[pin]
    unused: SpinLockIrq<KVec<OwnedSg>>,
    hits: Atomic<u64>,
    total: Atomic<u64>,
}

/// What a class has done.
#[derive(Clone, Copy, Default, Debug)]
pub struct ClassStats {
    /// Requests that an unused buffer served.
    pub hits: u64,
    /// All requests.
    pub total: u64,
    /// Unused pages that are kept.
    pub pages: u64,
}

/// A pool of data buffers; see the [module](self).
pub struct SgPool {
    classes: KVec<Pin<KBox<Class>>>,
    big: Atomic<u64>,
    /// Bytes that commands hold.
    held: Atomic<u64>,
    limit: u64,
}

/// The class whose buffers hold `len` bytes, and their size.
fn class_of(len: usize) -> Option<(usize, usize)> {
    let pages = len.max(1).div_ceil(PAGE_SIZE).checked_next_power_of_two()?;
    let class = pages.trailing_zeros() as usize;
    (class < CLASSES).then_some((class, PAGE_SIZE << class))
}

fn keep(class: usize) -> usize {
    (KEEP_BYTES / (PAGE_SIZE << class)).clamp(1, KEEP)
}

impl SgPool {
    /// An empty pool for at most `limit_mb` MiB. Sleeps.
    pub fn new(limit_mb: u32) -> Result<Arc<Self>> {
        let mut classes = KVec::with_capacity(CLASSES, GFP_KERNEL)?;
        for class in 0..CLASSES {
            // The room for unused buffers is there from the start: giving one
            // back, in any context, never allocates.
            let room = KVec::with_capacity(keep(class), GFP_KERNEL)?;
            let class = KBox::pin_init(
                pin_init!(Class {
                    unused <- new_spinlock_irq!(room),
                    hits: Atomic::new(0),
                    total: Atomic::new(0),
                }),
                GFP_KERNEL,
            )?;
            classes.push(class, GFP_KERNEL)?;
        }
        Ok(Arc::new(
            Self {
                classes,
                big: Atomic::new(0),
                held: Atomic::new(0),
                limit: u64::from(limit_mb) << 20,
            },
            GFP_KERNEL,
        )?)
    }

    /// What one user of the pool may have of it: `limit_mb` MiB. Sleeps. `ENOMEM`.
    pub fn share(self: &Arc<Self>, limit_mb: u32) -> Result<Arc<SgShare>> {
        Ok(Arc::new(
            SgShare {
                pool: self.clone(),
                held: Atomic::new(0),
                limit: u64::from(limit_mb) << 20,
            },
            GFP_KERNEL,
        )?)
    }

    fn take(&self, class: Option<(usize, usize)>, len: usize, gfp: Gfp) -> Result<OwnedSg> {
        let known = class.and_then(|(n, size)| Some((self.classes.get(n)?, size)));
        let Some((class, size)) = known else {
            self.big.add(1, Relaxed);
            return OwnedSg::alloc(len, gfp);
        };
        class.total.add(1, Relaxed);
        let unused = class.unused.lock().pop();
        match unused {
            Some(sg) => {
                class.hits.add(1, Relaxed);
                Ok(sg)
            }
            None => OwnedSg::alloc(size, gfp),
        }
    }

    fn put(&self, sg: OwnedSg) {
        let class = class_of(sg.len()).and_then(|(n, _)| self.classes.get(n));
        let surplus = match class {
            Some(class) => class
                .unused
                .lock()
                .push_within_capacity(sg)
                .err()
                .map(|e| e.0),
            None => Some(sg),
        };
        drop(surplus);
    }

    /// Frees all unused buffers. Any context.
    pub fn shrink(&self) {
        for class in &self.classes {
            loop {
                let sg = class.unused.lock().pop();
                if sg.is_none() {
                    break;
                }
            }
        }
    }

    /// What the class of 4 KiB << `n` has done.
    pub fn stats(&self, n: usize) -> ClassStats {
        let Some(class) = self.classes.get(n) else {
            return ClassStats::default();
        };
        ClassStats {
            hits: class.hits.load(Relaxed),
            total: class.total.load(Relaxed),
            pages: (class.unused.lock().len() as u64) << n,
        }
    }

    /// Sets what the classes have done, and [`SgPool::big`], to zero. Any context.
    pub fn reset_stats(&self) {
        for class in &self.classes {
            class.hits.store(0, Relaxed);
            class.total.store(0, Relaxed);
        }
        self.big.store(0, Relaxed);
    }

    /// Buffers over [`LARGEST`] that were allocated.
    pub fn big(&self) -> u64 {
        self.big.load(Relaxed)
    }

    /// Unused pages that all classes keep.
    pub fn cached_pages(&self) -> u64 {
        (0..CLASSES).map(|n| self.stats(n).pages).sum()
    }
}

/// Adds `size` to what is held, unless that is more than `limit` then; whether it has.
fn charge(held: &Atomic<u64>, size: u64, limit: u64) -> bool {
    let fits = held.fetch_add(size, Relaxed).saturating_add(size) <= limit;
    if !fits {
        discharge(held, size);
    }
    fits
}

fn discharge(held: &Atomic<u64>, size: u64) {
    held.add(size.wrapping_neg(), Relaxed);
}

/// What one user of a pool has of it.
pub struct SgShare {
    pool: Arc<SgPool>,
    /// Bytes that its commands hold.
    held: Atomic<u64>,
    limit: u64,
}

impl SgShare {
    /// A buffer of `len` bytes or more, of which [`PooledSg::list`] shows
    /// `len`. Any context that `gfp` allows. `ENOMEM`, also over a limit.
    pub fn get(self: &Arc<Self>, len: usize, gfp: Gfp) -> Result<PooledSg> {
        let pool = &self.pool;
        let class = class_of(len);
        let size = class.map_or(len, |(_, size)| size) as u64;
        if !charge(&self.held, size, self.limit) {
            return Err(ENOMEM);
        }
        if !charge(&pool.held, size, pool.limit) {
            discharge(&self.held, size);
            return Err(ENOMEM);
        }
        match pool.take(class, len, gfp) {
            Ok(sg) => Ok(PooledSg {
                sg: ManuallyDrop::new(sg),
                share: self.clone(),
                len,
                size,
            }),
            Err(e) => {
                self.release(size);
                Err(e)
            }
        }
    }

    fn release(&self, size: u64) {
        discharge(&self.pool.held, size);
        discharge(&self.held, size);
    }
}

/// A buffer of a pool, which goes back when it is dropped, in any context.
pub struct PooledSg {
    sg: ManuallyDrop<OwnedSg>,
    share: Arc<SgShare>,
    len: usize,
    size: u64,
}

impl PooledSg {
    /// The bytes that were asked for.
    pub fn list(&self) -> SgList<'_> {
        self.sg.list_of(self.len)
    }
}

impl Drop for PooledSg {
    fn drop(&mut self) {
        // SAFETY: The buffer is not used after this.
        let sg = unsafe { ManuallyDrop::take(&mut self.sg) };
        self.share.pool.put(sg);
        self.share.release(self.size);
    }
}
