// SPDX-License-Identifier: GPL-2.0

//! Tracepoints of the target: `events/scst/` in tracefs.
//!
//! Each function costs one jump, patched away, while its tracepoint is off.
//!
//! C header: `include/trace/events/scst.h`

use kernel::{bindings, jump_label::static_branch_unlikely};

// bindgen gives types of C an empty struct here and there, which is no reason to worry.
#[allow(improper_ctypes)]
extern "C" {
    static __tracepoint_scst_cmd_received: bindings::tracepoint;
    static __tracepoint_scst_cmd_executing: bindings::tracepoint;
    static __tracepoint_scst_cmd_responded: bindings::tracepoint;
    static __tracepoint_scst_cmd_done: bindings::tracepoint;
    static __tracepoint_scst_cmd_aborted: bindings::tracepoint;
    static __tracepoint_scst_tmf: bindings::tracepoint;

    fn rust_do_trace_scst_cmd_received(tag: u64, lun: u32, cdb: *const u8, len: u32);
    fn rust_do_trace_scst_cmd_executing(tag: u64, arg: u32);
    fn rust_do_trace_scst_cmd_responded(tag: u64, arg: u32);
    fn rust_do_trace_scst_cmd_done(tag: u64, arg: u32);
    fn rust_do_trace_scst_cmd_aborted(tag: u64, arg: u32);
    fn rust_do_trace_scst_tmf(function: u32, result: u32);
}

/// Evaluates to whether the tracepoint `$point` is on.
macro_rules! is_on {
    ($point:ident) => {
        // SAFETY: The static is the tracepoint's, and its key is initialised.
        unsafe { static_branch_unlikely!($point, bindings::tracepoint, key) }
    };
}

/// A command has arrived for `lun`; the initiator prepared `len` bytes.
#[inline(always)]
pub fn cmd_received(tag: u64, lun: u32, cdb: &[u8; 32], len: u32) {
    if is_on!(__tracepoint_scst_cmd_received) {
        // SAFETY: The tracepoint copies 16 bytes of the CDB.
        unsafe { rust_do_trace_scst_cmd_received(tag, lun, cdb.as_ptr(), len) }
    }
}

/// Declares events of a tag and a number.
macro_rules! events {
    ($($(#[$doc:meta])* $name:ident($point:ident, $probe:ident);)*) => {$(
        $(#[$doc])*
        #[inline(always)]
        pub fn $name(tag: u64, arg: u32) {
            if is_on!($point) {
                // SAFETY: It takes plain values.
                unsafe { $probe(tag, arg) }
            }
        }
    )*};
}

events! {
    /// A handler begins to execute the command, sent to LUN `arg`.
    cmd_executing(__tracepoint_scst_cmd_executing, rust_do_trace_scst_cmd_executing);
    /// The command has the status `arg`, and goes to its transport.
    cmd_responded(__tracepoint_scst_cmd_responded, rust_do_trace_scst_cmd_responded);
    /// The command has ended; `arg` is 1 if it was aborted.
    cmd_done(__tracepoint_scst_cmd_done, rust_do_trace_scst_cmd_done);
    /// Task management has marked the command, sent to LUN `arg`, aborted.
    cmd_aborted(__tracepoint_scst_cmd_aborted, rust_do_trace_scst_cmd_aborted);
}

/// A task management function has ended.
pub fn tmf(function: u32, result: u32) {
    if is_on!(__tracepoint_scst_tmf) {
        // SAFETY: It takes plain values.
        unsafe { rust_do_trace_scst_tmf(function, result) }
    }
}
