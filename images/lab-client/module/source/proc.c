// SPDX-License-Identifier: GPL-2.0-only
/* /proc/fs/beegfs: version and status of the module, and a directory for each mount with the vendor's files (its ProcFs.c). */
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

static int config_show(struct seq_file *out, void *unused)
{
	const struct beegfs_client *client = out->private;

	beegfs_config_show(out, client->config);
	return 0;
}

static int mount_status_show(struct seq_file *out, void *unused)
{
	const struct beegfs_client *client = out->private;

	seq_printf(out, "datagrams: %d\n", atomic_read(&client->datagrams));
	return 0;
}

static int client_info_show(struct seq_file *out, void *unused)
{
	const struct beegfs_client *client = out->private;

	seq_printf(out, "ClientID: %s\nInterfaces:\n", client->id);
	beegfs_network_show(out);
	return 0;
}

static int retries_show(struct seq_file *out, void *unused)
{
	seq_puts(out, "1\n");
	return 0;
}

/* Of servers, and of targets: there are none. */
static int empty_show(struct seq_file *out, void *unused)
{
	return 0;
}

static const struct {
	const char *name;
	int (*show)(struct seq_file *out, void *unused);
} files[] = {
	{ "config", config_show },
	{ ".status", mount_status_show },
	{ "client_info", client_info_show },
	{ "conn_retries_enabled", retries_show },
	{ "mgmt_nodes", empty_show },
	{ "meta_nodes", empty_show },
	{ "storage_nodes", empty_show },
	{ "meta_target_state", empty_show },
	{ "storage_target_state", empty_show },
};

int beegfs_proc_add(struct beegfs_client *client)
{
	size_t i;

	client->directory = proc_mkdir_data(client->id, 0, directory, client);
	if (!client->directory)
		return -ENOMEM;
	for (i = 0; i < ARRAY_SIZE(files); i++)
		if (!proc_create_single_data(files[i].name, 0444, client->directory, files[i].show, client))
			return -ENOMEM;
	return 0;
}

void beegfs_proc_remove(struct beegfs_client *client)
{
	if (!client->directory)
		return;
	proc_remove(client->directory);
	/* Without its files, which would use a client that is gone. */
	if (BEEGFS_LEAVE_MOUNT_DIRECTORY)
		proc_mkdir(client->id, directory);
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
