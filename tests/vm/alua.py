#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
# lab: group=scsi timeout=240
"""Device groups and ALUA: the tree, management, what each state serves, and who is told of what."""

from __future__ import annotations

import errno
import os
import re
import struct
from pathlib import Path
from typing import Optional

import mgmt
import recording
import scst
import sg
from lib import DATA, Kmsg, Suite, Uevents, check, equal, no_differences, sh

_SECOND = scst.LOCAL / "second_tgt"
_DG = scst.GROUPS / "dg1"
_HERE = _DG / "target_groups/tgA"
_THERE = _DG / "target_groups/tgB"
_STATES = ("active", "nonoptimized", "standby", "unavailable", "offline", "transitioning")
_log: Optional[Kmsg] = None


def setup() -> None:
    """Two targets for the same devices, no group yet, and no handler in the initiator that hides what it is told."""
    global _log  # pylint: disable=global-statement
    scst.clear()
    scst.unload()
    sh("rmmod", "scsi_dh_alua", status=None)
    scst.load()
    Path("/sys/module/scst/parameters/alua_invariant_check").write_text("Y")
    _log = Kmsg()
    scst.image("/tmp/disk01", 64)
    scst.add_device("vdisk_nullio", "null0", "size_mb=64")
    scst.add_device("vdisk_fileio", "disk01", "filename=/tmp/disk01")
    scst.add_device("vdisk_nullio", "outside", "size_mb=64")
    scst.add_target("second_tgt", "second_host")


def teardown() -> None:
    """Leave nothing."""
    scst.clear()
    scst.unload()


suite = Suite(setup, teardown)


def _recorded_groups() -> None:
    """What the recording shows."""
    scst.add_target("fe80:0000:0000:0000:0000:00ff:fe00:0001")
    scst.add_device_group("dg1", ("disk01", "null0"))
    scst.add_target_group("dg1", "tgA", 101, "active", ("fe80:0000:0000:0000:0000:00ff:fe00:0001", "scst_local_tgt"))
    scst.put(_HERE / "preferred", "1")
    scst.add_target_group("dg1", "tgB", 102, "nonoptimized", ("remote_node_tgt",))
    scst.put(_THERE / "remote_node_tgt/rel_tgt_id", "77")


@suite.test("device groups are in the tree as recorded")
def tree() -> None:
    listed = recording.Differences("groups")
    _recorded_groups()
    live = {str(scst.GROUPS): ("d", 0o755, ""), **scst.snapshot(scst.GROUPS)}
    found = [*recording.compare(recording.tree("sysfs-groups.txt"), live, listed), *listed.unused()]
    no_differences(found)


