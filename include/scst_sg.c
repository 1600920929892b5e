// SPDX-License-Identifier: GPL-2.0
/* What kapi::sg needs of linux/scatterlist.h, in loops that stay in C. */
#include <linux/highmem.h>
#include <linux/mm.h>
#include <linux/minmax.h>
#include <linux/string.h>
#include "scst_sg.h"

/* Clears @len bytes of the list, @skip bytes after its start. */
size_t scst_c_sg_zero(struct scatterlist *sg, unsigned int nents, size_t skip,
		      size_t len)
{
	size_t done = 0;

	BUILD_BUG_ON(IS_ENABLED(CONFIG_HIGHMEM));
	for (; sg && nents && done < len; sg = sg_next(sg), nents--) {
		size_t n = sg->length;

		if (skip >= n) {
			skip -= n;
			continue;
		}
		n = min(n - skip, len - done);
		if (n == PAGE_SIZE && PAGE_ALIGNED(sg->offset + skip))
			clear_page(sg_virt(sg) + skip);
		else
			memset(sg_virt(sg) + skip, 0, n);
		done += n;
		skip = 0;
	}
	return done;
}

/* Says what @sg is, and returns the next. */
struct scatterlist *scst_c_sg_segment(struct scatterlist *sg,
				      struct scst_c_segment *segment)
{
	segment->page = sg_page(sg);
	segment->offset = sg->offset;
	segment->len = sg->length;
	return sg_next(sg);
}
