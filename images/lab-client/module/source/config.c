// SPDX-License-Identifier: GPL-2.0-only
/* The configuration of a mount: lines "key = value" and comments, as the vendor's client reads them. */
#include <linux/err.h>
#include <linux/slab.h>
#include <linux/string.h>

#include "beegfs.h"

enum { LARGEST_FILE = 256 * 1024, SMALLEST_SECRET = 4 };
enum kind { TEXT, FLAG, NUMBER, PORT };
enum { ALL = 0 };

#define KEY(name, kind, majors, fallback) { #name, fallback, kind, majors },
static const struct {
	const char *name;
	const char *fallback;
	enum kind kind;
	int majors;
} keys[] = { BEEGFS_KEYS(KEY) };
#undef KEY

/* The keys that the vendor's client takes as mount options too (its MountConfig.c). */
static const enum beegfs_key options[] = {
	BEEGFS_KEY_cfgFile, BEEGFS_KEY_sysMgmtdHost, BEEGFS_KEY_sysMountSanityCheckMS, BEEGFS_KEY_logLevel,
	BEEGFS_KEY_connPortShift, BEEGFS_KEY_connMgmtdPortTCP, BEEGFS_KEY_connMgmtdPortUDP,
	BEEGFS_KEY_connInterfacesList, BEEGFS_KEY_tunePreferredMetaFile, BEEGFS_KEY_tunePreferredStorageFile,
};

static bool is_known(int key)
{
	return keys[key].majors == ALL || keys[key].majors == BEEGFS_MAJOR;
}

static bool is_valid(enum beegfs_key key, const char *value)
{
	unsigned int number;

	switch (keys[key].kind) {
	case NUMBER:
		return !kstrtouint(value, 10, &number);
	case PORT:
		return !kstrtouint(value, 10, &number) && number > 0 && number <= U16_MAX;
	default:
		return true;
	}
}

static int set(struct beegfs_config *config, enum beegfs_key key, const char *value)
{
	char *copy;

	if (!is_valid(key, value)) {
		pr_warn("config argument '%s' is invalid: its value is '%s'\n", keys[key].name, value);
		return -ECANCELED;
	}
	copy = kstrdup(value, GFP_KERNEL);
	if (!copy)
		return -ENOMEM;
	kfree(config->values[key]);
	config->values[key] = copy;
	return 0;
}

void beegfs_config_free(struct beegfs_config *config)
{
	int key;

	if (!config)
		return;
	for (key = 0; key < BEEGFS_KEY_COUNT; key++)
		kfree(config->values[key]);
	kfree(config);
}

int beegfs_config_set_option(struct beegfs_config *config, const char *name, const char *value)
{
	size_t i;

	for (i = 0; i < ARRAY_SIZE(options); i++)
		if (is_known(options[i]) && value && !strcmp(name, keys[options[i]].name))
			return set(config, options[i], value);
	pr_warn("unknown mount option '%s'\n", name);
	return -ECANCELED;
}

static int set_line(struct beegfs_config *config, char *line)
{
	char *name = strim(strsep(&line, "="));
	char *value = line ? strim(line) : "";
	int key;

	for (key = 0; key < BEEGFS_KEY_COUNT; key++)
		if (is_known(key) && !strcmp(name, keys[key].name))
			return set(config, key, value);
	/* 8.x ignores such a key without a word. */
	if (BEEGFS_MAJOR != 7)
		return 0;
	pr_warn("config argument '%s' is invalid\n", name);
	return -ECANCELED;
}

/* Reads a file; the text ends with a zero byte. */
static char *read_file(const char *path, size_t limit, ssize_t *length)
{
	struct file *file = filp_open(path, O_RDONLY, 0);
	char *text;
	loff_t position = 0;

	if (IS_ERR(file))
		return ERR_CAST(file);
	text = kvmalloc(limit + 1, GFP_KERNEL);
	if (!text) {
		filp_close(file, NULL);
		return ERR_PTR(-ENOMEM);
	}
	do {
		*length = kernel_read(file, text + position, limit - position, &position);
	} while (*length > 0);
	filp_close(file, NULL);
	if (*length < 0) {
		kvfree(text);
		return ERR_PTR(*length);
	}
	*length = position;
	text[position] = '\0';
	return text;
}