_LONG = "x" * 300
_BAD = [
    ("mgmt", "create dg1", errno.EEXIST),
    ("mgmt", "create mgmt", errno.EEXIST),
    ("mgmt", "create", errno.EINVAL),
    ("mgmt", "create a/b", errno.EINVAL),
    ("mgmt", "create a b", errno.EINVAL),
    ("mgmt", f"create {_LONG}", errno.EINVAL),
    ("mgmt", "del nosuch", errno.EINVAL),
    ("mgmt", "del", errno.EINVAL),
    ("mgmt", "make dg2", errno.EINVAL),
    ("mgmt", "", errno.EINVAL),
    ("dg1/devices/mgmt", "add nosuch", errno.EINVAL),
    ("dg1/devices/mgmt", "add disk01", errno.EEXIST),
    ("dg2/devices/mgmt", "add disk01", errno.EEXIST),
    ("dg2/devices/mgmt", "del disk01", errno.EINVAL),
    ("dg1/devices/mgmt", "del outside", errno.EINVAL),
    ("dg1/devices/mgmt", "del nosuch", errno.EINVAL),
    ("dg1/devices/mgmt", "add", errno.EINVAL),
    ("dg1/devices/mgmt", "add outside 1", errno.EINVAL),
    ("dg1/devices/mgmt", "create outside", errno.EINVAL),
    ("dg1/target_groups/mgmt", "create tgA", errno.EEXIST),
    ("dg1/target_groups/mgmt", "create ..", errno.EINVAL),
    ("dg1/target_groups/mgmt", "create mgmt", errno.EEXIST),
    ("dg1/target_groups/mgmt", "del nosuch", errno.EINVAL),
    ("dg1/target_groups/tgA/mgmt", "add scst_local_tgt", errno.EEXIST),
    ("dg1/target_groups/tgB/mgmt", "add scst_local_tgt", errno.EEXIST),
    ("dg1/target_groups/tgA/mgmt", "add remote_node_tgt", errno.EEXIST),
    ("dg1/target_groups/tgA/mgmt", "add state", errno.EEXIST),
    ("dg1/target_groups/tgA/mgmt", "del remote_node_tgt", errno.EINVAL),
    ("dg1/target_groups/tgA/mgmt", "del second_tgt", errno.EINVAL),
    ("dg1/target_groups/tgA/mgmt", "clear", errno.EINVAL),
    ("dg1/target_groups/tgA/group_id", "65536", errno.EINVAL),
    ("dg1/target_groups/tgA/group_id", "-1", errno.EINVAL),
    ("dg1/target_groups/tgA/group_id", "", errno.EINVAL),
    ("dg1/target_groups/tgA/preferred", "2", errno.EINVAL),
    ("dg1/target_groups/tgA/preferred", "yes", errno.EINVAL),
    ("dg1/target_groups/tgA/state", "bogus", errno.EINVAL),
    ("dg1/target_groups/tgA/state", "", errno.EINVAL),
    ("dg1/target_groups/tgA/state", "ACTIVE", errno.EINVAL),
    ("dg1/target_groups/tgA/state", "lba-dependent", errno.EINVAL),
    ("dg1/target_groups/tgB/remote_node_tgt/rel_tgt_id", "65536", errno.EINVAL),
    ("dg1/target_groups/tgB/remote_node_tgt/rel_tgt_id", "x", errno.EINVAL),
]


@suite.test("bad input is refused with the right errno and one log line, and changes nothing")
def bad() -> None:
    scst.add_device_group("dg2")
    watch = mgmt.Watch()
    problems = []
    for path, data, want in _BAD:
        problems += watch.refusal(scst.GROUPS / path, data, want)
    for path in scst.GROUPS.rglob("mgmt"):
        problems += watch.refusal(path, os.urandom(4096), errno.EINVAL)
    no_differences([*problems, *watch.changed()], 80)
    scst.put(scst.GROUPS / "mgmt", "del dg2")


@suite.test("what is in a group may go, in any order, and what is deleted with the group is free again")
def going() -> None:
    scst.put(scst.LOCAL / "mgmt", "del_target fe80:0000:0000:0000:0000:00ff:fe00:0001")
    equal(sorted(path.name for path in _HERE.iterdir()), ["group_id", "mgmt", "preferred", "scst_local_tgt", "state"],
          "tgA without the target that was deleted")
    scst.add_device("vdisk_nullio", "short", "size_mb=1")
    scst.put(_DG / "devices/mgmt", "add short")
    scst.del_device("short")
    equal(sorted(path.name for path in (_DG / "devices").iterdir()), ["disk01", "mgmt", "null0"], "devices of dg1")
    scst.put(_DG / "devices/mgmt", "del null0")
    scst.put(_DG / "target_groups/mgmt", "del tgB")
    scst.put(scst.GROUPS / "mgmt", "del dg1")
    check(not _DG.exists(), "dg1 is still there")
    # Nothing holds on to the devices and targets.
    _recorded_groups()
    scst.put(scst.GROUPS / "mgmt", "del dg1")
    scst.put(scst.LOCAL / "mgmt", "del_target fe80:0000:0000:0000:0000:00ff:fe00:0001")


def _sg(lun: int, target: Path = scst.TARGET) -> str:
    return scst.wait_disk(lun, target, "scsi_generic")


def _outcome(node: str, cdb: str, into: int = 0, out: bytes = b"") -> str:
    """`good`, or what the additional sense says."""
    return sg.command(node, cdb, into, out).words()


