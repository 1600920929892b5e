#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
# lab: kernel=kasan group=fc_debug fc=2 mem=3G timeout=600 soak=only allow=ODEBUG:.*kobject_delayed_cleanup|lib/debugobjects\.c|Call\sTrace:
"""Fibre Channel under KASAN, lockdep and atomic-sleep checks: what matters is what the kernel says.

The kernel's own gendisk does not get on with DEBUG_KOBJECT_RELEASE: its complaint, and only that, is allowed.
"""

from __future__ import annotations

import re

import fc
import fc_faults
import fc_ours
from lib import Suite, fio

suite = Suite(fc_ours.setup, fc_ours.teardown, limit_s=200)
suite.expected = [re.compile(pattern) for pattern in (r"ODEBUG:.*kobject_delayed_cleanup", r"lib/debugobjects\.c", "Call Trace:")]


@suite.test("reads and verified writes")
def verified() -> None:
    fio(fc.wait_disk(0, 0), number_ios=200, size="64m")
    fio(fc.wait_disk(0, 1), rw="randwrite", bsrange="4k-1m", blockalign="4k", iodepth=16, size="8m", verify="crc32c",
        verify_fatal=1, randrepeat=0, serialize_overlap=1)


fc_faults.add(suite, few=True)
suite.main()
