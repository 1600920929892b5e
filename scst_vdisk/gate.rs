// SPDX-License-Identifier: GPL-2.0

//! A backing store that an administrator can take away while commands use it.

use kapi::{
    counted::{Counted, InUse},
    rcu::RcuBox,
};
use kernel::{
    new_mutex,
    prelude::*,
    sync::{rcu, Arc, Mutex},
};

/// Holds a `T` (an open file, a block device), or nothing. Its users are counted
/// per CPU, so that commands on different CPUs share no cache line here.
#[pin_data]
pub(crate) struct Gate<T> {
    content: RcuBox<Arc<Counted<T>>>,
    /// Serialises opening and closing.
    #[pin]
    changing: Mutex<()>,
}

impl<T> Gate<T> {
    /// A closed gate.
    pub(crate) fn new() -> impl PinInit<Self> {
        pin_init!(Self {
            content: RcuBox::null(),
            changing <- new_mutex!((), "scst_vdisk_gate"),
        })
    }

    /// Takes hold of what is there; closing waits until it is dropped, which may
    /// be in any context. Any context.
    #[inline]
    pub(crate) fn enter(&self) -> Option<InUse<T>> {
        let guard = rcu::read_lock();
        self.content.load(&guard)?.get()
    }

    /// Whether there is something. Any context.
    pub(crate) fn is_open(&self) -> bool {
        !self.content.is_null()
    }

    /// Puts `value` there. May sleep. `EBUSY` if there is something already.
    pub(crate) fn open(&self, value: T) -> Result {
        let content = KBox::new(Counted::new(value)?, GFP_KERNEL)?;
        let _changing = self.changing.lock();
        if self.is_open() {
            return Err(EBUSY);
        }
        // Nothing was there, so there is nothing to wait for.
        drop(self.content.replace(Some(content)).wait());
        Ok(())
    }

    /// Takes away what is there, and returns it when its last user has left.
    /// Sleeps as long as that takes. The value is dropped with what this
    /// returns: where files may be closed, and not where a command ends.
    pub(crate) fn close(&self) -> Option<Arc<Counted<T>>> {
        let _changing = self.changing.lock();
        let content = self.content.replace(None).wait()?;
        content.kill();
        content.wait_gone(None);
        Some(KBox::into_inner(content))
    }
}
