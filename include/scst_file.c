// SPDX-License-Identifier: GPL-2.0
/* What kapi::file asks of the VFS: names within one directory. */
#include <linux/fs.h>
#include <linux/mount.h>
#include <linux/namei.h>
#include "scst_file.h"

/* Finds a directory and holds its mount writable until let_go(). */
static int hold(const char *dir, struct path *path)
{
	int err;

	err = kern_path(dir, LOOKUP_FOLLOW | LOOKUP_DIRECTORY, path);
	if (err)
		return err;
	err = mnt_want_write(path->mnt);
	if (err)
		path_put(path);
	return err;
}

static void let_go(struct path *path)
{
	mnt_drop_write(path->mnt);
	path_put(path);
}

int scst_c_rename_within(const char *dir, const char *from, const char *to)
{
	struct qstr old_name = QSTR(from), new_name = QSTR(to);
	struct renamedata rd = { };
	struct path path;
	int err;

	err = hold(dir, &path);
	if (err)
		return err;
	rd.mnt_idmap = mnt_idmap(path.mnt);
	rd.old_parent = path.dentry;
	rd.new_parent = path.dentry;
	err = start_renaming(&rd, 0, &old_name, &new_name);
	if (!err) {
		err = vfs_rename(&rd);
		end_renaming(&rd);
	}
	let_go(&path);
	return err;
}

int scst_c_unlink_within(const char *dir, const char *name)
{
	struct qstr last = QSTR(name);
	struct mnt_idmap *idmap;
	struct dentry *dentry;
	struct path path;
	int err;

	err = hold(dir, &path);
	if (err)
		return err;
	idmap = mnt_idmap(path.mnt);
	dentry = start_removing(idmap, path.dentry, &last);
	if (IS_ERR(dentry)) {
		err = PTR_ERR(dentry);
	} else {
		err = vfs_unlink(idmap, d_inode(path.dentry), dentry, NULL);
		end_dirop(dentry);
	}
	let_go(&path);
	return err;
}
