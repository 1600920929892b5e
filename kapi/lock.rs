// SPDX-License-Identifier: GPL-2.0

//! A spinlock that interrupt handlers may take too.
//!
//! C header: [`include/linux/spinlock.h`](srctree/include/linux/spinlock.h)

use crate::c;
use kernel::{
    bindings,
    prelude::*,
    sync::lock::{Backend, Guard, Lock},
};

/// A `spinlock_t` whose holder has interrupts off (`spin_lock_irqsave()`).
///
/// For data that is touched in IRQ or softirq context as well. Make one with
/// [`new_spinlock_irq!`]. Guards of nested locks have to go in the reverse order of their making:
/// each restores the interrupt state that it found, and an outer one that goes first would let
/// interrupts in while the inner lock is held.
pub type SpinLockIrq<T> = Lock<T, SpinLockIrqBackend>;

/// What [`SpinLockIrq::lock`] returns.
pub type SpinLockIrqGuard<'a, T> = Guard<'a, T, SpinLockIrqBackend>;

/// The backend of [`SpinLockIrq`].
pub struct SpinLockIrqBackend;

// SAFETY: `spinlock_t` ensures mutual exclusion. `relock` is the default one, which calls `lock`.
unsafe impl Backend for SpinLockIrqBackend {
    type State = bindings::spinlock_t;
    type GuardState = c_ulong;

    #[inline]
    unsafe fn init(ptr: *mut Self::State, name: *const c_char, key: *mut bindings::lock_class_key) {
        // SAFETY: The requirements of this function are those of the callee.
        unsafe { bindings::__spin_lock_init(ptr, name, key) }
    }

    #[inline]
    unsafe fn lock(ptr: *mut Self::State) -> Self::GuardState {
        // SAFETY: By the requirements of this function, `ptr` is an initialised lock.
        unsafe { c::scst_c_spin_lock_irqsave(ptr) }
    }

    #[inline]
    unsafe fn try_lock(ptr: *mut Self::State) -> Option<Self::GuardState> {
        let mut flags = 0;
        // SAFETY: By the requirements of this function, `ptr` is an initialised lock.
        unsafe { c::scst_c_spin_trylock_irqsave(ptr, &mut flags) }.then_some(flags)
    }

    #[inline]
    unsafe fn unlock(ptr: *mut Self::State, flags: &Self::GuardState) {
        // SAFETY: By the requirements of this function, the caller owns the lock, and `flags` are
        // those that `lock` returned.
        unsafe { c::scst_c_spin_unlock_irqrestore(ptr, *flags) }
    }

    #[inline]
    unsafe fn assert_is_held(ptr: *mut Self::State) {
        // SAFETY: By the requirements of this function, `ptr` is an initialised lock.
        unsafe { bindings::spin_assert_is_held(ptr) }
    }
}

/// An initialiser of a [`SpinLockIrq`] with a lock class of its own.
#[macro_export]
macro_rules! new_spinlock_irq {
    ($inner:expr $(, $name:literal)? $(,)?) => {
        $crate::lock::SpinLockIrq::new(
            $inner, ::kernel::optional_name!($($name)?), ::kernel::static_lock_class!())
    };
}
pub use new_spinlock_irq;