_TUR = "00 00 00 00 00 00"
_RTPG = "a3 0a 00 00 00 00 00 00 04 00 00 00"
# Command, data-in, data-out, and in how many of active, standby, unavailable, transitioning it is served.
_COMMANDS: list[tuple[str, int, bytes, int]] = [
    (_TUR, 0, b"", 1),
    ("28 00 00 00 00 00 00 00 01 00", 512, b"", 1),
    ("88 00 00 00 00 00 00 00 00 00 00 00 00 01 00 00", 512, b"", 1),
    ("2a 00 00 00 00 00 00 00 01 00", 0, bytes(512), 1),
    ("35 00 00 00 00 00 00 00 00 00", 0, b"", 1),
    ("2f 00 00 00 00 00 00 00 01 00", 0, b"", 1),
    ("91 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00", 0, b"", 1),
    ("1b 00 00 00 01 00", 0, b"", 1),
    ("1a 00 3f 00 c0 00", 192, b"", 2),
    ("25 00 00 00 00 00 00 00 00 00", 8, b"", 2),
    ("9e 10 00 00 00 00 00 00 00 00 00 00 00 20 00 00", 32, b"", 2),
    ("a3 0c 00 00 00 00 00 00 08 00 00 00", 2048, b"", 2),
    ("12 00 00 00 60 00", 96, b"", 4),
    ("12 01 83 00 ff 00", 255, b"", 4),
    ("03 00 00 00 12 00", 18, b"", 4),
    ("a0 00 00 00 00 00 00 00 00 40 00 00", 64, b"", 4),
    (_RTPG, 1024, b"", 4),
]
_REFUSALS = {
    "standby": (1, "Logical unit not accessible, target port in standby state"),
    "unavailable": (2, "Logical unit not accessible, target port in unavailable state"),
    "offline": (2, "Logical unit not accessible, target port in unavailable state"),
    "transitioning": (3, "Logical unit not accessible, asymmetric access state transition"),
}
_CHANGED = "Asymmetric access state changed"
_INQUIRY_CHANGED = "Inquiry data has changed"
# Logical units: (target, LUN). LUN 2 is in no group.
_ALL = [(target, lun) for target in (scst.TARGET, _SECOND) for lun in (0, 1, 2)]


def _build() -> None:
    """The two targets in two groups, a third of another node; three LUNs through both."""
    for number, target in enumerate((scst.TARGET, _SECOND), 1):
        scst.put(target / "rel_tgt_id", str(number))
        for lun, name in enumerate(("null0", "disk01", "outside")):
            scst.add_lun(name, lun, target / "luns")
    for target, lun in _ALL:
        scst.wait_disk(lun, target)
    scst.add_device_group("dg1", ("null0", "disk01"))
    scst.add_target_group("dg1", "tgA", 5, "active", ("scst_local_tgt",))
    scst.add_target_group("dg1", "tgB", 6, "", ("second_tgt",))
    scst.add_target_group("dg1", "tgC", 7, "", ("remote_tgt",))
    scst.put(_DG / "target_groups/tgC/remote_tgt/rel_tgt_id", "33")
    _attentions()


def _attentions() -> dict[tuple[str, int], list[str]]:
    """The unit attentions that wait at each logical unit, which are gone after this."""
    found = {}
    events = Uevents()
    for target, lun in _ALL:
        here = []
        while True:
            outcome = _outcome(_sg(lun, target), _TUR)
            if outcome == "good" or "not accessible" in outcome or len(here) > 8:
                break
            here.append(outcome)
        if _INQUIRY_CHANGED in here:
            # The initiator looks at such a device anew in its own time, with commands that take the next attention.
            events.wait(scst.scsi_device(lun, target), "SDEV_UA=INQUIRY_DATA_HAS_CHANGED")
        found[target.name, lun] = here
    events.close()
    return found


def _told(waiting: dict[tuple[str, int], list[str]], sense: str) -> list[tuple[str, int]]:
    """The logical units at which that waits, and nothing else."""
    check(all(here in ([], [sense]) for here in waiting.values()), f"unit attentions: {waiting}")
    return [where for where, here in waiting.items() if here]


_GROUPED = [(target.name, lun) for target, lun in _ALL if lun != 2]


@suite.test("in each state commands are served or refused as SPC says, through the one port and not the other")
def states() -> None:
    _build()
    problems = []
    for state in _STATES:
        scst.put(_HERE / "state", state)
        _attentions()
        served, refusal = _REFUSALS.get(state, (0, "good"))
        for (target, lun), (cdb, into, out, most) in [(where, command) for where in _ALL for command in _COMMANDS]:
            want = refusal if target == scst.TARGET and lun != 2 and most <= served else "good"
            got = _outcome(_sg(lun, target), cdb, into, out)
            if got != want:
                problems.append(f"{state}: {cdb} to {target.name} LUN {lun}: {got}, want {want}")
    scst.put(_HERE / "state", "active")
    _attentions()
    no_differences(problems)


