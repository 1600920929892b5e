// SPDX-License-Identifier: GPL-2.0

//! A pointer that readers follow under RCU, and that owns what it points to.
//!
//! C header: [`include/linux/rcupdate.h`](srctree/include/linux/rcupdate.h)

use crate::c;
use core::{cell::UnsafeCell, marker::PhantomData, mem::ManuallyDrop, ptr};
use kernel::{
    bindings,
    prelude::*,
    sync::{rcu::Guard, Arc, ArcBorrow},
    types::Opaque,
};

/// An RCU-protected `Option<KBox<T>>`.
///
/// Readers call [`RcuBox::load`] and hold no lock; writers put a whole new value in place with
/// [`RcuBox::replace`] and get the old one back as [`Retired`], which frees it when no reader can
/// see it any more. For shared values use `RcuBox<Arc<T>>`: a reader that wants to keep the value
/// clones the `Arc` while it holds the guard.
///
/// # Invariants
///
/// The pointer is null or came from `KBox::into_raw`, and nobody else frees it. A value that was
/// reachable through it is freed only after a grace period that began after it was unreachable.
pub struct RcuBox<T> {
    ptr: UnsafeCell<*mut T>,
    _own: PhantomData<KBox<T>>,
}

// SAFETY: Sending it sends the `T`; and as references that `load` gave out are bound to the RCU
// guard and not to the box, other CPUs may still be looking at the `T` afterwards.
unsafe impl<T: Send + Sync> Send for RcuBox<T> {}
// SAFETY: `load` gives `&T` to several threads, `replace` moves a `T` to another.
unsafe impl<T: Send + Sync> Sync for RcuBox<T> {}

impl<T> RcuBox<T> {
    /// An empty box.
    pub const fn null() -> Self {
        // INVARIANT: Null.
        RcuBox {
            ptr: UnsafeCell::new(ptr::null_mut()),
            _own: PhantomData,
        }
    }

    /// A box with this content.
    pub fn new(value: Option<KBox<T>>) -> Self {
        // INVARIANT: From `KBox::into_raw`, and ours.
        RcuBox {
            ptr: UnsafeCell::new(into_ptr(value)),
            _own: PhantomData,
        }
    }

    /// The present content. It stays valid while the guard lives, whatever writers do.
    ///
    /// Any context. One load instruction (`rcu_dereference()`).
    #[inline(always)]
    pub fn load<'g>(&self, _guard: &'g Guard) -> Option<&'g T> {
        // A volatile read is what READ_ONCE() is; the address dependency orders the reads through
        // it after the writes that `replace` published.
        // SAFETY: The cell is valid; concurrent writers use xchg() on it.
        let p = unsafe { ptr::read_volatile(self.ptr.get()) };
        // SAFETY: By the type invariant, `p` is null or valid until a grace period has passed
        // since it was replaced, and the guard holds off that for `'g`.
        unsafe { p.as_ref() }
    }

    /// Whether there is nothing in it now. Any context.
    #[inline]
    pub fn is_null(&self) -> bool {
        // SAFETY: As in `load`.
        unsafe { ptr::read_volatile(self.ptr.get()) }.is_null()
    }

    /// Puts a new content in place and returns the old one.
    ///
    /// Any context; but what it returns sleeps when it is dropped. Concurrent calls are fine: each
    /// gets what it replaced.
    pub fn replace(&self, value: Option<KBox<T>>) -> Retired<T> {
        let new = into_ptr(value);
        // SAFETY: The cell is valid; xchg() is fully ordered, so that the content of `new` is
        // visible before the pointer is.
        let old = unsafe { c::scst_c_xchg_ptr(self.ptr.get().cast(), new.cast()) };
        // INVARIANT: The box owned `old` and does not point to it any more.
        Retired(old.cast())
    }
}

impl<T> Drop for RcuBox<T> {
    /// Waits for a grace period if there is a content. Do not drop it under an RCU guard.
    fn drop(&mut self) {
        // INVARIANT: The box owned the pointer and goes away.
        drop(Retired(*self.ptr.get_mut()));
    }
}

fn into_ptr<T>(value: Option<KBox<T>>) -> *mut T {
    value.map_or(ptr::null_mut(), KBox::into_raw)
}

