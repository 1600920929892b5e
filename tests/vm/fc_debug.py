#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
# lab: kernel=kasan group=fc_debug fc=2 mem=3G timeout=600 soak=only allow=ODEBUG:.*kobject_delayed_cleanup|lib/debugobjects\.c|Call\sTrace:|possible\srecursive\slocking
"""Fibre Channel under KASAN, lockdep and atomic-sleep checks: what matters is what the kernel says.

The kernel's own gendisk does not get on with DEBUG_KOBJECT_RELEASE, and qla2xxx waits in qla24xx_do_nack_work() for work of the queue that this
runs on, when somebody logs in whose last session is just ending: these complaints, and only those, are allowed.
"""

from __future__ import annotations

import re

import fc
import fc_faults
import fc_ours
from lib import Suite, check, fio, sh

suite = Suite(fc_ours.setup, fc_ours.teardown, limit_s=200)
suite.expected = [re.compile(pattern) for pattern in (r"ODEBUG:.*kobject_delayed_cleanup", r"lib/debugobjects\.c", "Call Trace:",
                                                          "possible recursive locking")]


@suite.test("reads and verified writes")
def verified() -> None:
    fio(fc.wait_disk(0, 0), number_ios=200, size="64m")
    fio(fc.wait_disk(0, 1), rw="randwrite", bsrange="4k-1m", blockalign="4k", iodepth=16, size="8m", verify="crc32c",
        verify_fatal=1, randrepeat=0, serialize_overlap=1)


fc_faults.add(suite, few=True)


@suite.test("locks: nothing but what qla2xxx does with its own queue")
def locks() -> None:
    log = sh("dmesg").splitlines()
    for number, line in enumerate(log):
        if "possible recursive locking" in line:
            check(any("qla24xx_do_nack_work" in other for other in log[number:number + 70]), "\n".join(log[number:number + 70]))


suite.main()
