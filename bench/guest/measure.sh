#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# Run fio over each stack and leave fio's JSON in the share, one file a job: STACK.HANDLER.RW.BS.QD.json.
#
#   measure.sh PLAN      a line of PLAN: STACK HANDLER RW BS QD COUNT
. /lab/guest/stacks.sh
plan=$1
out=$LAB_SHARE/fio
mkdir -p "$out"
last=
status=0

# run_fio RW BS QD COUNT [OPTION...]
run_fio() {
	fio --name=bench --filename="$disk" --ioengine=libaio --direct=1 --rw="$1" --bs="$2" --iodepth="$3" \
		--number_ios="$4" --norandommap --output-format=json "${@:5}"
}

# Around the I/O and nothing else: what fio does before depends on how fast the host is.
marks=()
[ ! -x /lab/mark ] || marks=(--exec_prerun="/lab/mark start" --exec_postrun="/lab/mark stop" --disk_util=0)
cd /tmp || exit

close() {
	[ -n "$last" ] || return
	[ ! -x /lab/mark ] || cat /proc/kallsyms > "$LAB_SHARE/kallsyms.${last/ /.}"
	"unstack_${last% *}" "${last#* }"
	last=
}

while read -r stack handler rw bs depth count; do
	if [ "$last" != "$stack $handler" ]; then
		close
		if ! "stack_$stack" "$handler"; then
			echo "bench: cannot set up $stack $handler"
			status=1
			continue
		fi
		last="$stack $handler"
		# Without this a disk with one queue gets mq-deadline, whose dispatch by a worker hides what is measured.
		echo none > "/sys/block/${disk#/dev/}/queue/scheduler"
		run_fio read 4k 1 100 > /dev/null # warm caches
	fi
	# How many I/Os share an interrupt depends on how busy the host is, unless it is all that are under way.
	case $stack in
	*_fc) fc_moderate $((depth > 1 ? 1000 : 0)) || status=1 ;;
	esac
	name=$stack.$handler.$rw.$bs.$depth
	run_fio "$rw" "$bs" "$depth" "$count" "${marks[@]}" > "/tmp/$name" || status=1
	cp "/tmp/$name" "$out/$name.json"
done < "$plan"
close
exit $status
