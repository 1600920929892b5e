#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# lab: group=disks timeout=60 drives=scratch:32
#
# The machine itself: what every other test takes for granted.
count=0
result() { # STATUS NAME
	count=$((count + 1))
	if [ "$1" = 0 ]; then echo "ok $count - $2"; else echo "not ok $count - $2"; fi
}
echo "KTAP version 1"
echo "1..5"
[ "$(uname -r)" != "" ] && [ -d /sys/kernel/config ] && [ -d /sys/kernel/debug/block ]
result $? "configfs and debugfs are mounted"
[ -b /dev/disk/lab/scratch ]
result $? "the drive that the test asked for is there"
modprobe scsi_debug dev_size_mb=8 && sleep 1 && lsscsi | grep -q scsi_debug
result $? "a module of the stock kernel loads and its disk appears"
sg_inq "$(lsscsi | awk '/scsi_debug/ { print $NF }')" | grep -q scsi_debug
result $? "sg3_utils talk to it"
mkfs.ext4 -q /dev/disk/lab/scratch && mount /dev/disk/lab/scratch /mnt && umount /mnt && fsck.ext4 -fn /dev/disk/lab/scratch > /dev/null
result $? "ext4 is made, mounted and checked on a drive"
modprobe -r scsi_debug
exit 0
