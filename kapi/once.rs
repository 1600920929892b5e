// SPDX-License-Identifier: GPL-2.0

//! A place for a value that is made when it is first needed and then stays.
//!
//! `kernel::sync::SetOnce` has its value inside and tells by a second word whether it is there;
//! here it is one pointer, and looking at it is one load.

use core::{marker::PhantomData, ptr};
use kernel::{
    prelude::*,
    sync::atomic::{Atomic, Full},
};

/// An `Option<KBox<T>>` that can be set once.
///
/// # Invariants
///
/// The pointer is null, or came from `KBox::into_raw` and stays as it is until this is dropped.
pub struct Once<T> {
    ptr: Atomic<*mut T>,
    _own: PhantomData<KBox<T>>,
}

// SAFETY: Sending it sends the `T`.
unsafe impl<T: Send> Send for Once<T> {}
// SAFETY: `get` gives `&T` to several threads, and `set` lets one thread bring the `T` and another
// drop it.
unsafe impl<T: Send + Sync> Sync for Once<T> {}

impl<T> Once<T> {
    /// Without a value.
    pub const fn new() -> Self {
        // INVARIANT: Null.
        Once {
            ptr: Atomic::new(ptr::null_mut()),
            _own: PhantomData,
        }
    }

    /// The value, if it is there. Any context.
    #[inline(always)]
    pub fn get(&self) -> Option<&T> {
        // A volatile read is what READ_ONCE() is; the address dependency orders the reads through
        // it after the writes before `set`.
        // SAFETY: The atomic is valid for reads.
        let p = unsafe { ptr::read_volatile(self.ptr.as_ptr()) };
        // SAFETY: By the type invariant, `p` is null or valid as long as `self` is.
        unsafe { p.as_ref() }
    }

    /// Sets the value, unless there is one: then this one is given back. Any context.
    pub fn set(&self, value: KBox<T>) -> Result<(), KBox<T>> {
        let new = KBox::into_raw(value);
        // INVARIANT: From null to a pointer of a box, which is given up.
        match self.ptr.cmpxchg(ptr::null_mut(), new, Full) {
            Ok(_) => Ok(()),
            // SAFETY: It came from the box above, and nobody else has it.
            Err(_) => Err(unsafe { KBox::from_raw(new) }),
        }
    }
}

impl<T> Default for Once<T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T> Drop for Once<T> {
    fn drop(&mut self) {
        // SAFETY: The atomic is valid for reads, and nobody else has a reference to it.
        let p = unsafe { ptr::read(self.ptr.as_ptr()) };
        if !p.is_null() {
            // SAFETY: By the type invariant, it came from a box; nobody refers to it any more.
            drop(unsafe { KBox::from_raw(p) });
        }
    }
}
