// SPDX-License-Identifier: GPL-2.0

//! Waiting until every object of a kind is gone.
//!
//! A module may be unloaded only when no object with its code in it exists any
//! more. Each such object carries a [`Tracked`] token as its *last* field, so
//! that the token goes when everything else of the object has gone; whoever
//! ends the kind waits in [`Tracker::wait_none`].

use crate::wait::{new_wait_queue, WaitQueue};
use kernel::{
    prelude::*,
    sync::{
        atomic::{Acquire, Atomic, Relaxed, Release},
        Arc,
    },
};

#[pin_data]
struct Shared {
    count: Atomic<i32>,
    #[pin]
    wait: WaitQueue,
}

/// Counts objects.
#[derive(Clone)]
pub struct Tracker(Arc<Shared>);

/// One object of a [`Tracker`]'s.
pub struct Tracked(Arc<Shared>);

impl Tracker {
    /// A tracker of no objects. `ENOMEM`.
    pub fn new() -> Result<Self> {
        Ok(Self(Arc::pin_init(
            pin_init!(Shared {
                count: Atomic::new(0),
                wait <- new_wait_queue!(),
            }),
            GFP_KERNEL,
        )?))
    }

    /// Counts one more object. Any context.
    pub fn track(&self) -> Tracked {
        self.0.count.add(1, Relaxed);
        Tracked(self.0.clone())
    }

    /// Waits at most `timeout_ms` until no object is left. Sleeps.
    pub fn wait_none(&self, timeout_ms: u32) -> bool {
        self.0
            .wait
            .wait_until_timeout(timeout_ms, || self.0.count.load(Acquire) == 0)
    }
}

impl Drop for Tracked {
    fn drop(&mut self) {
        let _ = self.0.count.fetch_add(-1, Release);
        self.0.wait.wake_all();
    }
}
