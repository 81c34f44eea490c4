#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-only
# Prints a -DKERNEL_HAS_* flag, one per line, for each interface that this kernel has: feature-detect.sh KDIR KSRCDIR
set -eu

kdir=$1
ksrc=$2
headers=$ksrc/include/linux
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT

# The job server of a calling make is not available here.
unset MAKEFLAGS MFLAGS MAKELEVEL

die() {
	echo "feature-detect.sh: $*" >&2
	exit 1
}

# has NAME HEADER PATTERN
has() {
	if grep -Eqs -- "$3" "$headers/$2"; then
		echo "-DKERNEL_HAS_$1"
	fi
}

# compiles CODE: compiles it with kbuild's flags for a module
compiles() {
	printf '%s\n' "$1" >"$scratch/probe.c"
	(cd "$kdir" && eval "${CC:-gcc} $flags -Werror -fsyntax-only \"$scratch/probe.c\"") >"$scratch/log" 2>&1
}

[ -r "$headers/fs.h" ] || die "no kernel headers in $ksrc (KSRCDIR)"

# shellcheck disable=SC2016
printf '%s\n' '$(info PROBE $(NOSTDINC_FLAGS) $(LINUXINCLUDE) $(KBUILD_CPPFLAGS) $(KBUILD_CFLAGS) -DMODULE)' >"$scratch/Kbuild"
make -C "$kdir" "M=$scratch" >"$scratch/make.log" 2>&1 || { cat "$scratch/make.log" >&2; die "kbuild fails in $kdir"; }
flags="$(sed -n 's/^PROBE //p' "$scratch/make.log" | head -n 1) -DKBUILD_MODNAME=\\\"probe\\\""

# A broken compiler would otherwise look like an old kernel.
compiles '#include <linux/fs.h>' || { cat "$scratch/log" >&2; die "nothing compiles against $kdir"; }

has IDMAPPED_MOUNTS fs.h 'inode_init_owner\(struct mnt_idmap'
has FILEMAP_SPLICE_READ fs.h 'filemap_splice_read\('
has INODE_CTIME_ACCESSORS fs.h 'inode_set_ctime_current\('
has INODE_MTIME_ACCESSORS fs.h 'inode_set_mtime_to_ts\('

if compiles '#include <linux/fs.h>
struct dentry *made(struct inode_operations *op);
struct dentry *made(struct inode_operations *op) { return op->mkdir(NULL, NULL, NULL, 0); }'; then
	echo "-DKERNEL_HAS_MKDIR_RETURNING_DENTRY"
fi
