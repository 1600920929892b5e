#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
# lab: kernel=debug group=debug mem=2G timeout=400 soak=yes allow=ODEBUG:.*kobject_delayed_cleanup|lib/debugobjects\.c|Call\sTrace:
"""SRP once through under lockdep, slab poisoning, atomic-sleep checks and kmemleak: what matters is what the kernel says.

The kernel's own gendisk does not get on with DEBUG_KOBJECT_RELEASE: its complaint, and only that, is allowed.
"""

from __future__ import annotations

import re
import time

import srp
import srp_hostile as hostile
import srp_target
from lib import LONG, Fio, check, equal, fio, note, scaled, sh
from srp import Link
from srp_target import Target

_LINK = Link(0)

EXPECTED = [re.compile(pattern) for pattern in (r"ODEBUG:.*kobject_delayed_cleanup", r"lib/debugobjects\.c", "Call Trace:")]

plan = srp_target.Plan(hostile.disks, limit_s=200, keep_links=True)
plan.suite.expected = EXPECTED


@plan.test("login, scan, I/O, logout, again and again")
def cycles(target: Target) -> None:
    start = time.monotonic()
    count = scaled(3, 50 if target.shared else 500)
    for number in range(count):
        with srp.logged_in(_LINK, ch_count=1 + number % 4, initiator_ext="77") as host:
            node = host.disk(1)
            equal(host.luns(), [0, 1, 2], "LUNs")
            with open(node, "rb", buffering=0) as disk:
                check(len(disk.read(65536)) == 65536, f"cycle {number}: short read")
    note(f"{count} cycles in {time.monotonic() - start:.1f} s")


@plan.test("verified I/O")
def verified(target: Target) -> None:
    with srp.logged_in(_LINK, ch_count=4, initiator_ext="77") as host:
        for sizes, depth, count in (("4k-16k", 16, 40), ("64k-1m", 4, 6)):
            fio(host.disk(2), rw="randwrite", bsrange=sizes, blockalign="4k", size="3m", iodepth=depth, number_ios=count,
                verify="crc32c", verify_fatal=1, serialize_overlap=1)


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


@plan.test("a hostile initiator: half-open logins")
def half_open(target: Target) -> None:
    hostile.witness.begin(rate=20)
    start = time.monotonic()
    # The CMs take messages one after the other, and this kernel a good while for a login: of many at a time those that
    # wait are sent again and again, until nobody gets an answer in time.
    batches, each = scaled(1, 20), scaled(6, 25)
    for _ in range(batches):
        hostile.abandon(each)
    note(f"{batches * each} half-open logins in {time.monotonic() - start:.0f} s")


# In the short form those that end connections with something under way; the others are the parser's business.
for _trick in (hostile.logins, hostile.truncated, *((hostile.counts, hostile.formats, hostile.credits) if LONG else ()),
               hostile.wrong_memory, hostile.duplicates, hostile.logout, hostile.vanished):
    plan.test(f"a hostile initiator: {_trick.__name__}")(_trick)


@plan.test("the well-behaved session was none the worse for it")
def afterwards(target: Target) -> None:
    hostile.witness.check()
    hostile.witness.end()
    target.wait_idle()


if __name__ == "__main__":
    plan.main()
