#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
# lab: group=tree timeout=240
"""A rich configuration: its tree is the recorded one; what attributes set has its effect."""

from __future__ import annotations

import os
import re
import threading
import time
from pathlib import Path

import recording
import rich
import scst
from lib import Fio, Suite, check, equal, fio, no_differences, sh, wait_until

_COPY = scst.ROOT / "targets/copy_manager/copy_manager_tgt"
_SESSION = scst.TARGET / "sessions" / scst.SESSION
# What is another test's, or differs from machine to machine.
_VOLATILE = ("/sessions/*/host_no", "/sessions/*/lun*/thread_pid", "/sessions/*/lun*/thread_index",
             "/sessions/*/lun*/latency", "/sessions/*/lun*/stats", "/sessions/*/*_count", "/sessions/*/*_kb",
             "/targets/*/*/*_count", "/targets/*/*/*_kb", "/targets/scst_local/stats", "/sgv/*/stats", "/sgv/global_stats",
             "/last_sysfs_mgmt_res", "/sessions/*/*commands")


def setup() -> None:
    """The recorded configuration."""
    scst.unload()
    rich.make()
    scst.wait_disk(1)
    scst.wait_quiet()


def teardown() -> None:
    """Leave nothing."""
    rich.remove()


suite = Suite(setup, teardown)


@suite.test("the tree of a rich configuration is the recorded one")
def rich_tree() -> None:
    listed = recording.Differences("rich")
    live = {str(scst.ROOT): ("d", 0o755, ""), **scst.snapshot(leave_out=())}
    apart = (f"{scst.ROOT}/sgv", str(scst.GROUPS))
    live = {path: entry for path, entry in live.items() if not path.startswith(apart)}
    recorded = recording.blank(recording.tree("sysfs-rich.txt"), _VOLATILE)
    # The numbers count exports by SRP as well.
    recorded, live = ({path: entry for path, entry in tree.items() if "/exported/export" not in path}
                      for tree in (recorded, live))
    no_differences([*recording.compare(recorded, recording.blank(live, _VOLATILE), listed), *listed.unused()], 150)


@suite.test("all of the tree is root's, who alone may write, and none of it is an address of the kernel")
def safe() -> None:
    problems = []
    for path, (kind, mode, text) in scst.snapshot(leave_out=()).items():
        info = os.lstat(path)
        if info.st_uid or info.st_gid or (kind != "l" and mode & 0o022):
            problems.append(f"{path}: mode {mode:04o}, of {info.st_uid}:{info.st_gid}")
        if re.search(r"(?<![0-9a-f])ffff[0-9a-f]{12}(?![0-9a-f])", text):
            problems.append(f"{path}: {text!r}")
    no_differences(problems)


def _luns(target: Path) -> dict[int, str]:
    return {int(path.name): (path / "device").resolve().name for path in (target / "luns").iterdir() if path.is_dir()}


@suite.test("devices say which LUNs they are exported as")
def exported() -> None:
    recorded = recording.tree("sysfs-rich.txt")
    problems = []
    for name in ("null0", "null1", "disk01", "disk02", "blk0", "blk1", "cd0", "dummy0"):
        place = f"{scst.DEVICES}/{name}/exported"
        want = sorted(text for path, (_, _, text) in recorded.items()
                      if path.startswith(f"{place}/") and "/ib_srpt/" not in text)
        got = sorted(os.readlink(path) for path in Path(place).iterdir())
        problems += [] if got == want else [f"{name} is exported as {got}, recorded {want}"]
    no_differences(problems)


@suite.test("the copy manager has every device as a LUN; a LUN given to it moves its device there")
def copy_manager() -> None:
    want = dict(enumerate(("null0", "null1", "dummy0", "disk01", "disk02", "blk0", "blk1", "cd0")))
    equal(_luns(_COPY), want, "LUNs of the copy manager")
    scst.del_device("null1")
    scst.add_device("vdisk_nullio", "null1", "size_mb=256; blocksize=4096; read_only=1")
    equal(_luns(_COPY).get(8), "null1", "LUN of a device that is added again")
    scst.add_lun("null1", 1, _COPY / "luns")
    equal(_luns(_COPY), want, "LUNs after null1 was given its old one")
    equal((_COPY / "luns/1/read_only").read_text(), "1\n[key]\n", "read_only of a device that is")
    check(scst.write(_COPY / "ini_groups/mgmt", "create g") != 0, "the copy manager took a group of initiators")
    parameter = Path("/sys/module/scst/parameters/auto_cm_assignment")
    scst.put(parameter, "N")
    scst.add_device("vdisk_nullio", "alone", "size_mb=1")
    scst.put(parameter, "Y")
    check("alone" not in _luns(_COPY).values(), "auto_cm_assignment was off")
    scst.del_device("alone")
    scst.add_lun("null1", 5, scst.TARGET / "ini_groups/lgrp/luns")


