// SPDX-License-Identifier: GPL-2.0-only
/* The kernel threads of a mount, with the names that the vendor's have (its Thread_init calls); they have little to do. */
#include <linux/err.h>
#include <linux/kthread.h>
#include <linux/sched.h>

#include "beegfs.h"
#include "fault.h"

/* A thread of a mount that is gone, if a fault left one. */
static struct task_struct *left;

static void sleep_for(long jiffies)
{
	set_current_state(TASK_INTERRUPTIBLE);
	if (!kthread_should_stop())
		schedule_timeout(jiffies);
	__set_current_state(TASK_RUNNING);
}

static int idle(void *unused)
{
	while (!kthread_should_stop())
		sleep_for(MAX_SCHEDULE_TIMEOUT);
	return 0;
}

static int listen(void *client)
{
	while (!kthread_should_stop()) {
		beegfs_network_receive(client);
		sleep_for(HZ);
	}
	return 0;
}

static const struct {
	const char *name;
	int (*run)(void *client);
} kinds[BEEGFS_THREADS] = {
	{ "beegfs_DGramLis", listen },
	{ "beegfs_XNodeSyn", idle },
	{ "beegfs_AckMgr", idle },
	{ "beegfs_Flusher", idle },
};

int beegfs_threads_start(struct beegfs_client *client)
{
	int i;

	for (i = 0; i < BEEGFS_THREADS; i++) {
		struct task_struct *thread = kthread_run(kinds[i].run, client, "%s", kinds[i].name);

		if (IS_ERR(thread))
			return PTR_ERR(thread);
		client->threads[i] = thread;
	}
	return 0;
}

void beegfs_threads_stop(struct beegfs_client *client)
{
	int i;

	for (i = BEEGFS_THREADS - 1; i >= 0; i--) {
		if (!client->threads[i])
			continue;
		/* An idle one, as it does not use its client. */
		if (BEEGFS_LEAVE_THREAD && !left && kinds[i].run == idle)
			left = client->threads[i];
		else
			kthread_stop(client->threads[i]);
		client->threads[i] = NULL;
	}
}

/* The code of a thread must not be unloaded before it has ended. */
void beegfs_threads_exit(void)
{
	if (left)
		kthread_stop(left);
}
