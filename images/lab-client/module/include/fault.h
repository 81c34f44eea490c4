/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Faults for tests. A package built with a fault sets one BEEGFS_FAULT_* and is otherwise the normal package.
 * Four more faults are not code: "no-rdma" is in build/Makefile, "wrong-version" is the version below, and
 * "config-key-unknown" and "config-rejected" are in the template that the package script writes.
 */
#ifndef BEEGFS_FAULT_H
#define BEEGFS_FAULT_H

#include <linux/bug.h>
#include <linux/compiler.h>
#include <linux/errno.h>
#include <linux/kernel.h>
#include <linux/module.h>
#include <linux/sched.h>

#ifdef BEEGFS_FAULT_WRONG_VERSION
#define BEEGFS_MODULE_VERSION "0.0.1"
#else
#define BEEGFS_MODULE_VERSION BEEGFS_VERSION
#endif

/* Leaves only the empty directory: a file would call code that was unloaded. */
#ifdef BEEGFS_FAULT_EXIT_PROC_LEAK
#define BEEGFS_LEAK_PROC_DIRECTORY 1
#else
#define BEEGFS_LEAK_PROC_DIRECTORY 0
#endif

#ifdef BEEGFS_FAULT_MOUNT_THREAD_LEFT
#define BEEGFS_LEAVE_THREAD 1
#else
#define BEEGFS_LEAVE_THREAD 0
#endif

#ifdef BEEGFS_FAULT_MOUNT_PROC_LEFT
#define BEEGFS_LEAVE_MOUNT_DIRECTORY 1
#else
#define BEEGFS_LEAVE_MOUNT_DIRECTORY 0
#endif

#ifdef BEEGFS_FAULT_UNDEFINED_SYMBOL
int beegfs_exported_by_nothing(void);
#endif

/* Faults with a bad pointer, which the compiler must not see. */
static inline int beegfs_fault_oops(void)
{
	int *nowhere = NULL;

	OPTIMIZER_HIDE_VAR(nowhere);
	return READ_ONCE(*nowhere);
}

/* Sleeps for ever; no signal ends it. */
static inline void beegfs_fault_hang(void)
{
	for (;;)
		schedule_timeout_uninterruptible(MAX_SCHEDULE_TIMEOUT);
}

/* Runs before anything is registered. */
static inline int beegfs_fault_at_init(void)
{
#if defined(BEEGFS_FAULT_INIT_ERROR)
	return -EINVAL;
#elif defined(BEEGFS_FAULT_INIT_OOPS)
	return beegfs_fault_oops();
#elif defined(BEEGFS_FAULT_INIT_HANG)
	for (;;)
		cpu_relax();
#elif defined(BEEGFS_FAULT_INIT_PANIC)
	panic("beegfs: fault init-panic");
#elif defined(BEEGFS_FAULT_INIT_WARN)
	WARN_ON(1);
#elif defined(BEEGFS_FAULT_HELD_REFERENCE)
	__module_get(THIS_MODULE);
#elif defined(BEEGFS_FAULT_NO_COMPILE)
	return beegfs_declared_nowhere();
#elif defined(BEEGFS_FAULT_UNDEFINED_SYMBOL)
	return beegfs_exported_by_nothing();
#endif
	return 0;
}

/* Runs as the first thing of a mount. */
static inline int beegfs_fault_at_mount(void)
{
#if defined(BEEGFS_FAULT_MOUNT_ERROR)
	return -EIO;
#elif defined(BEEGFS_FAULT_MOUNT_OOPS)
	return beegfs_fault_oops();
#elif defined(BEEGFS_FAULT_MOUNT_HANG)
	beegfs_fault_hang();
#endif
	return 0;
}

/* Runs as the first thing of the last umount. */
static inline void beegfs_fault_at_umount(void)
{
#ifdef BEEGFS_FAULT_UMOUNT_HANG
	beegfs_fault_hang();
#endif
}

#endif
