#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
# lab: group=srphostile timeout=240 mem=2G
"""Task sets over SRP: what waits for what by task attributes, ACA, QERR, TAS, and who keeps a medium in its drive.

Commands are made to last by black_hole: what is in it stays until it is aborted.
"""

from __future__ import annotations

import contextlib
import struct
from collections.abc import Iterator
from pathlib import Path

import scst
import srp_raw as raw
import srp_target
from lib import Failure, check, equal, sh, wait_until
from srp import Link
from srp_target import Target

_LINK = Link(0)
_SIMPLE, _HEAD_OF_QUEUE, _ORDERED, _ACA = 0, 1, 2, 4
_NACA = 0x04
_BUSY, _ACA_ACTIVE, _TASK_ABORTED = 0x08, 0x30, 0x40
_OWN, _SHARED, _DRIVE = 0, 1, 2
"""LUNs: a task set for each initiator, one for all, a drive."""


def _place() -> Path:
    return scst.ROOT / "targets/ib_srpt" / _LINK.gid


def setup(target: Target) -> None:
    """Two disks without contents, and a drive without a disc."""
    sh("modprobe", "-a", "ib_uverbs", "rdma_ucm")
    for name, lun, handler, params in (("own", _OWN, "vdisk_nullio", "size_mb=64"), ("drive", _DRIVE, "vcdrom", ""),
                                       ("shared", _SHARED, "vdisk_nullio", "size_mb=64; tst=0")):
        scst.add_device(handler, name, params)
        scst.add_lun(name, lun, _place() / "luns")
    target.enable(_LINK)


plan = srp_target.Plan(setup, limit_s=60, keep_links=True)


class Initiator:
    """A session, and what became of its commands."""

    def __init__(self) -> None:
        self._channel = raw.login(_LINK)
        self._buffer = raw.Buffer(self._channel, 4096)
        self._tag = 0
        for lun in (_OWN, _SHARED, _DRIVE):
            while self.tur(lun) == "6/29/00":
                pass

    def close(self) -> None:
        """Log out."""
        self._buffer.close()
        self._channel.close()

    def send(self, cdb: bytes, lun: int = _OWN, attribute: int = _SIMPLE, naca: bool = False, moves: str = "") -> int:
        """Send a command; its tag. Data that it MOVES are in the buffer: `in` or `out`."""
        self._tag += 1
        if naca:
            cdb = cdb[:-1] + bytes([cdb[-1] | _NACA])
        ways = {"in": {"in_format": raw.DIRECT}, "out": {"out_format": raw.DIRECT}, "": {}}[moves]
        table = self._buffer.descriptor() if moves else b""
        self._channel.send(raw.command(self._tag, cdb, table, raw.wire_lun(lun), attribute=attribute, **ways))
        return self._tag

    def answer(self, seconds: float = 30) -> tuple[int, str]:
        """The next answer: tag, and `good`, sense or status; tag 0 if none comes."""
        response = self._channel.response(seconds)
        if response is None:
            return 0, ""
        return response.tag, str(response) if response.refused else "good"

    def answers(self, *tags: int) -> list[str]:
        """The next answers, which have to be to TAGS, in this order."""
        found = [self.answer() for _ in tags]
        equal(tuple(tag for tag, _ in found), tags, f"answers in their order: {found}")
        return [what for _, what in found]

    def none(self, seconds: float = 0.3) -> None:
        """Nothing is answered."""
        equal(self.answer(seconds)[0], 0, "tag of an answer too early")

    def ask(self, cdb: bytes, lun: int = _OWN, **how: object) -> str:
        """Send a command and wait for what becomes of it; nothing else may be answered before."""
        (what,) = self.answers(self.send(cdb, lun, **how))  # type: ignore[arg-type]
        return what

    def tur(self, lun: int = _OWN, **how: object) -> str:
        """TEST UNIT READY."""
        return self.ask(raw.TEST_UNIT_READY, lun, **how)

    def manage(self, function: int, lun: int = _OWN, task: int = 0) -> int:
        """Ask for a task management function; its tag."""
        self._tag += 1
        self._channel.send(raw.task_management(self._tag, function, raw.wire_lun(lun), task))
        return self._tag

    def read(self, lun: int = _OWN, attribute: int = _SIMPLE) -> int:
        """Send a READ; its tag."""
        return self.send(raw.read10(0, 8), lun, attribute, moves="in")

    def write(self, lun: int = _OWN) -> int:
        """Send a WRITE; its tag."""
        return self.send(raw.write10(0, 8), lun, moves="out")

    def set_control(self, lun: int, queue: int = 0x10, tas: bool = False) -> None:
        """MODE SELECT of the Control mode page: byte 3, QUEUE ALGORITHM MODIFIER and QERR, and TAS."""
        equal(self.ask(bytes([0x5A, 8, 0x0A, 0, 0, 0, 0, 0, 20, 0]), lun, moves="in"), "good", "MODE SENSE")
        page = bytearray(self._buffer.read(20)[8:])
        page[0] &= 0x3F
        page[3], page[5] = queue, page[5] & ~0x40 | 0x40 * tas
        self._buffer.write(bytes(8) + bytes(page))
        equal(self.ask(bytes([0x55, 0x10, 0, 0, 0, 0, 0, 0, 20, 0]), lun, moves="out"), "good", "MODE SELECT")


