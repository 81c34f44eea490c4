/* SPDX-License-Identifier: GPL-2.0-only */
/* Common names for interfaces that differ between kernels; feature-detect.sh sets the KERNEL_HAS_* flags. */
#ifndef BEEGFS_COMPAT_H
#define BEEGFS_COMPAT_H

#include <linux/fs.h>

#ifdef KERNEL_HAS_IDMAPPED_MOUNTS
#define beegfs_idmap mnt_idmap
#define BEEGFS_NO_IDMAP (&nop_mnt_idmap)
#else
#define beegfs_idmap user_namespace
#define BEEGFS_NO_IDMAP (&init_user_ns)
#endif

#ifdef KERNEL_HAS_FILEMAP_SPLICE_READ
#define beegfs_splice_read filemap_splice_read
#else
#define beegfs_splice_read generic_file_splice_read
#endif

#ifdef KERNEL_HAS_MKDIR_RETURNING_DENTRY
#define beegfs_mkdir_result struct dentry *
#define BEEGFS_MKDIR_RESULT(error) ERR_PTR(error)
#else
#define beegfs_mkdir_result int
#define BEEGFS_MKDIR_RESULT(error) (error)
#endif

/* Set the times of content and attributes to now. */
static inline void beegfs_touch(struct inode *inode)
{
#if defined(KERNEL_HAS_INODE_MTIME_ACCESSORS)
	inode_set_mtime_to_ts(inode, inode_set_ctime_current(inode));
#elif defined(KERNEL_HAS_INODE_CTIME_ACCESSORS)
	inode->i_mtime = inode_set_ctime_current(inode);
#else
	inode->i_ctime = current_time(inode);
	inode->i_mtime = inode->i_ctime;
#endif
}

static inline void beegfs_touch_new(struct inode *inode)
{
	beegfs_touch(inode);
#if defined(KERNEL_HAS_INODE_MTIME_ACCESSORS)
	inode_set_atime_to_ts(inode, inode_get_mtime(inode));
#else
	inode->i_atime = inode->i_mtime;
#endif
}

#endif
