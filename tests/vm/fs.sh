#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# lab: group=disks timeout=120 drives=blk:128
#
# ext4 on a fileio and on a blockio LUN: made, mounted, filled, unmounted, checked.
tgt=/sys/kernel/scst_tgt
luns=$tgt/targets/scst_local/scst_local_tgt/luns
count=0

result() { # STATUS NAME
	count=$((count + 1))
	if [ "$1" = 0 ]; then echo "ok $count - $2"; else echo "not ok $count - $2"; fi
}

wait_disk() { # LUN: its node in $disk
	local dir try
	place "$1" || return
	for ((try = 0; try < 200; try++)); do
		for dir in "$device/block/"*; do
			disk=/dev/${dir##*/}
			# The node of a disk that is still being added is there, and cannot be opened.
			[ -b "$disk" ] && (: < "$disk") 2> /dev/null && return 0
		done
		sleep 0.1
	done
	echo "# no disk for LUN $1"
	return 1
}

place() { # LUN: where the initiator has it, in $device
	local host
	host=$(cat $tgt/targets/scst_local/scst_local_tgt/sessions/scst_local_host/host_no) || return
	device=/sys/class/scsi_device/$host:0:0:$1/device
}

# Fill with files of several sizes to 100 %, delete some, fill again; the sums are checked after a new mount.
fill() { # DIRECTORY
	local i
	mkdir -p "$1/many" || return
	for ((i = 0; i < 60; i++)); do
		head -c $((i * 123 + 1)) /dev/urandom > "$1/many/$i" || return
	done
	dd if=/dev/urandom of="$1/big" bs=1M count=8 status=none || return
	(cd "$1" && sha256sum big many/* > sums) || return
	dd if=/dev/zero of="$1/rest" bs=64k status=none 2> /dev/null
	rm "$1/rest" && sync -f "$1"
}

try_fs() { # NAME
	local name=$1
	wait_disk 0
	result $? "$name: the disk is there"
	mkfs.ext4 -q -F "$disk" > /tmp/fs.log 2>&1
	result $? "$name: mkfs.ext4"
	mount "$disk" /mnt
	result $? "$name: mount"
	fill /mnt
	result $? "$name: filled"
	umount /mnt
	result $? "$name: unmount"
	e2fsck -f -n "$disk" > /tmp/fs.log 2>&1
	result $? "$name: e2fsck finds nothing"
	echo 1 > /proc/sys/vm/drop_caches
	mount "$disk" /mnt && (cd /mnt && sha256sum --quiet -c sums)
	result $? "$name: the files are what was written"
	umount /mnt
}

remove() { # NAME HANDLER
	local try
	place 0 && echo "del 0" > $luns/mgmt && echo "del_device $1" > "$tgt/handlers/$2/mgmt" || return
	for ((try = 0; try < 200; try++)); do
		[ -e "$device" ] || return 0
		sleep 0.1
	done
	echo "# the initiator still has the disk"
	return 1
}

trap 'sed "s/^/# /" /tmp/fs.log' EXIT
: > /tmp/fs.log
echo "KTAP version 1"
echo "1..16"
modprobe -a scst scst_vdisk scst_local || exit 1

truncate -s 48M /tmp/fs.img
echo "add_device fs_file filename=/tmp/fs.img" > $tgt/handlers/vdisk_fileio/mgmt
echo "add fs_file 0" > $luns/mgmt
try_fs fileio
remove fs_file vdisk_fileio
result $? "fileio: the device is removed"
e2fsck -f -n /tmp/fs.img > /tmp/fs.log 2>&1 || echo "# e2fsck of the file below finds something"

echo "add_device fs_blk filename=$(realpath /dev/disk/lab/blk)" > $tgt/handlers/vdisk_blockio/mgmt
echo "add fs_blk 0" > $luns/mgmt
try_fs blockio
remove fs_blk vdisk_blockio
result $? "blockio: the device is removed"

rm -f /tmp/fs.img
rmmod scst_local scst_vdisk scst
: > /tmp/fs.log
exit 0