@contextlib.contextmanager
def _initiators(count: int = 1) -> Iterator[list[Initiator]]:
    with contextlib.ExitStack() as stack:
        found = []
        for _ in range(count):
            found.append(Initiator())
            stack.callback(found[-1].close)
        yield found


def _active(lun: int) -> int:
    return sum(int(scst.get(path)) for path in _place().glob(f"sessions/*/lun{lun}/active_commands"))


@contextlib.contextmanager
def _hole(lun: int) -> Iterator[None]:
    """What is sent in this block and moves data to or from a LUN lasts until it is aborted."""
    before = _active(lun)
    scst.put(_place() / "black_hole", "4")
    try:
        yield
        wait_until(lambda: _active(lun) > before, 30, "the command does not arrive")
    finally:
        scst.put(_place() / "black_hole", "0")


def _test(name: str):  # type: ignore[no-untyped-def]
    return plan.test(name, only=("ours",))


@_test("ORDERED waits for what is older, SIMPLE for it, HEAD OF QUEUE for nothing")
def ordered(target: Target) -> None:
    with _initiators() as (one,):
        for _ in range(2):  # the second time commands are counted from the beginning
            with _hole(_OWN):
                old = one.read()
            waiting = [one.send(raw.TEST_UNIT_READY, attribute=attribute) for attribute in (_ORDERED, _SIMPLE, _ORDERED)]
            equal(one.tur(attribute=_HEAD_OF_QUEUE), "good", "HEAD OF QUEUE")
            one.none()
            equal(_active(_OWN), 4, "commands")
            done = one.manage(raw.ABORT_TASK, task=old)
            found = [one.answer() for _ in range(4)]
            equal(sorted(found), sorted([(tag, "good") for tag in (done, *waiting)]), "answers")
            equal([tag for tag, _ in found if tag != done], waiting, "order of the answers")


@_test("HEAD OF QUEUE keeps all others waiting; what waits can be aborted, and what waited for it goes on")
def waiting_aborted(target: Target) -> None:
    with _initiators() as (one,):
        with _hole(_OWN):
            old = one.read(attribute=_HEAD_OF_QUEUE)
        simple = one.send(raw.TEST_UNIT_READY)
        one.none()
        one.answers(one.manage(raw.ABORT_TASK, task=simple))
        later = one.send(raw.TEST_UNIT_READY)
        one.none()
        done = one.manage(raw.ABORT_TASK, task=old)
        equal(sorted(one.answer() for _ in range(2)), sorted([(later, "good"), (done, "good")]), "answers")
        with _hole(_OWN):
            old = one.read()
        ordered_ = one.send(raw.TEST_UNIT_READY, attribute=_ORDERED)
        simple = one.send(raw.TEST_UNIT_READY)
        one.none()
        done = one.manage(raw.ABORT_TASK, task=ordered_)
        equal(sorted(one.answer() for _ in range(2)), sorted([(simple, "good"), (done, "good")]), "answers")
        one.answers(one.manage(raw.ABORT_TASK_SET))
        equal(_active(_OWN), 0, "commands that are left")


def _waits(initiator: Initiator) -> int:
    """The tag of a SIMPLE command to the shared task set that waits; those before the target is so far do not."""
    for _ in range(50):
        tag = initiator.send(raw.TEST_UNIT_READY, _SHARED)
        if initiator.answer(1)[0] == 0:
            return tag
    raise Failure("no command waits")