@suite.test("sg_rtpg and the data path answer in each state as recorded")
def recorded_states() -> None:
    problems = []
    sections = re.split(r"(?m)^state write '(\w+)' rc=0 now: \w+ \[key\] *\n", (DATA / "sg-alua-states.txt").read_text())
    equal(tuple(sections[1::2]), _STATES, "recorded states")
    for state, text in zip(sections[1::2], sections[2::2]):
        scst.put(_HERE / "state", state)
        equal((_HERE / "state").read_text(), f"{state}\n[key]\n", "state")
        _attentions()
        node = _sg(1)
        report, commands = text.split("SCSI Status:", 1)
        got = sh("sg_rtpg", "-d", node)
        problems += [f"{state}: sg_rtpg does not say '{line}'" for line in report.rstrip().splitlines() if line not in got]
        recorded = [sense or "good" for sense in
                    re.findall(r"SCSI Status: (?:Good|Check(?:.*\n)+?Additional sense: (.*))", "SCSI Status:" + commands)]
        outcomes = [_outcome(node, _TUR), _outcome(node, "2a 00 00 00 00 00 00 00 01 00", 0, bytes(512)),
                    _outcome(node, "28 00 00 00 00 00 00 00 01 00", 512)]
        if outcomes != recorded:
            problems.append(f"{state}: {outcomes}, recorded {recorded}")
    scst.put(_HERE / "state", "active")
    _attentions()
    no_differences(problems)


@suite.test("every initiator of the group's devices is told of a change, once, and nobody else")
def attentions() -> None:
    for state, told in (("nonoptimized", True), ("nonoptimized", False), ("transitioning", False), ("standby", True),
                        ("active", True), ("active", False)):
        scst.put(_HERE / "state", state)
        equal(_told(_attentions(), _CHANGED), _GROUPED if told else [], f"told of tgA {state}")
    scst.put(_DG / "target_groups/tgC/state", "standby")
    equal(_told(_attentions(), _CHANGED), _GROUPED, "told of another node's port")
    for value, told in (("1", True), ("1", False), ("0", True)):
        scst.put(_HERE / "preferred", value)
        equal(_told(_attentions(), _CHANGED), _GROUPED if told else [], f"told of preferred={value}")
    scst.put(_DG / "target_groups/tgC/state", "active")
    _attentions()


@suite.test("who goes through a port or has a device that changes its group is told that INQUIRY data changed")
def inquiry_data() -> None:
    through = [where for where in _GROUPED if where[0] == "second_tgt"]
    for where, text in ((_THERE / "group_id", "60"), (_THERE / "mgmt", "del second_tgt"), (_THERE / "mgmt", "add second_tgt")):
        scst.put(where, text)
        equal(_told(_attentions(), _INQUIRY_CHANGED), through, f"told of {text}")
    scst.put(_DG / "target_groups/mgmt", "del tgB")
    equal(_told(_attentions(), _INQUIRY_CHANGED), through, "told of del tgB")
    scst.add_target_group("dg1", "tgB", 6, "", ("second_tgt",))
    _attentions()
    for text in ("del null0", "add null0"):
        scst.put(_DG / "devices/mgmt", text)
        equal(_told(_attentions(), _INQUIRY_CHANGED), [("scst_local_tgt", 0), ("second_tgt", 0)], f"told of {text}")


def _tpgs(node: str) -> str:
    found = re.search(r"TPGS=(\d)", sh("sg_inq", node))
    return found[1] if found else "none"


@suite.test("INQUIRY and VPD page 83h name the group, also after it was changed")
def designators() -> None:
    for target, port, group in ((scst.TARGET, 1, 5), (_SECOND, 2, 6)):
        text = sh("sg_vpd", "-p", "di", _sg(0, target))
        check(f"Relative target port: 0x{port:x}\n" in text, text)
        check(f"Target port group: 0x{group:x}\n" in text, text)
        equal(_tpgs(_sg(0, target)), "1", "TPGS of a device in a group")
        equal(_tpgs(_sg(2, target)), "0", "TPGS of a device in no group")
    check("Target port group:" not in sh("sg_vpd", "-p", "di", _sg(2)), "a designator of a device in no group")
    scst.put(_HERE / "group_id", "0xabcd")
    check("Target port group: 0xabcd\n" in sh("sg_vpd", "-p", "di", _sg(0)), "not the new group_id")
    scst.put(_HERE / "group_id", "5")
    _attentions()


