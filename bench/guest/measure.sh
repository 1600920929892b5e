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

run_fio() {
	fio --name=bench --filename="$disk" --ioengine=libaio --direct=1 --rw="$1" --bs="$2" --iodepth="$3" \
		--number_ios="$4" --norandommap --output-format=json
}

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
	name=$stack.$handler.$rw.$bs.$depth
	[ ! -x /lab/mark ] || /lab/mark start
	run_fio "$rw" "$bs" "$depth" "$count" > "/tmp/$name" || status=1
	[ ! -x /lab/mark ] || /lab/mark stop
	cp "/tmp/$name" "$out/$name.json"
done < "$plan"
close
exit $status
