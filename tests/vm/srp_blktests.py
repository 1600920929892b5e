#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
# lab: group=srpstorm cpus=1 timeout=300 mem=2G soak=yes
"""SRP: the scenarios of blktests' srp group, in their order, on the set-up of the tests here.

Its numbers are in the names. 001 (LUNs are found) and 013 (scattered buffers) are also in srp_luns.py and srp_io.py, 016
(hot-unplug) is in srp_storm.py, and 015 (the siw driver) wants an RDMA device that the stock kernel does not have.
"""

from __future__ import annotations

import contextlib
import mmap
import os
import random
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import scst
import srp
import srp_target
from lib import Failure, Fio, check, equal, fio, ios, note, scaled, sh, wait_until
from srp import Host, Link, Multipath
from srp_target import Target

_LINKS = (Link(0), Link(1))
_MOUNT = "/mnt"
_GENTLE = {"rate_iops": scaled(500, 1000000)}
"""For a load that has to go on while things happen to it, and need not be as fast as it can."""
_LARGE = {"ch_count": 1, "queue_size": 32, "max_cmd_per_lun": 32, "max_sect": 1 << 17}
"""Options of the logins for large transfers."""


def setup(target: Target) -> None:
    """A file and a disk that stores nothing, through two ports."""
    target.add("fileio", "file0", 0, scst.image("/tmp/file0", 64), _LINKS)
    target.add("nullio", "null1", 1, links=_LINKS)
    target.enable(*_LINKS)


plan = srp_target.Plan(setup, _LINKS, limit_s=120)


@contextlib.contextmanager
def _two_paths() -> Iterator[tuple[Multipath, dict[Link, Host]]]:
    paths = {link: srp.login(link) for link in _LINKS}
    device = Multipath("mp", *(host.disk(0) for host in paths.values()))
    try:
        yield device, paths
    finally:
        device.remove()
        srp.log_out()


def _lose_paths(device: Multipath, paths: dict[Link, Host], rounds: int) -> None:
    """Log one path out, or all, and in again, over and over."""
    for number in range(rounds):
        srp.lose_paths(device, paths, _LINKS if number % 3 == 1 else (_LINKS[number % 2],))


@plan.test("001: LUNs are found, and found again")
def luns(target: Target) -> None:
    for _ in range(scaled(2, 50)):
        with srp.logged_in() as host:
            wait_until(lambda host=host: host.luns() == [0, 1], 10, "LUNs are missing")


