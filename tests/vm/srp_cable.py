#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
# lab: group=srpstorm cpus=1 timeout=240 mem=2G soak=yes
"""SRP: a cable is pulled while there is I/O, with and without another path."""

from __future__ import annotations

import time

import scst
import srp
import srp_target
from lib import Fio, check, equal, fio, note, scaled, wait_until
from srp import Multipath, Wire
from srp_target import Target

_LINKS = (Wire(0), Wire(1))


def setup(target: Target) -> None:
    """LUN 0 is a file, LUN 1 stores nothing, both through two ports."""
    target.add("fileio", "file0", 0, scst.image("/tmp/file0", 64), _LINKS)
    target.add("nullio", "null", 1, links=_LINKS)
    target.enable(*_LINKS)


plan = srp_target.Plan(setup, _LINKS)

# The usual 7 mean for ever to Soft-RoCE: an initiator with nothing to send would not notice a pull.
_PATIENCE = {"tl_retry_count": 2}


@plan.test("the cable of one of two paths is pulled and put back: no error, both paths work again")
def multipath_cable(target: Target) -> None:
    paths = [srp.login(link, **_PATIENCE) for link in _LINKS]
    device = Multipath("mp", *(host.disk(0) for host in paths))
    try:
        # No attempts without a link: after one whose queue pair cannot be made, which ib_srp of 7.2 makes before it has
        # drained the old one, the completions of that add requests to its free list twice (BUG in list_debug.c).
        for host in paths:
            host.set_timeouts(fast_io_fail=1, dev_loss=-1, reconnect=-1)
            host.set_command_timeout(0, 2)
        load = Fio(device.node, rw="randwrite", size="8m", verify="crc32c", verify_fatal=1, time_based=None, runtime=3600,
                   rate_iops=scaled(300, 1000000))
        try:
            for number in range(scaled(1, 20)):
                link, host = _LINKS[number % 2], paths[number % 2]
                link.pull()
                # An initiator that has sent all it had to waits for answers, and asks only when a command's time is up.
                host.wait_state("fail-fast", 60)
                wait_until(lambda: device.working() == 1, 60, "the path did not fail")
                time.sleep(0.5)
                check(load.running, "the load ended without a path")
                link.plug()
                host.set_timeouts(fast_io_fail=1, dev_loss=-1, reconnect=1)
                host.wait_state("running", 60)
                host.set_timeouts(fast_io_fail=1, dev_loss=-1, reconnect=-1)
                device.reinstate(host.disk(0))
                time.sleep(0.5)
                equal(device.working(), 2, "working paths")
            load.stop()
            load.result()
        finally:
            load.kill()
    finally:
        for link in _LINKS:
            link.plug()
        device.remove()
        srp.log_out()


@plan.test("the cable is pulled and stays out: I/O fails and the host goes within their time-outs")
def cable(target: Target) -> None:
    link = _LINKS[0]
    host = srp.login(link, **_PATIENCE)
    host.set_timeouts(fast_io_fail=1, dev_loss=4, reconnect=-1)
    host.set_command_timeout(1, 2)
    load = Fio(host.disk(1), time_based=None, runtime=3600)
    start = time.monotonic()
    link.pull()
    try:
        wait_until(lambda: not load.running, 60, "I/O goes on without a link")
        failed = time.monotonic() - start
        host.wait_gone()
        gone = time.monotonic() - start
        note(f"I/O failed after {failed:.1f} s (fast_io_fail_tmo 1), the host went after {gone:.1f} s (dev_loss_tmo 4)")
        load.result(errors=True)
    finally:
        load.kill()
        link.plug()
    wait_until(lambda: link.state() == "ACTIVE", 10, f"{link.device} is {link.state()}")
    with srp.logged_in(link) as again:
        fio(again.disk(1), number_ios=200)
    target.wait_idle()


if __name__ == "__main__":
    plan.main()