@_test("one task set for all initiators: ORDERED of one waits for what is older of the other")
def shared_set(target: Target) -> None:
    with _initiators(2) as (one, two):
        with _hole(_SHARED):
            old = one.read(_SHARED)
        ordered_ = two.send(raw.TEST_UNIT_READY, _SHARED, _ORDERED)
        two.none()
        simple = _waits(one)
        # With a task set of its own it does not.
        equal(two.tur(_OWN, attribute=_ORDERED), "good", "ORDERED of another LUN")
        done = one.manage(raw.ABORT_TASK, task=old)
        two.answers(ordered_)
        equal(sorted(one.answer() for _ in range(2)), sorted([(simple, "good"), (done, "good")]), "answers")


@_test("restricted reordering: a WRITE waits for what is older, a READ for older WRITEs")
def restricted(target: Target) -> None:
    with _initiators() as (one,):
        one.set_control(_OWN, queue=0x00)
        # From its answer on nothing is left of which the target does not know whether it is older.
        equal(one.answers(one.write()), ["good"], "a WRITE alone")
        with _hole(_OWN):
            old = one.read()
        equal(one.answers(one.read()), ["good"], "a READ beside a READ")
        write = one.write()
        read = one.read()
        one.none()
        done = one.manage(raw.ABORT_TASK, task=old)
        found = [one.answer() for _ in range(3)]
        equal([tag for tag, _ in found if tag != done], [write, read], "order of the answers")
        one.set_control(_OWN)
        with _hole(_OWN):
            old = one.read()
        equal(one.answers(one.write()), ["good"], "a WRITE beside a READ")
        one.answers(one.manage(raw.ABORT_TASK, task=old))


@_test("ACA: the faulted initiator may send one ACA command at a time; others are as free as the task set lets them")
def aca(target: Target) -> None:
    bad = raw.read10(0xFFFFFFF0, 1)
    with _initiators(2) as (one, two):
        for lun in (_OWN, _SHARED):
            equal(one.tur(lun, attribute=_ACA), "5/49/00", "ACA attribute without ACA")
            equal(one.tur(lun, naca=True), "good", "NACA")
            equal(one.tur(lun), "good", "after NACA and GOOD")
            equal(one.ask(bad, lun, naca=True, moves="in"), "5/21/00", "the fault")
            active = f"status {_ACA_ACTIVE:#04x}"
            for attribute in (_SIMPLE, _ORDERED, _HEAD_OF_QUEUE):
                equal(one.tur(lun, attribute=attribute), active, f"attribute {attribute}")
            equal(one.ask(bytes([0x12, 0, 0, 0, 36, 0]), lun, moves="in"), active, "INQUIRY")
            equal(one.tur(lun, attribute=_ACA), "good", "ACA")
            busy = f"status {_BUSY:#04x}" if lun == _SHARED else "good"
            wait_until(lambda: two.tur(lun) == busy, 30, f"the other initiator does not get {busy}")
            equal(two.tur(lun, naca=True), active if lun == _SHARED else "good", "the other initiator, NACA")
            two.answers(two.manage(raw.CLEAR_ACA, lun))
            equal(one.tur(lun), active, "after CLEAR ACA of the other initiator")
            equal(one.answers(one.manage(raw.CLEAR_ACA, lun)), ["good"], "CLEAR ACA")
            equal((one.tur(lun), two.tur(lun)), ("good", "good"), "after CLEAR ACA")
            # A failure of the ACA command ends it, too; and with NACA makes the next.
            one.ask(bad, lun, naca=True, moves="in")
            equal(one.ask(bad, lun, attribute=_ACA, naca=True, moves="in"), "5/21/00", "ACA command")
            equal(one.tur(lun), active, "after a failure with NACA")
            equal(one.ask(bad, lun, attribute=_ACA, moves="in"), "5/21/00", "ACA command")
            equal(one.tur(lun), "good", "after a failure without NACA")


@_test("ACA keeps what waits, and a reset ends it")
def aca_waiting(target: Target) -> None:
    with _initiators() as (one,):
        with _hole(_OWN):
            old = one.read(attribute=_HEAD_OF_QUEUE)
        simple = one.send(raw.TEST_UNIT_READY)
        one.none()
        equal(one.ask(raw.read10(0xFFFFFFF0, 1), attribute=_HEAD_OF_QUEUE, naca=True, moves="in"), "5/21/00", "the fault")
        one.answers(one.manage(raw.ABORT_TASK, task=old))
        one.none()
        done = one.manage(raw.CLEAR_ACA)
        equal(sorted(one.answer() for _ in range(2)), sorted([(simple, "good"), (done, "good")]), "answers")
        one.ask(raw.read10(0xFFFFFFF0, 1), naca=True, moves="in")
        equal(one.answers(one.manage(raw.LUN_RESET)), ["good"], "LUN RESET")
        equal([one.tur(), one.tur()], ["6/29/03", "good"], "after the reset")


