#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# Runs in the debug kernel: the KUnit suites of a module run when it is loaded and report in the kernel log.
status=0
for module in /lab/modules/*.ko; do
	modprobe "$(basename "$module" .ko)" || status=1
done
for module in scst_kunit ib_srpt scst_local scst_vdisk scst; do
	[ ! -d "/sys/module/$module" ] || rmmod "$module" || status=1
done
exit $status
