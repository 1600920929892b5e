#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# lab: kernel=debug group=debug mem=2G timeout=400 allow=ODEBUG:.*kobject_delayed_cleanup|lib/debugobjects\.c|Call\sTrace:
#
# Everything once, under lockdep, slab poisoning, atomic-sleep checks and kmemleak: what matters is what the kernel says,
# which the lab looks at, and that all of it ends. The kernel's own gendisk does not get on with DEBUG_KOBJECT_RELEASE:
# its complaint, and only that, is allowed.
T=/sys/kernel/scst_tgt
L=$T/targets/scst_local/scst_local_tgt
G=$T/device_groups/dg
n=0

check() { # NAME COMMAND...: a test of that name, which is whether the command succeeds
	local name=$1
	shift
	n=$((n + 1))
	if "$@"; then echo "ok $n - $name"; else echo "not ok $n - $name"; fi
}

load() { modprobe scst && modprobe scst_vdisk && modprobe scst_local; }

unload() {
	local try
	for try in $(seq 60); do
		rmmod scst_local 2> /dev/null && break
		sleep 1
	done
	rmmod scst_vdisk && rmmod scst
}

devices() {
	truncate -s 64M /tmp/file0 /tmp/loop0.img
	losetup /dev/loop0 /tmp/loop0.img
	echo 'add_device null0 size_mb=64' > $T/handlers/vdisk_nullio/mgmt &&
		echo 'add_device file0 filename=/tmp/file0' > $T/handlers/vdisk_fileio/mgmt &&
		echo 'add_device blk0 filename=/dev/loop0' > $T/handlers/vdisk_blockio/mgmt &&
		echo 'add null0 0' > $L/luns/mgmt && echo 'add file0 1' > $L/luns/mgmt && echo 'add blk0 2' > $L/luns/mgmt
}

disk() { # LUN: its /dev node, once it is there
	local try
	for try in $(seq 100); do
		for path in /sys/class/scsi_disk/*:0:0:"$1"/device; do
			[ "$(cat "$path/vendor" 2> /dev/null | cut -c1-4)" = SCST ] || continue
			for block in "$path"/block/*; do
				# The node of a disk that is still being added is there, and cannot be opened.
				(: < "/dev/${block##*/}") 2> /dev/null && echo "/dev/${block##*/}" && return 0
			done
		done
		sleep 0.2
	done
	return 1
}

load_disk() { # DEV SIZE: I/O in the background, until it is told to end
	fio --name=load --filename="$1" --direct=1 --rw=randrw --bs="$2" --iodepth=16 --ioengine=libaio \
		--time_based --runtime=300 --size=16m > "/tmp/fio-${1##*/}" 2>&1 &
	loads+=($!)
}

threads() {
	local count
	for count in 2 8 0 4; do echo $count > $T/devices/file0/threads_num || return; done
	echo shared > $T/devices/file0/threads_pool_type && echo 1 > $T/devices/file0/threads_num &&
		echo per_initiator > $T/devices/file0/threads_pool_type && echo 1 > $L/cpu_mask && echo 3 > $L/cpu_mask
}

groups() {
	echo 'create group1' > $L/ini_groups/mgmt && echo 'add null0 0' > $L/ini_groups/group1/luns/mgmt &&
		echo 'add host*' > $L/ini_groups/group1/initiators/mgmt &&
		echo 'add_session scst_local_tgt host2' > $T/targets/scst_local/mgmt
}

luns() {
	local round
	for round in 1 2 3; do
		echo 'add null0 5' > $L/luns/mgmt || return
		sleep 0.3
		echo 'replace file0 5' > $L/luns/mgmt || return
		sleep 0.2
		echo 'del 5' > $L/luns/mgmt || return
	done
}

states() { # STATE...: of the port, for all devices
	local state
	for state; do
		echo "$state" > $G/target_groups/tg/state || return
		sleep 0.3
	done
}

device_group() {
	echo 'create dg' > $T/device_groups/mgmt && echo 'create tg' > $G/target_groups/mgmt &&
		echo 'add scst_local_tgt' > $G/target_groups/tg/mgmt && echo 'add other_node' > $G/target_groups/tg/mgmt &&
		echo 'add null0' > $G/devices/mgmt && echo 'add file0' > $G/devices/mgmt && echo 'add blk0' > $G/devices/mgmt
}

explicit() { # DEV: the initiator sets the state, through the port in question
	local try
	echo 1 > $T/devices/file0/expl_alua || return
	for try in 1 2 3; do sg_raw "$1" 00 00 00 00 00 00 2> /dev/null; done # what it has to be told first
	sg_stpg --tp=0 --state=0 "$1" && [ "$(head -1 $G/target_groups/tg/state)" = active ]
}

read_all() { find $T -type f -perm -u=r -exec cat {} + > /dev/null; }

finished() { kill -INT "${loads[@]}" && wait && grep -q 'err= 0' "/tmp/fio-${1##*/}" && grep -q 'err= 0' "/tmp/fio-${2##*/}"; }

remove() {
	echo clear > $L/luns/mgmt && echo 'del_session scst_local_tgt host2' > $T/targets/scst_local/mgmt &&
		echo 'del_device file0' > $T/handlers/vdisk_fileio/mgmt &&
		echo 'del_device null0' > $T/handlers/vdisk_nullio/mgmt &&
		echo 'del_device blk0' > $T/handlers/vdisk_blockio/mgmt && losetup -d /dev/loop0
}

echo "KTAP version 1"
check "the modules load" load
check "devices and LUNs" devices
file=$(disk 1)
blk=$(disk 2)
check "disks appear" test -b "$file" -a -b "$blk"
load_disk "$file" 4k
load_disk "$blk" 64k
sleep 2
check "threads change under load" threads
check "LUN resets under load" sg_reset -d "$file"
check "resets of the other disk under load" sg_reset -d "$blk"
check "groups and a second session" groups
check "LUNs come, change and go under load" luns
check "a device group under load" device_group
check "states that initiators wait for or do not mind" states nonoptimized transitioning active
check "the load saw no error" finished "$file" "$blk"
check "every attribute can be read" read_all
check "states that close media" states standby active unavailable offline standby
check "an explicit change of state" explicit "$file"
check "members and groups go" eval "echo 'del file0' > $G/devices/mgmt && echo 'del dg' > $T/device_groups/mgmt"
check "all of it goes" remove
check "the modules unload" unload
echo "1..$n"
