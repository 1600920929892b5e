# SPDX-License-Identifier: GPL-2.0
"""What may go wrong on a fabric, and with the target, under a load that is verified: no command is lost or answered twice."""

from __future__ import annotations

import contextlib
import dataclasses
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import fc
import fc_ours
import fc_plan
import scst
from lib import LONG, Fio, Suite, check, equal, note, scaled, sh, wait_until

DRIVER = Path("/sys/bus/pci/drivers/qla2xxx")

_JOBS, _DEPTH = 4, 8
_TELL = 10
"""Rounds after which a long run says how far it is."""
# What the fabric is told, in two goes: what is repaired by the next try of a command or by none, and aborts that are lost
# themselves. Each is done to so many frames among those that go on. Lost data are those of reads and of writes.
_FRAMES = (
    ("drop command", "drop data", "drop response", "full", "delay command ms=700", "delay response ms=700"),
    ("drop command", "drop response", "delay command ms=6000", "drop abts", "drop abts-reply", "delay abts ms=300"),
)
# To each so-manieth frame: a command is not to meet a fault so often that its retries are used up.
_APART, _ABORTS_APART = 37, 2


def _fabric(*commands: str) -> None:
    for command in commands:
        fc_ours.fabric[0].do(command)


class _Load:
    """Four jobs that write to LUN 1 and compare what they read back: what stops for one does not stop all."""

    def __init__(self, command_s: int) -> None:
        self._node = fc_plan.hasty(fc.wait_disk(0, 1), command_s)
        self.fio = Fio(self._node, rw="randwrite", bsrange="4k-64k", blockalign="4k", numjobs=_JOBS, iodepth=_DEPTH, size="8m",
                       offset_increment="16m", loops=1000000, rate_iops=30, verify="crc32c", verify_fatal=1, verify_backlog=16,
                       serialize_overlap=1, group_reporting=None)

    def goes_on(self, what: str) -> None:
        """Wait for I/O that was begun after this."""
        before = fc_plan.completed(self._node)
        wait_until(lambda: fc_plan.completed(self._node) > before + _JOBS * _DEPTH + 2 or not self.fio.running, 150, f"no I/O {what}")
        check(self.fio.running, f"the load ended {what}")


@contextlib.contextmanager
def verified(command_s: int = 3) -> Iterator[_Load]:
    """A load that goes on from here to the end without an error; six times COMMAND_S is the longest that a command may take."""
    _fabric("clear")
    if scst.get(fc_ours.TARGET / "enabled") == "0":
        scst.put(fc_ours.TARGET / "enabled", "1")
    fc_ours.wait_session()
    fc.wait_disk(0, 1)
    for path in Path("/sys/class/fc_remote_ports").glob(f"rport-{fc.host(0).name[4:]}:*/dev_loss_tmo"):
        with contextlib.suppress(OSError):  # one that is blocked
            path.write_text("300")
    load = _Load(command_s)
    try:
        yield load
        load.goes_on("at the end")
        load.fio.stop()
        record = load.fio.result()
        note(f"{record['write']['total_ios']} writes, {record['read']['total_ios']} reads compared")
    finally:
        load.fio.kill()
    equal(fc_ours.count("hba1", "twice"), 0, "commands that were answered twice")


def again_and_again(function: Callable[[], object], what: str, command_s: int) -> None:
    """Do something once, in the soak 100 times, under one load; I/O goes on after each."""
    rounds = scaled(1, 100)
    start = time.monotonic()
    slowest = 0.0
    with verified(command_s) as load:
        load.goes_on(f"before {what}")
        for number in range(1, rounds + 1):
            began = time.monotonic()
            function()
            load.goes_on(f"after {what}")
            slowest = max(slowest, time.monotonic() - began)
            if number % _TELL == 0:
                note(f"{what}: {number} of {rounds}, {time.monotonic() - start:.0f} s")
    note(f"{what}: {rounds} times in {time.monotonic() - start:.0f} s, I/O again after {slowest:.1f} s at most")


def _which(command: str, count: int, aborts: bool) -> str:
    """To which frames a fault is done. Where aborts are to be lost there are twice as many of them: not each command is aborted by
    itself, as a reset of the LUN ends several."""
    if "abts" in command:
        return f"{command} port=hba1 every={_ABORTS_APART} count={count}"
    return f"{command} port=hba1 every={_APART} count={2 * count if aborts else count}"


def _frames() -> None:
    """All faults of frames; each to two, in the soak to 100."""
    count = scaled(2, 100)
    with verified() as load:
        for commands in _FRAMES:
            aborts = any("abts" in command for command in commands)
            _fabric("clear", *(_which(command, count, aborts) for command in commands))
            want = sum(2 * count if aborts and "abts" not in command else count for command in commands)
            start = time.monotonic()
            wait_until(lambda want=want: fc_ours.fabric[0].done() == want, 60 + 15 * count,  # type: ignore[misc]
                       f"{commands}: done to too few frames")
            load.goes_on(f"after {commands}")
            note(fc_ours.fabric[0].do("faults"))
            note(f"{want} frames in {time.monotonic() - start:.1f} s")
        _fabric("clear")


def _told(*commands: str) -> Callable[[], None]:
    return lambda: _fabric("clear", *commands)


