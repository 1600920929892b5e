#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
# lab: kernel=debug group=debug mem=2G timeout=400 allow=ODEBUG:.*kobject_delayed_cleanup|lib/debugobjects\.c|Call\sTrace:
"""SRP once through under lockdep, slab poisoning, atomic-sleep checks and kmemleak: what matters is what the kernel says.

The kernel's own gendisk does not get on with DEBUG_KOBJECT_RELEASE: its complaint, and only that, is allowed.
"""

from __future__ import annotations

import re

import srp
import srp_hostile as hostile
import srp_target
from lib import Fio, check, equal, fio, scaled, sh
from srp import Link
from srp_target import Target

_LINK = Link(0)

plan = srp_target.Plan(hostile.setup, limit_s=200, keep_links=True)
plan.suite.expected = [re.compile(pattern) for pattern in (r"ODEBUG:.*kobject_delayed_cleanup", r"lib/debugobjects\.c",
                                                           "Call Trace:")]


@plan.test("login, scan, verified I/O, logout, again and again")
def cycles(target: Target) -> None:
    for number in range(scaled(3, 50)):
        with srp.logged_in(_LINK, ch_count=1 + number % 4, initiator_ext="77") as host:
            equal(host.luns(), [0, 1, 2], "LUNs")
            fio(host.disk(2), rw="randwrite", bsrange="4k-64k", blockalign="4k", size="2m", iodepth=16, verify="crc32c",
                verify_fatal=1, serialize_overlap=1)
            fio(host.disk(1), rw="randrw", bs="256k", iodepth=8, number_ios=40)


@plan.test("resets of a LUN and of the host under load")
def resets(target: Target) -> None:
    with srp.logged_in(_LINK, ch_count=2, initiator_ext="77") as host:
        host.set_command_timeout(2, 3)
        load = Fio(host.disk(2), rw="randwrite", iodepth=8, size="2m", time_based=None, runtime=3600)
        try:
            for option in ("-d", "-H"):
                sh("sg_reset", option, host.disk(1, "scsi_generic"), timeout=90)
                sh("sg_reset", option, host.disk(2, "scsi_generic"), timeout=90)
            check(load.running, "the load ended")
        finally:
            load.stop()
        load.result()


for _trick in (hostile.logins, hostile.half_open, hostile.truncated, hostile.counts, hostile.formats, hostile.wrong_memory,
               hostile.credits, hostile.duplicates, hostile.logout, hostile.vanished):
    plan.test(f"a hostile initiator: {_trick.__name__}")(_trick)
plan.test("sessions come and go as ever")(hostile.afterwards)


if __name__ == "__main__":
    plan.main()
