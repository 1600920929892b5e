// SPDX-License-Identifier: GPL-2.0

//! Safe wrappers of the kernel's C API that the `kernel` crate does not have (yet) and that more
//! than one module of this project needs.
//!
//! Written as for upstream: one subject a file, every file says which C header it wraps. The crate
//! is linked into `scst.ko`; other modules use it through the symbols that `scst.ko` exports.
//!
//! # Unloading
//!
//! Code of a module may still be about to run, or to return, after the last object that the module
//! created is gone: a `call_rcu()` callback, a kobject's release, the tail of a sysfs `store`. So
//! each module that uses this crate keeps a [`module::UnloadBarrier`] as the *last* field of its
//! module type; its `Drop` waits for all of that.

mod c;
pub mod chardev;
mod compat;
pub mod counted;
pub mod cpumask;
pub mod crc;
pub mod file;
pub mod global;
pub mod handover;
pub mod loan;
pub mod lock;
pub mod module;
pub mod once;
pub mod param;
pub mod percpu;
pub mod pool;
pub mod rcu;
pub mod sg;
pub mod slots;
pub mod sysfs;
pub mod system;
pub mod thread;
pub mod time;
pub mod trace;
pub mod tracker;
pub mod uses;
pub mod wait;
pub mod work;

/// What `pr_info!()` and its kin print before a message of this crate.
const __LOG_PREFIX: &[u8] = b"scst\0";

/// Gives the CPU to somebody who needs it more, if there is one.
///
/// May sleep; for long loops in process context.
///
/// C header: [`include/linux/sched.h`](srctree/include/linux/sched.h)
#[inline]
pub fn cond_resched() {
    // SAFETY: No requirements beyond a context that may sleep.
    unsafe { c::scst_c_cond_resched() }
}
