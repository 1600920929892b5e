// SPDX-License-Identifier: GPL-2.0

//! Facts about the running system.

use kernel::{ffi::c_char, prelude::*};

extern "C" {
    fn scst_c_kernel_release() -> *const c_char;
    fn scst_c_num_online_cpus() -> u32;
    fn scst_c_totalram_mb() -> u64;
}

/// Release of the running kernel, as `uname -r` says it.
pub fn kernel_release() -> &'static str {
    // SAFETY: A string in the initial UTS namespace, whose release never changes.
    let release = unsafe { CStr::from_char_ptr(scst_c_kernel_release()) };
    release.to_str().unwrap_or("")
}

/// CPUs that are online now.
pub fn online_cpus() -> u32 {
    // SAFETY: No requirements.
    unsafe { scst_c_num_online_cpus() }
}

/// Memory of the machine in MiB.
pub fn memory_mb() -> u64 {
    // SAFETY: No requirements.
    unsafe { scst_c_totalram_mb() }
}
