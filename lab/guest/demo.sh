#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# What a user does: make three devices, show them to an initiator by SRP and use them there, then by the local target.
. /lab/guest/stacks.sh
set -e

names=(null0 file0 blk0)
port=$tgt/targets/ib_srpt/$srp_port
local=$tgt/targets/scst_local/scst_local_tgt

# add_luns TARGET: the devices as LUN 0, 1 and 2
add_luns() {
	local lun
	for lun in "${!names[@]}"; do
		echo "add ${names[lun]} $lun" > "$1/luns/mgmt"
	done
}

verify() {
	wait_for_model "$1"
	fio --name="$1" --filename="$disk" --ioengine=libaio --direct=1 --rw=randwrite --bs=16k --iodepth=16 --size=16M \
		--verify=crc32c --verify_fatal=1 --do_verify=1 --randrepeat=1 --eta=never --output=/tmp/verify.txt
	echo "  $1 ($disk): 16 MiB written and read back, crc32c clean"
}

use() {
	for disk in "${names[@]}"; do
		wait_for_model "$disk"
	done
	lsscsi
	verify file0
	verify blk0
	wait_for_model null0
	dd if="$disk" of=/dev/null bs=1M count=16 iflag=direct status=none
	echo "  null0 ($disk): 16 MiB read"
}

truncate -s 256M /tmp/file0.img
srp_link
modprobe -a scst scst_vdisk
modprobe ib_srpt rdma_cm_port=5555
echo "add_device null0 size_mb=1024" > $tgt/handlers/vdisk_nullio/mgmt
echo "add_device file0 filename=/tmp/file0.img" > $tgt/handlers/vdisk_fileio/mgmt
echo "add_device blk0 filename=$(readlink -f /dev/disk/lab/data)" > $tgt/handlers/vdisk_blockio/mgmt

echo "$(head -1 $tgt/version): disks over SRP, from ib_srpt to ib_srp through Soft-RoCE"
add_luns "$port"
echo 1 > "$port/enabled"
login=$(sed 's/tid_ext=/id_ext=/;s/,\(pkey\|dgid\|service_id\)=[^,]*//g' "$port/login_info")
echo "  logging in with $login,dest=$srp_address:5555"
echo "$login,dest=$srp_address:5555" > /sys/class/infiniband_srp/srp-rxe0-1/add_target
use
for session in "$port"/sessions/*/; do
	echo "  session $(basename "$session"): $(cat "$session/ch_state"), req_lim $(cat "$session/req_lim")," \
		"$(cat "$session/read_io_count_kb") KiB read, $(cat "$session/write_io_count_kb") KiB written"
done
srp_logout
echo 0 > "$port/enabled"
rmmod ib_srpt
srp_unlink
echo "  logged out, ib_srpt unloaded"

echo "The same disks of this machine's own, through scst_local"
modprobe scst_local
add_luns "$local"
use
echo clear > "$local/luns/mgmt"
for name in "${names[@]}"; do
	echo "del_device $name" > "$tgt/devices/$name/handler/mgmt"
done
scst_unload
echo "  all taken down, modules unloaded"
