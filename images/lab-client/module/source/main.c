// SPDX-License-Identifier: GPL-2.0-only
/* Loads and unloads the stand-in client. */
#include "beegfs.h"
#include "fault.h"

static int __init beegfs_init(void)
{
	int error = beegfs_fault_at_init();

	if (error)
		return error;
	error = beegfs_device_init();
	if (error)
		return error;
	error = beegfs_proc_init();
	if (error)
		goto no_proc;
	error = beegfs_rdma_init();
	if (error)
		goto no_rdma;
	error = beegfs_super_init();
	if (error)
		goto no_super;
	pr_info("stand-in client %s loaded\n", BEEGFS_MODULE_VERSION);
	return 0;

no_super:
	beegfs_rdma_exit();
no_rdma:
	beegfs_proc_exit();
no_proc:
	beegfs_device_exit();
	return error;
}

static void __exit beegfs_exit(void)
{
	beegfs_super_exit();
	beegfs_rdma_exit();
	beegfs_proc_exit();
	beegfs_device_exit();
	pr_info("stand-in client unloaded\n");
}

module_init(beegfs_init);
module_exit(beegfs_exit);

MODULE_DESCRIPTION("Stand-in for the BeeGFS client, for tests of image builds only. It is not BeeGFS.");
MODULE_AUTHOR("kmatrix lab");
MODULE_LICENSE("GPL v2");
MODULE_VERSION(BEEGFS_MODULE_VERSION);
MODULE_ALIAS_FS(BEEGFS_NAME);
