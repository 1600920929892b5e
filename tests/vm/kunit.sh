#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# lab: kernel=debug group=debug mem=2G timeout=200 append=kunit.enable=1,kunit.autorun=1,log_buf_len=4M
#
# The KUnit suites: they run when their module is loaded, and report in the kernel log.
before=$(dmesg | wc -l)
modprobe scst_kunit || exit
dmesg | tail -n +"$((before + 1))" | sed 's/^\[[^]]*\] \?//' | grep -E '^ *(KTAP version|[0-9]+\.\.[0-9]+|(not )?ok [0-9]|#)'
rmmod scst_kunit scst
