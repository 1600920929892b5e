/* SPDX-License-Identifier: GPL-2.0 */
/* Tracepoints of the SCSI target; the Rust side is kapi::trace. */

#undef TRACE_SYSTEM
#define TRACE_SYSTEM scst

#if !defined(_SCST_TRACE_H) || defined(TRACE_HEADER_MULTI_READ)
#define _SCST_TRACE_H

#include <linux/tracepoint.h>

TRACE_EVENT(scst_cmd_received,
	TP_PROTO(u64 tag, u32 lun, const u8 *cdb, u32 len),
	TP_ARGS(tag, lun, cdb, len),
	TP_STRUCT__entry(
		__field(u64, tag)
		__field(u32, lun)
		__field(u32, len)
		__array(u8, cdb, 16)
	),
	TP_fast_assign(
		__entry->tag = tag;
		__entry->lun = lun;
		__entry->len = len;
		memcpy(__entry->cdb, cdb, 16);
	),
	TP_printk("tag=%llu lun=%u len=%u cdb=%s", __entry->tag, __entry->lun,
		  __entry->len, __print_hex(__entry->cdb, 16))
);

DECLARE_EVENT_CLASS(scst_cmd,
	TP_PROTO(u64 tag, u32 arg),
	TP_ARGS(tag, arg),
	TP_STRUCT__entry(
		__field(u64, tag)
		__field(u32, arg)
	),
	TP_fast_assign(
		__entry->tag = tag;
		__entry->arg = arg;
	),
	TP_printk("tag=%llu %u", __entry->tag, __entry->arg)
);

/* arg: LUN */
DEFINE_EVENT(scst_cmd, scst_cmd_executing, TP_PROTO(u64 tag, u32 arg), TP_ARGS(tag, arg));
/* arg: status */
DEFINE_EVENT(scst_cmd, scst_cmd_responded, TP_PROTO(u64 tag, u32 arg), TP_ARGS(tag, arg));
/* arg: 1 if it was aborted */
DEFINE_EVENT(scst_cmd, scst_cmd_done, TP_PROTO(u64 tag, u32 arg), TP_ARGS(tag, arg));
/* arg: LUN */
DEFINE_EVENT(scst_cmd, scst_cmd_aborted, TP_PROTO(u64 tag, u32 arg), TP_ARGS(tag, arg));

TRACE_EVENT(scst_tmf,
	TP_PROTO(u32 function, u32 result),
	TP_ARGS(function, result),
	TP_STRUCT__entry(
		__field(u32, function)
		__field(u32, result)
	),
	TP_fast_assign(
		__entry->function = function;
		__entry->result = result;
	),
	TP_printk("function=%u result=%u", __entry->function, __entry->result)
);

#endif /* _SCST_TRACE_H */

#undef TRACE_INCLUDE_PATH
#define TRACE_INCLUDE_PATH trace/events
#undef TRACE_INCLUDE_FILE
#define TRACE_INCLUDE_FILE scst
#include <trace/define_trace.h>
