/* SPDX-License-Identifier: GPL-2.0 */
/*
 * SCSI devices of this machine, as plain values; what is done with them is
 * decided in scst_disk/scsi.rs, which has the same structures.
 */
#ifndef SCST_DISK_HELPERS_H
#define SCST_DISK_HELPERS_H

#include <linux/types.h>

struct scatterlist;
struct scsi_device;
struct scst_c_disk_result;

/* A command to be sent. */
struct scst_c_disk_command {
	const u8 *cdb;
	struct scatterlist *sg;
	/* Called once, in any context, if it was sent. */
	void (*done)(void *ctx, const struct scst_c_disk_result *result);
	void *ctx;
	u32 nents;
	u32 length;
	u32 timeout_ms;
	u8 cdb_len;
	u8 write;
};

/* How it ended. */
struct scst_c_disk_result {
	u64 information;
	u32 residual;
	u8 host;	/* enum scsi_host_status */
	u8 status;
	u8 has_sense;
	u8 key, asc, ascq;
	u8 has_information;
};

struct scsi_device *scst_c_disk_get(u32 host, u32 channel, u32 id, u64 lun);
void scst_c_disk_put(struct scsi_device *sdev);
int scst_c_disk_type(const struct scsi_device *sdev);
void scst_c_disk_limits(const struct scsi_device *sdev, u32 *sectors,
			u32 *segments);
int scst_c_disk_read_now(struct scsi_device *sdev, const u8 *cdb, void *data,
			 u32 length);
int scst_c_disk_send(struct scsi_device *sdev,
		     const struct scst_c_disk_command *command);

#endif
