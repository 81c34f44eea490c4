// SPDX-License-Identifier: GPL-2.0-only
/* The file system type and its mounts: files live in memory, whatever server the configuration names. */
#include <linux/err.h>
#include <linux/fs_context.h>
#include <linux/fs_parser.h>
#include <linux/slab.h>

#include "beegfs.h"
#include "fault.h"

static int show_options(struct seq_file *out, struct dentry *root)
{
	const struct beegfs_client *client = root->d_sb->s_fs_info;

	seq_show_option(out, "cfgFile", beegfs_config_text(client->config, BEEGFS_KEY_cfgFile));
	seq_show_option(out, "sysMgmtdHost", beegfs_config_text(client->config, BEEGFS_KEY_sysMgmtdHost));
	return 0;
}

static const struct super_operations super_ops = {
	.statfs = simple_statfs,
	.drop_inode = generic_delete_inode,
	.show_options = show_options,
};

static int fill_super(struct super_block *sb, struct fs_context *context)
{
	struct beegfs_config *config;
	struct beegfs_client *client;
	struct inode *root;
	int error = beegfs_fault_at_mount();

	if (error)
		return error;
	config = beegfs_config_load(context->fs_private);
	client = IS_ERR(config) ? ERR_CAST(config) : beegfs_client_start(config);
	if (IS_ERR(client)) {
		pr_warn("the mount is refused\n");
		/* The vendor's client has this error for all reasons. */
		return -ECANCELED;
	}
	sb->s_fs_info = client;
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
	pr_info("mounted: client %s\n", client->id);
	return 0;
}

static int parse_option(struct fs_context *context, struct fs_parameter *parameter)
{
	int error = vfs_parse_fs_param_source(context, parameter);

	if (error != -ENOPARAM)
		return error;
	return beegfs_config_set_option(context->fs_private, parameter->key,
					parameter->type == fs_value_is_string ? parameter->string : NULL);
}

static int get_tree(struct fs_context *context)
{
	return get_tree_nodev(context, fill_super);
}

static void free_context(struct fs_context *context)
{
	beegfs_config_free(context->fs_private);
}

static const struct fs_context_operations context_ops = {
	.parse_param = parse_option,
	.get_tree = get_tree,
	.free = free_context,
};

static int init_context(struct fs_context *context)
{
	context->fs_private = kzalloc(sizeof(struct beegfs_config), GFP_KERNEL);
	if (!context->fs_private)
		return -ENOMEM;
	context->ops = &context_ops;
	return 0;
}

static void kill_super(struct super_block *sb)
{
	struct beegfs_client *client = sb->s_fs_info;

	if (client)
		beegfs_fault_at_umount();
	/* A mount that failed before it was complete has no root and was not counted. */
	if (sb->s_root)
		atomic_dec(&beegfs_stats.mounts);
	kill_litter_super(sb);
	if (client)
		beegfs_client_stop(client);
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
	beegfs_threads_exit();
}
