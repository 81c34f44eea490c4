/* SPDX-License-Identifier: GPL-2.0-only */
/* Declarations shared by the units of the stand-in client. */
#ifndef BEEGFS_H
#define BEEGFS_H

#undef pr_fmt
#define pr_fmt(fmt) "beegfs: " fmt

#include <linux/atomic.h>
#include <linux/fs.h>
#include <linux/module.h>
#include <linux/seq_file.h>

#include "keys.h"

#define BEEGFS_NAME "beegfs"
/* The file system type that stat -f reports. */
#define BEEGFS_MAGIC 0x19830326
/* 7.x differs from 8.x in keys and in its helper daemon. */
#define BEEGFS_MAJOR (BEEGFS_VERSION[0] - '0')

struct beegfs_stats {
	atomic_t mounts;
	atomic_t inodes;
	atomic64_t bytes_written;
};

extern struct beegfs_stats beegfs_stats;
void beegfs_stats_show(struct seq_file *out);

int beegfs_device_init(void);
void beegfs_device_exit(void);

int beegfs_proc_init(void);
void beegfs_proc_exit(void);

int beegfs_rdma_init(void);
void beegfs_rdma_exit(void);
void beegfs_rdma_show(struct seq_file *out);

int beegfs_super_init(void);
void beegfs_super_exit(void);

/* Values by key; NULL where there is none. */
struct beegfs_config {
	char *values[BEEGFS_KEY_COUNT];
};

void beegfs_config_free(struct beegfs_config *config);
/* A mount option: -ECANCELED if there is no such one. */
int beegfs_config_set_option(struct beegfs_config *options, const char *name, const char *value);
/* Defaults, then the file that the options name, then the options; refuses what the vendor's client refuses. */
struct beegfs_config *beegfs_config_load(const struct beegfs_config *options);
const char *beegfs_config_text(const struct beegfs_config *config, enum beegfs_key key);
unsigned int beegfs_config_number(const struct beegfs_config *config, enum beegfs_key key);
bool beegfs_config_flag(const struct beegfs_config *config, enum beegfs_key key);
void beegfs_config_show(struct seq_file *out, const struct beegfs_config *config);

enum { BEEGFS_THREADS = 4 };

/* What a mount has running. */
struct beegfs_client {
	struct beegfs_config *config;
	struct socket *socket;
	struct task_struct *threads[BEEGFS_THREADS];
	struct proc_dir_entry *directory;
	atomic_t datagrams;
	char id[96];
};

/* Starts a client, to which the configuration then belongs, also if it fails. */
struct beegfs_client *beegfs_client_start(struct beegfs_config *config);
void beegfs_client_stop(struct beegfs_client *client);

bool beegfs_network_has_interface(void);
void beegfs_network_show(struct seq_file *out);
bool beegfs_network_is_address(const char *text);
int beegfs_network_listen(struct beegfs_client *client);
void beegfs_network_receive(struct beegfs_client *client);
void beegfs_network_close(struct beegfs_client *client);
bool beegfs_network_has_helper(const struct beegfs_config *config);

int beegfs_threads_start(struct beegfs_client *client);
void beegfs_threads_stop(struct beegfs_client *client);
void beegfs_threads_exit(void);

int beegfs_proc_add(struct beegfs_client *client);
void beegfs_proc_remove(struct beegfs_client *client);

struct inode *beegfs_inode_new(struct super_block *sb, const struct inode *dir, umode_t mode, dev_t dev);

extern const struct inode_operations beegfs_dir_inode_ops;
extern const struct inode_operations beegfs_file_inode_ops;
extern const struct file_operations beegfs_file_ops;

#endif
