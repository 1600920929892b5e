// SPDX-License-Identifier: GPL-2.0
/*
 * The SCSI host of scst_local: see scst_local_helpers.h.
 */
#include <linux/blk-mq.h>
#include <linux/device.h>
#include <linux/module.h>
#include <linux/slab.h>
#include <linux/unaligned.h>
#include <scsi/scsi.h>
#include <scsi/scsi_cmnd.h>
#include <scsi/scsi_device.h>
#include <scsi/scsi_eh.h>
#include <scsi/scsi_host.h>
#include "scst_local_helpers.h"

/* module! of this kernel has no field for it. */
MODULE_VERSION("3.11.0-pre");

/* The same numbers stand in host.rs. */
static_assert(sizeof(struct scsi_c_request) == 48);
static_assert(offsetof(struct scsi_c_request, sgl) == 8);
static_assert(offsetof(struct scsi_c_request, lun) == 16);
static_assert(offsetof(struct scsi_c_request, tag) == 24);
static_assert(offsetof(struct scsi_c_request, length) == 32);
static_assert(offsetof(struct scsi_c_request, nents) == 36);
static_assert(offsetof(struct scsi_c_request, cdb_len) == 40);
static_assert(offsetof(struct scsi_c_request, direction) == 42);
static_assert(sizeof(struct scsi_c_hostdata) == 16);
static_assert(DMA_BIDIRECTIONAL == 0 && DMA_TO_DEVICE == 1 &&
	      DMA_FROM_DEVICE == 2 && DMA_NONE == 3);
static_assert(DID_ERROR == 7 && DID_RESET == 8);
static_assert(SCSI_SENSE_BUFFERSIZE == 96);
/* And these in protection.rs. */
static_assert(sizeof(struct scsi_c_protection) == 24);
static_assert(SCSI_PROT_NORMAL == 0 && SCSI_PROT_READ_STRIP == 3 &&
	      SCSI_PROT_WRITE_INSERT == 4);

static struct scsi_cmnd *slot_cmd(void *slot)
{
	return (struct scsi_cmnd *)slot - 1;
}

static u64 unique_tag(const struct request *rq)
{
	return (u64)rq->mq_hctx->queue_num << BLK_MQ_UNIQUE_TAG_BITS | rq->tag;
}

/* int_to_scsilun(), without the way through memory. */
static u64 wire_lun(u64 lun)
{
	return (lun & 0xffff) << 48 | (lun & 0xffff0000) << 16 |
	       (lun >> 16 & 0xffff0000) | lun >> 48;
}

static enum scsi_qc_status queuecommand(struct Scsi_Host *shost,
					struct scsi_cmnd *cmd)
{
	const struct scsi_c_hostdata *data = shost_priv(shost);
	struct scsi_c_request req = {
		.cdb = cmd->cmnd,
		.sgl = scsi_sglist(cmd),
		.lun = wire_lun(cmd->device->lun),
		.tag = unique_tag(scsi_cmd_to_rq(cmd)),
		.length = scsi_bufflen(cmd),
		.nents = scsi_sg_count(cmd),
		.cdb_len = cmd->cmd_len,
		.direction = cmd->sc_data_direction,
	};

	scst_local_queue(data->session, scsi_cmd_priv(cmd), &req);
	return 0;
}

static int init_cmd_priv(struct Scsi_Host *shost, struct scsi_cmnd *cmd)
{
	scst_local_init_slot(scsi_cmd_priv(cmd));
	return 0;
}

/* Disks have commands of their own, which go with them: not meant here. */
static int exit_cmd_priv(struct Scsi_Host *shost, struct scsi_cmnd *cmd)
{
	if (!kref_read(&shost->tagset_refcnt))
		scst_local_tags_go(shost_priv(shost));
	return 0;
}

