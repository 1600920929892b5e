// SPDX-License-Identifier: GPL-2.0

//! Statistics counters, one set a CPU.
//!
//! C header: [`include/linux/percpu.h`](srctree/include/linux/percpu.h)

use crate::c::{self, PercpuDelta};
use core::{mem::size_of, ptr::NonNull};
use kernel::{bindings, prelude::*};

/// `n` counters of 64 bits for each possible CPU.
///
/// Adding touches only the memory of the CPU that it runs on, so it scales and never waits; reading
/// sums up over all CPUs and is not a snapshot of one instant.
///
/// # Invariants
///
/// `counters` is a per-CPU allocation of `n` zero-initialised `u64`, and is ours.
pub struct PerCpuCounters {
    counters: NonNull<u64>,
    n: usize,
}

// SAFETY: The counters are plain integers in kernel memory that any CPU may reach.
unsafe impl Send for PerCpuCounters {}
// SAFETY: All access is by the kernel's per-CPU and ONCE primitives.
unsafe impl Sync for PerCpuCounters {}

impl PerCpuCounters {
    /// Allocates `n` counters, all zero. May sleep. `ENOMEM`; `EINVAL` for no counters at all.
    pub fn new(n: usize) -> Result<Self> {
        let size = n.checked_mul(size_of::<u64>()).ok_or(EINVAL)?;
        if size == 0 {
            return Err(EINVAL);
        }
        // SAFETY: The allocator checks size and alignment; it returns zeroed memory.
        let p = unsafe {
            bindings::pcpu_alloc_noprof(size, size_of::<u64>(), false, bindings::GFP_KERNEL)
        };
        // INVARIANT: Just allocated.
        Ok(PerCpuCounters {
            counters: NonNull::new(p.cast()).ok_or(ENOMEM)?,
            n,
        })
    }

    /// The number of counters.
    #[inline]
    pub fn len(&self) -> usize {
        self.n
    }

    /// Never true; for the sake of `len`.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.n == 0
    }

    /// Adds each `(index, value)`, wrapping; an index that does not exist is ignored.
    ///
    /// Any context, also interrupts. One call into C for all of them.
    #[inline]
    pub fn add<const K: usize>(&self, what: [(usize, u64); K]) {
        let delta = what.map(|(index, value)| PercpuDelta { index, value });
        // SAFETY: By the type invariant; `delta` has `K` elements.
        unsafe { c::scst_c_percpu_add(self.counters.as_ptr(), self.n, delta.as_ptr(), K) }
    }

    /// The sum over all CPUs, wrapping; 0 for an index that does not exist. Any context.
    pub fn sum(&self, index: usize) -> u64 {
        if index >= self.n {
            return 0;
        }
        // SAFETY: By the type invariant, and `index < n`.
        unsafe { c::scst_c_percpu_sum(self.counters.as_ptr(), index) }
    }

    /// Sets the counter to zero. What is added at the same time may or may not count. Any context.
    pub fn reset(&self, index: usize) {
        if index < self.n {
            // SAFETY: By the type invariant, and `index < n`.
            unsafe { c::scst_c_percpu_clear(self.counters.as_ptr(), index) }
        }
    }

    /// Sets all counters to zero, as [`PerCpuCounters::reset`] does.
    pub fn reset_all(&self) {
        for i in 0..self.n {
            self.reset(i);
        }
    }
}

impl Drop for PerCpuCounters {
    fn drop(&mut self) {
        // SAFETY: By the type invariant, the allocation is ours, and nobody uses it after this.
        unsafe { bindings::free_percpu(self.counters.as_ptr().cast()) }
    }
}
