/* SPDX-License-Identifier: GPL-2.0-only */
/* Declarations shared by the units of the stand-in client. */
#ifndef BEEGFS_H
#define BEEGFS_H

#undef pr_fmt
#define pr_fmt(fmt) "beegfs: " fmt

#include <linux/atomic.h>
#include <linux/fs.h>
#include <linux/module.h>
#include <linux/seq_file.h>

#define BEEGFS_NAME "beegfs"
/* The file system type that stat -f reports. */
#define BEEGFS_MAGIC 0x19830326

struct beegfs_stats {
	atomic_t mounts;
	atomic_t inodes;
	atomic64_t bytes_written;
};

extern struct beegfs_stats beegfs_stats;
void beegfs_stats_show(struct seq_file *out);

int beegfs_device_init(void);
void beegfs_device_exit(void);

int beegfs_proc_init(void);
void beegfs_proc_exit(void);

int beegfs_rdma_init(void);
void beegfs_rdma_exit(void);
void beegfs_rdma_show(struct seq_file *out);

int beegfs_super_init(void);
void beegfs_super_exit(void);

struct inode *beegfs_inode_new(struct super_block *sb, const struct inode *dir, umode_t mode, dev_t dev);

extern const struct inode_operations beegfs_dir_inode_ops;
extern const struct inode_operations beegfs_file_inode_ops;
extern const struct file_operations beegfs_file_ops;

#endif