static int eh_abort(struct scsi_cmnd *cmd)
{
	return scst_local_abort(shost_priv(cmd->device->host),
				scsi_cmd_priv(cmd),
				unique_tag(scsi_cmd_to_rq(cmd))) ?
		SUCCESS : FAILED;
}

/* The command of SG_SCSI_RESET has no tag and no slot. */
static int eh_device_reset(struct scsi_cmnd *cmd)
{
	return scst_local_lun_reset(shost_priv(cmd->device->host),
				    wire_lun(cmd->device->lun)) ?
		SUCCESS : FAILED;
}

static int eh_target_reset(struct scsi_cmnd *cmd)
{
	return scst_local_target_reset(shost_priv(cmd->device->host)) ?
		SUCCESS : FAILED;
}

static int eh_host_reset(struct scsi_cmnd *cmd)
{
	return scst_local_host_reset(shost_priv(cmd->device->host)) ?
		SUCCESS : FAILED;
}

static int sdev_configure(struct scsi_device *sdev, struct queue_limits *lim)
{
	scst_local_configured(sdev, dev_name(&sdev->sdev_gendev),
			      sdev->tagged_supported);
	return 0;
}

static int change_queue_depth(struct scsi_device *sdev, int depth)
{
	scst_local_depth_grows(shost_priv(sdev->host), depth);
	return scsi_change_queue_depth(sdev, depth);
}

static struct scsi_host_template template = {
	.module			= THIS_MODULE,
	.name			= "scst_local",
	.proc_name		= "scst_local",
	.queuecommand		= queuecommand,
	.init_cmd_priv		= init_cmd_priv,
	.exit_cmd_priv		= exit_cmd_priv,
	.eh_abort_handler	= eh_abort,
	.eh_device_reset_handler = eh_device_reset,
	.eh_target_reset_handler = eh_target_reset,
	.eh_host_reset_handler	= eh_host_reset,
	.sdev_configure		= sdev_configure,
	.change_queue_depth	= change_queue_depth,
	.can_queue		= 256,
	.cmd_per_lun		= 64,
	.this_id		= -1,
	.sg_tablesize		= 65535,
	.max_sectors		= -1U,
	.max_segment_size	= -1U,
	.dma_boundary		= -1UL,
	.skip_settle_delay	= 1,
};

void scsi_c_done(void *slot, u32 result, u32 resid)
{
	struct scsi_cmnd *cmd = slot_cmd(slot);

	cmd->result = result;
	scsi_set_resid(cmd, resid);
	/* On this CPU, whatever context: there is no interrupt to steer. */
	scsi_done_direct(cmd);
}

u8 *scsi_c_sense_buffer(void *slot)
{
	return slot_cmd(slot)->sense_buffer;
}

u32 scsi_c_underflow(void *slot)
{
	const struct scsi_cmnd *cmd = slot_cmd(slot);

	return cmd->underflow;
}

void scsi_c_protection(void *slot, struct scsi_c_protection *protection)
{
	struct scsi_cmnd *cmd = slot_cmd(slot);
	struct scatterlist *sg;
	int i;

	protection->sgl = scsi_prot_sglist(cmd);
	protection->nents = scsi_prot_sg_count(cmd);
	protection->length = 0;
	protection->operation = scsi_get_prot_op(cmd);
	scsi_for_each_prot_sg(cmd, sg, protection->nents, i)
		protection->length += sg->length;
}

struct Scsi_Host *scsi_c_host_alloc(u32 cmd_size)
{
	struct Scsi_Host *shost;

	/* Of the data path's structures only this size is known to Rust. */
	template.cmd_size = cmd_size;
	shost = scsi_host_alloc(&template, sizeof(struct scsi_c_hostdata));
	if (!shost)
		return NULL;
	shost->nr_hw_queues = nr_cpu_ids;
	shost->max_id = 1;
	shost->max_channel = 0;
	shost->max_lun = 16384;
	shost->max_cmd_len = 32;
	scsi_host_set_prot(shost, SHOST_DIF_TYPE1_PROTECTION |
				  SHOST_DIF_TYPE2_PROTECTION |
				  SHOST_DIF_TYPE3_PROTECTION |
				  SHOST_DIX_TYPE1_PROTECTION |
				  SHOST_DIX_TYPE2_PROTECTION |
				  SHOST_DIX_TYPE3_PROTECTION);
	scsi_host_set_guard(shost, SHOST_DIX_GUARD_CRC);
	return shost;
}

