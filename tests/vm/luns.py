#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
# lab: group=disks timeout=200 soak=yes
"""LUN maps that change under load, and initiator groups that choose what a session sees."""

from __future__ import annotations

import contextlib
import time
from pathlib import Path

import scst
from lib import Fio, Suite, check, equal, note, scaled, sh, wait_until

_ROUNDS = scaled(30, 1000)


def setup() -> None:
    """A disk for the load, one that comes and goes."""
    scst.unload()
    scst.load()
    scst.image("/tmp/moving", 16)
    scst.add_device("vdisk_nullio", "steady", "size_mb=256")
    scst.add_device("vdisk_fileio", "moving", "filename=/tmp/moving")
    scst.add_lun("steady", 0)
    scst.wait_disk(0)


def teardown() -> None:
    """Leave nothing."""
    scst.clear()
    scst.unload()


suite = Suite(setup, teardown)


@suite.test(f"a LUN added and removed {_ROUNDS} times under load: no command to another LUN is refused", 300)
def storm() -> None:
    """That nothing stalls, with processors that run at the same time."""
    before, slowest, start = scst.failed(0), 0.0, time.monotonic()
    load = Fio(scst.wait_disk(0), iodepth=4, rate_iops=300, time_based=None, runtime=3600)
    try:
        for number in range(_ROUNDS):
            began = time.monotonic()
            scst.come_and_go("moving", 1 + number % 3, number % 2 == 0)
            slowest = max(slowest, time.monotonic() - began)
        check(load.running, "the load ended before the changes did")
    finally:
        load.stop()
    load.result()
    note(f"{_ROUNDS} changes in {time.monotonic() - start:.1f} s, slowest {slowest * 1000:.0f} ms")
    equal(scst.failed(0) - before, 0, "commands to the other LUN that were refused")


def _read(node: str) -> None:
    sh("dd", f"if={node}", "of=/dev/null", "bs=4096", "count=1", "iflag=direct", "status=none")


@suite.test("changed LUNs are told by the transport, or with aen_disabled by a unit attention")
def told() -> None:
    node, switch = scst.wait_disk(0), scst.TARGET / "aen_disabled"
    try:
        for disabled in (False, True):
            scst.put(switch, str(int(disabled)))
            before = scst.failed(0)
            scst.add_lun("moving", 1)
            if not disabled:
                scst.wait_disk(1)
            for _ in range(2):
                _read(node)
            equal(scst.failed(0) - before, int(disabled), f"commands refused, aen_disabled={int(disabled)}")
            if disabled:
                time.sleep(1)
                check(not scst.scsi_device(1).exists(), "a LUN was announced with aen_disabled")
            scst.put(scst.TARGET / "luns/mgmt", "del 1")
            if not disabled:
                scst.wait_gone(1)
    finally:
        scst.put(switch, "0")
    # What it was not told the initiator learns with the next change.
    scst.come_and_go("moving", 1, True)
    _read(node)


def _luns_seen(target: Path) -> list[int]:
    found = []
    for path in Path("/sys/class/scsi_device").glob(f"{scst.host_of(target)}:0:0:*"):
        with contextlib.suppress(ValueError):
            found.append(int(path.name.rsplit(":", 1)[1]))
    return sorted(found)


def _sees(target: Path, luns: list[int], what: str) -> None:
    try:
        wait_until(lambda: _luns_seen(target) == luns, 30, "")
    except Exception:
        equal(_luns_seen(target), luns, what)


