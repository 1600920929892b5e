/* SPDX-License-Identifier: GPL-2.0 */
#ifndef SCST_VDISK_HELPERS_H
#define SCST_VDISK_HELPERS_H

#include <linux/blk_types.h>

/* Blocks and their protection information; the Rust side is scst_vdisk/integrity.rs. */
struct scst_c_tagged {
	void *data;
	void *tags;
	u64 sector;
	u64 seed;	/* reference tag of the first block */
	u32 len;
	u32 tags_len;
	u32 op;
	u32 check;
};

int scst_vdisk_c_rw_tagged(struct block_device *bdev,
			   const struct scst_c_tagged *what);

struct file;
/* Bytes that the file system has left, and that the file has of it. */
int scst_vdisk_c_space(struct file *file, u64 *available, u64 *used);

#endif
