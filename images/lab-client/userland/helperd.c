// SPDX-License-Identifier: GPL-2.0-only
/*
 * The stand-in helper daemon of 7.x: runs in the foreground, answers each connection with one line, ends on SIGTERM.
 * beegfs-helperd [cfgFile=PATH] [KEY=VALUE]...
 */
#include <arpa/inet.h>
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <unistd.h>

enum { LENGTH = 256 };

static char address[LENGTH] = "127.0.0.1";
static char port[LENGTH] = "8006";
static char auth_file[LENGTH];
static char auth_off[LENGTH] = "false";

static const struct {
	const char *name;
	char *value;
} keys[] = {
	{ "connHelperdAddress", address },
	{ "connHelperdPortTCP", port },
	{ "connAuthFile", auth_file },
	{ "connDisableAuthentication", auth_off },
};

static void end(int signal)
{
	(void)signal;
	_exit(0);
}

static int fail(const char *what, const char *which)
{
	fprintf(stderr, "beegfs-helperd: %s %s: %s\n", what, which, strerror(errno));
	return 1;
}

static char *trim(char *text)
{
	text += strspn(text, " \t\r\n");
	for (size_t n = strlen(text); n && strchr(" \t\r\n", text[n - 1]); n--)
		text[n - 1] = '\0';
	return text;
}

/* Keys that the stand-in does not use are accepted and ignored. */
static void set(char *line)
{
	char *equals = strchr(line, '=');

	if (*trim(line) == '#' || !equals)
		return;
	*equals = '\0';
	for (size_t i = 0; i < sizeof(keys) / sizeof(*keys); i++)
		if (!strcmp(trim(line), keys[i].name))
			snprintf(keys[i].value, LENGTH, "%s", trim(equals + 1));
}

static int read_config(const char *path)
{
	char line[LENGTH];
	FILE *file = fopen(path, "r");

	if (!file)
		return -1;
	while (fgets(line, sizeof(line), file))
		set(line);
	return fclose(file);
}

int main(int argc, char **argv)
{
	const char line[] = "beegfs-helperd " BEEGFS_VERSION " (stand-in for tests)\n";
	const char *config = "/etc/beegfs/beegfs-helperd.conf";
	struct sockaddr_in where = { .sin_family = AF_INET };
	int yes = 1;
	int server;

	for (int i = 1; i < argc; i++) {
		if (!strcmp(argv[i], "--version") || !strcmp(argv[i], "--help"))
			return fputs(line, stdout) < 0;
		if (!strncmp(argv[i], "cfgFile=", 8))
			config = argv[i] + 8;
	}
	if (read_config(config))
		return fail("cannot read", config);
	for (int i = 1; i < argc; i++)
		set(argv[i]);

	/* As in the vendor's daemon: a missing secret is an error unless authentication is disabled explicitly. */
	if (strcasecmp(auth_off, "true") && access(auth_file, R_OK))
		return fail("set connDisableAuthentication = true, or give a secret: connAuthFile", auth_file);

	where.sin_port = htons((unsigned short)atoi(port));
	if (inet_pton(AF_INET, address, &where.sin_addr) != 1) {
		errno = EINVAL;
		return fail("connHelperdAddress", address);
	}
	signal(SIGTERM, end);
	signal(SIGINT, end);
	signal(SIGPIPE, SIG_IGN);

	server = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (server < 0 || setsockopt(server, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof(yes)) ||
	    bind(server, (struct sockaddr *)&where, sizeof(where)) || listen(server, 16))
		return fail("cannot listen on port", port);
	fprintf(stderr, "beegfs-helperd %s: listening on %s:%s\n", BEEGFS_VERSION, address, port);

	for (;;) {
		int peer = accept(server, NULL, NULL);

		if (peer < 0)
			continue;
		if (write(peer, line, sizeof(line) - 1) < 0)
			fail("answer", "lost");
		close(peer);
	}
}