@_test("QERR: CHECK CONDITION of a command aborts the others")
def qerr(target: Target) -> None:
    with _initiators(2) as (one, two):
        for lun, mode, theirs in ((_OWN, 1, 1), (_SHARED, 1, 0), (_SHARED, 3, 1)):
            one.set_control(lun, queue=0x10 | mode << 1)
            equal(two.tur(lun), "6/2a/01", "mode parameters changed")
            with _hole(lun):
                one.read(lun)
            with _hole(lun):
                old = two.read(lun)
            equal(one.ask(raw.read10(0xFFFFFFF0, 1), lun, moves="in"), "5/21/00", "the failure")
            wait_until(lambda: _active(lun) == theirs, 30, f"LUN {lun}, QERR {mode}: {_active(lun)} commands")
            equal(two.tur(lun), "good" if theirs else "6/2f/00", "what the other initiator is told")
            one.set_control(lun)
            equal(two.tur(lun), "6/2a/01", "mode parameters changed")
            if theirs:
                two.answers(two.manage(raw.ABORT_TASK, lun, old))


@_test("CLEAR TASK SET is of the task set; TAS has the others told of each command")
def clear_task_set(target: Target) -> None:
    with _initiators(2) as (one, two):
        with _hole(_OWN):
            old = two.read(_OWN)
        one.answers(one.manage(raw.CLEAR_TASK_SET, _OWN))
        equal(_active(_OWN), 1, "commands of another task set")
        two.answers(two.manage(raw.ABORT_TASK, _OWN, old))
        for tas in (False, True):
            one.set_control(_SHARED, tas=tas)
            two.tur(_SHARED)
            with _hole(_SHARED):
                old = two.read(_SHARED)
            waiting = two.send(raw.TEST_UNIT_READY, _SHARED, _ORDERED)
            two.none()
            one.answers(one.manage(raw.CLEAR_TASK_SET, _SHARED))
            equal(_active(_SHARED), 0, "commands that are left")
            if tas:
                told = f"status {_TASK_ABORTED:#04x}"
                equal(sorted(two.answer() for _ in range(2)), [(old, told), (waiting, told)], "what the other is told")
            else:
                equal(two.tur(_SHARED), "6/2f/00", "what the other is told")
            equal(two.tur(_SHARED), "good", "afterwards")
        # A reset takes back what was not saved.
        one.answers(one.manage(raw.LUN_RESET, _SHARED))
        one.tur(_SHARED)
        equal(one.ask(bytes([0x5A, 8, 0x0A, 0, 0, 0, 0, 0, 20, 0]), _SHARED, moves="in"), "good", "MODE SENSE")


@_test("a disc stays in its drive as long as one initiator wants it to")
def prevent(target: Target) -> None:
    def wants(initiator: Initiator, on: bool) -> None:
        equal(initiator.ask(bytes([0x1E, 0, 0, 0, int(on), 0]), _DRIVE), "good", "PREVENT ALLOW MEDIUM REMOVAL")

    def ejects(initiator: Initiator) -> bool:
        answer = initiator.ask(bytes([0x1B, 0, 0, 0, 2, 0]), _DRIVE)
        check(answer in ("good", "5/53/02"), f"START STOP UNIT: {answer}")
        administrator = not scst.write(scst.DEVICES / "drive/filename", "")
        equal(administrator, answer == "good", "an administrator may change the disc")
        return answer == "good"

    def attentions(*initiators: Initiator) -> None:
        for initiator in initiators:
            while initiator.tur(_DRIVE).startswith("6/"):
                pass

    with _initiators(2) as (one, two):
        check(ejects(one), "nobody prevents it")
        attentions(one, two)
        wants(one, True)
        wants(two, True)
        wants(two, False)
        check(not ejects(one) and not ejects(two), "one prevents it")
        one.answers(one.manage(raw.LUN_RESET, _DRIVE))
        attentions(one, two)
        check(ejects(two), "after a reset")
        attentions(one, two)
        wants(one, True)
    with _initiators() as (one,):
        def may() -> bool:
            with contextlib.suppress(Failure):
                attentions(one)
                return ejects(one)
            return False
        wait_until(may, 30, "who is gone still prevents it")


if __name__ == "__main__":
    plan.main()