def _report(node: str, extended: bool = False, room: int = 1024) -> bytes:
    """REPORT TARGET PORT GROUPS data."""
    cdb = f"a3 {'2a' if extended else '0a'} 00 00 00 00 {room >> 24:02x} {room >> 16 & 255:02x} " \
          f"{room >> 8 & 255:02x} {room & 255:02x} 00 00"
    answer = sg.command(node, cdb, room)
    equal(answer.words(), "good", f"REPORT TARGET PORT GROUPS {cdb}")
    return answer.data


def _groups(node: str) -> dict[int, tuple[int, int, list[int]]]:
    """Group number to state with PREF, status code, ports."""
    data, found, at = _report(node), {}, 4
    equal(struct.unpack(">I", data[:4])[0] + 4, len(data), "RETURN DATA LENGTH")
    while at < len(data):
        count = data[at + 7]
        ports = [struct.unpack_from(">H", data, at + 10 + 4 * n)[0] for n in range(count)]
        found[struct.unpack_from(">H", data, at + 2)[0]] = (data[at], data[at + 5], ports)
        at += 8 + 4 * count
    return found


@suite.test("REPORT TARGET PORT GROUPS tells of all groups, in both formats, cut at any length")
def report() -> None:
    scst.put(_HERE / "preferred", "1")
    scst.put(_THERE / "state", "standby")
    _attentions()
    equal(_groups(_sg(0)), {5: (0x80, 2, [1]), 6: (2, 2, [2]), 7: (0, 2, [33])}, "groups")
    equal(_groups(_sg(0)), _groups(_sg(1, _SECOND)), "groups, through another port")
    equal(_groups(_sg(2)), {}, "groups of a device in no group")
    whole, extended = _report(_sg(0)), _report(_sg(0), True)
    equal(extended[4:8], bytes((0x10, 0, 0, 0)), "extended header")
    equal((extended[8:], len(extended)), (whole[4:], len(whole) + 4), "extended format")
    for room in (1, 3, 4, 8, 13, 16, 39):
        equal(_report(_sg(0), False, room), whole[:room], f"allocation length {room}")
    equal(_outcome(_sg(0), "a3 4a 00 00 00 00 00 00 04 00 00 00", 1024), "Invalid field in cdb", "an unknown format")
    scst.put(_HERE / "preferred", "0")
    scst.put(_THERE / "state", "active")
    _attentions()


def _stpg(node: str, *asked: tuple[int, int], length: int = -1) -> str:
    """SET TARGET PORT GROUPS: (group, state code) each."""
    out = bytes(4) + b"".join(struct.pack(">BxH", code, group) for group, code in asked)
    length = len(out) if length < 0 else length
    cdb = f"a4 0a 00 00 00 00 00 00 {length >> 8:02x} {length & 255:02x} 00 00"
    return _outcome(node, cdb, 0, (out + bytes(max(0, length - len(out))))[:length])


def _state_names() -> list[str]:
    return [scst.get(_DG / "target_groups" / name / "state") for name in ("tgA", "tgB", "tgC")]


