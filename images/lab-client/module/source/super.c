// SPDX-License-Identifier: GPL-2.0-only
/* The file system type and its mounts: any source is accepted, every option is ignored. */
#include <linux/fs_context.h>
#include <linux/fs_parser.h>

#include "beegfs.h"

static const struct super_operations super_ops = {
	.statfs = simple_statfs,
	.drop_inode = generic_delete_inode,
};

static int fill_super(struct super_block *sb, struct fs_context *context)
{
	struct inode *root;

	sb->s_magic = BEEGFS_MAGIC;
	sb->s_op = &super_ops;
	sb->s_maxbytes = MAX_LFS_FILESIZE;
	sb->s_blocksize = PAGE_SIZE;
	sb->s_blocksize_bits = PAGE_SHIFT;
	sb->s_time_gran = 1;

	root = beegfs_inode_new(sb, NULL, S_IFDIR | 0755, 0);
	sb->s_root = d_make_root(root);
	if (!sb->s_root)
		return -ENOMEM;
	atomic_inc(&beegfs_stats.mounts);
	return 0;
}

static int take_any_option(struct fs_context *context, struct fs_parameter *parameter)
{
	int error = vfs_parse_fs_param_source(context, parameter);

	return error == -ENOPARAM ? 0 : error;
}

static int get_tree(struct fs_context *context)
{
	return get_tree_nodev(context, fill_super);
}

static const struct fs_context_operations context_ops = {
	.parse_param = take_any_option,
	.get_tree = get_tree,
};

static int init_context(struct fs_context *context)
{
	context->ops = &context_ops;
	return 0;
}

static void kill_super(struct super_block *sb)
{
	/* A mount that failed before it was complete has no root and was not counted. */
	if (sb->s_root)
		atomic_dec(&beegfs_stats.mounts);
	kill_litter_super(sb);
}

static struct file_system_type type = {
	.owner = THIS_MODULE,
	.name = BEEGFS_NAME,
	.init_fs_context = init_context,
	.kill_sb = kill_super,
};

int beegfs_super_init(void)
{
	return register_filesystem(&type);
}

void beegfs_super_exit(void)
{
	unregister_filesystem(&type);
}
