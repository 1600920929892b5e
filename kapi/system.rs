// SPDX-License-Identifier: GPL-2.0

//! Facts about the running system.

extern "C" {
    fn scst_c_num_online_cpus() -> u32;
    fn scst_c_totalram_mb() -> u64;
    fn scst_c_node_online(node: i32) -> bool;
}

/// Fills `buf` with bytes that nobody guesses. Any context.
///
/// C header: [`include/linux/random.h`](srctree/include/linux/random.h)
pub fn random(buf: &mut [u8]) {
    // SAFETY: `buf` is valid for writes of its length.
    unsafe { kernel::bindings::get_random_bytes(buf.as_mut_ptr().cast(), buf.len()) }
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

/// Whether `node` is a NUMA node of this machine.
pub fn is_node(node: i32) -> bool {
    // SAFETY: The function checks the number.
    unsafe { scst_c_node_online(node) }
}
