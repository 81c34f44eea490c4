// SPDX-License-Identifier: GPL-2.0-only
/* Counters that a test can read in /proc/fs/beegfs/status. */
#include "beegfs.h"

struct beegfs_stats beegfs_stats;

void beegfs_stats_show(struct seq_file *out)
{
	seq_printf(out, "mounts: %d\n", atomic_read(&beegfs_stats.mounts));
	seq_printf(out, "inodes made: %d\n", atomic_read(&beegfs_stats.inodes));
	seq_printf(out, "bytes written: %lld\n", (long long)atomic64_read(&beegfs_stats.bytes_written));
}
