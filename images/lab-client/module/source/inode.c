// SPDX-License-Identifier: GPL-2.0-only
/* Files and directories that live in memory only. */
#include <linux/pagemap.h>

#include "beegfs.h"
#include "compat.h"

struct inode *beegfs_inode_new(struct super_block *sb, const struct inode *dir, umode_t mode, dev_t dev)
{
	struct inode *inode = new_inode(sb);

	if (!inode)
		return NULL;
	inode->i_ino = get_next_ino();
	inode_init_owner(BEEGFS_NO_IDMAP, inode, dir, mode);
	beegfs_touch_new(inode);
	/* No storage backs the pages: they must not be dropped. */
	inode->i_mapping->a_ops = &ram_aops;
	mapping_set_unevictable(inode->i_mapping);

	if (S_ISDIR(mode)) {
		inode->i_op = &beegfs_dir_inode_ops;
		inode->i_fop = &simple_dir_operations;
		inc_nlink(inode);
	} else if (S_ISREG(mode)) {
		inode->i_op = &beegfs_file_inode_ops;
		inode->i_fop = &beegfs_file_ops;
	} else {
		init_special_inode(inode, mode, dev);
	}
	atomic_inc(&beegfs_stats.inodes);
	return inode;
}

static int add(struct inode *dir, struct dentry *dentry, umode_t mode, dev_t dev)
{
	struct inode *inode = beegfs_inode_new(dir->i_sb, dir, mode, dev);

	if (!inode)
		return -ENOSPC;
	d_instantiate(dentry, inode);
	/* The dentry is the only record of the name. */
	dget(dentry);
	beegfs_touch(dir);
	if (S_ISDIR(mode))
		inc_nlink(dir);
	return 0;
}

static int create(struct beegfs_idmap *idmap, struct inode *dir, struct dentry *dentry, umode_t mode, bool exclusive)
{
	return add(dir, dentry, mode | S_IFREG, 0);
}

static beegfs_mkdir_result make_directory(struct beegfs_idmap *idmap, struct inode *dir, struct dentry *dentry,
					  umode_t mode)
{
	return BEEGFS_MKDIR_RESULT(add(dir, dentry, mode | S_IFDIR, 0));
}

static int make_node(struct beegfs_idmap *idmap, struct inode *dir, struct dentry *dentry, umode_t mode, dev_t dev)
{
	return add(dir, dentry, mode, dev);
}

const struct inode_operations beegfs_dir_inode_ops = {
	.lookup = simple_lookup,
	.create = create,
	.mkdir = make_directory,
	.mknod = make_node,
	.link = simple_link,
	.unlink = simple_unlink,
	.rmdir = simple_rmdir,
	.rename = simple_rename,
};
