// SPDX-License-Identifier: GPL-2.0
/* Instances of the tracepoints, and the functions by which Rust hits them. */
#define CREATE_TRACE_POINTS
#define CREATE_RUST_TRACE_POINTS
#include <trace/events/scst.h>
