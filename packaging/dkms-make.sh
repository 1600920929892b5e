#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
#
# DKMS calls this in its build directory: dkms-make.sh RELEASE. The prepared kernel tree is kept for the next build.
set -eu
tree=/var/cache/scst/$1
sh packaging/prepare-kernel.sh "$1" "$tree"
grep -q '^CONFIG_INFINIBAND_ADDR_TRANS=y' "$tree/.config" ||
	echo "dkms-make: the kernel $1 has no RDMA with address translation (CONFIG_INFINIBAND_ADDR_TRANS): no ib_srpt"
eval "$(cat "$tree/.prepared") M=$PWD modules"
