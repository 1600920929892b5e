#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
# lab: group=disks timeout=240 soak=yes
"""Aborts and resets, under load and of commands in all places: each command is answered exactly once, task management is
answered when its commands can have no more effect and not before, nothing hangs, no data is wrong.

What an initiator of Linux does with a device that is slower than its time-out T: about T after it was sent (the block
layer looks once a second) the command is aborted, and when the abort has been answered it is sent again, 1 + 5 times at
most (SD_MAX_RETRIES). A block device's I/O cannot be taken back, so the abort of a command that is there is answered
after the delay D of the device. A device that stays slow thus ends in EIO after 6 x D, whatever the target does; T=1 s
and D=4 s gave it after 24 s. These tests make the device slow without end, and fast again when the abort has come.
"""

from __future__ import annotations

import contextlib
import os
import re
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import scst
from events import Trace
from lib import Failure, Fio, Skip, Suite, check, equal, note, scaled, sh, wait_until

_MAPPER = "/dev/mapper/slow"
_ENDLESS = 3_600_000


def _table(delay_ms: int) -> str:
    return f"0 131072 delay /dev/ram0 0 {delay_ms}"


def _set_delay(delay_ms: int) -> None:
    """Change how slow the device below is; what waits there goes through first."""
    sh("dmsetup", "suspend", "--noflush", "--nolockfs", "slow")
    sh("dmsetup", "reload", "slow", "--table", _table(delay_ms))
    sh("dmsetup", "resume", "slow")


@contextlib.contextmanager
def _stuck() -> Iterator[None]:
    """The device below answers nothing."""
    _set_delay(_ENDLESS)
    try:
        yield
    finally:
        _set_delay(0)


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


def _active(lun: int) -> int:
    return int(scst.get(scst.TARGET / "sessions" / scst.SESSION / f"lun{lun}" / "active_commands"))


def _handed_over(node: str) -> dict[str, int]:
    """What the initiator counts: commands given to the target, and such that it answered or that timed out."""
    device = Path(f"/sys/block/{os.path.basename(node)}/device")
    return {name: int((device / name).read_text(), 16) for name in ("iorequest_cnt", "iodone_cnt")}


@suite.test("commands that time out are aborted and repeated: no error, no wrong data, each answered once")
def timeouts() -> None:
    node = scst.wait_disk(0)
    _timeout(node, 1)
    with Trace() as trace:
        load = Fio(node, rw="randwrite", iodepth=8, loops=100000, size="1m", verify="crc32c", verify_fatal=1)
        try:
            for _ in range(scaled(3, 10)):
                aborts = _stats()[0]
                with _stuck():
                    wait_until(lambda: _stats()[0] > aborts, 30, "nothing was aborted")
                # A loop writes 256 blocks and then verifies them: all that was on its way is looked at.
                done = _handed_over(node)["iodone_cnt"]
                wait_until(lambda: not load.running or _handed_over(node)["iodone_cnt"] > done + 1024, 60,
                           "the load does not go on")
                check(load.running, "the load ended")
        finally:
            load.stop()
            load.result(timeout=120)
            _timeout(node, 30)
        _idle(node, 0)
    commands = trace.check_answers()
    aborted = trace.count("cmd_done", 1)
    note(f"{commands} commands, {aborted} of them aborted, {trace.count('tmf')} task management functions")
    check(aborted, "no command was aborted")
    equal(trace.count("cmd_aborted"), aborted, "commands that task management marked, against those that ended so")
    counts = _handed_over(node)
    equal(counts["iorequest_cnt"], counts["iodone_cnt"], "commands that the initiator sent, against those that ended")


def _command(lun: int, cdb: str, *options: str) -> subprocess.Popen[str]:
    """A command that the initiator does not repeat."""
    sg = scst.wait_disk(lun, kind="scsi_generic")
    for _ in range(3):  # unit attentions
        sh("sg_raw", sg, *["00"] * 6, status=None)
    return subprocess.Popen(["sg_raw", *options, sg, *cdb.split()], stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                            text=True)


def _read(lun: int, timeout_s: int = 600) -> subprocess.Popen[str]:
    """READ of 4 KiB."""
    return _command(lun, "28 00 00 00 00 00 00 00 08 00", "-t", str(timeout_s), "-r", "4096")


def _verify(lun: int) -> subprocess.Popen[str]:
    """VERIFY of a block of zeros, which keeps a thread busy until the device has answered."""
    return _command(lun, "2f 02 00 01 80 00 00 00 01 00", "-t", "600", "-s", "512", "-i", "/dev/zero")


def _end_of(process: subprocess.Popen[str], what: str, seconds: float = 30) -> str:
    """Wait for a process and give its output."""
    try:
        return process.communicate(timeout=seconds)[0]
    except subprocess.TimeoutExpired:
        raise Failure(f"{what}: no end after {seconds:g} s") from None


