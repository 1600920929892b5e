#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
# lab: group=disks timeout=120
"""Thread pools that change under load, counters, latency figures."""

from __future__ import annotations

import os
from pathlib import Path

import scst
from lib import Failure, Fio, Suite, check, equal, errno_name, fio, note, scaled, sh, wait_until

_NEXUS = scst.TARGET / "sessions" / scst.SESSION / "lun0"
_SESSION = _NEXUS.parent


def setup() -> None:
    """A fileio and a nullio disk."""
    scst.unload()
    scst.load()
    scst.image("/tmp/pool", 32)
    scst.disk("vdisk_fileio", "pool", 0, "filename=/tmp/pool")
    scst.disk("vdisk_nullio", "count", 1, "size_mb=64")


def teardown() -> None:
    """Leave nothing."""
    scst.clear()
    scst.unload()


suite = Suite(setup, teardown)


def _pids(nexus: Path = _NEXUS) -> list[int]:
    return [int(word) for word in (nexus / "thread_pid").read_text().split()]


def _kernel_threads(pids: list[int], what: str) -> None:
    for pid in pids:
        try:
            flags = int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[6])
        except OSError as error:
            raise Failure(f"{what}: thread_pid {pid}: {error}") from None
        check(flags & 0x200000, f"{what}: {pid} is no kernel thread")


@suite.test("threads_num and threads_pool_type change under load; thread_pid lists that many kernel threads")
def pools() -> None:
    load = Fio(scst.wait_disk(0), rw="randrw", bs="4k", iodepth=16, time_based=None, runtime=3600, size="24m",
               verify="crc32c", verify_fatal=1)
    device = scst.DEVICES / "pool"
    try:
        equal(len(_pids()), 8, "threads of a fileio LUN by default")
        for _ in range(scaled(1, 40)):
            for kind in ("shared", "per_initiator"):
                scst.put(device / "threads_pool_type", kind)
                for count in (1, 16, 0, 3, 8):
                    scst.put(device / "threads_num", str(count))
                    pids = _pids()
                    _kernel_threads(pids, f"{kind} {count}")
                    if count:
                        equal(len(pids), count, f"threads with {kind} {count}")
                        equal(len(set(pids)), count, f"different threads with {kind} {count}")
        check(load.running, "the load ended")
    finally:
        load.stop()
    record = load.result()
    check(record["read"]["total_ios"] > 0 and record["write"]["total_ios"] > 0, "the load did nothing")


@suite.test("a disk that has no use for threads of its own answers what needs one, whatever threads it is to have")
def none() -> None:
    device = scst.DEVICES / "count"
    before = {name: scst.get(device / name).split()[0] for name in ("threads_pool_type", "threads_num")}
    node = scst.wait_disk(1, kind="scsi_generic")
    try:
        for kind in ("shared", "per_initiator"):
            scst.put(device / "threads_pool_type", kind)
            for count in (0, 2):
                scst.put(device / "threads_num", str(count))
                check("SCST_FIO" in sh("sg_inq", node, timeout=30), f"INQUIRY data with {kind} {count}")
    finally:
        for name, value in before.items():
            scst.put(device / name, value)


@suite.test("a shared pool is one for two sessions, per_initiator gives each its own")
def shared() -> None:
    other = scst.add_target("other_tgt", "other")
    scst.add_lun("pool", 0, other / "luns")
    scst.wait_disk(0, other)
    theirs = other / "sessions/other/lun0"
    scst.put(scst.DEVICES / "pool/threads_pool_type", "shared")
    equal(sorted(_pids()), sorted(_pids(theirs)), "threads of two sessions of a shared pool")
    scst.put(scst.DEVICES / "pool/threads_pool_type", "per_initiator")
    equal(set(_pids()) & set(_pids(theirs)), set(), "common threads with per_initiator")
    old = _pids(theirs)
    scst.put(scst.LOCAL / "mgmt", "del_target other_tgt")
    wait_until(lambda: not any(os.path.exists(f"/proc/{pid}") for pid in old), 30, "threads of a target that went")


def _affinity(pid: int) -> str:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("Cpus_allowed:"):
            return line.split()[1].lstrip("0,") or "0"
    return ""


@suite.test("cpu_mask moves the threads under load")
def cpu_mask() -> None:
    load = Fio(scst.wait_disk(0), iodepth=16, time_based=None, runtime=3600, size="24m")
    try:
        for mask in ("1", "2", "3") * scaled(1, 50):
            scst.put(scst.TARGET / "cpu_mask", mask)
            wait_until(lambda: {_affinity(pid) for pid in _pids()} == {mask}, 30,  # pylint: disable=cell-var-from-loop
                       f"cpu_mask {mask}: threads have {sorted({_affinity(pid) for pid in _pids()})}")
        equal(scst.write(scst.TARGET / "cpu_mask", "ffff"), 75, "cpu_mask beyond the CPUs")
    finally:
        load.stop()
    load.result()