@suite.test("groups with the patterns * ? ! choose what a session sees")
def patterns() -> None:
    for name in ("a", "b", "c", "d"):
        scst.add_device("vdisk_nullio", f"null_{name}", "size_mb=1")
    cases = [
        # members of group g1, session name, in the group
        (["host1"], "host1", True), (["host1"], "host12", False), (["host*"], "host12", True), (["host?"], "host1", True),
        (["host?"], "host12", False), (["*"], "any", True), (["h*2"], "host12", True), (["h*2"], "host13", False),
        (["!host1"], "host1", False), (["!host1"], "other", True), (["host*", "!host2"], "host2", True),
    ]
    for members, session, inside in cases:
        target = scst.add_target("pattern")
        scst.add_lun("null_a", 0, target / "luns")
        scst.put(target / "ini_groups/mgmt", "create g1")
        group = target / "ini_groups/g1"
        scst.add_lun("null_b", 4, group / "luns")
        for member in members:
            scst.put(group / "initiators/mgmt", f"add {member}")
        for old in (target / "sessions").iterdir():
            scst.put(scst.LOCAL / "mgmt", f"del_target_attribute pattern session_name {old.name}")
        scst.put(scst.LOCAL / "mgmt", f"add_target_attribute pattern session_name {session}")
        _sees(target, [4] if inside else [0], f"LUNs of '{session}' with group members {members}")
        link = (target / "sessions" / session / "luns").resolve()
        equal(link, (group if inside else target) / "luns", f"luns link of '{session}' with {members}")
        scst.put(scst.LOCAL / "mgmt", "del_target pattern")


@suite.test("an initiator that is added, moved and deleted takes its session to another group")
def move() -> None:
    target = scst.add_target("mover", "roamer")
    scst.add_lun("null_a", 0, target / "luns")
    groups = target / "ini_groups"
    for number, name in ((1, "g1"), (2, "g2")):
        scst.put(groups / "mgmt", f"create {name}")
        scst.add_lun("null_b", number, groups / name / "luns")
    _sees(target, [0], "LUNs at first")
    scst.put(groups / "g1/initiators/mgmt", "add roamer")
    _sees(target, [1], "LUNs after add to g1")
    scst.put(groups / "g1/initiators/mgmt", "move roamer g2")
    _sees(target, [2], "LUNs after move to g2")
    check((groups / "g2/initiators/roamer").exists(), "no roamer in g2/initiators")
    check(scst.write(groups / "mgmt", "del g2") != 0, "a group with a session was deleted")
    scst.put(groups / "g2/initiators/mgmt", "del roamer")
    _sees(target, [0], "LUNs after del")
    scst.put(groups / "mgmt", "del g2")
    scst.put(groups / "mgmt", "del g1")
    scst.put(scst.LOCAL / "mgmt", "del_target mover")


@suite.test("replace keeps the LUN and its I/O, and the initiator sees the other device")
def replace() -> None:
    scst.add_device("vdisk_nullio", "other", "size_mb=256")
    load = Fio(scst.wait_disk(0), iodepth=8, time_based=None, runtime=600, size="64m")
    try:
        for number in range(scaled(20, 400)):
            scst.put(scst.TARGET / "luns/mgmt", f"replace_no_ua {('other', 'steady')[number % 2]} 0")
        scst.put(scst.TARGET / "luns/mgmt", "replace other 0")
        equal((scst.TARGET / "luns/0/device").resolve().name, "other", "device of LUN 0")
        check(load.running, "the load ended")
    finally:
        load.stop()
    load.result()
    scst.put(scst.TARGET / "luns/mgmt", "replace steady 0")


_MANY = scaled(64, 1000)


@suite.test(f"{_MANY} LUNs are added, seen and cleared")
def many() -> None:
    start = time.monotonic()
    for lun in range(1, _MANY):
        scst.add_lun("null_c", lun)
    added = time.monotonic() - start
    wait_until(lambda: _luns_seen(scst.TARGET) == list(range(_MANY)), 0.5 * _MANY, "not all LUNs were seen")
    seen = time.monotonic() - start
    scst.put(scst.TARGET / "luns/mgmt", "clear")
    cleared = time.monotonic() - start - seen
    wait_until(lambda: not _luns_seen(scst.TARGET), 0.5 * _MANY, "LUNs left after clear")
    note(f"added in {added:.1f} s, all seen after {seen:.1f} s; cleared in {cleared:.1f} s, gone after "
         f"{time.monotonic() - start - seen:.1f} s")
    scst.add_lun("steady", 0)
    scst.wait_disk(0)


if __name__ == "__main__":
    suite.main()
