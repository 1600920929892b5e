#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
# lab: group=disks timeout=120 soak=yes
"""`max_tgt_dev_commands`: how many commands an initiator may have outstanding at a device."""

from __future__ import annotations

from pathlib import Path

import scst
from events import Trace
from lib import Fio, Suite, check, equal, note, scaled, sh, wait_until

_TASK_SET_FULL = 0x28
_DEFAULT = 64


def setup() -> None:
    """A disk that can hold commands, and one that has threads."""
    scst.unload()
    scst.load()
    scst.disk("vdisk_nullio", "held", 0, "size_mb=64")
    scst.image("/tmp/limited", 16)
    scst.disk("vdisk_fileio", "limited", 1, "filename=/tmp/limited")


def teardown() -> None:
    """Leave nothing."""
    scst.clear()
    scst.unload()


suite = Suite(setup, teardown)


def _limit(device: str, most: int) -> None:
    scst.put(scst.DEVICES / device / "max_tgt_dev_commands", str(most))


def _depth(lun: int, depth: int) -> None:
    (scst.scsi_device(lun) / "queue_depth").write_text(str(depth))


def _active(target: Path, lun: int) -> int:
    return sum(int(scst.get(path)) for path in (target / "sessions").glob(f"*/lun{lun}/active_commands"))


def _held(want: int, target: Path = scst.TARGET, lun: int = 0) -> tuple[int, int]:
    """How many commands the target has of an initiator that sends 128, none of which is answered; and how often it said
    TASK SET FULL. As many as one may WANT may take a while to come."""
    node, sg = scst.wait_disk(lun, target), scst.wait_disk(lun, target, "scsi_generic")
    for _ in range(3):  # unit attentions
        sh("sg_raw", sg, *["00"] * 6, status=None)
    scst.put(target / "black_hole", "4")
    with Trace() as trace:
        load = Fio(node, iodepth=128, number_ios=160, size="32m")
        seen = [0]

        def settled() -> bool:
            seen.append(_active(target, lun))
            return len(seen) > 20 and len(set(seen[-20:])) == 1 and seen[-1] >= want
        wait_until(settled, 60, f"the number of commands does not settle at {want} or more: {seen[-20:]}")
        scst.put(target / "black_hole", "0")
        sh("sg_reset", "-d", sg)
        load.result()
        wait_until(lambda: _active(target, lun) == 0, 30, "commands are left")
    trace.check_answers()
    return seen[-1], trace.count("cmd_responded", _TASK_SET_FULL)


@suite.test("by default the initiator's queue depth is the bound, and nothing is refused")
def default() -> None:
    equal(scst.get(scst.DEVICES / "held/max_tgt_dev_commands"), str(_DEFAULT), "max_tgt_dev_commands")
    equal(_held(_DEFAULT), (_DEFAULT, 0), "commands held, TASK SET FULL")


@suite.test("a lower limit holds, in force at once, for each initiator by itself")
def lower() -> None:
    other = scst.add_target("other_tgt", "other")
    scst.add_lun("held", 0, other / "luns")
    for most, target in ((1, scst.TARGET), (17, scst.TARGET), (17, other)):
        _limit("held", most)
        held, refused = _held(most, target)
        equal(held, most, f"commands held of {target.name}")
        check(refused, "TASK SET FULL was never said")
    scst.put(scst.LOCAL / "mgmt", "del_target other_tgt")
    _limit("held", _DEFAULT)
    equal(_held(_DEFAULT), (_DEFAULT, 0), "commands held, TASK SET FULL, without the limit")


@suite.test("a larger queue depth of the initiator meets the limit, and goes as far as it is raised")
def deeper() -> None:
    _depth(0, 128)
    held, refused = _held(_DEFAULT)
    equal(held, _DEFAULT, "commands held")
    check(refused, "TASK SET FULL was never said")
    _limit("held", 128)
    equal(_held(128), (128, 0), "commands held, TASK SET FULL, with a limit of 128")
    _limit("held", _DEFAULT)
    _depth(0, _DEFAULT)


@suite.test("a limit that changes under load: no error, no wrong data, never more than allowed")
def load() -> None:
    node = scst.wait_disk(1)
    _limit("limited", 3)
    with Trace() as trace:
        Fio(node, rw="randwrite", iodepth=32, number_ios=512, size="2m", verify="crc32c", verify_fatal=1).result()
    trace.check_answers()
    running: set[int] = set()
    most = 0
    for event in trace.events:
        if event.name == "cmd_executing":
            running.add(event.tag)
            most = max(most, len(running))
        elif event.name == "cmd_responded":
            running.discard(event.tag)
    note(f"{trace.count('cmd_responded', _TASK_SET_FULL)} times TASK SET FULL, {most} commands executed at a time")
    check(most <= 3, f"{most} commands were executed at a time")
    background = Fio(node, rw="randwrite", iodepth=32, loops=100000, size="1m", verify="crc32c", verify_fatal=1)
    try:
        for most in (1, 64, 2, 1000, 5, 64) * scaled(2, 50):
            _limit("limited", most)
            sh("sleep", "0.1")
        check(background.running, "the load ended")
    finally:
        background.stop()
        background.result()
    wait_until(lambda: _active(scst.TARGET, 1) == 0, 30, "commands are left")
    # What was counted under one limit has left by now: the next one lets its full number in.
    _limit("limited", 7)
    equal(_held(7, lun=1)[0], 7, "commands held")
    _limit("limited", _DEFAULT)


if __name__ == "__main__":
    suite.main()