@suite.test("the abort of a command that waits for the device below is answered when that answers, and not before")
def abort_in_store() -> None:
    before = _stats()
    with Trace() as trace:
        with _stuck():
            read = _read(0, 1)
            wait_until(lambda: _stats()[0] > before[0], 30, "no abort")
            time.sleep(2)
            check(read.poll() is None, "the abort was answered while the command was with the device")
            equal(_active(0), 1, "commands of the LUN")
        output = _end_of(read, "the aborted READ")
        check(read.returncode, f"the READ did not fail: {output}")
        _idle(scst.wait_disk(0), 0)
    trace.check_answers()
    equal(trace.count("cmd_done", 1), 1, "aborted commands")


@suite.test("the abort of a command that waits for a thread is answered at once, though all threads are busy")
def abort_in_queue() -> None:
    nexus = scst.TARGET / "sessions" / scst.SESSION / "lun0"
    device = scst.DEVICES / "slow"
    for count, kind in (("1", "per_initiator"), ("1", "shared"), ("0", "per_initiator")):
        scst.put(device / "threads_num", count)
        scst.put(device / "threads_pool_type", kind)
        threads = len((nexus / "thread_pid").read_text().split())
        with Trace() as trace:
            with _stuck():
                busy = [_verify(0) for _ in range(threads)]
                wait_until(lambda: _active(0) == threads, 30, "the VERIFYs did not arrive")
                before, start = _stats(), time.monotonic()
                _end_of(_read(0, 1), "the READ in the queue", 30)
                took = time.monotonic() - start
                check(_stats()[0] > before[0], "no abort")
                equal(_active(0), threads, "commands that are left")
            for verify in busy:
                output = _end_of(verify, "a VERIFY")
                equal(verify.returncode, 0, f"a VERIFY that was not aborted: {output}")
            _idle(scst.wait_disk(0), 0)
        trace.check_answers()
        equal(trace.count("cmd_done", 1), 1, "aborted commands")
        note(f"{threads} thread(s), {kind}: over {took:.1f} s after it was sent")
    scst.put(device / "threads_num", "1")


@suite.test("resets are answered when the device below has answered; a black hole they end at once")
def resets_in_store() -> None:
    sg, hole = (scst.wait_disk(lun, kind="scsi_generic") for lun in (0, 1))
    for flag in ("-d", "-t", "-H"):
        with Trace() as trace:
            with _stuck():
                read = _read(0)
                wait_until(lambda: _active(0) == 1, 30, "the READ did not arrive")
                reset = subprocess.Popen(["sg_reset", flag, sg], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
                time.sleep(3)
                check(reset.poll() is None, f"sg_reset {flag} was answered while a command was with the device")
                check(read.poll() is None, f"sg_reset {flag}: the READ was answered")
            output = _end_of(reset, f"sg_reset {flag}")
            equal(reset.returncode, 0, f"sg_reset {flag}: {output}")
            _end_of(read, "the READ")
            _idle(scst.wait_disk(0), 0)
            scst.put(scst.TARGET / "black_hole", "4")
            try:
                read = _read(1)
                wait_until(lambda: _active(1) == 1, 30, "the READ did not arrive")
                sh("sg_reset", flag, hole, timeout=30)
                _end_of(read, "the READ in the black hole")
            finally:
                scst.put(scst.TARGET / "black_hole", "0")
            _idle(scst.wait_disk(1), 1)
        trace.check_answers()
        equal(trace.count("cmd_done", 1), 2, f"commands that sg_reset {flag} aborted")


@suite.test("a disk that is stuck for long loses no command and does not hold up the others")
def stuck_for_long() -> None:
    node, other = scst.wait_disk(0), scst.wait_disk(1)
    _timeout(node, 1)
    before = _stats()
    with Trace() as trace:
        with _stuck():
            load = Fio(node, rw="randwrite", iodepth=8, number_ios=16, size="1m", verify="crc32c", verify_fatal=1)
            wait_until(lambda: _stats()[0] > before[0], 30, "no abort")
            # Longer than error handling waits anywhere; after that it must not have given up what is in the device.
            end = time.monotonic() + scaled(14, 60)
            while time.monotonic() < end:
                sh("dd", f"if={other}", "of=/dev/null", "bs=4k", "count=50", "iflag=direct", "status=none", timeout=30)
                time.sleep(0.5)
                check(load.running, "the load ended")
                check(_active(0) == 8, f"commands in the device: {_active(0)}")
        load.result(timeout=60)
        _timeout(node, 30)
        for lun, disk in ((0, node), (1, other)):
            _idle(disk, lun)
    trace.check_answers()
    equal(_stats()[1:], before[1:], "resets")


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
