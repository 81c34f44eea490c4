// SPDX-License-Identifier: GPL-2.0-only
/* What runs for one mount: started and stopped in the order of the vendor's client (its client_module/source/app/App.c). */
#include <linux/err.h>
#include <linux/sched/signal.h>
#include <linux/slab.h>
#include <linux/timekeeping.h>
#include <linux/utsname.h>

#include "beegfs.h"

static int check_server(const struct beegfs_config *config)
{
	const char *host = beegfs_config_text(config, BEEGFS_KEY_sysMgmtdHost);

	if (!*host) {
		pr_warn("Management host undefined: sysMgmtdHost is empty\n");
		return -ECANCELED;
	}
	if (beegfs_network_is_address(host))
		return 0;
	/* A name is resolved by mount.beegfs of 8.x, and by the helper daemon of 7.x. */
	if (BEEGFS_MAJOR != 7) {
		pr_warn("sysMgmtdHost '%s' is not an IP address\n", host);
		return -ECANCELED;
	}
	return 0;
}

static void check_helper(const struct beegfs_config *config)
{
	if (BEEGFS_MAJOR != 7 || !strcasecmp(beegfs_config_text(config, BEEGFS_KEY_logType), "syslog"))
		return;
	if (!beegfs_network_has_helper(config))
		pr_warn("the helper daemon does not answer: messages are not logged, names are not resolved\n");
}

/* There is no server for a stand-in, so that none answers. */
static int wait_for_server(const struct beegfs_config *config)
{
	unsigned int limit = beegfs_config_number(config, BEEGFS_KEY_sysMountSanityCheckMS);

	if (!limit)
		return 0;
	schedule_timeout_interruptible(msecs_to_jiffies(limit));
	pr_warn("Mount sanity check failed: no management server answers at %s within %u ms (sysMountSanityCheckMS)\n",
		beegfs_config_text(config, BEEGFS_KEY_sysMgmtdHost), limit);
	return -ECANCELED;
}

static int start(struct beegfs_client *client)
{
	int error = check_server(client->config);

	if (error)
		return error;
	if (!beegfs_network_has_interface()) {
		pr_warn("no usable interface: none but the loopback is up and has an IPv4 address\n");
		return -ECANCELED;
	}
	check_helper(client->config);
	error = beegfs_network_listen(client);
	if (error)
		return error;
	error = beegfs_threads_start(client);
	if (error)
		return error;
	error = wait_for_server(client->config);
	if (error)
		return error;
	return beegfs_proc_add(client);
}

struct beegfs_client *beegfs_client_start(struct beegfs_config *config)
{
	struct beegfs_client *client = kzalloc(sizeof(*client), GFP_KERNEL);
	int error;

	if (!client) {
		beegfs_config_free(config);
		return ERR_PTR(-ENOMEM);
	}
	client->config = config;
	snprintf(client->id, sizeof(client->id), "%X-%llX-%s", current->pid,
		 (unsigned long long)ktime_get_real_seconds(), utsname()->nodename);
	error = start(client);
	if (!error)
		return client;
	beegfs_client_stop(client);
	return ERR_PTR(error);
}

void beegfs_client_stop(struct beegfs_client *client)
{
	beegfs_threads_stop(client);
	beegfs_proc_remove(client);
	beegfs_network_close(client);
	beegfs_config_free(client->config);
	kfree(client);
}