/// A value that was taken out of an [`RcuBox`] and that readers may still be looking at.
///
/// Dropping it sleeps: it waits for a grace period and frees the value.
///
/// # Invariants
///
/// `0` is null or came from `KBox::into_raw`, is ours, and no new reader can find it.
#[must_use = "dropping this waits for an RCU grace period: do it outside of locks"]
pub struct Retired<T>(*mut T);

// SAFETY: As for `RcuBox`.
unsafe impl<T: Send + Sync> Send for Retired<T> {}
// SAFETY: As for `RcuBox`.
unsafe impl<T: Send + Sync> Sync for Retired<T> {}

impl<T> Retired<T> {
    /// Whether there is nothing to free.
    pub fn is_none(&self) -> bool {
        self.0.is_null()
    }

    /// A look at the value.
    pub fn get(&self) -> Option<&T> {
        // SAFETY: By the type invariant, it is valid until we free it.
        unsafe { self.0.as_ref() }
    }

    /// Waits for a grace period and gives the value back. Process context.
    pub fn wait(self) -> Option<KBox<T>> {
        let this = ManuallyDrop::new(self);
        if this.0.is_null() {
            return None;
        }
        synchronize();
        // SAFETY: By the type invariant, it is ours; no reader can see it any more.
        Some(unsafe { KBox::from_raw(this.0) })
    }

    /// Frees the value later, from an RCU callback, and returns at once.
    ///
    /// Process context: allocates the callback's head, and where that fails waits as `Drop` does.
    /// `T`'s own `Drop` runs in softirq context. The module that calls this has to keep an
    /// [`crate::module::UnloadBarrier`].
    pub fn defer(self)
    where
        T: Send + 'static,
    {
        if self.0.is_null() {
            return;
        }
        let Ok(node) = KBox::new(
            Deferred {
                head: Opaque::uninit(),
                value: self.0,
            },
            GFP_KERNEL,
        ) else {
            return;
        };
        let _this = ManuallyDrop::new(self);
        let node = KBox::into_raw(node);
        // SAFETY: `node` is valid and is given away to the callback, which is called once.
        unsafe {
            let head = Opaque::cast_into(&raw const (*node).head);
            bindings::call_rcu(head, Some(free_deferred::<T>));
        }
    }
}

impl<T> Drop for Retired<T> {
    fn drop(&mut self) {
        if !self.0.is_null() {
            synchronize();
            // SAFETY: By the type invariant, it is ours; no reader can see it any more.
            drop(unsafe { KBox::from_raw(self.0) });
        }
    }
}

/// An RCU-protected `Option<Arc<T>>`.
///
/// As [`RcuBox`], for values that others keep, too: readers follow one pointer, and may clone the
/// `Arc` out of the [`ArcBorrow`].
///
/// # Invariants
///
/// The pointer is null or came from `Arc::into_raw`, and that reference is ours. A reference that
/// was reachable through it is given up only after a grace period that began after it was
/// unreachable.
pub struct RcuArc<T> {
    ptr: UnsafeCell<*mut T>,
    _own: PhantomData<Arc<T>>,
}

// SAFETY: As for an `Arc`, and for `RcuBox`.
unsafe impl<T: Send + Sync> Send for RcuArc<T> {}
// SAFETY: As above.
unsafe impl<T: Send + Sync> Sync for RcuArc<T> {}

impl<T> RcuArc<T> {
    /// Without a value.
    pub const fn null() -> Self {
        // INVARIANT: Null.
        RcuArc {
            ptr: UnsafeCell::new(ptr::null_mut()),
            _own: PhantomData,
        }
    }

