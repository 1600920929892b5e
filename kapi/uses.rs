// SPDX-License-Identifier: GPL-2.0

//! A count of users that costs no shared cache line, can be shut, and can be waited for.
//!
//! A `percpu_ref` has to become an ordinary counter before it can be found to be zero, which takes a
//! normal grace period of RCU, some 10 ms, for each that ends. Here every CPU counts how often a use
//! began and how often one ended, in counters that only grow. As long as uses begin, their sums say
//! nothing; when a grace period has passed since the count was shut, and that may be an expedited
//! one, equal sums mean that no user is left.
//!
//! C headers: [`include/linux/percpu.h`](srctree/include/linux/percpu.h),
//! [`include/linux/rcupdate.h`](srctree/include/linux/rcupdate.h)

use crate::{
    c::{self, Uses},
    wait::{new_wait_queue, WaitQueue},
};
use core::{mem::size_of, ptr::NonNull};
use kernel::{
    bindings, container_of,
    prelude::*,
    sync::atomic::{Acquire, Atomic, Full, Relaxed, Release},
    types::Opaque,
};

/// How many users something has: open (users come and go), then killed (no new ones), then gone.
///
/// The memory of the `UseCount` itself must be valid when [`UseCount::try_get`] looks at it; where
/// it is reached through RCU, free it only after a grace period.
///
/// Killing does not wait. Of many that are to be taken down kill all first: one grace period, which
/// the first wait asks for, is enough for all of them.
///
/// # Invariants
///
/// `inner` came from `KBox::into_raw` and is ours. It is freed a grace period after it was given up,
/// as the last user's [`UseCount::put`] may still look at it.
pub struct UseCount {
    inner: NonNull<Inner>,
}

/// # Invariants
///
/// `uses.counts` is a per-CPU allocation of two `unsigned long`, `uses.gone` is `gone`.
#[pin_data]
struct Inner {
    #[pin]
    head: Opaque<bindings::callback_head>,
    #[pin]
    gone: WaitQueue,
    uses: Uses,
    /// What RCU counted when the count was killed; 0 before that.
    killed_at: Atomic<usize>,
    /// What it counted when the last user can have come; 0 before that is known.
    since: Atomic<usize>,
}

// SAFETY: The pointers of `uses` are to per-CPU counters and to a wait queue, which every CPU may use.
unsafe impl Send for Inner {}
// SAFETY: As above; the rest is atomic.
unsafe impl Sync for Inner {}
// SAFETY: An owner of an `Inner`.
unsafe impl Send for UseCount {}
// SAFETY: Everything that a `&UseCount` allows is atomic or per CPU.
unsafe impl Sync for UseCount {}

impl UseCount {
    /// A count that is open and has no users. May sleep. `ENOMEM`.
    pub fn new() -> Result<Self> {
        const SIZE: usize = 2 * size_of::<c_ulong>();
        let mut inner = KBox::pin_init(
            pin_init!(Inner {
                head: Opaque::uninit(),
                gone <- new_wait_queue!(),
                uses: Uses {
                    counts: core::ptr::null_mut(),
                    gone: core::ptr::null_mut(),
                    killed: Atomic::new(0),
                },
                killed_at: Atomic::new(0),
                since: Atomic::new(0),
            }),
            GFP_KERNEL,
        )?;
        // Both counters in one cache line.
        // SAFETY: The allocator checks size and alignment; it returns zeroed memory.
        let counts =
            unsafe { bindings::pcpu_alloc_noprof(SIZE, SIZE, false, bindings::GFP_KERNEL) };
        if counts.is_null() {
            return Err(ENOMEM);
        }
        let gone = inner.gone.as_raw();
        // SAFETY: `uses` is not structurally pinned, and nothing is moved.
        let uses = unsafe { &mut inner.as_mut().get_unchecked_mut().uses };
        // INVARIANT: Just allocated, and the neighbour's address.
        uses.counts = counts.cast();
        uses.gone = gone;
        // SAFETY: It stays where it is until `free` frees it.
        let inner = KBox::into_raw(unsafe { Pin::into_inner_unchecked(inner) });
        Ok(UseCount {
            // INVARIANT: From the box.
            // SAFETY: A box is never null.
            inner: unsafe { NonNull::new_unchecked(inner) },
        })
    }

    #[inline]
    fn inner(&self) -> &Inner {
        // SAFETY: By the type invariant, it is valid as long as this is.
        unsafe { self.inner.as_ref() }
    }

    /// Becomes a user, unless the count was killed.
    ///
    /// Any context. A `true` is to be answered by exactly one [`UseCount::put`]; where a lifetime
    /// will do, [`UseCount::enter`] does that by itself.
    #[inline]
    #[must_use]
    pub fn try_get(&self) -> bool {
        // SAFETY: By the invariants of `Inner`.
        unsafe { c::scst_c_uses_tryget(&self.inner().uses) }
    }

    /// As [`UseCount::try_get`], for who is in an RCU read-side section anyway.
    #[inline]
    #[must_use]
    pub fn try_get_rcu(&self, _rcu: &kernel::sync::rcu::Guard) -> bool {
        // SAFETY: By the invariants of `Inner`; RCU is locked, as the guard says.
        unsafe { c::scst_c_uses_tryget_rcu(&self.inner().uses) }
    }

