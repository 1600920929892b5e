/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The SCSI host of scst_local, as plain values.
 *
 * The types of the SCSI midlayer are full of bit fields and static inlines, and
 * the midlayer calls its drivers by a table of functions: this shim has that
 * table, takes structures apart and puts them together. What happens is
 * decided in scst_local/host.rs, which declares the same functions and has the
 * other halves: layouts are checked at compile time on both sides.
 */
#ifndef SCST_LOCAL_HELPERS_H
#define SCST_LOCAL_HELPERS_H

#include <linux/types.h>

struct device;
struct kobject;
struct Scsi_Host;
struct scsi_device;

/* All that is asked of a command, read in one go: this is the data path. */
struct scsi_c_request {
	const u8 *cdb;
	void *sgl;
	u64 lun;	/* the LUN field of the wire, as a big-endian number */
	u64 tag;
	u32 length;
	u32 nents;
	u16 cdb_len;
	u16 direction;	/* enum dma_data_direction */
};

/* Where the tuples of a command's blocks are. */
struct scsi_c_protection {
	void *sgl;
	u32 nents;
	u32 length;
	u32 operation;	/* enum scsi_prot_operations */
};

/* Driver data of a host. */
struct scsi_c_hostdata {
	void *session;	/* for commands */
	void *port;	/* for error handling */
};

/* In Rust. */
void scst_local_queue(const void *session, void *slot,
		      const struct scsi_c_request *req);
void scst_local_init_slot(void *slot);
void scst_local_tags_go(const struct scsi_c_hostdata *data);
bool scst_local_abort(const struct scsi_c_hostdata *data, void *slot, u64 tag);
bool scst_local_lun_reset(const struct scsi_c_hostdata *data, u64 lun);
bool scst_local_target_reset(const struct scsi_c_hostdata *data);
bool scst_local_host_reset(const struct scsi_c_hostdata *data);
void scst_local_depth_grows(const struct scsi_c_hostdata *data, u32 depth);
void scst_local_configured(struct scsi_device *sdev, const u8 *name,
			   bool tagged);

/* For Rust. */
void scsi_c_done(void *slot, u32 result, u32 resid);
u8 *scsi_c_sense_buffer(void *slot);
u32 scsi_c_underflow(void *slot);
void scsi_c_protection(void *slot, struct scsi_c_protection *protection);

struct Scsi_Host *scsi_c_host_alloc(u32 cmd_size);
struct scsi_c_hostdata *scsi_c_hostdata(struct Scsi_Host *shost);
int scsi_c_host_add(struct Scsi_Host *shost, struct device *parent);
void scsi_c_host_remove(struct Scsi_Host *shost);
void scsi_c_host_put(struct Scsi_Host *shost);
u32 scsi_c_host_no(struct Scsi_Host *shost);
struct kobject *scsi_c_host_kobj(struct Scsi_Host *shost);
void scsi_c_host_visit(struct Scsi_Host *shost,
		       void (*visit)(void *arg, void *slot, u64 tag),
		       void *arg);

int scsi_c_lun_add(struct Scsi_Host *shost, u64 lun);
int scsi_c_lun_remove(struct Scsi_Host *shost, u64 lun);
int scsi_c_lun_rescan(struct Scsi_Host *shost, u64 lun);
void scsi_c_set_depth(struct scsi_device *sdev, u32 depth);

struct device *scsi_c_root_register(void);
void scsi_c_root_unregister(struct device *root);
struct device *scsi_c_device_add(struct device *root, const u8 *name);
void scsi_c_device_remove(struct device *dev);

#endif
