#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
#
# Run a command inside a root directory. Called by lab/sandbox.py as the first process of new mount and PID
# namespaces, so every mount below vanishes with it, however it ends.
#
#   enter.sh ROOT WORKDIR [rw:FROM:TO | ro:FROM:TO]... -- [VAR=VALUE]... COMMAND...
set -eu

root=$1
workdir=$2
shift 2

mount -t proc proc "$root/proc"
mount --rbind /dev "$root/dev"
mount -t tmpfs -o mode=1777 tmpfs "$root/tmp"

while [ "$1" != "--" ]; do
	mode=${1%%:*}
	rest=${1#*:}
	from=${rest%%:*}
	to=$root${rest#*:}
	if [ -d "$from" ]; then
		mkdir -p "$to"
	elif [ ! -e "$to" ]; then
		mkdir -p "${to%/*}"
		: > "$to"
	fi
	mount --bind "$from" "$to"
	# A guard against our own mistakes: where the host's mount flags forbid the change, do without.
	[ "$mode" = rw ] || mount -o remount,bind,ro "$to" 2>/dev/null || :
	shift
done
shift

# Not exec: this shell stays the namespace's first process and reaps what the command leaves.
chroot "$root" /usr/bin/env -i "HOME=/root" "LANG=C.UTF-8" "LC_ALL=C.UTF-8" \
	"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin" \
	/bin/sh -c 'cd "$1" && shift && exec /usr/bin/env "$@"' sh "$workdir" "$@"