def _zoned() -> None:
    """The initiator sees nobody for a while."""
    _fabric("zone other hba0")
    wait_until(lambda: "Online" not in _remote(), 30, "the initiator still sees the target")
    _fabric("unzone other")


def _remote() -> str:
    """What the initiator makes of the target's port."""
    states = [path.read_text().strip() for path in Path("/sys/class/fc_remote_ports").glob("rport-*/port_state")
              if (path.parent / "port_name").read_text().strip() == "0x" + fc.wwpn(1).replace(":", "")]
    return " ".join(states)


def _abort_isp() -> None:
    before = fc_ours.count("hba1", "resets")
    scst.put(fc_ours.TARGET / "abort_isp", "1")
    wait_until(lambda: fc_ours.count("hba1", "resets") > before, 30, "the chip was not reset")


def _hang_target() -> None:
    """qla2xxx does not notice it of a port that is only a target; who administers it does, and has it reset."""
    _fabric("hang hba1")
    time.sleep(1)
    _abort_isp()


def _hang_initiator() -> None:
    """Its driver asks whether the firmware lives, and does nothing; error recovery gets to a reset after minutes."""
    _fabric("hang hba0")
    time.sleep(1)
    sh("sg_reset", "--host", fc.wait_disk(0, 1), timeout=120)


def _disable() -> None:
    scst.put(fc_ours.TARGET / "enabled", "0")
    equal(fc_ours.sessions(), [], "sessions of a target that is not enabled")
    scst.put(fc_ours.TARGET / "enabled", "1")


def _reload() -> None:
    sh("rmmod", "qla2x00tgt", timeout=120)
    fc_ours.serve()


def _serve_again() -> None:
    """The adapter is there again: with a target that nobody has set up."""
    wait_until(fc_ours.TARGET.exists, 60, "no target of the adapter that has come")
    for lun, name in enumerate(("null", "ram")):
        scst.add_lun(name, lun, fc_ours.TARGET / "luns")
    wait_until(lambda: fc.online(1), 30, "the adapter is not online")
    scst.put(fc_ours.TARGET / "enabled", "1")


def _unbind() -> None:
    """The adapter loses its driver, and gets it back."""
    device = fc.host(1).resolve().parents[2].name
    (DRIVER / "unbind").write_text(device)
    check(not fc_ours.TARGET.exists(), "the target of an adapter without a driver")
    (DRIVER / "bind").write_text(device)
    _serve_again()


def _remove(pulled: bool = False) -> None:
    """The adapter is taken away, and another one put in; or it is PULLED out of its slot before its driver hears of it."""
    device = fc.host(1).resolve().parents[2]
    if pulled:
        _fabric("remove hba1")
    (device / "remove").write_text("1")
    check(not fc_ours.TARGET.exists(), "the target of an adapter that is gone")
    if pulled:
        _fabric("insert hba1")
    Path("/sys/bus/pci/rescan").write_text("1")
    _serve_again()


@dataclasses.dataclass(frozen=True)
class _Fault:
    """Something that is done again and again."""

    part: str
    what: str
    function: Callable[[], object]
    short: bool = False
    """The short form has it even where it has few."""
    command_s: int = 3
    """After what time the initiator gives up a command."""


_FAULTS = (
    _Fault("links", "the target's link bounced", _told("link hba1 bounce ms=1000"), True),
    _Fault("links", "the initiator's link bounced", _told("link hba0 bounce ms=1000")),
    _Fault("links", "a login was lost", _told("drop els", "link hba1 bounce ms=300")),
    _Fault("links", "zones changed", _zoned),
    _Fault("chips", "the target's firmware failed", _told("crash hba1")),
    _Fault("chips", "the initiator's firmware failed", _told("crash hba0")),
    _Fault("hangs", "the target's firmware hung, and was reset by abort_isp", _hang_target),
    _Fault("hangs", "the initiator's firmware hung, and was reset by hand", _hang_initiator),
    _Fault("chips", "abort_isp", _abort_isp, True),
    _Fault("drivers", "the target was disabled and enabled", _disable, True),
    # qla2xxx waits up to ten seconds for sessions to end.
    _Fault("drivers", "qla2x00tgt was reloaded", _reload, True, command_s=10),
    _Fault("adapters", "qla2xxx was taken from the adapter and given back", _unbind, command_s=10),
    _Fault("adapters", "the adapter was removed and added", _remove, command_s=10),
    # qla2xxx takes half a minute to see that nobody answers any more.
    _Fault("pulls", "the adapter was pulled out and put in", lambda: _remove(pulled=True), command_s=30),
)
PARTS = ("frames", "links", "chips", "hangs", "drivers", "adapters", "pulls")


def add(suite: Suite, parts: Sequence[str] = PARTS, few: bool = False) -> None:
    """Add the tests of some parts; in the short form with FEW only one of each kind."""
    if "frames" in parts:
        suite.test("under load: frames are lost, late or refused", 200)(_frames)
    for fault in _FAULTS:
        if fault.part in parts and (fault.short or LONG or not few):
            suite.test(f"under load: {fault.what}", 200)(
                lambda fault=fault: again_and_again(fault.function, fault.what, fault.command_s))  # type: ignore[misc]
