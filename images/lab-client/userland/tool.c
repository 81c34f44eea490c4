// SPDX-License-Identifier: GPL-2.0-only
/* The stand-in command line: beegfs-ctl of 7.x and beegfs of 8.x, by PROGRAM. It answers --help and --version. */
#include <stdio.h>
#include <string.h>

int main(int argc, char **argv)
{
	const char *word = argc > 1 ? argv[1] : "--help";

	if (!strcmp(word, "--version") || !strcmp(word, "version")) {
		puts(PROGRAM " " BEEGFS_VERSION " (stand-in for tests)");
		return 0;
	}
	if (!strcmp(word, "--help") || !strcmp(word, "-h") || !strcmp(word, "help")) {
		puts(PROGRAM " " BEEGFS_VERSION ": stand-in for tests, not BeeGFS.\n"
		     "Usage: " PROGRAM " [--help | --version]");
		return 0;
	}
	fprintf(stderr, PROGRAM ": '%s' is not in the stand-in; it answers --help and --version only\n", word);
	return 1;
}
