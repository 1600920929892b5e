#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
# lab: group=storm timeout=240 soak=yes
"""Aborts and resets under load: each command is answered exactly once, nothing hangs, no data is wrong."""

from __future__ import annotations

import os
import re
import time
from pathlib import Path

import scst
from lib import Failure, Fio, Skip, Suite, check, equal, note, scaled, sh, wait_until

_MAPPER = "/dev/mapper/slow"


def _table(delay_ms: int) -> str:
    return f"0 131072 delay /dev/ram0 0 {delay_ms}"


def _set_delay(delay_ms: int) -> None:
    """Change how slow the device below is; what waits there goes through first."""
    sh("dmsetup", "suspend", "--noflush", "--nolockfs", "slow")
    sh("dmsetup", "reload", "slow", "--table", _table(delay_ms))
    sh("dmsetup", "resume", "slow")


def setup() -> None:
    """A device that can be made slow on purpose, below blockio; nullio for black_hole."""
    scst.unload()
    sh("modprobe", "brd", "rd_nr=2", "rd_size=65536")
    try:
        sh("modprobe", "-a", "dm_mod", "dm_delay")
    except Failure as failure:
        raise Skip(f"no dm-delay: {failure}") from None
    sh("dmsetup", "create", "slow", "--noudevsync", "--table", _table(0))
    if not os.path.exists(_MAPPER):
        sh("dmsetup", "mknodes")
    scst.load()
    scst.disk("vdisk_blockio", "slow", 0, f"filename={_MAPPER}")
    scst.disk("vdisk_nullio", "null", 1, "size_mb=64")


def teardown() -> None:
    """Leave nothing."""
    scst.clear()
    scst.unload()
    sh("dmsetup", "remove", "--retry", "slow")


suite = Suite(setup, teardown)


def _timeout(node: str, seconds: int) -> None:
    device = Path(f"/sys/block/{os.path.basename(node)}/device")
    (device / "timeout").write_text(str(seconds))


def _idle(node: str, lun: int) -> None:
    """Nothing is outstanding, for the initiator and for the target."""
    inflight = Path(f"/sys/block/{os.path.basename(node)}/inflight")
    wait_until(lambda: inflight.read_text().split() == ["0", "0"], 30, f"in flight: {inflight.read_text()}")
    nexus = scst.TARGET / "sessions" / scst.SESSION / f"lun{lun}"
    wait_until(lambda: scst.get(nexus / "active_commands") == "0", 30,
               f"active_commands of LUN {lun}: {scst.get(nexus / 'active_commands')}")
    state = (scst.scsi_device(lun) / "state").read_text().strip()
    equal(state, "running", "state of the initiator's device")


def _stats() -> list[int]:
    return [int(number) for number in re.findall(r"\d+", (scst.LOCAL / "stats").read_text())]


def _resets(flag: str) -> None:
    node, sg = scst.wait_disk(0), scst.wait_disk(0, kind="scsi_generic")
    before = _stats()
    _set_delay(20)
    load = Fio(node, rw="randwrite", iodepth=32, number_ios=scaled(1500, 40000), size="8m", verify="crc32c",
               verify_fatal=1)
    done = 0
    try:
        while load.running and done < scaled(6, 400):
            sh("sg_reset", flag, sg, timeout=90)
            done += 1
            time.sleep(0.1)
    finally:
        _set_delay(0)
    load.result(timeout=180)
    _idle(node, 0)
    after = _stats()
    note(f"{done} resets; aborts, device resets, target resets: {before} -> {after}")
    check(sum(after[1:]) > sum(before[1:]), f"stats did not count the resets: {before} -> {after}")


@suite.test("LUN resets (sg_reset -d) under a verifying load: no error, no wrong data, nothing outstanding")
def lun_reset() -> None:
    _resets("-d")


@suite.test("target resets (sg_reset -t) under a verifying load: no error, no wrong data, nothing outstanding")
def target_reset() -> None:
    _resets("-t")


