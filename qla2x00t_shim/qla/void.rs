// SPDX-License-Identifier: GPL-2.0

//! Memory for data that are nothing.

use core::ptr::NonNull;
use kernel::{bindings, ffi::c_void, prelude::*};

/// Bytes of it: a power of two of pages.
pub(super) const VOID_BYTES: u32 = 256 << 10;

/// Memory that has no content: what it is read for are zeros, and what is written
/// to it nobody wants.
///
/// # Invariants
///
/// Both are [`VOID_BYTES`] of memory that this owns, and `zeros` is all zero.
pub(crate) struct Void {
    pub(super) zeros: NonNull<c_void>,
    pub(super) sink: NonNull<c_void>,
}

// SAFETY: Nobody looks at what is in it.
unsafe impl Send for Void {}
// SAFETY: As above.
unsafe impl Sync for Void {}

impl Void {
    /// Sleeps. `ENOMEM`.
    pub(crate) fn new() -> Result<Self> {
        let take = || {
            let flags = bindings::GFP_KERNEL | bindings::__GFP_ZERO;
            // SAFETY: Any size may be asked for.
            let at = unsafe { bindings::alloc_pages_exact_noprof(VOID_BYTES as usize, flags) };
            NonNull::new(at).ok_or(ENOMEM)
        };
        let zeros = take()?;
        let sink = take().inspect_err(|_| {
            // SAFETY: Just allocated, with that size.
            unsafe { bindings::free_pages_exact(zeros.as_ptr(), VOID_BYTES as usize) };
        })?;
        // INVARIANT: Just allocated, and cleared.
        Ok(Self { zeros, sink })
    }
}

impl Drop for Void {
    fn drop(&mut self) {
        for at in [self.zeros, self.sink] {
            // SAFETY: Ours by the type invariants; no target is left that uses it.
            unsafe { bindings::free_pages_exact(at.as_ptr(), VOID_BYTES as usize) };
        }
    }
}
