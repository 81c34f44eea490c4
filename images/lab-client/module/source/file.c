// SPDX-License-Identifier: GPL-2.0-only
/* Reading and writing of files. */
#include <linux/uio.h>

#include "beegfs.h"
#include "compat.h"

static ssize_t write_iter(struct kiocb *request, struct iov_iter *from)
{
	ssize_t written = generic_file_write_iter(request, from);

	if (written > 0)
		atomic64_add(written, &beegfs_stats.bytes_written);
	return written;
}

const struct file_operations beegfs_file_ops = {
	.read_iter = generic_file_read_iter,
	.write_iter = write_iter,
	.mmap = generic_file_mmap,
	.fsync = noop_fsync,
	.splice_read = beegfs_splice_read,
	.splice_write = iter_file_splice_write,
	.llseek = generic_file_llseek,
};

const struct inode_operations beegfs_file_inode_ops = {
	.setattr = simple_setattr,
	.getattr = simple_getattr,
};
