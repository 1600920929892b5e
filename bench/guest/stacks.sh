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
	for try in {1..600}; do
		for dir in /sys/class/scsi_disk/*/device; do
			[ -e "$dir/model" ] || continue
			if [ "$(tr -d ' ' < "$dir/model")" = "$model" ]; then
				disk=/dev/$(ls "$dir/block")
				# The node of a disk that is still being added is there, and cannot be opened.
				[ -b "$disk" ] && (: < "$disk") 2> /dev/null && return 0
			fi
		done
		sleep 0.1
	done
	echo "no SCSI disk '$model' after a minute" >&2
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

# SRP: initiator and target on one rxe device over a dummy netdev. Both targets' modules are called ib_srpt.
srp_port=fe80:0000:0000:0000:0000:00ff:fe00:0001
srp_address=192.168.77.1

srp_link() {
	modprobe -a rdma_rxe dummy ib_srp || return
	ip link add dm0 address 02:00:00:00:00:01 type dummy && ip addr add $srp_address/24 dev dm0 &&
		ip link set dm0 up && rdma link add rxe0 type rxe netdev dm0
}
srp_unlink() { rdma link delete rxe0 && ip link delete dm0 && modprobe -r ib_srp; }

# only_disk PATTERN SECONDS WHAT: wait for the only disk whose block device is there in sysfs
only_disk() {
	local try
	for ((try = 0; try < $2 * 10; try++)); do
		for disk in $1; do
			disk=/dev/${disk##*/}
			[ -b "$disk" ] && (: < "$disk") 2> /dev/null && return 0
		done
		sleep 0.1
	done
	echo "no $3 disk after $2 s" >&2
	return 1
}

# srp_login [OPTION,...]: log in and wait for the only disk
srp_login() {
	local guid=000000fffe000001
	echo "id_ext=$guid,ioc_guid=$guid,dest=$srp_address:5555${1:+,$1}" > /sys/class/infiniband_srp/srp-rxe0-1/add_target || return
	only_disk '/sys/class/srp_remote_ports/port-*/device/../target*/*/block/*' 60 SRP
}
srp_logout() {
	local port
	for port in /sys/class/srp_remote_ports/*; do
		echo 1 > "$port/delete"
		while [ -e "$port" ]; do sleep 0.1; done
	done
	sleep 0.5
}

stack_lio_srp() {
	local core=$lio/core/rd_mcp_0/bench guid=${srp_port#fe80:0000:0000:0000:}
	local tpg=$lio/srpt/$guid/$guid
	srp_link && modprobe -a target_core_mod rdma_cm ib_cm &&
		insmod "/lib/modules/$(uname -r)/kernel/drivers/infiniband/ulp/srpt/ib_srpt.ko" || return
	mkdir -p /var/target/pr "$core" "$lio/srpt" && echo 5555 > "$lio/srpt/discovery_auth/rdma_cm_port" || return
	echo rd_pages=262144,rd_nullio=1 > "$core/control" && echo 1 > "$core/enable" &&
		mkdir "${tpg%/*}" "$tpg" "$tpg/lun/lun_0" "$tpg/acls/$srp_address" && ln -s "$core" "$tpg/lun/lun_0/bench" || return
	[ -e "$tpg/acls/$srp_address/lun_0" ] || {
		mkdir "$tpg/acls/$srp_address/lun_0" && ln -s "$tpg/lun/lun_0" "$tpg/acls/$srp_address/lun_0/bench"
	} || return
	echo 1 > "$tpg/enable" && srp_login
}
unstack_lio_srp() {
	local core=$lio/core/rd_mcp_0/bench guid=${srp_port#fe80:0000:0000:0000:}
	local tpg=$lio/srpt/$guid/$guid
	srp_logout
	echo 0 > "$tpg/enable"
	rm "$tpg/acls/$srp_address/lun_0/"[!sw]* "$tpg/lun/lun_0/bench"
	rmdir "$tpg/acls/$srp_address/lun_0" "$tpg/acls/$srp_address" "$tpg/lun/lun_0" "$tpg" "${tpg%/*}" "$lio/srpt" \
		"$core" "${core%/*}"
	modprobe -r ib_srpt
	srp_unlink
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

# backing HANDLER: what the handler needs below; its parameters go to $params
backing() {
	case $1 in
	nullio) params=size_mb=1024 ;;
	fileio) dd if=/dev/zero of=/tmp/bench.img bs=1M count=256 status=none && params=filename=/tmp/bench.img ;;
	blockio) modprobe null_blk nr_devices=1 gb=1 bs=512 && params=filename=/dev/nullb0 ;;
	esac
}
no_backing() {
	case $1 in
	fileio) rm -f /tmp/bench.img ;;
	blockio) modprobe -r null_blk ;;
	esac
}

stack_ours() {
	scst_load && backing "$1" && scst_add bench "vdisk_$1" "$params"
}
unstack_ours() {
	scst_del bench "vdisk_$1"
	scst_unload
	no_backing "$1"
}

stack_ours_srp() {
	local port=$tgt/targets/ib_srpt/$srp_port
	srp_link && modprobe -a scst scst_vdisk && modprobe ib_srpt rdma_cm_port=5555 && backing "$1" &&
		echo "add_device bench $params" > "$tgt/handlers/vdisk_$1/mgmt" && echo "add bench 0" > "$port/luns/mgmt" &&
		echo 1 > "$port/enabled" && srp_login
}
unstack_ours_srp() {
	local port=$tgt/targets/ib_srpt/$srp_port
	srp_logout
	echo 0 > "$port/enabled"
	echo "del 0" > "$port/luns/mgmt" && echo "del_device bench" > "$tgt/handlers/vdisk_$1/mgmt"
	rmmod ib_srpt scst_vdisk scst
	srp_unlink
	no_backing "$1"
}

# Fibre Channel: two adapters of one fabric, the first the initiator, the second the target.
fc_port=21:00:00:00:fc:00:00:02

# Who becomes a target while qla2xxx still logs in as an initiator may be left without a session: wait till the ports know each
# other, or had time to.
fc_link() {
	local try
	modprobe qla2xxx qlini_mode=exclusive || return
	for try in {1..60}; do
		[ "$(cat /sys/class/fc_remote_ports/*/port_state 2> /dev/null | grep -c Online)" = 2 ] && return
		sleep 0.1
	done
}
fc_unlink() { modprobe -r qla2xxx; }

