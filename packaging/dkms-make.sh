#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
#
# DKMS calls this in its build directory: dkms-make.sh RELEASE. The prepared kernel tree is kept for the next build.
set -eu
tree=/var/cache/scst/$1
sh packaging/prepare-kernel.sh "$1" "$tree"
eval "$(cat "$tree/.prepared") M=$PWD modules"