struct scsi_c_hostdata *scsi_c_hostdata(struct Scsi_Host *shost)
{
	return shost_priv(shost);
}

int scsi_c_host_add(struct Scsi_Host *shost, struct device *parent)
{
	int ret = scsi_add_host(shost, parent);

	/*
	 * As for a loop device: what is to be scheduled is scheduled below the
	 * target. No disk exists yet, and each takes its default from here.
	 */
	if (!ret)
		shost->tag_set.flags |= BLK_MQ_F_NO_SCHED_BY_DEFAULT;
	return ret;
}

void scsi_c_host_remove(struct Scsi_Host *shost)
{
	scsi_remove_host(shost);
}

void scsi_c_host_put(struct Scsi_Host *shost)
{
	scsi_host_put(shost);
}

u32 scsi_c_host_no(struct Scsi_Host *shost)
{
	return shost->host_no;
}

struct kobject *scsi_c_host_kobj(struct Scsi_Host *shost)
{
	return &shost->shost_dev.kobj;
}

struct visit {
	void (*visit)(void *arg, void *slot, u64 tag);
	void *arg;
};

static bool visit_one(struct request *rq, void *data)
{
	const struct visit *v = data;

	v->visit(v->arg, scsi_cmd_priv(blk_mq_rq_to_pdu(rq)), unique_tag(rq));
	return true;
}

void scsi_c_host_visit(struct Scsi_Host *shost,
		       void (*visit)(void *arg, void *slot, u64 tag),
		       void *arg)
{
	struct visit v = { .visit = visit, .arg = arg };

	blk_mq_tagset_busy_iter(&shost->tag_set, visit_one, &v);
}

int scsi_c_lun_add(struct Scsi_Host *shost, u64 lun)
{
	return scsi_add_device(shost, 0, 0, lun);
}

int scsi_c_lun_remove(struct Scsi_Host *shost, u64 lun)
{
	struct scsi_device *sdev = scsi_device_lookup(shost, 0, 0, lun);

	if (!sdev)
		return -ENODEV;
	scsi_remove_device(sdev);
	scsi_device_put(sdev);
	return 0;
}

int scsi_c_lun_rescan(struct Scsi_Host *shost, u64 lun)
{
	struct scsi_device *sdev = scsi_device_lookup(shost, 0, 0, lun);
	int ret;

	if (!sdev)
		return -ENODEV;
	ret = scsi_rescan_device(sdev);
	scsi_device_put(sdev);
	return ret;
}

void scsi_c_set_depth(struct scsi_device *sdev, u32 depth)
{
	scsi_change_queue_depth(sdev, depth);
}

struct device *scsi_c_root_register(void)
{
	return root_device_register("scst_local");
}

void scsi_c_root_unregister(struct device *root)
{
	root_device_unregister(root);
}

struct device *scsi_c_device_add(struct device *root, const u8 *name)
{
	struct device *dev = kzalloc(sizeof(*dev), GFP_KERNEL);
	int ret;

	if (!dev)
		return ERR_PTR(-ENOMEM);
	device_initialize(dev);
	dev->parent = root;
	/* Not a function of this module: the last reference may outlive it. */
	dev->release = (void (*)(struct device *))kfree;
	ret = dev_set_name(dev, "%s", name);
	if (!ret)
		ret = device_add(dev);
	if (ret) {
		put_device(dev);
		return ERR_PTR(ret);
	}
	return dev;
}

void scsi_c_device_remove(struct device *dev)
{
	device_unregister(dev);
}
