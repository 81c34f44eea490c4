// SPDX-License-Identifier: GPL-2.0-only
/* Holds a file in /dev open, as the vendor's client does: loading needs a /dev. */
#include <linux/err.h>

#include "beegfs.h"

#define BEEGFS_DEVICE "/dev/null"

static struct file *device;

int beegfs_device_init(void)
{
	device = filp_open(BEEGFS_DEVICE, O_RDONLY, 0);
	if (IS_ERR(device)) {
		pr_err("cannot open %s: error %ld\n", BEEGFS_DEVICE, PTR_ERR(device));
		return PTR_ERR(device);
	}
	return 0;
}

void beegfs_device_exit(void)
{
	filp_close(device, NULL);
}