    /// The present value. It stays while the guard lives, whatever writers do.
    ///
    /// Any context. One load instruction (`rcu_dereference()`).
    #[inline(always)]
    pub fn load<'g>(&self, _guard: &'g Guard) -> Option<ArcBorrow<'g, T>> {
        // A volatile read, as in `RcuBox::load`.
        // SAFETY: The cell is valid; concurrent writers use xchg() on it.
        let p = unsafe { ptr::read_volatile(self.ptr.get()) };
        if p.is_null() {
            return None;
        }
        // SAFETY: By the type invariant, it is of `Arc::into_raw`, and that reference stays until a
        // grace period has passed since it was replaced; the guard holds off that for `'g`.
        Some(unsafe { ArcBorrow::from_raw(p) })
    }

    /// Puts a new value in place and returns the old one.
    ///
    /// Any context; but what it returns sleeps when it is dropped.
    pub fn replace(&self, value: Option<Arc<T>>) -> RetiredArc<T> {
        let new = value.map_or(ptr::null_mut(), |value| Arc::into_raw(value).cast_mut());
        // SAFETY: The cell is valid; xchg() is fully ordered, so that the content of `new` is
        // visible before the pointer is.
        let old = unsafe { c::scst_c_xchg_ptr(self.ptr.get().cast(), new.cast()) };
        RetiredArc {
            // INVARIANT: The slot owned the reference and does not point there any more.
            ptr: old.cast(),
            // SAFETY: No requirements.
            since: unsafe { bindings::get_state_synchronize_rcu() },
        }
    }
}

impl<T> Drop for RcuArc<T> {
    /// Waits for a grace period if there is a value. Do not drop it under an RCU guard.
    fn drop(&mut self) {
        if !self.ptr.get_mut().is_null() {
            drop(self.replace(None));
        }
    }
}

/// A value that was taken out of an [`RcuArc`] and that readers may still be looking at.
///
/// Dropping it sleeps, unless there was a grace period meanwhile: of many the first one waits for all.
///
/// # Invariants
///
/// `ptr` is null or came from `Arc::into_raw`, the reference is ours, and since `since` no new
/// reader can find it.
#[must_use = "dropping this waits for an RCU grace period: do it outside of locks"]
pub struct RetiredArc<T> {
    ptr: *mut T,
    since: c_ulong,
}

// SAFETY: As for `RcuArc`.
unsafe impl<T: Send + Sync> Send for RetiredArc<T> {}
// SAFETY: As for `RcuArc`.
unsafe impl<T: Send + Sync> Sync for RetiredArc<T> {}

impl<T> RetiredArc<T> {
    /// A look at the value, if there is one.
    pub fn get(&self) -> Option<&T> {
        // SAFETY: By the type invariant, our reference keeps it.
        unsafe { self.ptr.as_ref() }
    }

    /// What RCU counted when the value could not be found any more.
    pub fn since(&self) -> usize {
        self.since
    }

    /// Waits until no reader looks at it that is not counted by other means: an expedited grace
    /// period, unless there was one since. Process context.
    pub fn wait(&self) {
        // SAFETY: Process context, by the contract of this function.
        unsafe { bindings::cond_synchronize_rcu_expedited(self.since) }
    }
}

impl<T> Drop for RetiredArc<T> {
    fn drop(&mut self) {
        if self.ptr.is_null() {
            return;
        }
        // SAFETY: Process context, as the type says.
        unsafe { bindings::cond_synchronize_rcu_expedited(self.since) };
        // SAFETY: By the type invariant, it is our reference; no reader borrows it any more.
        drop(unsafe { Arc::from_raw(self.ptr) });
    }
}

/// What [`Retired::defer`] hands to `call_rcu()`.
#[repr(C)]
struct Deferred<T> {
    head: Opaque<bindings::callback_head>,
    value: *mut T,
}

/// # Safety
///
/// `head` is the first field of a [`Deferred<T>`] from `KBox::into_raw` that the callee gets, and
/// its value is one that a [`Retired`] gave up.
unsafe extern "C" fn free_deferred<T>(head: *mut bindings::callback_head) {
    // SAFETY: By the requirements of this function; `head` is the first field (`repr(C)`).
    let node = unsafe { KBox::from_raw(head.cast::<Deferred<T>>()) };
    // SAFETY: By the requirements of this function; a grace period has passed.
    drop(unsafe { KBox::from_raw(node.value) });
}

/// Waits until every reader that is now in a read-side critical section has left it.
///
/// Process context, without an RCU guard.
pub fn synchronize() {
    // SAFETY: Requires only a context that may sleep.
    unsafe { bindings::synchronize_rcu() }
}

/// Waits until all callbacks that were queued with `call_rcu()` have run. Process context.
pub fn barrier() {
    // SAFETY: Requires only a context that may sleep.
    unsafe { bindings::rcu_barrier() }
}
