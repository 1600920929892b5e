# SPDX-License-Identifier: GPL-2.0
"""What may go wrong on a fabric, and with the target, under a load that is verified: no command is lost or answered twice."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import fc
import fc_ours
import fc_plan
import scst
from lib import LONG, Fio, Suite, check, equal, note, scaled, sh, wait_until

DRIVER = Path("/sys/bus/pci/drivers/qla2xxx")

_DEPTH = 32
# What the fabric is told. Each is done to so many frames among those that go on, so that several are repaired at a time;
# lost data are those of reads and of writes. A command is not to meet its fault so often that its retries are used up.
_FRAMES = (
    ("drop command",), ("drop data",), ("drop response",), ("full",), ("delay command ms=700",), ("delay response ms=700",),
    ("drop command", "drop abts"), ("drop response", "drop abts-reply"), ("delay command ms=6000", "delay abts ms=300"),
)
_APART = 11


def _fabric(*commands: str) -> None:
    for command in commands:
        fc_ours.fabric[0].do(command)


def _goes_on(load: Fio, what: str) -> None:
    """Wait for I/O that was begun after this."""
    before = fc_plan.ios(0, 1)
    wait_until(lambda: fc_plan.ios(0, 1) > before + _DEPTH + 2 or not load.running, 90, f"no I/O {what}")
    check(load.running, f"the load ended {what}")


@contextlib.contextmanager
def verified() -> Iterator[Fio]:
    """A load on LUN 1 that goes on from here to the end without an error."""
    _fabric("clear")
    if scst.get(fc_ours.TARGET / "enabled") == "0":
        scst.put(fc_ours.TARGET / "enabled", "1")
    fc_ours.wait_session()
    node = fc_plan.hasty(fc.wait_disk(0, 1))
    for path in Path("/sys/class/fc_remote_ports").glob(f"rport-{fc.host(0).name[4:]}:*/dev_loss_tmo"):
        with contextlib.suppress(OSError):  # one that is blocked
            path.write_text("300")
    load = Fio(node, rw="randwrite", bsrange="4k-64k", blockalign="4k", iodepth=_DEPTH, size="8m", loops=1000000, rate_iops=100,
               verify="crc32c", verify_fatal=1, verify_backlog=16, serialize_overlap=1)
    try:
        yield load
        _goes_on(load, "at the end")
        load.stop()
        record = load.result()
        note(f"{record['write']['total_ios']} writes, {record['read']['total_ios']} reads compared")
    finally:
        load.kill()
    equal(fc_ours.count("hba1", "twice"), 0, "commands that were answered twice")


def again_and_again(function: Callable[[], object], what: str, long: int = 100) -> None:
    """Do something once, in the soak LONG times, each under load; I/O goes on after each."""
    start = time.monotonic()
    slowest = 0.0
    count = scaled(1, long)
    with verified() as load:
        for _ in range(count):
            _goes_on(load, f"before {what}")
            began = time.monotonic()
            function()
            _goes_on(load, f"after {what}")
            slowest = max(slowest, time.monotonic() - began)
    note(f"{what}: {count} times in {time.monotonic() - start:.0f} s, I/O again after {slowest:.1f} s at most")


def _which(command: str, count: int) -> str:
    """To which frames a fault is done; a lost abort is sent again, and not to be lost again. Not each command is aborted by
    itself: a reset of the LUN ends several."""
    if "abts" in command:
        return f"{command} port=hba1 every={2 if command.startswith('drop') else 1} count={count // 4}"
    return f"{command} port=hba1 every={_APART} count={count}"


def _frames() -> None:
    """All faults of frames, one after the other; each to two, in the soak to 100."""
    with verified() as load:
        for commands in _FRAMES:
            count = scaled(2, 100) * (4 if len(commands) > 1 else 1)
            _fabric("clear", *(_which(command, count) for command in commands))
            want = count if len(commands) == 1 else count + count // 4
            start = time.monotonic()
            wait_until(lambda want=want: fc_ours.fabric[0].done() == want, 60 + 3 * count,  # type: ignore[misc]
                       f"{commands}: done to too few frames")
            _goes_on(load, f"after {commands}")
            note(f"{' / '.join(commands)}: {want} times in {time.monotonic() - start:.1f} s")
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


def _remove() -> None:
    """The adapter is taken away, and another one put in."""
    device = fc.host(1).resolve().parents[2]
    (device / "remove").write_text("1")
    check(not fc_ours.TARGET.exists(), "the target of an adapter that is gone")
    Path("/sys/bus/pci/rescan").write_text("1")
    _serve_again()


def _pull() -> None:
    """The adapter is pulled out of its slot before its driver hears of it."""
    device = fc.host(1).resolve().parents[2]
    _fabric("remove hba1")
    (device / "remove").write_text("1")
    check(not fc_ours.TARGET.exists(), "the target of an adapter that is gone")
    _fabric("insert hba1")
    Path("/sys/bus/pci/rescan").write_text("1")
    _serve_again()


def add(suite: Suite, few: bool = False) -> None:
    """Add the tests; in the short form with FEW only one of each kind."""
    suite.test("under load: frames are lost, late or refused", 200)(_frames)
    for function, what, one in (
            (_told("link hba1 bounce ms=1000"), "the target's link bounced", True),
            (_told("link hba0 bounce ms=1000"), "the initiator's link bounced", False),
            (_told("drop els", "link hba1 bounce ms=300"), "a login was lost", False),
            (_zoned, "zones changed", False),
            (_told("crash hba1"), "the target's firmware failed", False),
            (_told("crash hba0"), "the initiator's firmware failed", False),
            (_abort_isp, "abort_isp", True),
            (_disable, "the target was disabled and enabled", True),
            (_reload, "qla2x00tgt was reloaded", True),
            (_unbind, "qla2xxx was taken from the adapter and given back", False),
            (_remove, "the adapter was removed and added", False), (_pull, "the adapter was pulled out and put in", False)):
        if one or LONG or not few:
            suite.test(f"under load: {what}", 200)(
                lambda function=function, what=what: again_and_again(function, what))  # type: ignore[misc]