static int load_file(struct beegfs_config *config, const char *path)
{
	ssize_t length;
	char *text = read_file(path, LARGEST_FILE, &length);
	char *rest = text;
	int error = 0;

	if (IS_ERR(text)) {
		pr_warn("cannot read the configuration file '%s': error %ld\n", path, PTR_ERR(text));
		return -ECANCELED;
	}
	while (rest && !error) {
		char *line = strim(strsep(&rest, "\n"));

		if (*line && *line != '#')
			error = set_line(config, line);
	}
	kvfree(text);
	return error;
}

/* As in the vendor's client: a secret, or an explicit statement that there is none. */
static int check_authentication(const struct beegfs_config *config)
{
	const char *path = beegfs_config_text(config, BEEGFS_KEY_connAuthFile);
	ssize_t length;
	char *secret;

	if (!*path) {
		if (beegfs_config_flag(config, BEEGFS_KEY_connDisableAuthentication))
			return 0;
		pr_warn("no connAuthFile: name a file with the secret, or set connDisableAuthentication = true\n");
		return -ECANCELED;
	}
	secret = read_file(path, PAGE_SIZE, &length);
	if (IS_ERR(secret)) {
		pr_warn("cannot read the secret of connAuthFile '%s': error %ld\n", path, PTR_ERR(secret));
		return -ECANCELED;
	}
	kvfree_sensitive(secret, length);
	if (length < SMALLEST_SECRET) {
		pr_warn("the secret of connAuthFile '%s' is too short\n", path);
		return -ECANCELED;
	}
	return 0;
}

static int load(struct beegfs_config *config, const struct beegfs_config *given)
{
	const char *path = given->values[BEEGFS_KEY_cfgFile];
	int error = 0;
	int key;

	for (key = 0; key < BEEGFS_KEY_COUNT && !error; key++)
		if (is_known(key))
			error = set(config, key, keys[key].fallback);
	if (!error && path && *path)
		error = load_file(config, path);
	for (key = 0; key < BEEGFS_KEY_COUNT && !error; key++)
		if (given->values[key])
			error = set(config, key, given->values[key]);
	return error ? error : check_authentication(config);
}

struct beegfs_config *beegfs_config_load(const struct beegfs_config *given)
{
	struct beegfs_config *config = kzalloc(sizeof(*config), GFP_KERNEL);
	int error;

	if (!config)
		return ERR_PTR(-ENOMEM);
	error = load(config, given);
	if (!error)
		return config;
	beegfs_config_free(config);
	return ERR_PTR(error);
}

const char *beegfs_config_text(const struct beegfs_config *config, enum beegfs_key key)
{
	return config->values[key] ? config->values[key] : "";
}

unsigned int beegfs_config_number(const struct beegfs_config *config, enum beegfs_key key)
{
	unsigned int number;

	return kstrtouint(beegfs_config_text(config, key), 10, &number) ? 0 : number;
}

bool beegfs_config_flag(const struct beegfs_config *config, enum beegfs_key key)
{
	static const char *const yes[] = { "true", "yes", "on", "y", "1" };
	size_t i;

	for (i = 0; i < ARRAY_SIZE(yes); i++)
		if (!strcasecmp(beegfs_config_text(config, key), yes[i]))
			return true;
	return false;
}

void beegfs_config_show(struct seq_file *out, const struct beegfs_config *config)
{
	int key;

	for (key = 0; key < BEEGFS_KEY_COUNT; key++)
		if (is_known(key))
			seq_printf(out, "%s = %s\n", keys[key].name, beegfs_config_text(config, key));
}