@suite.test("the latency tree says what fio has done, by size and direction, and a write clears it")
def latency() -> None:
    files = _SESSION / "latency"
    wanted = {f"{kind}{512 << shift}": 0o100644 for kind in "bnrw" for shift in range(11)}
    equal({path.name: path.stat().st_mode for path in files.iterdir()}, wanted, "files and their modes, as recorded")
    scst.put(scst.ROOT / "measure_latency", "1")
    disk = scst.wait_disk(1)
    for kind, size in (("read", 4), ("write", 16)):
        fio(disk, rw=kind, bs=f"{size}k", number_ios=64, direct=1)
    scst.put(scst.ROOT / "measure_latency", "0")
    for name, parts in (("r4096", ("EXEC_WAIT", "XMIT_WAIT", "total")), ("w16384", ("EXEC_WAIT", "XMIT_WAIT", "total"))):
        lines = (files / name).read_text().splitlines()
        equal(lines[0], "state count min max avg stddev", f"first line of {name}")
        rows = [line.split() for line in lines[1:]]
        equal(tuple(row[0] for row in rows), parts, f"rows of {name}")
        for row in rows:
            check(int(row[1]) >= 64 and row[-1] == "us", f"{name}: {row}")
        for _, _, least, most, average, _, _ in rows[:-1]:
            check(float(least) <= float(average) <= float(most), f"{name}: {rows}")
    equal((files / "b4096").read_text(), "state count min max avg stddev\n", "b4096")
    before = (files / "r4096").read_text()
    fio(disk, rw="read", bs="4k", number_ios=8, direct=1)
    equal((files / "r4096").read_text(), before, "r4096 while nothing is measured")
    scst.put(files / "n512", "0")
    equal((files / "r4096").read_text(), "state count min max avg stddev\n", "r4096 after it was cleared")


@suite.test("a blocked device executes nothing; blocks count, and unblocking goes on where it was")
def block() -> None:
    for lun, name in ((0, "null0"), (1, "disk01"), (2, "blk1")):
        attribute = scst.DEVICES / name / "block"
        disk = scst.wait_disk(lun)
        load = Fio(disk, rw="randrw", bs="4k", iodepth=8, time_based=None, runtime=3600, size="16m")
        wait_until(lambda d=disk: _ios(d) > 100, 20, f"no I/O on {name}")  # type: ignore[misc]
        scst.put(attribute, "1")
        equal(attribute.read_text(), "1 0\n", f"block of {name}")
        done = _ios(disk)
        scst.put(attribute, "11 words for who waits")
        wait_until(lambda a=attribute: a.read_text() == "2 0\n", 10, "a second block is not complete")  # type: ignore[misc]
        time.sleep(0.5)
        check(_ios(disk) - done <= 8, f"{name} executed {_ios(disk) - done} commands while it was blocked")
        scst.put(attribute, "0")
        equal(attribute.read_text(), "1 0\n", f"block of {name}")
        time.sleep(0.3)
        check(_ios(disk) - done <= 8, f"{name} was unblocked once of twice, and executes")
        scst.put(attribute, "0")
        equal(attribute.read_text(), "0 0\n", f"block of {name}")
        wait_until(lambda d=disk, n=done: _ios(d) > n + 100, 20, f"no I/O on {name} after it was unblocked")  # type: ignore[misc]
        load.stop()
        scst.put(attribute, "0")
        equal(attribute.read_text(), "0 0\n", f"block of {name}, unblocked once too often")


def _ios(disk: str) -> int:
    fields = Path("/sys/class/block", os.path.basename(disk), "stat").read_text().split()
    return int(fields[0]) + int(fields[4])


@suite.test("commands that a blocked device holds can be aborted, and end when the LUN goes")
def block_abort() -> None:
    scst.add_device("vdisk_nullio", "held", "size_mb=16")
    scst.add_lun("held", 9)
    disk = scst.wait_disk(9)
    scst.put(scst.DEVICES / "held/block", "1")
    result: list[str] = []
    reader = threading.Thread(target=lambda: result.append(
        sh("dd", f"if={disk}", "of=/dev/null", "bs=4k", "count=1", "iflag=direct", status=None)))
    reader.start()
    wait_until(lambda: scst.get(_SESSION / "lun9/active_commands") != "0", 10, "the command did not arrive")
    check(reader.is_alive(), "a read of a blocked device came back")
    scst.put(scst.TARGET / "luns/mgmt", "del 9")
    reader.join(60)
    check(not reader.is_alive(), "the read is still there after its LUN went")
    # A LUN of a device that is blocked already is blocked too.
    scst.add_lun("held", 9)
    scst.put(scst.DEVICES / "held/block", "0")
    scst.wait_disk(9)
    scst.del_device("held")


@suite.test("threads that poll for commands serve as the others do")
def poll() -> None:
    disk = scst.wait_disk(1)
    for us in ("300", "0"):
        scst.put(scst.ROOT / "poll_us", us)
        fio(disk, rw="randwrite", bs="4k", number_ios=200, iodepth=4, size="4m", verify="crc32c", do_verify=1)
    equal((scst.ROOT / "poll_us").read_text(), "0\n", "poll_us")


@suite.test("counters of the data-buffer pool count, and a write clears them")
def sgv() -> None:
    stats = scst.ROOT / "sgv/sgv/stats"
    scst.put(scst.ROOT / "sgv/global_stats", "0")
    header, total, *rows = stats.read_text().splitlines()
    equal(header.split(), ["Name", "Hit", "Total", "%", "merged", "Cached", "(P/I/O)"], "header")
    equal(total.split()[:3], ["sgv", "0", "0"], "the sum")
    equal([row.split()[0] for row in rows], [f"sgv-{4 << n}K" for n in range(11)] + ["big/other"], "rows")


if __name__ == "__main__":
    suite.main()
