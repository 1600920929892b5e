// SPDX-License-Identifier: GPL-2.0

//! Requests that wait for something, linked through themselves.

use super::arena::{Body, Handle, Item};
use core::ptr::{self, NonNull};
use kernel::sync::atomic::{Acquire, Atomic, Relaxed, Release};

/// A first-in, first-out queue of requests, linked through them. It has no lock
/// of its own.
///
/// # Invariants
///
/// `head` to `tail` is a null-terminated chain of items whose handles the queue
/// has.
pub(crate) struct Queue {
    head: *mut Item,
    tail: *mut Item,
}

// SAFETY: It owns handles.
unsafe impl Send for Queue {}

impl Queue {
    /// An empty queue.
    pub(crate) const fn new() -> Self {
        Self {
            head: ptr::null_mut(),
            tail: ptr::null_mut(),
        }
    }

    /// Whether nothing is queued.
    pub(crate) fn is_empty(&self) -> bool {
        self.head.is_null()
    }

    /// Appends `handle`.
    pub(crate) fn push(&mut self, handle: Handle) {
        let item = handle.0.as_ptr();
        // SAFETY: The queue has the handle now, and with it `next`; `tail` is
        // null or the last item of the chain.
        unsafe {
            *(*item).next.get() = ptr::null_mut();
            match self.tail.is_null() {
                true => self.head = item,
                false => *(*self.tail).next.get() = item,
            }
        }
        self.tail = item;
    }

    /// The first handle, to look at.
    pub(crate) fn first(&self) -> Option<&Body> {
        let item = NonNull::new(self.head)?;
        // SAFETY: The queue has its handle.
        Some(unsafe { &*item.as_ref().body.get() })
    }

    /// Takes the first handle.
    pub(crate) fn pop(&mut self) -> Option<Handle> {
        let item = NonNull::new(self.head)?;
        // SAFETY: `item` is the first of the chain that the queue has.
        self.head = unsafe { *item.as_ref().next.get() };
        if self.head.is_null() {
            self.tail = ptr::null_mut();
        }
        // INVARIANT: The queue had the handle.
        Some(Handle(item))
    }
}

/// Requests that many may put down, and one takes away all at a time. Without a
/// lock; any context.
///
/// # Invariants
///
/// `head` is that of a null-terminated chain of items whose handles the stack
/// has.
pub(crate) struct Stack {
    head: Atomic<*mut Item>,
}

// SAFETY: It owns handles.
unsafe impl Send for Stack {}
// SAFETY: As above; `head` is atomic.
unsafe impl Sync for Stack {}

impl Stack {
    /// An empty stack.
    pub(crate) const fn new() -> Self {
        Self {
            head: Atomic::new(ptr::null_mut()),
        }
    }

    /// Puts `handle` on top.
    #[inline]
    pub(crate) fn push(&self, handle: Handle) {
        let item = handle.0.as_ptr();
        let mut head = self.head.load(Relaxed);
        loop {
            // SAFETY: The handle is this function's, and with it `next`. What
            // was on top is not looked at: whether it still is there, and the
            // same, does not matter.
            unsafe { *(*item).next.get() = head };
            match self.head.cmpxchg(head, item, Release) {
                Ok(_) => return,
                Err(now) => head = now,
            }
        }
    }

    /// Takes all, the last one first.
    #[inline]
    pub(crate) fn take(&self) -> Queue {
        if self.head.load(Relaxed).is_null() {
            return Queue::new();
        }
        let head = self.head.xchg(ptr::null_mut(), Acquire);
        let mut tail = ptr::null_mut();
        let mut at = NonNull::new(head);
        while let Some(item) = at {
            tail = item.as_ptr();
            // SAFETY: The handles of the chain are this function's now.
            at = NonNull::new(unsafe { *item.as_ref().next.get() });
        }
        Queue { head, tail }
    }
}