@suite.test("bus and host resets are answered and do not hurt")
def other_resets() -> None:
    node, sg = scst.wait_disk(1), scst.wait_disk(1, kind="scsi_generic")
    load = Fio(node, iodepth=8, time_based=None, runtime=3600, size="32m")
    try:
        for flag in ("-b", "-H"):
            note(f"sg_reset {flag}: " + " ".join(sh("sg_reset", flag, sg, timeout=90, status=None).split()))
        check(load.running, "the load ended")
    finally:
        load.stop()
    load.result()
    _idle(node, 1)


@suite.test("after a LUN reset each initiator gets one unit attention, 29h")
def unit_attention() -> None:
    sg = scst.wait_disk(1, kind="scsi_generic")
    other = scst.add_target("second_tgt", "second")
    scst.add_lun("null", 1, other / "luns")
    theirs = scst.wait_disk(1, other, "scsi_generic")
    tur = ("sg_raw", "00", "00", "00", "00", "00", "00")
    for node in (sg, theirs):
        for _ in range(4):
            sh(tur[0], node, *tur[1:], status=None)
    sh("sg_reset", "-d", sg)
    answers = [sh(tur[0], theirs, *tur[1:], status=None) for _ in range(2)]
    scst.put(scst.LOCAL / "mgmt", "del_target second_tgt")
    check(re.search("[Rr]eset.* occurred", answers[0]), f"first command of the other initiator: {answers[0]}")
    check("Unit Attention" not in answers[1], f"second command of the other initiator: {answers[1]}")


@suite.test("commands that time out are aborted and repeated: no error, no wrong data")
def timeouts() -> None:
    node = scst.wait_disk(0)
    before = _stats()
    _timeout(node, 1)
    load = Fio(node, rw="randwrite", iodepth=8, loops=scaled(4, 20), size="8m", verify="crc32c", verify_fatal=1)
    try:
        for _ in range(scaled(1, 10)):
            time.sleep(1)
            _set_delay(1500)
            time.sleep(3)
            _set_delay(0)
    finally:
        load.result(timeout=240)
        _timeout(node, 30)
    _idle(node, 0)
    # The block layer looks for time-outs about once a second, so whether one comes depends on the machine's speed; that
    # aborts happen and what they do is the next test's, which is sure of them.
    note(f"aborts, device resets, target resets: {before} -> {_stats()}")


@suite.test("black_hole 4 drops data commands until they are aborted; afterwards all is as before")
def black_hole() -> None:
    node = scst.wait_disk(1)
    before = _stats()
    _timeout(node, 1)
    load = Fio(node, rw="randread", iodepth=16, time_based=None, runtime=3600, size="32m")
    try:
        for _ in range(scaled(1, 20)):
            time.sleep(0.5)
            scst.put(scst.TARGET / "black_hole", "4")
            time.sleep(2)
            scst.put(scst.TARGET / "black_hole", "0")
            time.sleep(1)
        check(load.running, "the load ended")
    finally:
        scst.write(scst.TARGET / "black_hole", "0")
        load.stop()
        load.result(timeout=120)
        _timeout(node, 30)
    _idle(node, 1)
    check(_stats()[0] > before[0], f"nothing was aborted: {before} -> {_stats()}")


@suite.test("a device that hangs in black_hole 2 can be removed with its LUN")
def removed_while_held() -> None:
    target = scst.add_target("hole_tgt", "hole")
    scst.add_device("vdisk_nullio", "hole", "size_mb=16")
    scst.add_lun("hole", 0, target / "luns")
    node = scst.wait_disk(0, target)
    _timeout(node, 5)
    scst.put(target / "black_hole", "2")
    load = Fio(node, rw="randread", iodepth=16, time_based=None, runtime=3600)
    time.sleep(1)
    start = time.monotonic()
    scst.put(target / "luns/mgmt", "del 0")
    scst.del_device("hole")
    scst.put(scst.LOCAL / "mgmt", "del_target hole_tgt")
    note(f"gone after {time.monotonic() - start:.1f} s")
    load.result(timeout=120, errors=True)
    note(f"the load ended after {time.monotonic() - start:.1f} s")


@suite.test("the SCSI error handler, the target and the LUNs work after all that")
def afterwards() -> None:
    for lun in (0, 1):
        node = scst.wait_disk(lun)
        Fio(node, rw="randrw", iodepth=16, number_ios=2000, size="8m").result()
        _idle(node, lun)


if __name__ == "__main__":
    suite.main()