# Wait for the only disk that is seen by FC
fc_disk() {
	only_disk '/sys/class/fc_remote_ports/rport-*/device/target*/*/block/*' 60 FC
}

# fc_moderate US: interrupts of the adapters may wait so long for more that they are for
fc_moderate() {
	local name answer=
	for name in /sys/class/virtio-ports/*/name; do
		[ "$(cat "$name")" != fabric ] || exec 9<> "/dev/$(basename "${name%/name}")"
	done
	echo "moderate us=$1" >&9 && read -r answer <&9
	exec 9>&-
	[ "$answer" = ok ]
}

stack_lio_fc() {
	local core=$lio/core/rd_mcp_0/bench tpg=$lio/qla2xxx/$fc_port/tpgt_1
	fc_link && modprobe -a target_core_mod tcm_qla2xxx || return
	mkdir -p /var/target/pr "$core" "$tpg/lun/lun_0" && echo rd_pages=262144,rd_nullio=1 > "$core/control" &&
		echo 1 > "$core/enable" && ln -s "$core" "$tpg/lun/lun_0/bench" &&
		echo 1 > "$tpg/attrib/generate_node_acls" && echo 1 > "$tpg/attrib/cache_dynamic_acls" &&
		echo 0 > "$tpg/attrib/demo_mode_write_protect" && echo 0 > "$tpg/attrib/demo_mode_login_only" &&
		echo 1 > "$tpg/enable" && fc_disk
}
unstack_lio_fc() {
	local core=$lio/core/rd_mcp_0/bench tpg=$lio/qla2xxx/$fc_port/tpgt_1
	echo 0 > "$tpg/enable"
	rm "$tpg/lun/lun_0/bench"
	rmdir "$tpg/lun/lun_0" "$tpg" "${tpg%/*}" "$lio/qla2xxx" "$core" "${core%/*}"
	modprobe -r tcm_qla2xxx
	fc_unlink
}

stack_ours_fc() {
	local port=$tgt/targets/qla2x00t/$fc_port
	fc_link && modprobe -a scst scst_vdisk qla2x00tgt && backing "$1" &&
		echo "add_device bench $params" > "$tgt/handlers/vdisk_$1/mgmt" && echo "add bench 0" > "$port/luns/mgmt" &&
		echo 1 > "$port/enabled" && fc_disk
}
unstack_ours_fc() {
	local port=$tgt/targets/qla2x00t/$fc_port
	echo 0 > "$port/enabled"
	echo "del 0" > "$port/luns/mgmt" && echo "del_device bench" > "$tgt/handlers/vdisk_$1/mgmt"
	rmmod qla2x00tgt scst_vdisk scst
	fc_unlink
	no_backing "$1"
}