@suite.test("the threads of a session that moves to another group run on that group's CPUs")
def cpu_mask_of_group() -> None:
    groups, pids = scst.TARGET / "ini_groups", _pids()
    scst.put(groups / "mgmt", "create bound")
    scst.put(groups / "bound/cpu_mask", "2")
    # The same devices at the same LUNs, so that nothing else changes.
    for lun, name in enumerate(("pool", "count")):
        scst.add_lun(name, lun, groups / "bound/luns")
    scst.put(groups / "bound/initiators/mgmt", f"add {scst.SESSION}")
    equal(sorted(_pids()), sorted(pids), "threads after the session moved")
    equal({_affinity(pid) for pid in pids}, {"2"}, "CPUs of the threads in the group")
    scst.put(groups / "bound/initiators/mgmt", f"del {scst.SESSION}")
    equal({_affinity(pid) for pid in pids}, {"3"}, "CPUs of the threads after that")
    scst.put(groups / "mgmt", "del bound")


def _count(name: str, where: Path = _SESSION) -> int:
    return int((where / name).read_text())


@suite.test("the session's and the target's counters count what fio does")
def counters() -> None:
    node = scst.wait_disk(1)
    names = ("read_cmd_count", "read_io_count_kb", "write_cmd_count", "write_io_count_kb", "write_unaligned_cmd_count")
    before = {name: _count(name) for name in names}
    target = {name: _count(name, scst.TARGET) for name in names}
    fio(node, rw="randread", number_ios=1000, size="32m")
    fio(node, rw="randwrite", bs="8k", number_ios=500, size="32m")
    fio(node, rw="randwrite", bs="512", number_ios=100, size="1m")
    delta = {name: _count(name) - before[name] for name in names}
    check(1000 <= delta["read_cmd_count"] <= 1100, f"read commands: {delta}")
    check(4000 <= delta["read_io_count_kb"] <= 4400, f"KiB read: {delta}")
    check(600 <= delta["write_cmd_count"] <= 610, f"write commands: {delta}")
    check(4050 <= delta["write_io_count_kb"] <= 4100, f"KiB written: {delta}")
    check(85 <= delta["write_unaligned_cmd_count"] <= 110, f"unaligned writes: {delta}")
    sums = {name: _count(name, scst.TARGET) - target[name] for name in names}
    equal(sums, delta, "the target's counters against the session's")
    equal(_count("active_commands"), 0, "active_commands when idle")
    equal(scst.write(_SESSION / "read_cmd_count", "0"), 0, "reset of a counter")
    check(_count("read_cmd_count") < 10, "read_cmd_count after its reset")


def _reads_of_lun() -> tuple[int, list[list[str]]]:
    where = _SESSION / "lun1"
    rows = [line.split() for line in (where / "stats").read_text().splitlines()[1:]]
    histogram = [line.split() for line in (where / "latency").read_text().splitlines()[1:]]
    return next(int(row[1]) for row in rows if row[0] == "read"), histogram


@suite.test("each LUN has counters and a latency histogram that agree with each other")
def lun_files() -> None:
    before, old = _reads_of_lun()
    fio(scst.wait_disk(1), rw="randread", number_ios=300, size="8m")
    equal(_count("active_commands", _SESSION / "lun1"), 0, "active_commands")
    after, histogram = _reads_of_lun()
    check(after - before >= 300, f"stats: {before} -> {after} reads")
    counted = sum(int(row[1]) for row in histogram) - sum(int(row[1]) for row in old)
    equal(counted, after - before, "reads in the histogram and in stats")
    note(f"p50 of reads is below {_median(histogram)} us")


def _median(histogram: list[list[str]]) -> str:
    total, sum_ = sum(int(row[1]) for row in histogram), 0
    for row in histogram:
        sum_ += int(row[1])
        if 2 * sum_ >= total:
            return row[0]
    return "?"


@suite.test("the global threads can be more and fewer under load")
def global_threads() -> None:
    scst.put(scst.DEVICES / "pool/threads_num", "0")
    load = Fio(scst.wait_disk(0), iodepth=16, time_based=None, runtime=3600, size="24m")
    old = scst.get(scst.ROOT / "threads")
    try:
        for count in ("1", "8", "2") * scaled(1, 50):
            scst.put(scst.ROOT / "threads", count)
            equal(scst.get(scst.ROOT / "threads"), count, "threads")
        for bad in ("0", "x", "-1"):
            check(scst.write(scst.ROOT / "threads", bad), f"threads accepted {bad}: {errno_name(0)}")
    finally:
        scst.write(scst.ROOT / "threads", old)
        load.stop()
    load.result()


if __name__ == "__main__":
    suite.main()
