#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
# lab: group=scale icount=yes timeout=240 soak=yes
"""What a LUN that comes and goes costs the other LUNs of its session, in instructions.

Time is counted in instructions here, on one processor: the figures are the same on a busy host and an idle one, some
13 us for a read of a disk without a medium and 20 us where a thread executes it, with changes or without. A task that
the management holds up shows, as a lock, a grace period, a refused command or a frozen queue cost milliseconds; what
only processors at the same time do to each other does not, and is left to luns.py.
"""

from __future__ import annotations

import os
import time

import scst
from lib import Fio, Suite, check, equal, note, p99_us, scaled

_ROUNDS = scaled(30, 1000)
# Seconds of the load without changes: 6,000 reads, 60 above their p99.
_QUIET = 1.5
# Reads per second. Were it 4,000, the reads of one run would all be as far from a timer tick, and those of one run in
# fifty at it, many of them with the tick's 30 us.
_RATE = 4021


def setup() -> None:
    """Two disks for loads, of which one needs threads, and one that comes and goes."""
    scst.unload()
    scst.load()
    scst.image("/tmp/moving", 16)
    scst.image("/tmp/threaded", 64)
    scst.add_device("vdisk_fileio", "moving", "filename=/tmp/moving")
    scst.disk("vdisk_nullio", "inline", 0, "size_mb=64")
    # Two disks that stay. When a host's disks become two or one, the initiator's block layer stops all I/O of the disk
    # that stays for a grace period, 3 to 8 ms (blk_mq_update_tag_set_shared); no target can help that.
    scst.disk("vdisk_fileio", "threaded", 8, "filename=/tmp/threaded")
    # Waiting for a processor that the management is using is no stall either.
    for pid in scst.get(scst.TARGET / "sessions" / scst.SESSION / "lun8/thread_pid").split():
        os.sched_setscheduler(int(pid), os.SCHED_FIFO, os.sched_param(51))


def teardown() -> None:
    """Leave nothing."""
    scst.clear()
    scst.unload()


suite = Suite(setup, teardown)


def _p99(lun: int, rounds: int) -> tuple[float, float]:
    """The p99 of reads of LUN beside ROUNDS changes, from submission to completion; how long the load ran."""
    # A task that the management must not keep from the processor. As the submission counts, so does waiting for a
    # frozen queue.
    load = Fio(scst.wait_disk(lun), realtime=True, iodepth=4, rate_iops=_RATE, time_based=None, runtime=3600,
               lat_percentiles=1)
    start = time.monotonic()
    try:
        for number in range(rounds):
            scst.come_and_go("moving", 1 + number % 3, number % 2 == 0)
        if not rounds:
            time.sleep(_QUIET)
        check(load.running, "the load ended before the changes did")
    finally:
        load.stop()
    return p99_us(load.result()), time.monotonic() - start


def _compare(lun: int) -> None:
    before = scst.failed(lun)
    quiet, _ = _p99(lun, 0)
    beside, took = _p99(lun, _ROUNDS)
    note(f"p99 {beside:.1f} us with {_ROUNDS} changes in {took:.1f} s, {quiet:.1f} us without")
    check(beside <= 2 * quiet, f"p99 {beside:.1f} us with changes, {quiet:.1f} us without")
    equal(scst.failed(lun) - before, 0, "commands that were refused")


@suite.test(f"a LUN added and removed {_ROUNDS} times: p99 of another LUN does not double", 3600)
def inline() -> None:
    """Its commands are executed where they arrive."""
    _compare(0)


@suite.test(f"a LUN added and removed {_ROUNDS} times: p99 of another LUN, with threads, does not double", 3600)
def threaded() -> None:
    """Its commands go through a queue to threads."""
    _compare(8)


if __name__ == "__main__":
    suite.main()
