// SPDX-License-Identifier: GPL-2.0

//! A count of users that costs no shared cache line, can be shut, and can be waited for.
//!
//! C header: [`include/linux/percpu-refcount.h`](srctree/include/linux/percpu-refcount.h)

use crate::{c, time};
use kernel::{
    bindings, container_of,
    error::to_result,
    prelude::*,
    sync::atomic::{Atomic, Full},
    types::Opaque,
};

/// How many users something has: open (users come and go), then killed (no new ones), then gone.
///
/// The memory of the `UseCount` itself must be valid when [`UseCount::try_get`] looks at it; where
/// it is reached through RCU, free it only after a grace period.
///
/// Killing costs an RCU grace period before the count can be gone, but does not wait for it: to
/// take down many, kill all of them first and wait afterwards.
pub struct UseCount {
    inner: Pin<KBox<Inner>>,
    killed: Atomic<i32>,
}

#[pin_data]
struct Inner {
    #[pin]
    refs: Opaque<bindings::percpu_ref>,
    #[pin]
    gone: Opaque<bindings::completion>,
}

// SAFETY: `percpu_ref` and `completion` may be used from every CPU and context.
unsafe impl Send for Inner {}
// SAFETY: As above.
unsafe impl Sync for Inner {}

impl UseCount {
    /// A count that is open and has no users. May sleep. `ENOMEM`.
    pub fn new() -> Result<Self> {
        let inner = KBox::pin_init(
            try_pin_init!(Inner {
                refs <- Opaque::try_ffi_init(|slot| {
                    // SAFETY: `slot` is valid for writes, and what is made there is pinned.
                    let ret = unsafe {
                        bindings::percpu_ref_init(slot, Some(released), 0, bindings::GFP_KERNEL)
                    };
                    to_result(ret)
                }),
                gone <- Opaque::ffi_init(|slot| {
                    // SAFETY: `slot` is valid for writes, and what is made there is pinned.
                    unsafe { bindings::init_completion(slot) }
                }),
            }),
            GFP_KERNEL,
        )?;
        Ok(UseCount {
            inner,
            killed: Atomic::new(0),
        })
    }

    /// Becomes a user, unless the count was killed.
    ///
    /// Any context. A `true` is to be answered by exactly one [`UseCount::put`]; where a lifetime
    /// will do, [`UseCount::enter`] does that by itself.
    #[inline]
    #[must_use]
    pub fn try_get(&self) -> bool {
        // SAFETY: Initialised in `new`, and exited only in `drop`.
        unsafe { c::scst_c_percpu_ref_tryget_live(self.inner.refs.get()) }
    }

    /// As [`UseCount::try_get`], for who is in an RCU read-side section anyway.
    #[inline]
    #[must_use]
    pub fn try_get_rcu(&self, _rcu: &kernel::sync::rcu::Guard) -> bool {
        // SAFETY: Initialised in `new`, and exited only in `drop`; RCU is locked, as the guard says.
        unsafe { c::scst_c_percpu_ref_tryget_live_rcu(self.inner.refs.get()) }
    }

    /// Becomes a user once more, for somebody who already is one: works on a killed count, too.
    ///
    /// Any context. To be answered by a [`UseCount::put`] of its own.
    #[inline]
    pub fn get_again(&self) {
        // SAFETY: Initialised in `new`, and exited only in `drop`.
        unsafe { c::scst_c_percpu_ref_get(self.inner.refs.get()) }
    }

    /// Stops to be a user. Any context. Only after a [`UseCount::try_get`] that returned `true`.
    #[inline]
    pub fn put(&self) {
        // SAFETY: Initialised in `new`, and exited only in `drop`.
        unsafe { c::scst_c_percpu_ref_put(self.inner.refs.get()) }
    }

    /// As [`UseCount::try_get`], with a guard that puts.
    #[inline]
    pub fn enter(&self) -> Option<UseGuard<'_>> {
        // INVARIANT: Made only if `try_get` returned `true`; not by `then_some`, whose guard would put.
        self.try_get().then(|| UseGuard(self))
    }

    /// Lets no new users in. Does not wait. Calling it again does nothing. Any context.
    pub fn kill(&self) {
        if self.killed.xchg(1, Full) == 0 {
            // SAFETY: Initialised in `new`; by the flag, this is called once.
            unsafe { bindings::percpu_ref_kill_and_confirm(self.inner.refs.get(), None) }
        }
    }

    /// Whether [`UseCount::kill`] was called.
    pub fn is_killed(&self) -> bool {
        self.killed.load(kernel::sync::atomic::Relaxed) != 0
    }

    /// Waits until the last user of a killed count has gone, or the time is over; whether it has.
    ///
    /// Process context; uninterruptible. Without a [`UseCount::kill`] this never comes true. After
    /// it has come true, every later call returns at once.
    pub fn wait_gone(&self, timeout_ms: Option<u32>) -> bool {
        let gone = self.inner.gone.get();
        match timeout_ms {
            None => {
                // SAFETY: Initialised in `new`.
                unsafe { bindings::wait_for_completion(gone) };
                true
            }
            Some(ms) => {
                // SAFETY: Initialised in `new`.
                unsafe { bindings::wait_for_completion_timeout(gone, time::jiffies(ms)) != 0 }
            }
        }
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
        // SAFETY: `released` has run: nobody holds a reference, and nobody else has the `self`.
        unsafe { bindings::percpu_ref_exit(self.inner.refs.get()) }
    }
}

/// How often a drop that has to wait says so.
const REPORT_MS: u32 = 30_000;

/// # Safety
///
/// `refs` is the field of an [`Inner`]. Called once, when the last reference of a killed count goes.
unsafe extern "C" fn released(refs: *mut bindings::percpu_ref) {
    let refs: *mut Opaque<bindings::percpu_ref> = refs.cast();
    // SAFETY: By the requirements of this function.
    let inner = unsafe { container_of!(refs, Inner, refs) };
    // SAFETY: The waiter frees `inner` only after it has taken the completion's lock, which
    // complete_all() gives back as its last access.
    unsafe { bindings::complete_all(Opaque::cast_into(&raw const (*inner).gone)) }
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
