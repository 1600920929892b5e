// SPDX-License-Identifier: GPL-2.0

//! Time stamps.
//!
//! C headers: [`include/linux/timekeeping.h`](srctree/include/linux/timekeeping.h),
//! [`include/linux/sched/clock.h`](srctree/include/linux/sched/clock.h),
//! [`include/linux/delay.h`](srctree/include/linux/delay.h)

use kernel::{bindings, prelude::*};

/// Nanoseconds of `CLOCK_MONOTONIC`: never goes back, comparable between CPUs.
///
/// Any context but NMI.
#[inline]
pub fn now_ns() -> u64 {
    // SAFETY: `ktime_get()` has no requirements.
    let t = unsafe { bindings::ktime_get() };
    // Negative only for a machine that is up for 292 years.
    t as u64
}

/// Milliseconds since 1970, as the machine's clock has it (`CLOCK_REALTIME`). Any context
/// but NMI.
pub fn real_ms() -> u64 {
    let offset = bindings::tk_offsets_TK_OFFS_REAL;
    // SAFETY: `ktime_get_with_offset()` has no requirements but a valid offset.
    let ns = unsafe { bindings::ktime_get_with_offset(offset) };
    u64::try_from(ns).unwrap_or(0) / 1_000_000
}

/// Nanoseconds of the scheduler's clock: cheaper than [`now_ns`], for the duration of things.
/// Between CPUs it may differ by a few microseconds, so a difference may be slightly negative.
///
/// Any context.
#[inline]
pub fn clock_ns() -> u64 {
    extern "C" {
        fn local_clock() -> u64;
    }
    // SAFETY: `local_clock()` has no requirements.
    unsafe { local_clock() }
}

/// Sleeps for at least `ms` milliseconds, uninterruptible. Process context only.
pub fn sleep_ms(ms: u32) {
    // SAFETY: `msleep()` has no requirements beyond a context that may sleep.
    unsafe { bindings::msleep(ms) }
}

/// `ms` in jiffies, rounded up, and at most what the scheduler takes for a finite time.
pub(crate) fn jiffies(ms: u32) -> c_ulong {
    // SAFETY: `__msecs_to_jiffies()` only computes.
    unsafe { bindings::__msecs_to_jiffies(ms) }
}
