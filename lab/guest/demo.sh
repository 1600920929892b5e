#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# What a user does: load the modules, make three devices, give them to the local target as LUNs, use the disks.
. /lab/guest/stacks.sh
set -e

verify() {
	fio --name="$1" --filename="$2" --ioengine=libaio --direct=1 --rw=randwrite --bs=4k --iodepth=16 --size=16M \
		--verify=crc32c --verify_fatal=1 --do_verify=1 --randrepeat=1 --eta=never --output=/tmp/verify.txt
	echo "  $1: 16 MiB written and read back, crc32c clean"
}

truncate -s 256M /tmp/file0.img
scst_load
scst_add null0 vdisk_nullio "size_mb=1024" 0
null0=$disk
scst_add file0 vdisk_fileio "filename=/tmp/file0.img" 1
file0=$disk
scst_add blk0 vdisk_blockio "filename=$(readlink -f /dev/disk/lab/data)" 2
blk0=$disk

echo "SCST $(cat $tgt/version 2>/dev/null | head -1): disks on scst_local"
lsscsi
verify file0 "$file0"
verify blk0 "$blk0"
dd if="$null0" of=/dev/null bs=1M count=16 iflag=direct status=none
echo "  null0: 16 MiB read"

scst_del blk0 vdisk_blockio 2
scst_del file0 vdisk_fileio 1
scst_del null0 vdisk_nullio 0
scst_unload
echo "  all taken down, modules unloaded"
