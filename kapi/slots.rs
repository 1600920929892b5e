// SPDX-License-Identifier: GPL-2.0

//! Slots on the heap, for who makes commands of its own and has no request of a
//! transport to put them into.

use crate::{
    loan::{Loan, Slot, Vacant},
    lock::{new_spinlock_irq, SpinLockIrq},
};
use core::ptr::NonNull;
use kernel::prelude::*;

/// A slot that a [`Slots`] has allocated.
///
/// # Invariants
///
/// The pointer came from `KBox::into_raw`, and is not freed while it is in the
/// list of its [`Slots`].
struct Home<S, T>(NonNull<Slot<S, T>>);

// SAFETY: It is the address of a slot, which is `Sync` under the same bounds and
// whose halves are `Send`.
unsafe impl<S: Send + Sync, T: Send> Send for Home<S, T> {}

/// The slots there are.
type Homes<S, T> = SpinLockIrq<KVec<Home<S, T>>>;

/// Slots that are allocated when they are needed, and freed when their loans have
/// ended. Those that are still lent when this is dropped are leaked.
pub struct Slots<S, T> {
    all: Pin<KBox<Homes<S, T>>>,
}

impl<S: Send + Sync, T: Send> Slots<S, T> {
    /// None yet. Sleeps. `ENOMEM`.
    pub fn new() -> Result<Self> {
        let all = KBox::pin_init(new_spinlock_irq!(KVec::new()), GFP_KERNEL)?;
        Ok(Self { all })
    }

    /// A new slot. Sleeps. `ENOMEM`.
    pub fn make(&self, shared: S) -> Result<Vacant<S, T>> {
        let slot = KBox::into_raw(KBox::new(Slot::new(shared), GFP_KERNEL)?);
        let Some(slot) = NonNull::new(slot) else {
            return Err(ENOMEM);
        };
        // INVARIANT: `slot` is of `into_raw`, and is freed by `free` alone, which
        // takes it out of the list.
        let kept = self.all.lock().push(Home(slot), GFP_ATOMIC);
        if kept.is_err() {
            // SAFETY: Of `into_raw`, and known to nobody else.
            drop(unsafe { KBox::from_raw(slot.as_ptr()) });
            return Err(ENOMEM);
        }
        // SAFETY: It is new, so without a loan and without another `Vacant`; its
        // memory stays until that has ended or is given back.
        Ok(unsafe { Vacant::new(slot) })
    }

    /// Ends a loan and frees its slot; one that is not of these is left to its
    /// owner. Any context.
    pub fn end(&self, loan: Loan<S, T>) {
        let slot = loan.as_ptr();
        drop(loan);
        // No other slot can have had this address while the loan was there.
        self.free(slot);
    }

    /// Frees a slot that was not lent. Any context.
    pub fn take_back(&self, vacant: Vacant<S, T>) {
        self.free(vacant.into_slot());
    }

    /// Frees `slot`, if it is of these. The caller has had the only right to it.
    fn free(&self, slot: NonNull<Slot<S, T>>) {
        let found = {
            let mut all = self.all.lock();
            let at = all.iter().position(|home| home.0 == slot);
            at.and_then(|at| all.remove(at).ok())
        };
        if let Some(home) = found {
            // SAFETY: Of `into_raw`. Nobody else has a right to it, as the callers
            // have given up theirs, and who looked at the shared half did so under
            // the lock.
            drop(unsafe { KBox::from_raw(home.0.as_ptr()) });
        }
    }

    /// Shows all slots, and their addresses. `visit` must not sleep, nor make or
    /// end slots.
    pub fn visit(&self, visit: &mut dyn FnMut(usize, &Slot<S, T>)) {
        for home in self.all.lock().iter() {
            // SAFETY: It is not freed while it is in the list.
            visit(home.0.as_ptr().addr(), unsafe { home.0.as_ref() });
        }
    }
}
