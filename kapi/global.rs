// SPDX-License-Identifier: GPL-2.0

//! The one object of a module that everything else finds.

use core::ptr;
use kernel::{
    prelude::*,
    sync::{
        atomic::{Acquire, Atomic, Release},
        Arc,
    },
};

/// A static place for an `Arc<T>` that a module sets when it is loaded and
/// clears when it is unloaded.
///
/// # Invariants
///
/// The pointer is null, or owns one reference of an `Arc<T>`.
pub struct Global<T> {
    ptr: Atomic<*mut T>,
}

// SAFETY: It hands out `Arc<T>`, and nothing else.
unsafe impl<T: Send + Sync> Sync for Global<T> {}

impl<T> Global<T> {
    /// Empty.
    pub const fn new() -> Self {
        Self {
            ptr: Atomic::new(ptr::null_mut()),
        }
    }

    /// Sets the value. Once, in the module's `init`; a second value is refused.
    pub fn set(&self, value: Arc<T>) -> Result {
        if !self.ptr.load(Acquire).is_null() {
            return Err(EBUSY);
        }
        self.ptr.store(Arc::into_raw(value).cast_mut(), Release);
        Ok(())
    }

    /// The value, while it is set. Any context.
    ///
    /// Callers are the module itself and modules that depend on it, so
    /// [`Global::take`] (at unload) cannot run at the same time.
    pub fn get(&self) -> Option<Arc<T>> {
        let ptr = self.ptr.load(Acquire);
        if ptr.is_null() {
            return None;
        }
        // SAFETY: By the type invariants the pointer owns a reference, which
        // stays (the `ManuallyDrop` keeps it); the clone is another one.
        let this = core::mem::ManuallyDrop::new(unsafe { Arc::from_raw(ptr) });
        Some(Arc::clone(&this))
    }

    /// Takes the value out, in the module's exit.
    pub fn take(&self) -> Option<Arc<T>> {
        let ptr = self.ptr.load(Acquire);
        if ptr.is_null() {
            return None;
        }
        self.ptr.store(ptr::null_mut(), Release);
        // SAFETY: The reference that the pointer owned is now this one.
        Some(unsafe { Arc::from_raw(ptr) })
    }
}

impl<T> Default for Global<T> {
    fn default() -> Self {
        Self::new()
    }
}