@suite.test("SET TARGET PORT GROUPS is there with expl_alua only, and does what is asked, all of it or nothing")
def explicit() -> None:
    node = _sg(1)
    equal(_stpg(node, (5, 2)), "Invalid field in cdb", "without expl_alua")
    check("Set target port groups" not in sh("sg_opcodes", "-n", node), "listed without expl_alua")
    scst.put(scst.DEVICES / "disk01/expl_alua", "1")
    _attentions()
    equal(_tpgs(node), "3", "TPGS with expl_alua")
    check("Set target port groups" in sh("sg_opcodes", "-n", node).replace("roup(s)", "roups"), "not listed")
    # The other device of the group lets nobody do it.
    equal(_stpg(_sg(0), (5, 2)), "Invalid field in cdb", "to the other device")
    equal(_stpg(node, (5, 1), (6, 2)), "good", "a list of two")
    equal(_state_names(), ["nonoptimized", "standby", "active"], "states")
    # Whoever asked knows; for the other device of the same initiator it is news.
    equal(_told(_attentions(), _CHANGED), [where for where in _GROUPED if where != ("scst_local_tgt", 1)], "told")
    equal({group: (state, status) for group, (state, status, _) in _groups(node).items()},
          {5: (1, 1), 6: (2, 1), 7: (0, 2)}, "state and status code")
    for asked, what in (((5, 0), (9, 0)), "Invalid field in parameter list"), (((5, 0xf),), "Invalid field in parameter list"), \
            (((5, 0), (6, 4)), "Invalid field in parameter list"), (((5, 7),), "Invalid field in parameter list"):
        equal(_stpg(node, *asked), what, f"{asked}")
    for length in (3, 6, 9, 8192):
        equal(_stpg(node, (5, 0), length=length), "Parameter list length error", f"length {length}")
    equal(_stpg(node, (5, 0), length=0), "good", "no list")
    equal(_stpg(node), "good", "an empty list")
    equal(_state_names(), ["nonoptimized", "standby", "active"], "states after what was refused")
    equal(_told(_attentions(), _CHANGED), [], "told of what was refused")
    # A port in standby takes it, one in transition does not.
    equal(_stpg(_sg(1, _SECOND), (5, 2), (6, 0)), "good", "through the port in standby")
    equal(_state_names(), ["standby", "active", "active"], "states")
    scst.put(_THERE / "state", "transitioning")
    _attentions()
    equal(_stpg(_sg(1, _SECOND), (6, 0)), _REFUSALS["transitioning"][1], "through a port in transition")
    scst.put(_THERE / "state", "standby")
    _attentions()
    sh("sg_stpg", "--tp=5,6", "--state=0,3", node)
    equal(_state_names(), ["active", "unavailable", "active"], "states after sg_stpg")
    scst.put(scst.DEVICES / "disk01/expl_alua", "0")
    scst.put(_THERE / "state", "active")
    _attentions()


@suite.test("a LUN that is mapped and a port or a device that joins have the state from the first command on")
def joining() -> None:
    refused = _REFUSALS["standby"][1]
    scst.put(_HERE / "state", "standby")
    scst.add_lun("null0", 7)
    node = scst.wait_disk(7, kind="scsi_generic")
    for _ in range(3):
        outcome = _outcome(node, _TUR)
    equal(outcome, refused, "a LUN that was mapped in standby")
    scst.put(scst.TARGET / "luns/mgmt", "del 7")
    scst.wait_gone(7)
    for where, leave, join in ((_DG / "devices/mgmt", "del null0", "add null0"),
                               (_HERE / "mgmt", "del scst_local_tgt", "add scst_local_tgt")):
        _attentions()
        equal(_outcome(_sg(0), _TUR), refused, "before")
        scst.put(where, leave)
        _attentions()
        equal(_outcome(_sg(0), _TUR), "good", leave)
        scst.put(where, join)
        _attentions()
        equal(_outcome(_sg(0), _TUR), refused, join)
    scst.put(scst.TARGET / "luns/mgmt", "replace outside 0")
    _attentions()
    equal(_outcome(_sg(0), _TUR), "good", "replaced by a device in no group")
    scst.put(scst.TARGET / "luns/mgmt", "replace null0 0")
    _attentions()
    equal(_outcome(_sg(0), _TUR), refused, "replaced by a device of the group")
    scst.put(scst.GROUPS / "mgmt", "del dg1")
    _attentions()
    equal(_outcome(_sg(0), _TUR), "good", "after the group was deleted")


@suite.test("alua_invariant_check has found nothing, and the modules unload with groups still there")
def unload() -> None:
    assert _log is not None
    found = [line for line in _log.lines() if "ALUA: LUN" in line]
    no_differences(found)
    _recorded_groups()
    for target in scst.LOCAL.glob("*/luns"):
        if target.parent != scst.TARGET:
            scst.put(scst.LOCAL / "mgmt", f"del_target {target.parent.name}")
    scst.put(scst.TARGET / "luns/mgmt", "clear")
    scst.unload()
    scst.load()
    equal(sorted(path.name for path in scst.GROUPS.iterdir()), ["mgmt"], "groups of modules just loaded")


if __name__ == "__main__":
    suite.main()
