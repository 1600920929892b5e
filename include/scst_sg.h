/* SPDX-License-Identifier: GPL-2.0 */
#ifndef SCST_SG_H
#define SCST_SG_H

#include <linux/scatterlist.h>

/* One piece of memory of a scatterlist; the Rust side is kapi::sg. */
struct scst_c_segment {
	struct page *page;
	unsigned int offset;
	unsigned int len;
};

size_t scst_c_sg_zero(struct scatterlist *sg, unsigned int nents, size_t skip,
		      size_t len);
struct scatterlist *scst_c_sg_segment(struct scatterlist *sg,
				      struct scst_c_segment *segment);

#endif
