// SPDX-License-Identifier: GPL-2.0

//! A backing store that an administrator can take away while commands use it.

use core::ops::Deref;
use kernel::{
    new_mutex, new_spinlock,
    prelude::*,
    sync::{Arc, Completion, Mutex, SpinLock},
};

/// Tells the waiter of [`Gate::close`] that the last user has left.
struct Left(Arc<Completion>);

impl Drop for Left {
    fn drop(&mut self) {
        self.0.complete_all();
    }
}

/// What the users of an open gate share. Fields drop in this order, so that the
/// closer, who holds `value` too, is always the last to hold it: a file must
/// not be closed where a command completes, which may be in an interrupt.
struct Lease<T> {
    value: Arc<T>,
    left: Left,
}

/// A user's hold on what is behind a [`Gate`]; closing waits for it.
pub(crate) struct Entered<T>(Arc<Lease<T>>);

impl<T> Deref for Entered<T> {
    type Target = T;

    #[inline]
    fn deref(&self) -> &T {
        &self.0.value
    }
}

/// Holds a `T` (an open file, a block device), or nothing. To be closed before
/// it is dropped.
#[pin_data]
pub(crate) struct Gate<T> {
    /// What users enter. Never held while sleeping.
    #[pin]
    lease: SpinLock<Option<Arc<Lease<T>>>>,
    /// Serialises opening and closing; taken before `lease`.
    #[pin]
    changing: Mutex<()>,
}

impl<T> Gate<T> {
    /// A closed gate.
    pub(crate) fn new() -> impl PinInit<Self> {
        pin_init!(Self {
            lease <- new_spinlock!(None, "scst_vdisk_gate"),
            changing <- new_mutex!((), "scst_vdisk_gate_changing"),
        })
    }

    /// Takes hold of what is there. Process context.
    #[inline]
    pub(crate) fn enter(&self) -> Option<Entered<T>> {
        self.lease.lock().as_ref().map(|l| Entered(l.clone()))
    }

    /// Whether there is something.
    pub(crate) fn is_open(&self) -> bool {
        self.lease.lock().is_some()
    }

    /// Puts `value` there. What was there before is waited for and dropped
    /// only after that, so users always find the one or the other.
    pub(crate) fn open(&self, value: T) -> Result {
        let left = Left(Arc::pin_init(Completion::new(), GFP_KERNEL)?);
        let value = Arc::new(value, GFP_KERNEL)?;
        let lease = Arc::new(Lease { value, left }, GFP_KERNEL)?;
        let _changing = self.changing.lock();
        let old = self.lease.lock().replace(lease);
        drop(retire(old));
        Ok(())
    }

    /// Takes away what is there, and returns it when its last user has left.
    pub(crate) fn close(&self) -> Option<Arc<T>> {
        let _changing = self.changing.lock();
        let old = self.lease.lock().take();
        retire(old)
    }
}

fn retire<T>(old: Option<Arc<Lease<T>>>) -> Option<Arc<T>> {
    let old = old?;
    let value = old.value.clone();
    let left = old.left.0.clone();
    drop(old);
    left.wait_for_completion();
    Some(value)
}
