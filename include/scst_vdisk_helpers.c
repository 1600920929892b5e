// SPDX-License-Identifier: GPL-2.0
/*
 * What scst_vdisk/integrity.rs asks of the block layer, a bio with tuples, and
 * scst_vdisk/vfs.rs of file systems, the space behind a file.
 */
#include <linux/bio.h>
#include <linux/bio-integrity.h>
#include <linux/blkdev.h>
#include <linux/fs.h>
#include <linux/mm.h>
#include <linux/stat.h>
#include <linux/statfs.h>
#include "scst_vdisk_helpers.h"

static_assert(sizeof(struct scst_c_tagged) == 48);

#ifdef CONFIG_BLK_DEV_INTEGRITY

int scst_vdisk_c_rw_tagged(struct block_device *bdev,
			   const struct scst_c_tagged *what)
{
	struct bio_integrity_payload *bip;
	struct bio_vec bv;
	struct bio bio;
	int err;

	bio_init(&bio, bdev, &bv, 1, what->op);
	bio.bi_iter.bi_sector = what->sector;
	bio_add_virt_nofail(&bio, what->data, what->len);
	bip = bio_integrity_alloc(&bio, GFP_NOIO, 1);
	err = PTR_ERR_OR_ZERO(bip);
	if (!err) {
		bip->bip_flags |= what->check ?
			BIP_CHECK_GUARD | BIP_CHECK_REFTAG : BIP_DISK_NOCHECK;
		bip_set_seed(bip, what->seed);
		if (bio_integrity_add_page(&bio, virt_to_page(what->tags),
					   what->tags_len,
					   offset_in_page(what->tags)) ==
		    what->tags_len)
			err = submit_bio_wait(&bio);
		else
			err = -EIO;
	}
	bio_uninit(&bio);
	return err;
}

#else

int scst_vdisk_c_rw_tagged(struct block_device *bdev,
			   const struct scst_c_tagged *what)
{
	return -EOPNOTSUPP;
}

#endif

int scst_vdisk_c_space(struct file *file, u64 *available, u64 *used)
{
	struct kstatfs fs;
	struct kstat stat;
	int err;

	err = vfs_statfs(&file->f_path, &fs);
	if (!err)
		err = vfs_getattr(&file->f_path, &stat, STATX_BLOCKS,
				  AT_STATX_SYNC_AS_STAT);
	if (err)
		return err;
	if (check_mul_overflow(fs.f_bavail, (u64)fs.f_frsize, available))
		*available = U64_MAX;
	*used = stat.blocks << SECTOR_SHIFT;
	return 0;
}
