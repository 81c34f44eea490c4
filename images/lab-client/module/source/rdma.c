// SPDX-License-Identifier: GPL-2.0-only
/* Watches RDMA devices and holds a connection identifier, so that it really needs ib_core and rdma_cm. */
#include "beegfs.h"

#if IS_ENABLED(CONFIG_INFINIBAND_ADDR_TRANS) && !defined(BEEGFS_NO_RDMA)

#include <linux/err.h>
#include <net/net_namespace.h>
#include <rdma/ib_verbs.h>
#include <rdma/rdma_cm.h>

static atomic_t devices = ATOMIC_INIT(0);
static struct rdma_cm_id *identifier;

static int device_added(struct ib_device *device)
{
	atomic_inc(&devices);
	pr_info("RDMA device %s added\n", dev_name(&device->dev));
	return 0;
}

static void device_removed(struct ib_device *device, void *data)
{
	atomic_dec(&devices);
	pr_info("RDMA device %s removed\n", dev_name(&device->dev));
}

static struct ib_client client = {
	.name = BEEGFS_NAME,
	.add = device_added,
	.remove = device_removed,
};

static int connection_event(struct rdma_cm_id *id, struct rdma_cm_event *event)
{
	pr_info("RDMA event: %s\n", rdma_event_msg(event->event));
	return 0;
}

int beegfs_rdma_init(void)
{
	int error = ib_register_client(&client);

	if (error)
		return error;
	identifier = rdma_create_id(&init_net, connection_event, NULL, RDMA_PS_TCP, IB_QPT_RC);
	if (IS_ERR(identifier)) {
		ib_unregister_client(&client);
		return PTR_ERR(identifier);
	}
	return 0;
}

void beegfs_rdma_exit(void)
{
	rdma_destroy_id(identifier);
	ib_unregister_client(&client);
}

void beegfs_rdma_show(struct seq_file *out)
{
	seq_printf(out, "rdma: yes\nrdma devices: %d\n", atomic_read(&devices));
}

#else

int beegfs_rdma_init(void)
{
	return 0;
}

void beegfs_rdma_exit(void)
{
}

void beegfs_rdma_show(struct seq_file *out)
{
	seq_puts(out, "rdma: no\n");
}

#endif
