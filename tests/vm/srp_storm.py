#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
# lab: group=srpstorm cpus=1 timeout=300 mem=2G soak=yes
"""SRP: resets, aborts, lost links and devices, all under load: everything ends, and no data is wrong.

Logouts and logins under load, with multipath on top, and resets of the host are in srp_blktests.py (011 and 014).
"""

from __future__ import annotations

import contextlib
import functools
import os
import time
from collections.abc import Iterator
from pathlib import Path

import scst
import srp
import srp_target
from lib import Fio, check, equal, fio, ios, note, scaled, sh, wait_until
from slowdisk import SlowDisk
from srp import Host, Link
from srp_target import Ours, Target

_LINKS = (Link(0), Link(1))
_slow = functools.cache(SlowDisk)


def setup(target: Target) -> None:
    """LUN 0 over a device that can be made slow, LUN 1 that stores nothing, both through two ports."""
    target.add("blockio", "slow", 0, _slow().device, _LINKS)
    target.add("nullio", "null", 1, links=_LINKS)
    target.enable(*_LINKS)


plan = srp_target.Plan(setup, _LINKS)


@contextlib.contextmanager
def _load(node: str, **options: object) -> Iterator[Fio]:
    """A load for as long as the block runs; it is killed if the block fails."""
    job = Fio(node, **{"time_based": None, "runtime": 3600, **options})
    try:
        yield job
    except BaseException:
        job.kill()
        raise
    job.stop()


def _outstanding(host: Host) -> Fio:
    """A load that has 32 commands of LUN 0 under way at every moment, as that is slow from now on."""
    _slow().set_delay(40)
    return Fio(host.disk(0), iodepth=32, time_based=None, runtime=3600)


def _stands(host: Host) -> None:
    """Wait until LUN 1 completes nothing any more, with commands under way."""
    done = [-1]

    def unchanged() -> bool:
        done.append(ios(host.disk(1)) - inflight())
        return done[-1] == done[-2] and inflight() > 0

    def inflight() -> int:
        return sum(map(int, Path(f"/sys/block/{os.path.basename(host.disk(1))}/inflight").read_text().split()))
    wait_until(unchanged, 20, "LUN 1 goes on")


def _verifying(node: str, **options: object) -> Fio:
    return Fio(node, **{"rw": "randwrite", "iodepth": 16, "size": f"{scaled(4, 8)}m", "verify": "crc32c", "verify_fatal": 1,
                        **options})


def _idle(host: Host) -> None:
    for lun in host.luns():
        inflight = Path(f"/sys/block/{os.path.basename(host.disk(lun))}/inflight")
        wait_until(lambda path=inflight: path.read_text().split() == ["0", "0"], 30, f"LUN {lun} has commands in flight")


@plan.test("LUN resets under a verifying load")
def lun_resets(target: Target) -> None:
    with srp.logged_in(ch_count=2) as host:
        node, sg = host.disk(0), host.disk(0, "scsi_generic")
        # A command that the reset ended without an answer is found by its time-out: the initiator forgets none by itself.
        host.set_command_timeout(0, 3)
        _slow().set_delay(20)
        load = _verifying(node, loops=100000)
        try:
            for _ in range(scaled(5, 300)):
                sh("sg_reset", "-d", sg, timeout=90)
                time.sleep(0.1)
            _slow().set_delay(0)
            # A loop writes all of it and then verifies it: all that was on its way is looked at.
            done, loop = ios(node), 2 * scaled(4, 8) * 256
            wait_until(lambda: not load.running or ios(node) > done + loop, 120, "the load does not go on")
            check(load.running, "the load ended")
        finally:
            _slow().set_delay(0)
            load.stop()
        load.result(180)
        _idle(host)


@plan.test("commands that time out are aborted, repeated, and right")
def timeouts(target: Target) -> None:
    with srp.logged_in() as host:
        node = host.disk(0)
        host.set_command_timeout(0, 1)
        load = _verifying(node, loops=2, iodepth=8)
        try:
            for _ in range(scaled(1, 20)):
                time.sleep(0.3)
                _slow().set_delay(1500)
                time.sleep(3)
                _slow().set_delay(0)
        finally:
            _slow().set_delay(0)
            load.result(240)
        _idle(host)


@plan.test("black_hole 4 drops data commands until they are aborted", only=("ours",))
def black_hole(target: Target) -> None:
    assert isinstance(target, Ours)
    place = target.port(_LINKS[0]) / "black_hole"
    with srp.logged_in(ch_count=2) as host:
        node = host.disk(1)
        host.set_command_timeout(1, 1)
        with _load(node, iodepth=16, size="16m") as load:
            for _ in range(scaled(1, 20)):
                scst.put(place, "4")
                time.sleep(2)
                scst.put(place, "0")
                time.sleep(1)
            check(load.running, "the load ended")
        load.result()
        _idle(host)


@plan.test("the target is disabled under load: it is done in time, and enabled again it serves the same host")
def disabled(target: Target) -> None:
    with srp.logged_in() as host:
        host.set_timeouts(fast_io_fail=1, dev_loss=-1, reconnect=3)
        load = _outstanding(host)
        try:
            start = time.monotonic()
            target.disable(_LINKS[0])
            target.wait_idle()
            note(f"disabled after {time.monotonic() - start:.1f} s")
            host.wait_state("fail-fast", 60)
            check(srp.try_login(_LINKS[0], initiator_ext="1") != 0, "a login to a disabled target succeeded")
            target.enable(_LINKS[0])
            host.wait_state("running", 60)
        finally:
            _slow().set_delay(0)
            load.stop()
        load.result(errors=True)
        fio(host.disk(1), number_ios=500)
        _idle(host)


@plan.test("the RDMA device is unplugged under load and comes back")
def unplugged(target: Target) -> None:
    link = _LINKS[1]
    host = srp.login(link)
    host.set_timeouts(fast_io_fail=1, dev_loss=-1, reconnect=-1)
    load = Fio(host.disk(1), iodepth=32, time_based=None, runtime=3600)
    if isinstance(target, Ours):
        # The target is told first, and ends the connection: the initiator's port is blocked when its host goes. It survives
        # that if commands are outstanding, as the host then waits for them until fast_io_fail_tmo has passed.
        scst.put(target.port(link) / "black_hole", "4")
        _stands(host)
    start = time.monotonic()
    sh("rdma", "link", "delete", link.device, timeout=90)
    host.wait_gone()
    note(f"gone after {time.monotonic() - start:.1f} s")
    load.result(errors=True)
    link.up()
    target.attach_again(link)
    with srp.logged_in(link) as again:
        fio(again.disk(1), number_ios=200)


@plan.test("the initiator's module is removed as soon as a logout under load lets it")
def module_removed(target: Target) -> None:
    for _ in range(scaled(1, 20)):
        host = srp.login(ch_count=2)
        load = _outstanding(host)
        check("in use" in sh("rmmod", "ib_srp", status=1), "ib_srp was removed while a disk was open")
        srp.start_logout(host)
        wait_until(lambda: not sh("rmmod", "ib_srp", timeout=60, status=None), 30, "rmmod ib_srp: in use")
        _slow().set_delay(0)
        load.result(errors=True)
        target.wait_idle()
        srp.load_initiator()
    with srp.logged_in() as host:
        fio(host.disk(1), number_ios=200)


@plan.test("after all that, data is right and nothing is left of the sessions")
def afterwards(target: Target) -> None:
    with srp.logged_in(ch_count=2) as host:
        _verifying(host.disk(0), loops=1, iodepth=32).result()
        _idle(host)
    target.wait_idle(_LINKS)


if __name__ == "__main__":
    plan.main()
