// SPDX-License-Identifier: GPL-2.0-only
/* /proc/fs/beegfs: version and status. */
#include <linux/proc_fs.h>

#include "beegfs.h"
#include "fault.h"

static struct proc_dir_entry *directory;

static int version_show(struct seq_file *out, void *unused)
{
	seq_printf(out, "%s\n", BEEGFS_MODULE_VERSION);
	return 0;
}

static int status_show(struct seq_file *out, void *unused)
{
	beegfs_stats_show(out);
	beegfs_rdma_show(out);
	return 0;
}

int beegfs_proc_init(void)
{
	directory = proc_mkdir("fs/" BEEGFS_NAME, NULL);
	if (!directory)
		return -ENOMEM;
	if (proc_create_single("version", 0444, directory, version_show) &&
	    proc_create_single("status", 0444, directory, status_show))
		return 0;
	proc_remove(directory);
	return -ENOMEM;
}

void beegfs_proc_exit(void)
{
	if (BEEGFS_LEAK_PROC_DIRECTORY) {
		remove_proc_entry("version", directory);
		remove_proc_entry("status", directory);
		return;
	}
	proc_remove(directory);
}
