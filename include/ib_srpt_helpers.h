/* SPDX-License-Identifier: GPL-2.0 */
#ifndef IB_SRPT_HELPERS_H
#define IB_SRPT_HELPERS_H

#include <linux/types.h>

struct ib_device;
struct irq_poll;
struct scatterlist;
union ib_gid;

u64 ib_c_dma_map_single(struct ib_device *dev, void *at, size_t len,
			unsigned int dir);
bool ib_c_dma_mapping_error(struct ib_device *dev, u64 addr);
void ib_c_dma_unmap_single(struct ib_device *dev, u64 addr, size_t len,
			   unsigned int dir);
void ib_c_dma_sync_for_cpu(struct ib_device *dev, u64 addr, size_t len,
			   unsigned int dir);
void ib_c_dma_sync_for_device(struct ib_device *dev, u64 addr, size_t len,
			      unsigned int dir);
unsigned int ib_c_dma_map_sg(struct ib_device *dev, struct scatterlist *sg,
			     unsigned int nents, unsigned int dir);
void ib_c_dma_unmap_sg(struct ib_device *dev, struct scatterlist *sg,
		       unsigned int nents, unsigned int dir);
bool ib_c_uses_virt_dma(struct ib_device *dev);
struct scatterlist *ib_c_sg_dma_next(struct scatterlist *sg, u64 *addr,
				     u32 *len);
void ib_c_irq_poll_run(struct irq_poll *poll);
bool ib_c_in_interrupt(void);
int ib_c_query_gid(struct ib_device *dev, u32 port, int index,
		   union ib_gid *gid);

#endif
