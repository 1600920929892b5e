// SPDX-License-Identifier: GPL-2.0
/* Instances of the tracepoints, and the functions by which Rust hits them. */
#define CREATE_TRACE_POINTS
#define CREATE_RUST_TRACE_POINTS
#include <trace/events/scst.h>

/* The core's fast path is compiled into the target drivers, too. */
#define SCST_EXPORT_TRACE(name)				\
	EXPORT_TRACEPOINT_SYMBOL_GPL(name);		\
	EXPORT_SYMBOL_GPL(rust_do_trace_##name)

SCST_EXPORT_TRACE(scst_cmd_received);
SCST_EXPORT_TRACE(scst_cmd_executing);
SCST_EXPORT_TRACE(scst_cmd_responded);
SCST_EXPORT_TRACE(scst_cmd_done);
SCST_EXPORT_TRACE(scst_cmd_aborted);
SCST_EXPORT_TRACE(scst_tmf);
