// SPDX-License-Identifier: GPL-2.0

//! Values with per-CPU use counts.
//!
//! A [`Counted`] value is found under RCU and used for the time of one command.
//! Counting the use with an `Arc` would bounce a cache line between CPUs for
//! every command; counters of each CPU do not. The price is that the end of the
//! value has to be announced: [`Counted::kill`], then [`Counted::wait_gone`].

use crate::{rcu::RetiredArc, uses::UseCount};
use core::{ops::Deref, ptr::NonNull};
use kernel::{
    prelude::*,
    sync::{rcu, Arc},
};

/// A value whose users are counted per CPU.
///
/// # Invariants
///
/// While `uses` counts a user, the allocation is not freed: dropping `uses`
/// (the first field, so dropped first) waits until there is none.
pub struct Counted<T> {
    uses: UseCount,
    value: T,
}

impl<T> Counted<T> {
    /// Allocates a counted `value`. May sleep. `ENOMEM`.
    pub fn new(value: T) -> Result<Arc<Self>> {
        Ok(Arc::new(
            Self {
                uses: UseCount::new()?,
                value,
            },
            GFP_KERNEL,
        )?)
    }

    /// Begins a use; `None` once the value was killed. Any context.
    #[inline]
    pub fn get(&self) -> Option<InUse<T>> {
        // INVARIANT: The use that was just counted is the new `InUse`'s.
        self.uses.try_get().then(|| InUse(NonNull::from(self)))
    }

    /// As [`Counted::get`], for who is in an RCU read-side section anyway.
    #[inline]
    pub fn get_rcu(&self, rcu: &rcu::Guard) -> Option<InUse<T>> {
        // INVARIANT: The use that was just counted is the new `InUse`'s.
        self.uses
            .try_get_rcu(rcu)
            .then(|| InUse(NonNull::from(self)))
    }

    /// Lets no new use begin. Any context.
    pub fn kill(&self) {
        self.uses.kill();
    }

    /// Waits for the last use to end, at most `timeout_ms` (`None`: as long as
    /// it takes); false on time-out. After [`Counted::kill`]; sleeps.
    pub fn wait_gone(&self, timeout_ms: Option<u32>) -> bool {
        self.uses.wait_gone(timeout_ms)
    }
}

impl<T> RetiredArc<Counted<T>> {
    /// Waits until who has found the value uses it, and lets no other use begin. An expedited grace
    /// period, which many values share. Process context.
    pub fn end(&self) {
        self.wait();
        if let Some(value) = self.get() {
            value.uses.kill_unreachable(self.since());
        }
    }
}

impl<T> Deref for Counted<T> {
    type Target = T;

    #[inline]
    fn deref(&self) -> &T {
        &self.value
    }
}

/// A counted use of a [`Counted`] value; ends when dropped, in any context.
///
/// # Invariants
///
/// The pointee counts this use, so it is valid.
pub struct InUse<T>(NonNull<Counted<T>>);

// SAFETY: An `InUse` is a shared reference to a `Counted<T>`.
unsafe impl<T: Send + Sync> Send for InUse<T> {}
// SAFETY: As above.
unsafe impl<T: Send + Sync> Sync for InUse<T> {}

impl<T> Deref for InUse<T> {
    type Target = T;

    #[inline]
    fn deref(&self) -> &T {
        // SAFETY: Valid by the type invariants.
        unsafe { &(*self.0.as_ptr()).value }
    }
}

impl<T> Clone for InUse<T> {
    /// Another use, for as long as it lives; also after [`Counted::kill`].
    #[inline]
    fn clone(&self) -> Self {
        // SAFETY: Valid by the type invariants.
        unsafe { (*self.0.as_ptr()).uses.get_again() };
        // INVARIANT: The use that was just counted is the clone's.
        Self(self.0)
    }
}

impl<T> Drop for InUse<T> {
    #[inline]
    fn drop(&mut self) {
        // SAFETY: Valid by the type invariants, until this ends the use. The
        // last `put` may let another CPU free the value, and is the last access.
        unsafe { (*self.0.as_ptr()).uses.put() };
    }
}
