// SPDX-License-Identifier: GPL-2.0
/*
 * SCSI devices of this machine: see scst_disk_helpers.h.
 */
#include <linux/bio.h>
#include <linux/blk-mq.h>
#include <linux/blkdev.h>
#include <linux/module.h>
#include <linux/scatterlist.h>
#include <linux/slab.h>
#include <scsi/scsi.h>
#include <scsi/scsi_cmnd.h>
#include <scsi/scsi_device.h>
#include <scsi/scsi_eh.h>
#include <scsi/scsi_host.h>
#include "scst_disk_helpers.h"

/* module! of this kernel has no field for it. */
MODULE_VERSION("3.11.0-pre");

/* The same numbers stand in scsi.rs. */
static_assert(sizeof(struct scst_c_disk_command) == 48);
static_assert(sizeof(struct scst_c_disk_result) == 24);

/* With references on the device and on the module of its host's driver. */
struct scsi_device *scst_c_disk_get(u32 host, u32 channel, u32 id, u64 lun)
{
	struct Scsi_Host *shost = scsi_host_lookup(host);
	struct scsi_device *sdev;

	if (!shost)
		return NULL;
	sdev = scsi_device_lookup(shost, channel, id, lun);
	scsi_host_put(shost);
	return sdev;
}

void scst_c_disk_put(struct scsi_device *sdev)
{
	scsi_device_put(sdev);
}

int scst_c_disk_type(const struct scsi_device *sdev)
{
	return sdev->type;
}

/* Most of one command: sectors of 512 bytes, pieces of memory. */
void scst_c_disk_limits(const struct scsi_device *sdev, u32 *sectors,
			u32 *segments)
{
	*sectors = queue_max_hw_sectors(sdev->request_queue);
	*segments = queue_max_segments(sdev->request_queue);
}

/* @data has to be of kmalloc(). */
int scst_c_disk_read_now(struct scsi_device *sdev, const u8 *cdb, void *data,
			 u32 length)
{
	return scsi_execute_cmd(sdev, cdb, REQ_OP_DRV_IN, data, length,
				10 * HZ, 3, NULL);
}

static enum rq_end_io_ret sent_done(struct request *rq, blk_status_t status,
				    const struct io_comp_batch *iob)
{
	struct scsi_cmnd *scmd = blk_mq_rq_to_pdu(rq);
	struct scst_c_disk_command *command = rq->end_io_data;
	struct scst_c_disk_result result = {
		.residual = scmd->resid_len,
		.host = host_byte(scmd->result),
		.status = scmd->result & 0xff,
	};
	struct scsi_sense_hdr hdr;

	if (scsi_command_normalize_sense(scmd, &hdr)) {
		result.has_sense = 1;
		result.key = hdr.sense_key;
		result.asc = hdr.asc;
		result.ascq = hdr.ascq;
		result.has_information =
			scsi_get_sense_info_fld(scmd->sense_buffer,
						SCSI_SENSE_BUFFERSIZE,
						&result.information);
	}
	blk_mq_free_request(rq);
	command->done(command->ctx, &result);
	kfree(command);
	return RQ_END_IO_NONE;
}

static void data_done(struct bio *bio)
{
	bio_uninit(bio);
	kfree(bio);
}

static int map(struct request *rq, const struct scst_c_disk_command *command)
{
	unsigned int left = command->length, i;
	struct scatterlist *sg;
	struct bio *bio;
	int ret = -EINVAL;

	bio = bio_kmalloc(command->nents, GFP_KERNEL);
	if (!bio)
		return -ENOMEM;
	bio_init_inline(bio, NULL, command->nents,
			command->write ? REQ_OP_WRITE : REQ_OP_READ);
	bio->bi_end_io = data_done;
	for_each_sg(command->sg, sg, command->nents, i) {
		unsigned int len = min(sg->length, left);

		if (!len)
			break;
		if (bio_add_page(bio, sg_page(sg), len, sg->offset) != len)
			goto fail;
		left -= len;
	}
	if (!left)
		ret = blk_rq_append_bio(rq, bio);
	if (!ret)
		return 0;
fail:
	data_done(bio);
	return ret;
}

/* Sleeps. @command is copied, what it points to has to stay until it is done. */
int scst_c_disk_send(struct scsi_device *sdev,
		     const struct scst_c_disk_command *command)
{
	struct scst_c_disk_command *copy;
	struct scsi_cmnd *scmd;
	struct request *rq;
	int ret;

	copy = kmemdup(command, sizeof(*command), GFP_KERNEL);
	if (!copy)
		return -ENOMEM;
	rq = scsi_alloc_request(sdev->request_queue,
				command->write ? REQ_OP_DRV_OUT : REQ_OP_DRV_IN,
				0);
	if (IS_ERR(rq)) {
		ret = PTR_ERR(rq);
		goto fail;
	}
	scmd = blk_mq_rq_to_pdu(rq);
	ret = -EINVAL;
	if (command->cdb_len > sizeof(scmd->cmnd))
		goto fail_request;
	if (command->length) {
		ret = map(rq, command);
		if (ret)
			goto fail_request;
	}
	memcpy(scmd->cmnd, command->cdb, command->cdb_len);
	scmd->cmd_len = command->cdb_len;
	rq->timeout = msecs_to_jiffies(command->timeout_ms);
	rq->end_io = sent_done;
	rq->end_io_data = copy;
	blk_execute_rq_nowait(rq, false);
	return 0;

fail_request:
	blk_mq_free_request(rq);
fail:
	kfree(copy);
	return ret;
}
