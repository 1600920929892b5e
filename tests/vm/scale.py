#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
# lab: group=scale icount=yes timeout=200 mem=4G soak=yes
"""Management at the size of a large installation, and what it costs the I/O of a session that it does not concern.

Time is counted in instructions, on one processor: see lun_p99.py. `make soak` has the full numbers, `make test` fewer
and the same rates. The sessions' initiators are not told of their LUNs (aen_disabled): what is measured is the target,
not how Linux scans 100,000 disks.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import scst
from lib import Fio, Suite, check, equal, note, p99_us, scaled

_LUNS = scaled(1000, 10_000)
_SESSIONS = scaled(20, 1000)
_LUNS_EACH = scaled(50, 100)
_REPLACED = scaled(30, 200)
# Seconds for 10,000 mappings.
_LIMIT = 10
# Reads per second: of a burst of 30 ms there should be a hundred and more. Not 4,000, see lun_p99.py.
_RATE = 4021

_quiet = 0.0


def setup() -> None:
    """A disk for the load, and devices for the maps."""
    scst.unload()
    scst.load()
    scst.disk("vdisk_nullio", "steady", 0, "size_mb=64")
    for name in ("many", "other"):
        scst.add_device("vdisk_nullio", name, "size_mb=1")


def teardown() -> None:
    """Leave nothing."""
    scst.clear()
    scst.unload()


suite = Suite(setup, teardown)


def _load() -> Fio:
    # As long as the management takes: a task that nothing must keep from the processor.
    return Fio(scst.wait_disk(0), realtime=True, iodepth=4, rate_iops=_RATE, time_based=None, runtime=36000,
               lat_percentiles=1)


def _beside(what: str, work: Callable[[], None]) -> float:
    """Do WORK beside the load, whose p99 must not double; how many seconds it took."""
    failed = scst.failed(0)
    load = _load()
    start = time.monotonic()
    try:
        work()
        took = time.monotonic() - start
        check(load.running, "the load ended before the changes did")
    finally:
        load.stop()
    record = load.result(600)
    p99, slowest = p99_us(record), record["read"]["lat_ns"]["max"] / 1000
    note(f"{what}: {took:.3f} s, p99 of {record['read']['total_ios']} reads beside it {p99:.1f} us, slowest {slowest:.0f} us")
    equal(scst.failed(0) - failed, 0, "commands of the other session that were refused")
    if _quiet:
        check(p99 <= 2 * _quiet, f"{what}: p99 {p99:.1f} us, {_quiet:.1f} us without")
    return took if _quiet else p99


def _target(name: str, sessions: int = 1) -> Path:
    """A target with sessions whose initiators are told nothing of LUNs."""
    target = scst.add_target(name, f"{name}_0")
    scst.put(target / "aen_disabled", "1")
    for number in range(1, sessions):
        scst.put(scst.LOCAL / "mgmt", f"add_session {name} {name}_{number}")
    return target


def _rate(what: str, count: int, took: float) -> None:
    check(took <= _LIMIT * count / 10_000, f"{what}: {took:.2f} s for {count}")


@suite.test("how long reads take without changes", 3600)
def quiet() -> None:
    global _quiet  # pylint: disable=global-statement
    _quiet = _beside("nothing", lambda: time.sleep(1.5))


@suite.test(f"{_LUNS} LUNs of one session are added and removed, one by one, and with clear", 600)
def luns() -> None:
    target = _target("wide")
    mgmt = target / "luns/mgmt"

    def add() -> None:
        for lun in range(_LUNS):
            scst.put(mgmt, f"add many {lun}")

    def remove() -> None:
        for lun in range(_LUNS):
            scst.put(mgmt, f"del {lun}")

    _rate("added", _LUNS, _beside(f"{_LUNS} LUNs added", add))
    equal(len(list((target / "sessions/wide_0").glob("lun*"))), _LUNS + 1, "directories of the session (and luns)")
    _rate("removed", _LUNS, _beside(f"{_LUNS} LUNs removed", remove))
    add()
    _rate("cleared", _LUNS, _beside(f"{_LUNS} LUNs cleared", lambda: scst.put(mgmt, "clear")))
    equal([path.name for path in (target / "sessions/wide_0").glob("lun[0-9]*")], [], "what is left of the LUNs")
    scst.put(scst.LOCAL / "mgmt", "del_target wide")


@suite.test(f"a LUN with I/O is replaced {_REPLACED} times, in less than 50 ms each", 300)
def replaced() -> None:
    target = scst.add_target("moving", "moving_0")
    scst.add_lun("many", 0, target / "luns")
    load = Fio(scst.wait_disk(0, target), iodepth=4, rate_iops=_RATE, time_based=None, runtime=36000)
    slowest = 0.0

    def replace() -> None:
        nonlocal slowest
        for number in range(_REPLACED):
            start = time.monotonic()
            scst.put(target / "luns/mgmt", f"replace_no_ua {('other', 'many')[number % 2]} 0")
            slowest = max(slowest, time.monotonic() - start)
            time.sleep(0.01)

    try:
        _beside(f"{_REPLACED} replacements", replace)
    finally:
        load.stop()
    load.result(600, errors=True)
    note(f"slowest replacement {slowest * 1000:.2f} ms")
    check(slowest < 0.05, f"a replacement took {slowest * 1000:.1f} ms")
    scst.put(scst.LOCAL / "mgmt", "del_target moving")


@suite.test(f"{_SESSIONS} sessions with {_LUNS_EACH} LUNs each: mapped, and ended in less than 1 s each", 1200)
def sessions() -> None:
    target = _target("deep", _SESSIONS)

    def add() -> None:
        for lun in range(_LUNS_EACH):
            scst.put(target / "luns/mgmt", f"add many {lun}")

    slowest = 0.0

    def end() -> None:
        nonlocal slowest
        for number in range(_SESSIONS):
            start = time.monotonic()
            scst.put(scst.LOCAL / "mgmt", f"del_session deep deep_{number}")
            slowest = max(slowest, time.monotonic() - start)

    _beside(f"{_LUNS_EACH} LUNs mapped for {_SESSIONS} sessions", add)
    _beside(f"{_SESSIONS} sessions ended", end)
    note(f"slowest end of a session {slowest * 1000:.1f} ms")
    check(slowest < 1, f"the end of a session took {slowest:.2f} s")
    equal(list((target / "sessions").iterdir()), [], "sessions that are left")
    scst.put(scst.LOCAL / "mgmt", "del_target deep")


if __name__ == "__main__":
    suite.main()
