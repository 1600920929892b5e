// SPDX-License-Identifier: GPL-2.0

//! Declarations of the C helpers.
//!
//! C header: `include/scst_helpers.h`, which this file must equal.

use kernel::{bindings, prelude::*, sync::atomic::Atomic};

/// `struct scst_c_percpu_delta`.
#[repr(C)]
#[derive(Clone, Copy)]
pub(crate) struct PercpuDelta {
    pub(crate) index: usize,
    pub(crate) value: u64,
}

/// `struct scst_c_uses`.
#[repr(C)]
pub(crate) struct Uses {
    /// Two counters for each CPU.
    pub(crate) counts: *mut c_ulong,
    pub(crate) gone: *mut bindings::wait_queue_head,
    pub(crate) killed: Atomic<i32>,
}

extern "C" {
    pub(crate) fn scst_c_cond_resched();
    pub(crate) fn scst_c_need_resched() -> bool;
    pub(crate) fn scst_c_cpu_relax();
    pub(crate) fn scst_c_set_current_state(state: c_uint);

    pub(crate) fn scst_c_spin_lock_irqsave(lock: *mut bindings::spinlock_t) -> c_ulong;
    pub(crate) fn scst_c_spin_unlock_irqrestore(lock: *mut bindings::spinlock_t, flags: c_ulong);
    pub(crate) fn scst_c_spin_trylock_irqsave(
        lock: *mut bindings::spinlock_t,
        flags: *mut c_ulong,
    ) -> bool;

    pub(crate) fn scst_c_init_utsname_release() -> *const c_char;

    pub(crate) fn scst_c_xchg_ptr(slot: *mut *mut c_void, new: *mut c_void) -> *mut c_void;
    pub(crate) fn scst_c_synchronize_rcu_tasks();

    pub(crate) fn scst_c_percpu_add(
        counters: *mut u64,
        n: usize,
        delta: *const PercpuDelta,
        k: usize,
    );
    pub(crate) fn scst_c_percpu_sum(counters: *const u64, index: usize) -> u64;
    pub(crate) fn scst_c_percpu_clear(counters: *mut u64, index: usize);

    pub(crate) fn scst_c_uses_tryget(uses: *const Uses) -> bool;
    pub(crate) fn scst_c_uses_tryget_rcu(uses: *const Uses) -> bool;
    pub(crate) fn scst_c_uses_get(uses: *const Uses);
    pub(crate) fn scst_c_uses_put(uses: *const Uses);
    pub(crate) fn scst_c_uses_none(uses: *const Uses) -> bool;

    pub(crate) fn scst_c_wake_up_all(wq: *mut bindings::wait_queue_head);

    pub(crate) fn scst_c_cpumask_parse(buf: *const c_char, mask: *mut bindings::cpumask) -> c_int;
}