class _Files(threading.Thread):
    """Writes files on a mounted file system, and reads them from the disk again, until told to stop."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.enough = threading.Event()
        self.count = 0
        self.problem = "it was not stopped"

    def run(self) -> None:
        rng = random.Random(2)
        try:
            while not self.enough.is_set():
                path, data = f"{_MOUNT}/{self.count % 16}", rng.randbytes(rng.randint(1, 1 << 19))
                with open(path, "wb") as file:
                    file.write(data)
                    file.flush()
                    os.fsync(file.fileno())
                    os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
                check(Path(path).read_bytes() == data, f"file {self.count} is not what was written")
                self.count += 1
            self.problem = ""
        except (OSError, Failure) as error:
            self.problem = str(error)


@plan.test("002-004: files on two paths, which are logged out and in again")
def files(target: Target) -> None:
    with _two_paths() as (device, paths):
        sh("mkfs.ext4", "-q", "-F", device.node)
        sh("mount", device.node, _MOUNT)
        try:
            load = _Files()
            load.start()
            _lose_paths(device, paths, scaled(3, 60))
            before = load.count
            wait_until(lambda: load.count > before or not load.is_alive(), 60, "no file is written any more")
            load.enough.set()
            load.join(120)
            equal(load.problem, "", "what became of the files")
            note(f"{load.count} files")
        finally:
            sh("umount", _MOUNT)
        check(" error" not in sh("e2fsck", "-f", "-n", device.node), "the file system has errors")


def _stop(load: Fio) -> None:
    """The load has seen no error, and goes on until now."""
    running = load.running
    load.stop()
    record = load.result(180)
    check(running, f"the load has ended by itself after {record['job_runtime']} ms and {record['write']['total_ios']} writes")


def _large(name: str, entries: int, **options: object) -> None:
    with srp.logged_in(cmd_sg_entries=entries, **_LARGE) as host:
        node = host.disk(0)
        queue = Path("/sys/block", os.path.basename(node), "queue")
        (queue / "max_sectors_kb").write_text((queue / "max_hw_sectors_kb").read_text())
        note(f"{name}: commands of up to {(queue / 'max_sectors_kb').read_text().strip()} KiB")
        fio(node, rw="randwrite", bssplit="4m/50:8m/50", blockalign="4m", iodepth=4, size="64m", io_size=f"{scaled(24, 1024)}m",
            verify="md5", verify_fatal=1, serialize_overlap=1, **options)


@plan.test("005 and 006: direct I/O in 4 and 8 MiB, tables of 255 descriptors in a command")
def many_descriptors(target: Target) -> None:
    _large("255 descriptors", 255)


@plan.test("007 and 008: direct I/O in 4 and 8 MiB, one descriptor in a command")
def one_descriptor(target: Target) -> None:
    _large("one descriptor", 1)


@plan.test("009 and 010: buffered I/O in 4 and 8 MiB")
def buffered(target: Target) -> None:
    _large("buffered", 255, direct=0, end_fsync=1)


@plan.test("011: a disk on two paths, which are logged out and in again")
def disk(target: Target) -> None:
    with _two_paths() as (device, paths):
        load = Fio(device.node, rw="randwrite", iodepth=64, iodepth_batch=32, size="8m", sync=1, verify="md5",
                   verify_fatal=1, time_based=None, runtime=3600, **_GENTLE)
        try:
            _lose_paths(device, paths, scaled(3, 120))
            _stop(load)
        finally:
            load.kill()


@plan.test("012: two paths, below every I/O scheduler")
def schedulers(target: Target) -> None:
    for module in ("mq-deadline", "kyber-iosched", "bfq"):
        sh("modprobe", module, status=None)
    with _two_paths() as (device, paths):
        nodes = [host.disk(0) for host in paths.values()]
        files_ = [Path("/sys/block", os.path.basename(node), "queue/scheduler") for node in nodes]
        names = files_[0].read_text().replace("[", "").replace("]", "").split()
        check(len(names) > 1, f"schedulers: {names}")
        load = Fio(device.node, rw="randwrite", iodepth=64, iodepth_batch=32, size="1m", sync=1, verify="md5", verify_fatal=1,
                   time_based=None, runtime=3600, **_GENTLE)
        try:
            for name in names:
                for path in files_:
                    path.write_text(name)
                before = ios(device.node)
                wait_until(lambda before=before: ios(device.node) > before + scaled(200, 20000), 60, f"{name}: I/O has stopped")
            _stop(load)
        finally:
            load.kill()
        note(", ".join(names))


@plan.test("013: direct I/O to and from parts of memory that do not follow one another")
def discontiguous(target: Target) -> None:
    with srp.logged_in() as host, mmap.mmap(-1, 4 * 4096) as memory:
        handle = os.open(host.disk(0), os.O_RDWR | os.O_DIRECT)
        view = memoryview(memory)
        parts = [view[2 * 4096:2 * 4096 + 512], view[512:1024]]
        try:
            with open(host.disk(0), "rb") as disk_:
                wanted = bytes(byte ^ 0xA5 for byte in disk_.read(1024))
            parts[0][:], parts[1][:] = wanted[:512], wanted[512:]
            equal(os.pwritev(handle, parts, 0), 1024, "bytes written")
            parts[0][:], parts[1][:] = bytes(512), bytes(512)
            equal(os.preadv(handle, parts, 0), 1024, "bytes read")
            equal(bytes(parts[0]) + bytes(parts[1]), wanted, "what was read")
        finally:
            for part in (*parts, view):
                part.release()
            os.close(handle)


@plan.test("014: resets of every kind under load, while devices that went offline are set running")
def resets(target: Target) -> None:
    with srp.logged_in(ch_count=2) as host:
        node, sg = host.disk(0), host.disk(0, "scsi_generic")
        host.set_command_timeout(0, 3)
        state = host.scsi_device(0) / "state"
        load = Fio(node, rw="randwrite", bs="64k", iodepth=16, size="16m", sync=1, verify="md5", verify_fatal=1,
                   time_based=None, runtime=3600, **_GENTLE)
        try:
            for number in range(scaled(4, 200)):
                sh("sg_reset", ("-d", "-H", "-b")[number % 3], sg, timeout=90, status=None)
                if state.read_text().strip() == "offline":
                    state.write_text("running")
                time.sleep(0.1)
            _stop(load)
        finally:
            load.kill()
        wait_until(lambda: (host.state(), state.read_text().strip()) == ("running", "running"), 30,
                   f"port and device are {host.state()} and {state.read_text().strip()}")


if __name__ == "__main__":
    plan.main()
