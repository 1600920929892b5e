/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The target mode of the stock qla2xxx driver, as plain values.
 *
 * That driver calls its target driver by a table of functions and shares
 * structures with it that are full of bit fields; this shim has that table,
 * takes structures apart and puts them together. What happens is decided in
 * qla2x00t_shim/, whose qla.rs declares the same functions and has the other
 * halves. Layouts are checked at compile time, on both sides and against what
 * the module on the machine was built with (qla2x00t_layout_*.h).
 *
 * A command is known by the address of its struct qla_tgt_cmd, which is at the
 * start of a request of ours, and a session by what login returned.
 */
#ifndef QLA2X00T_HELPERS_H
#define QLA2X00T_HELPERS_H

#include <linux/types.h>

struct fc_port;
struct kobject;
struct pci_dev;
struct qla_tgt_cmd;
struct qla_tgt_mgmt_cmd;
struct scatterlist;
struct scsi_qla_host;
struct workqueue_struct;

/* Room for a struct qla_tgt_cmd; a kernel that checks locks has larger ones. */
#ifdef CONFIG_DEBUG_SPINLOCK
#define QLA_C_CMD_SIZE 2048
#else
#define QLA_C_CMD_SIZE 928
#endif

/* All that is asked of a command that has arrived. */
struct qla_c_incoming {
	const u8 *cdb;
	u64 lun;	/* the LUN field of the wire, as a big-endian number */
	u32 tag;
	u32 length;
	u16 cdb_len;
	u8 attribute;	/* as in FCP_CMND */
	u8 direction;	/* bit 0: data to the device, bit 1: data from it */
};

/* An initiator that logs in. */
struct qla_c_login {
	u64 port_name;
	u32 port_id;
	u16 loop_id;
};

/* An answer. */
struct qla_c_answer {
	struct scatterlist *sg;	/* data-in, if there is any */
	u32 nents;
	u32 length;
	u32 under;	/* residual counts; one of them is zero */
	u32 over;
	u8 status;
};

/* How a port stands. */
struct qla_c_state {
	u64 port_name;
	u64 node_name;
	u32 host_no;
	u8 ini_mode;	/* QLA2XXX_INI_MODE_... */
	bool target;	/* target mode is active */
	bool claimed;	/* a target driver has it */
	bool online;
};

/* In Rust; context as in struct qla_tgt_func_tmpl. */
void *qla2x00t_get(const void *session);
bool qla2x00t_ref(struct qla_tgt_cmd *cmd);
void qla2x00t_unref(struct qla_tgt_cmd *cmd);
void qla2x00t_release(const void *session, struct qla_tgt_cmd *cmd);
void qla2x00t_done(struct qla_tgt_cmd *cmd);
void qla2x00t_command(const void *session, struct qla_tgt_cmd *cmd,
		      const struct qla_c_incoming *in);
void qla2x00t_data(const void *session, struct qla_tgt_cmd *cmd, bool good);
void qla2x00t_retry(const void *session, struct qla_tgt_cmd *cmd);
struct qla_tgt_cmd *qla2x00t_find(const void *port, struct fc_port *fcport,
				  u32 tag);
int qla2x00t_manage(const void *port, struct fc_port *fcport,
		    struct qla_tgt_mgmt_cmd *mcmd, u64 lun, u16 function,
		    u32 tag);
int qla2x00t_login(const void *port, struct fc_port *fcport,
		   const struct qla_c_login *login, const void **session);
struct fc_port *qla2x00t_by_id(const void *port, u32 port_id);
struct fc_port *qla2x00t_by_loop(const void *port, u16 loop_id);
void qla2x00t_forget(const void *port, struct fc_port *fcport);
void qla2x00t_logout(const void *session);
void qla2x00t_appeared(struct scsi_qla_host *vha);
void qla2x00t_gone(struct scsi_qla_host *vha);
void qla2x00t_without(const char *name);

/* For Rust. */
int qla_c_send(struct qla_tgt_cmd *cmd, const struct qla_c_answer *answer);
int qla_c_fetch(struct qla_tgt_cmd *cmd, struct scatterlist *sg, u32 nents,
		u32 length);
u8 *qla_c_sense_buffer(struct qla_tgt_cmd *cmd);
void qla_c_abort(struct qla_tgt_cmd *cmd);
bool qla_c_wants_data(const struct qla_tgt_cmd *cmd);
void qla_c_free(struct qla_tgt_cmd *cmd);
void qla_c_retry_later(struct qla_tgt_cmd *cmd);
void qla_c_confirm(struct qla_tgt_cmd *cmd, bool explicit);
void qla_c_managed(struct qla_tgt_mgmt_cmd *mcmd, u8 response);
void qla_c_close(struct fc_port *fcport);
void qla_c_fill(struct scatterlist *sg, u32 nents, const void *memory,
		u32 chunk, u32 length);

void qla_c_hold(struct scsi_qla_host *vha);
void qla_c_put(struct scsi_qla_host *vha);
void qla_c_state(struct scsi_qla_host *vha, struct qla_c_state *state);
struct kobject *qla_c_kobj(struct scsi_qla_host *vha);
u32 qla_c_depth(struct scsi_qla_host *vha);
u32 qla_c_segments(struct scsi_qla_host *vha);
int qla_c_enable(struct scsi_qla_host *vha, const void *port);
void qla_c_stop(struct scsi_qla_host *vha);
void qla_c_reclaim(struct scsi_qla_host *vha);
void qla_c_renounce(struct scsi_qla_host *vha);
void qla_c_disown(struct scsi_qla_host *vha);
void qla_c_reset(struct scsi_qla_host *vha);
struct scsi_qla_host *qla_c_create(struct scsi_qla_host *parent, u64 port_name,
				   u64 node_name);
void qla_c_delete(struct scsi_qla_host *vha);
void qla_c_enable_virtual(struct scsi_qla_host *vha, const void *port);
void qla_c_disown_virtual(struct scsi_qla_host *vha);
int qla_c_watch(struct workqueue_struct *queue);
void qla_c_unwatch(void);
void qla_c_scan(void);

#endif
