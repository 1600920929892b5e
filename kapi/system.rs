// SPDX-License-Identifier: GPL-2.0

//! Facts about the running system.

extern "C" {
    fn scst_c_num_online_cpus() -> u32;
    fn scst_c_totalram_mb() -> u64;
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
