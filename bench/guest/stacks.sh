# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash
#
# Make one disk of each stack, by hand as a user would. Each stack_* function leaves the disk's device node in $disk;
# each unstack_* takes it down again. Sourced in the guest.

tgt=/sys/kernel/scst_tgt
lio=/sys/kernel/config/target

# A host is in use for as long as the kernel takes to drop its last disk, which goes on after `del` has returned.
scst_unload() {
	local try
	for try in {1..60}; do
		modprobe -r scst_local 2> /dev/null && break
		sleep 0.25
	done
	modprobe -r scst_local scst_vdisk scst
}

# Wait until a SCSI disk with this model exists; its node goes to $disk.
wait_for_model() {
	local model=$1 dir try
	for try in {1..100}; do
		for dir in /sys/class/scsi_disk/*/device; do
			[ -e "$dir/model" ] || continue
			if [ "$(tr -d ' ' < "$dir/model")" = "$model" ]; then
				disk=/dev/$(ls "$dir/block")
				[ -b "$disk" ] && return 0
			fi
		done
		sleep 0.1
	done
	echo "no SCSI disk '$model' after 10 s" >&2
	return 1
}

stack_null_blk() {
	modprobe null_blk nr_devices=1 gb=1 bs=512 && disk=/dev/nullb0
}
unstack_null_blk() { modprobe -r null_blk; }

stack_scsi_debug() {
	modprobe scsi_debug fake_rw=1 delay=0 dev_size_mb=8 virtual_gb=1 && wait_for_model scsi_debug
}
unstack_scsi_debug() { modprobe -r scsi_debug; }

stack_lio() {
	modprobe -a target_core_mod tcm_loop || return
	mkdir -p /var/target/pr "$lio/core/rd_mcp_0/bench" "$lio/loopback/naa.5001405000000001/tpgt_1"
	echo rd_pages=262144,rd_nullio=1 > "$lio/core/rd_mcp_0/bench/control"
	echo 1 > "$lio/core/rd_mcp_0/bench/enable"
	echo naa.5001405000000002 > "$lio/loopback/naa.5001405000000001/tpgt_1/nexus"
	mkdir "$lio/loopback/naa.5001405000000001/tpgt_1/lun/lun_0"
	ln -s "$lio/core/rd_mcp_0/bench" "$lio/loopback/naa.5001405000000001/tpgt_1/lun/lun_0/bench"
	wait_for_model RAMDISK-MCP
}
unstack_lio() {
	local tpg=$lio/loopback/naa.5001405000000001/tpgt_1
	rm "$tpg/lun/lun_0/bench"
	rmdir "$tpg/lun/lun_0" "$tpg" "${tpg%/*}" "$lio/loopback" "$lio/core/rd_mcp_0/bench" "$lio/core/rd_mcp_0"
	modprobe -r tcm_loop
}

# ours NAME HANDLER PARAMETERS: one virtual disk on the local target
scst_load() { modprobe -a scst scst_vdisk scst_local; }
scst_add() {
	echo "add_device $1 $3" > "$tgt/handlers/$2/mgmt" &&
		echo "add $1 ${4:-0}" > "$tgt/targets/scst_local/scst_local_tgt/luns/mgmt" && wait_for_model "$1"
}
scst_del() {
	echo "del ${3:-0}" > "$tgt/targets/scst_local/scst_local_tgt/luns/mgmt" &&
		echo "del_device $1" > "$tgt/handlers/$2/mgmt"
}
stack_ours() {
	scst_load || return
	case ${1:-nullio} in
	nullio) scst_add bench vdisk_nullio "size_mb=1024" ;;
	fileio) dd if=/dev/zero of=/tmp/bench.img bs=1M count=256 status=none && scst_add bench vdisk_fileio "filename=/tmp/bench.img" ;;
	blockio) modprobe null_blk nr_devices=1 gb=1 bs=512 && scst_add bench vdisk_blockio "filename=/dev/nullb0" ;;
	esac
}
unstack_ours() {
	scst_del bench "vdisk_${1:-nullio}"
	scst_unload
	case ${1:-nullio} in
	fileio) rm -f /tmp/bench.img ;;
	blockio) modprobe -r null_blk ;;
	esac
}