    /// Becomes a user once more, for somebody who already is one: works on a killed count, too.
    ///
    /// Any context. To be answered by a [`UseCount::put`] of its own.
    #[inline]
    pub fn get_again(&self) {
        // SAFETY: By the invariants of `Inner`.
        unsafe { c::scst_c_uses_get(&self.inner().uses) }
    }

    /// Stops to be a user. Any context. Only after a [`UseCount::try_get`] that returned `true`.
    #[inline]
    pub fn put(&self) {
        // SAFETY: By the invariants of `Inner`; it stays valid for the whole call, as that is within
        // an RCU read-side section.
        unsafe { c::scst_c_uses_put(&self.inner().uses) }
    }

    /// As [`UseCount::try_get`], with a guard that puts.
    #[inline]
    pub fn enter(&self) -> Option<UseGuard<'_>> {
        // INVARIANT: Made only if `try_get` returned `true`; not by `then_some`, whose guard would put.
        self.try_get().then(|| UseGuard(self))
    }

    /// Lets no new users in. Does not wait. Calling it again does nothing. Any context.
    pub fn kill(&self) {
        self.kill_from(None);
    }

    /// As [`UseCount::kill`], for what nobody can find since RCU counted `since`
    /// ([`crate::rcu::RetiredArc::since`]): who has found it before becomes a user if this comes
    /// later than a grace period after that.
    pub fn kill_unreachable(&self, since: usize) {
        self.kill_from(Some(since));
    }

    fn kill_from(&self, since: Option<usize>) {
        let inner = self.inner();
        if inner.uses.killed.xchg(1, Full) == 0 {
            // SAFETY: No requirements.
            let now = unsafe { bindings::get_state_synchronize_rcu() };
            inner.killed_at.store(now, Release);
            inner.since.store(since.unwrap_or(now), Release);
            inner.gone.wake_all();
        }
    }

    /// Whether [`UseCount::kill`] was called.
    pub fn is_killed(&self) -> bool {
        self.inner().uses.killed.load(Relaxed) != 0
    }

    /// Waits until nobody is about to become a user: who is one by then is counted, and who is not
    /// will never be. After [`UseCount::kill`]; at once if RCU has had a grace period since.
    ///
    /// Process context.
    pub fn wait_shut(&self) {
        wait_since(self.inner().since.load(Acquire));
    }

    /// Waits until the last user of a killed count has gone, or the time is over; whether it has.
    ///
    /// Process context; uninterruptible. Without a [`UseCount::kill`] this never comes true. After
    /// it has come true, every later call returns at once.
    pub fn wait_gone(&self, timeout_ms: Option<u32>) -> bool {
        let inner = self.inner();
        let wait = |true_yet: &dyn Fn() -> bool| match timeout_ms {
            None => {
                inner.gone.wait_until(true_yet);
                true
            }
            Some(ms) => inner.gone.wait_until_timeout(ms, true_yet),
        };
        if !wait(&|| self.is_killed()) {
            return false;
        }
        self.wait_shut();
        // SAFETY: By the invariants of `Inner`.
        let none = || unsafe { c::scst_c_uses_none(&inner.uses) };
        if none() {
            return true;
        }
        // Whoever ends a use from here on sees that somebody waits for it.
        wait_since(inner.killed_at.load(Acquire));
        wait(&none)
    }
}

impl Drop for UseCount {
    /// Kills, waits for the last user, and frees. Process context.
    fn drop(&mut self) {
        self.kill();
        let mut waited = 0u64;
        while !self.wait_gone(Some(REPORT_MS)) {
            waited = waited.saturating_add(REPORT_MS.into());
            pr_warn!("something is still in use after {} s\n", waited / 1000);
        }
        let head = Opaque::cast_into(&raw const self.inner().head);
        // SAFETY: By the type invariant, `inner` is ours; it is given away to the callback, which is
        // called once.
        unsafe { bindings::call_rcu(head, Some(free)) }
    }
}

/// Waits until RCU has had a grace period after it counted `since`; 0: after now. Process context.
fn wait_since(since: usize) {
    match since {
        // Somebody else is just killing it.
        // SAFETY: Process context, by the contract of this function.
        0 => unsafe { bindings::synchronize_rcu_expedited() },
        // SAFETY: As above.
        since => unsafe { bindings::cond_synchronize_rcu_expedited(since as c_ulong) },
    }
}

/// How often a drop that has to wait says so.
const REPORT_MS: u32 = 30_000;

/// # Safety
///
/// `head` is the field of an [`Inner`] from `KBox::into_raw` that the callee gets.
unsafe extern "C" fn free(head: *mut bindings::callback_head) {
    let head: *mut Opaque<bindings::callback_head> = head.cast();
    // SAFETY: By the requirements of this function.
    let inner = unsafe { KBox::from_raw(container_of!(head, Inner, head)) };
    // SAFETY: By the invariants of `Inner`, it is the allocation of `new`, and nobody uses it after
    // a grace period.
    unsafe { bindings::free_percpu(inner.uses.counts.cast()) }
}

/// Proof of being a user of a [`UseCount`].
///
/// # Invariants
///
/// Owns one successful [`UseCount::try_get`].
#[must_use]
pub struct UseGuard<'a>(&'a UseCount);

impl Drop for UseGuard<'_> {
    #[inline]
    fn drop(&mut self) {
        // By the type invariant, this answers our own `try_get`.
        self.0.put();
    }
}
