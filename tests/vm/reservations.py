#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
# lab: group=scsi timeout=240
"""Reservations as sg_persist asks for them, by two initiators: who may do what, what survives, who is fenced."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import scst
from lib import Failure, Suite, check, equal, sh, wait_until

_FILE = Path("/var/lib/scst/pr/disk")
_CONFLICT = 24
_WRITE_EXCLUSIVE, _EXCLUSIVE, _WRITE_REGISTRANTS, _EXCLUSIVE_REGISTRANTS, _WRITE_ALL, _EXCLUSIVE_ALL = 1, 3, 5, 6, 7, 8


def setup() -> None:
    """One disk, seen by an initiator of each of two targets."""
    scst.unload()
    _FILE.parent.mkdir(parents=True, exist_ok=True)
    _FILE.unlink(missing_ok=True)
    scst.image("/tmp/disk", 64)
    scst.load()
    sh("modprobe", "sg")
    scst.add_device("vdisk_fileio", "disk", "filename=/tmp/disk")
    scst.add_lun("disk", 0)
    scst.add_lun("disk", 0, scst.add_target("second", "second_host") / "luns")
    scst.wait_disk(0)
    scst.wait_disk(0, scst.LOCAL / "second")


def teardown() -> None:
    """Leave nothing."""
    scst.clear()
    scst.unload()


suite = Suite(setup, teardown)


def _nodes() -> tuple[str, str]:
    """The /dev/sgN of both initiators, no unit attention left, nobody registered."""
    one = scst.wait_disk(0, kind="scsi_generic")
    two = scst.wait_disk(0, scst.LOCAL / "second", "scsi_generic")
    for node in (one, two):
        _attentions(node)
    if _keys(one):
        _out(one, "-I", "-S", "0x999")
        _out(one, "-C", "-K", "0x999")
        _attentions(two)
    return one, two


def _tur(node: str) -> str:
    return sh("sg_raw", node, "00", "00", "00", "00", "00", "00", status=None)


def _attentions(node: str) -> list[str]:
    """Takes the unit attentions that wait: their additional sense."""
    found = []
    for _ in range(16):
        answer = _tur(node)
        if "Good" in answer:
            return found
        match = re.search(r"Additional sense: (.*)", answer)
        if not match:
            raise Failure(f"TEST UNIT READY: {answer}")
        found.append(match[1].strip())
    raise Failure(f"{node}: unit attentions without end: {found}")


def _out(node: str, *options: str, status: int = 0) -> str:
    return sh("sg_persist", "-n", "-o", *options, node, status=status)


def _keys(node: str) -> list[int]:
    return [int(key, 16) for key in re.findall(r"(?m)^\s+(0x[0-9a-f]+)$", sh("sg_persist", "-n", "-k", node))]


def _reservation(node: str) -> tuple[int, str]:
    """Key and type; (0, '') without one."""
    answer = sh("sg_persist", "-n", "-r", node)
    key = re.search(r"Key=(0x[0-9a-f]+)", answer)
    kind = re.search(r"type: (.*)", answer)
    return (int(key[1], 16), kind[1].strip()) if key and kind else (0, "")


def _may(node: str) -> str:
    """What the initiator can do: `rw`, `r` or nothing."""
    able = ""
    for letter, cdb in (("r", "28 00 00 00 00 00 00 00 01 00"), ("w", "2a 00 00 00 00 00 00 00 01 00")):
        way = ("-r", "512") if letter == "r" else ("-s", "512", "-i", "/dev/zero")
        answer = sh("sg_raw", *way, node, *cdb.split(), status=None)
        if "Good" in answer:
            able += letter
        else:
            check("Reservation Conflict" in answer, f"{cdb}: {answer}")
    return able


@suite.test("each type: what holder, registered and other initiators may do")
def types() -> None:
    for kind, other, registered in (
            (_WRITE_EXCLUSIVE, "r", "r"), (_EXCLUSIVE, "", ""), (_WRITE_REGISTRANTS, "r", "rw"),
            (_EXCLUSIVE_REGISTRANTS, "", "rw"), (_WRITE_ALL, "r", "rw"), (_EXCLUSIVE_ALL, "", "rw")):
        one, two = _nodes()
        _out(one, "-G", "-S", "0xa1")
        equal(_may(two), "rw", "before the reservation")
        _out(one, "-R", "-K", "0xa1", "-T", str(kind))
        equal((_may(one), _may(two)), ("rw", other), f"type {kind}: holder, other")
        check("Good" in _tur(two), f"type {kind}: TEST UNIT READY of the other")
        _out(two, "-R", "-K", "0xa2", "-T", str(kind), status=_CONFLICT)
        _out(two, "-G", "-S", "0xa2")
        equal((_may(one), _may(two)), ("rw", registered), f"type {kind}: holder, registered")
        _out(one, "-L", "-K", "0xa1", "-T", str(kind))
        _attentions(two)
        equal((_may(one), _may(two)), ("rw", "rw"), "after RELEASE")


@suite.test("a second RESERVE, a wrong key, a wrong type, and RELEASE by who does not hold it")
def refusals() -> None:
    one, two = _nodes()
    _out(one, "-G", "-S", "0xa1")
    _out(one, "-G", "-K", "0xbad", "-S", "0xa3", status=_CONFLICT)
    _out(two, "-G", "-S", "0xa2")
    _out(one, "-R", "-K", "0xa1", "-T", "1")
    _out(one, "-R", "-K", "0xa1", "-T", "1")
    _out(one, "-R", "-K", "0xa1", "-T", "3", status=_CONFLICT)
    _out(two, "-R", "-K", "0xa2", "-T", "1", status=_CONFLICT)
    _out(two, "-L", "-K", "0xa2", "-T", "1")
    equal(_reservation(two), (0xa1, "Write Exclusive"), "reservation")
    answer = sh("sg_persist", "-n", "-o", "-L", "-K", "0xa1", "-T", "3", one, status=None)
    check("nvalid release" in answer or "Illegal request" in answer, f"RELEASE of another type: {answer}")
    equal(_keys(one), [0xa1, 0xa2], "keys")


@suite.test("unit attentions: released, preempted registrations, cleared")
def attentions() -> None:
    one, two = _nodes()
    _out(one, "-G", "-S", "0xa1")
    _out(two, "-G", "-S", "0xa2")
    _out(one, "-R", "-K", "0xa1", "-T", "5")
    _out(one, "-L", "-K", "0xa1", "-T", "5")
    equal(_attentions(two), ["Reservations released"], "after RELEASE")
    _out(one, "-R", "-K", "0xa1", "-T", "1")
    _out(one, "-P", "-K", "0xa1", "-S", "0xa2", "-T", "1")
    equal(_attentions(two), ["Registrations preempted"], "after PREEMPT")
    equal(_keys(two), [0xa1], "keys after PREEMPT")
    _out(two, "-G", "-S", "0xa2")
    _out(two, "-C", "-K", "0xa2")
    equal(_attentions(one), ["Reservations preempted"], "after CLEAR")
    equal((_keys(one), _reservation(one)), ([], (0, "")), "after CLEAR")


@suite.test("PREEMPT takes the reservation; REGISTER AND MOVE gives it away")
def moves() -> None:
    one, two = _nodes()
    _out(one, "-G", "-S", "0xa1")
    _out(two, "-G", "-S", "0xa2")
    _out(one, "-R", "-K", "0xa1", "-T", "3")
    _out(two, "-P", "-K", "0xa2", "-S", "0xa1", "-T", "1")
    equal(_reservation(two), (0xa2, "Write Exclusive"), "after PREEMPT")
    equal(_attentions(one), ["Registrations preempted"], "of the preempted")
    equal(_may(one), "r", "the preempted")
    status = sh("sg_persist", "-n", "-s", two)
    check(re.search(r"Reservation holder", status), f"READ FULL STATUS: {status}")
    # To whom: the TransportID of the first initiator, as its session tells it.
    session = next((scst.TARGET / "sessions").glob("*"))
    words = (session / "transport_id").read_bytes()
    ident = ",".join(f"{byte:02x}" for byte in words[:24])
    _out(two, "-M", "-K", "0xa2", "-S", "0xa1", "-Q", "0", "-U", "-X", ident)
    equal(_reservation(one), (0xa1, "Write Exclusive"), "after REGISTER AND MOVE")
    equal((_keys(one), _may(one), _may(two)), ([0xa1], "rw", "r"), "after REGISTER AND MOVE")


@suite.test("PREEMPT AND ABORT: the other's commands have ended, without effect, when it is answered")
def fenced() -> None:
    one, two = _nodes()
    _out(one, "-G", "-S", "0xa1")
    _out(two, "-G", "-S", "0xa2")
    _out(one, "-R", "-K", "0xa1", "-T", "5")
    second = scst.LOCAL / "second"
    session = next((second / "sessions").glob("*"))
    scst.put(second / "black_hole", "4")
    stuck = subprocess.Popen(["sg_raw", "-t", "60", "-s", "512", "-i", "/dev/urandom", two,
                              *"2a 00 00 00 00 08 00 00 01 00".split()],
                             stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        wait_until(lambda: scst.get(session / "lun0/active_commands") == "1", 30, "the write does not arrive")
        _out(one, "-A", "-K", "0xa1", "-S", "0xa2", "-T", "5")
        equal(scst.get(session / "lun0/active_commands"), "0", "commands of who was fenced")
    finally:
        scst.put(second / "black_hole", "0")
        stuck.kill()
        stuck.wait(30)
    with open("/tmp/disk", "rb") as disk:
        disk.seek(8 * 512)
        check(not any(disk.read(512)), "the aborted write has reached the disk")
    equal(_keys(one), [0xa1], "keys")
    check("Registrations preempted" in " ".join(_attentions(two)), "the fenced is told")
    equal(_may(two), "r", "the fenced")


@suite.test("APTPL: the file is SCST's, and what it says is there when the device comes again")
def power() -> None:
    one, _ = _nodes()
    _out(one, "-G", "-S", "0xa1", "-Z")
    _out(one, "-R", "-K", "0xa1", "-T", "3")
    data = _FILE.read_bytes()
    equal(data[:20].hex(), "77ddbbeeaaeeeebb01000000000000000101" + "0300", "head of the file")
    equal((len(data), data[20], data[-10:].hex()), (55, 1, "00000000000000a10000"), "registration")
    state = scst.get(scst.DEVICES / "disk/pr_state")
    check("reservation 03 00" in state and "00000000000000a1 1 24 06" in state, f"pr_state: {state}")
    for target in (scst.TARGET, scst.LOCAL / "second"):
        scst.put(target / "luns/mgmt", "clear")
    for target in (scst.TARGET, scst.LOCAL / "second"):
        scst.wait_gone(0, target)
    scst.del_device("disk")
    scst.add_device("vdisk_fileio", "disk", "filename=/tmp/disk")
    scst.add_lun("disk", 0)
    scst.add_lun("disk", 0, scst.LOCAL / "second/luns")
    for target in (scst.TARGET, scst.LOCAL / "second"):
        scst.wait_disk(0, target, "scsi_generic")
    one = scst.wait_disk(0, kind="scsi_generic")
    two = scst.wait_disk(0, scst.LOCAL / "second", "scsi_generic")
    for node in (one, two):
        _attentions(node)
    equal((_keys(one), _reservation(one)), ([0xa1], (0xa1, "Exclusive Access")), "after the device came again")
    equal((_may(one), _may(two)), ("rw", ""), "after the device came again")
    _out(one, "-C", "-K", "0xa1")
    check(not _FILE.exists(), "the file is there after CLEAR")


@suite.test("pr_state and pr_file_name: saved, and restored before initiators see the device")
def state() -> None:
    device = scst.add_device("vdisk_nullio", "spare", "size_mb=16")
    text = ("version 1\ngeneration 7\nreservation 05 00\n"
            f"registrant 1 00000000000000aa 1 24 06{'00' * 22}01\nregistrant 2 00000000000000bb 0 24 06{'00' * 22}02\n")
    scst.put(device / "pr_state", text)
    equal(scst.get(device / "pr_state"), text.strip(), "pr_state")
    check(scst.write(device / "pr_state", text.replace("version 1", "version 2")), "another version is taken")
    check(scst.write(device / "pr_state", text.replace("bb 0", "bb 1")), "two holders are taken")
    equal(scst.get(device / "pr_state"), text.strip(), "pr_state after writes that failed")
    equal(scst.get(device / "pr_file_name"), "/var/lib/scst/pr/spare", "pr_file_name")
    scst.put(device / "dump_prs", "1")
    scst.put(device / "pr_file_name", "/tmp/spare.pr")
    equal((scst.get(device / "pr_file_name"), scst.get(device / "pr_state")),
          ("/tmp/spare.pr", "version 1\ngeneration 0"), "another file, which is not there")
    check(scst.write(scst.DEVICES / "disk/pr_state", text), "reservations of a disk in use can be written over")
    scst.del_device("spare")


@suite.test("RESERVE and RELEASE: the other conflicts until RELEASE, and until a reset")
def old_style() -> None:
    one, two = _nodes()
    for reserve, release in (("16 00 00 00 00 00", "17 00 00 00 00 00"),
                             ("56 00 00 00 00 00 00 00 00 00", "57 00 00 00 00 00 00 00 00 00")):
        check("Good" in sh("sg_raw", one, *reserve.split(), status=None), "RESERVE")
        check("Reservation Conflict" in sh("sg_raw", two, *reserve.split(), status=None), "RESERVE by another")
        check("Reservation Conflict" in _tur(two), "TEST UNIT READY by another")
        check("Good" in sh("sg_raw", "-r", "36", two, "12", "00", "00", "00", "24", "00", status=None), "INQUIRY")
        check("Good" in sh("sg_raw", two, *release.split(), status=None), "RELEASE by another")
        equal((_may(one), _may(two)), ("rw", ""), "reserved")
        check("Good" in sh("sg_raw", one, *release.split(), status=None), "RELEASE")
        equal((_may(one), _may(two)), ("rw", "rw"), "released")
    sh("sg_raw", one, "16", "00", "00", "00", "00", "00")
    sh("sg_reset", "-d", two)
    for node in (one, two):
        _attentions(node)
    equal((_may(one), _may(two)), ("rw", "rw"), "after a reset")


if __name__ == "__main__":
    suite.main()
