#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
# lab: group=srp cpus=1 timeout=240 soak=yes
"""SRP: login, scan, I/O, logout, over and over, and the modules unload; with a receive queue a channel and a shared one."""

from __future__ import annotations

import time

import srp
import srp_target
from lib import check, equal, fio, note, scaled
from srp_target import Target


def setup(target: Target) -> None:
    """One disk that stores nothing."""
    target.add("nullio", "null0", 0)
    target.enable(srp.Link(0))


plan = srp_target.Plan(setup, shared=True)


@plan.test("login, scan, I/O, logout, again and again")
def cycles(target: Target) -> None:
    count = scaled(3, 500)
    start = time.monotonic()
    for number in range(count):
        with srp.logged_in() as host:
            node = host.disk()
            equal(host.luns(), [0], "LUNs")
            with open(node, "rb", buffering=0) as disk:
                check(len(disk.read(65536)) == 65536, f"cycle {number}: short read")
    note(f"{count} cycles in {time.monotonic() - start:.1f} s")
    target.wait_idle()


@plan.test("four channels")
def channels(target: Target) -> None:
    with srp.logged_in(ch_count=4) as host:
        equal(host.attribute("ch_count"), "4", "channels")
        record = fio(host.disk(), rw="randread", iodepth=128, number_ios=scaled(1000, 100000))
        note(f"{record['read']['iops']:.0f} IOPS")


if __name__ == "__main__":
    plan.main()
