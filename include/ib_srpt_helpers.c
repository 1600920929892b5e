// SPDX-License-Identifier: GPL-2.0
/*
 * Static inlines of the RDMA stack, for ib_srpt/rdma/: each function does what
 * the one it is named after does, and decides nothing.
 */
#include <linux/bottom_half.h>
#include <linux/interrupt.h>
#include <linux/list.h>
#include <linux/irq_poll.h>
#include <linux/preempt.h>
#include <linux/scatterlist.h>
#include <rdma/ib_cache.h>
#include <rdma/ib_verbs.h>
#include "ib_srpt_helpers.h"

u64 ib_c_dma_map_single(struct ib_device *dev, void *at, size_t len,
			unsigned int dir)
{
	return ib_dma_map_single(dev, at, len, dir);
}

bool ib_c_dma_mapping_error(struct ib_device *dev, u64 addr)
{
	return ib_dma_mapping_error(dev, addr);
}

void ib_c_dma_unmap_single(struct ib_device *dev, u64 addr, size_t len,
			   unsigned int dir)
{
	ib_dma_unmap_single(dev, addr, len, dir);
}

void ib_c_dma_sync_for_cpu(struct ib_device *dev, u64 addr, size_t len,
			   unsigned int dir)
{
	ib_dma_sync_single_for_cpu(dev, addr, len, dir);
}

void ib_c_dma_sync_for_device(struct ib_device *dev, u64 addr, size_t len,
			      unsigned int dir)
{
	ib_dma_sync_single_for_device(dev, addr, len, dir);
}

unsigned int ib_c_dma_map_sg(struct ib_device *dev, struct scatterlist *sg,
			     unsigned int nents, unsigned int dir)
{
	return ib_dma_map_sg(dev, sg, nents, dir);
}

void ib_c_dma_unmap_sg(struct ib_device *dev, struct scatterlist *sg,
		       unsigned int nents, unsigned int dir)
{
	ib_dma_unmap_sg(dev, sg, nents, dir);
}

bool ib_c_uses_virt_dma(struct ib_device *dev)
{
	return ib_uses_virt_dma(dev);
}

/* sg_dma_address(), sg_dma_len() and sg_next() in one. */
struct scatterlist *ib_c_sg_dma_next(struct scatterlist *sg, u64 *addr,
				     u32 *len)
{
	*addr = sg_dma_address(sg);
	*len = sg_dma_len(sg);
	return sg_next(sg);
}

/* The softirq runs before this returns, if it can. */
void ib_c_irq_poll_run(struct irq_poll *poll)
{
	local_bh_disable();
	irq_poll_sched(poll);
	local_bh_enable();
}

bool ib_c_in_interrupt(void)
{
	return in_interrupt();
}

int ib_c_query_gid(struct ib_device *dev, u32 port, int index, union ib_gid *gid)
{
	return rdma_query_gid(dev, port, index, gid);
}
