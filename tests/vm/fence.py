#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
# lab: group=scsi timeout=240 soak=only
"""Fencing as fence_mpath does it: a host whose paths are multipathd's, and one without it, shut one another out by PREEMPT AND ABORT."""

from __future__ import annotations

import errno
import mmap
import os
import re
import subprocess
from pathlib import Path

import scst
from lib import LONG, Fio, Suite, check, equal, errno_name, scaled, sh, wait_until

_FILE = "/tmp/fence"
_MIB = 64
_BLOCK = 4096
_OURS, _THEIRS = ("ours1", "ours2"), ("theirs1", "theirs2")
"""Targets, a path of each host each."""
_KEY, _OTHER = "0xa1", "0xb2"
_REGISTRANTS = "5"
"""Write Exclusive - Registrants Only, as fence_mpath has it."""
_CONFIG = """defaults {{
	find_multipaths no
	polling_interval 1
	max_polling_interval 1
	reservation_key {key}
}}
blacklist {{
	devnode "^({others})$"
}}
"""


def _target(name: str) -> Path:
    return scst.LOCAL / name


def setup() -> None:
    """A disk that both hosts have by two paths; udev and multipathd, which leaves the paths of the other host alone."""
    scst.unload()
    sh("modprobe", "-a", "dm_multipath", "dm_service_time", "sg")
    os.makedirs("/run/udev", exist_ok=True)
    sh("/usr/lib/systemd/systemd-udevd", "--daemon")
    scst.load()
    scst.add_device("vdisk_fileio", "fence", f"filename={scst.image(_FILE, _MIB)}")
    for name in (*_OURS, *_THEIRS):
        scst.add_lun("fence", 0, scst.add_target(name, f"{name}_host") / "luns")
    others = [os.path.basename(scst.wait_disk(0, _target(name))) for name in _THEIRS]
    os.makedirs("/etc/multipath", exist_ok=True)
    Path("/etc/multipath.conf").write_text(_CONFIG.format(key=_KEY, others="|".join(others)))
    with open("/tmp/multipathd.log", "wb") as log:
        subprocess.Popen(["multipathd", "-d", "-v2"], stdout=log, stderr=log)  # pylint: disable=consider-using-with
    together = sorted(os.path.basename(scst.wait_disk(0, _target(name))) for name in _OURS)
    wait_until(lambda: _map() and sorted(os.listdir(f"/sys/block/{_map()}/slaves")) == together, 60,
               f"no multipath device of {together}")


def teardown() -> None:
    """Leave nothing."""
    sh("multipathd", "shutdown", status=None)

    def gone() -> bool:
        sh("multipath", "-F", status=None)
        return not any(Path("/sys/block").glob("dm-*"))
    wait_until(gone, 30, "the multipath device stays")
    sh("udevadm", "control", "--exit", status=None)
    scst.clear()
    scst.unload()


suite = Suite(setup, teardown)


def _map() -> str:
    """The daemon's only multipath device, as dm-N; nothing without one."""
    maps = [path.parts[3] for path in Path("/sys/block").glob("dm-*/dm/uuid") if path.read_text().startswith("mpath-")]
    return maps[0] if len(maps) == 1 else ""


def _mpath(*options: str) -> str:
    """mpathpersist for the multipath device."""
    return sh("mpathpersist", *options, f"/dev/{_map()}")


def _persist(name: str, *options: str) -> str:
    """sg_persist by a path of the other host."""
    return sh("sg_persist", "-n", *options, scst.wait_disk(0, _target(name), "scsi_generic"))


def _keys() -> list[str]:
    return sorted(re.findall(r"(?m)^\s+(0x[0-9a-f]+)$", _persist(_THEIRS[0], "-k")))


def _write(node: str, at: int, byte: bytes = b"\x5a") -> str:
    """One write past the page cache; `success`, or the name of its error."""
    memory = mmap.mmap(-1, _BLOCK)
    memory[:] = byte * _BLOCK
    fd = os.open(node, os.O_WRONLY | os.O_DIRECT)
    try:
        os.pwritev(fd, [memory], at)
        return "success"
    except OSError as error:
        return errno_name(error.errno or 0)
    finally:
        os.close(fd)


def _attention(name: str) -> None:
    """Take what waits for a path: it is not the subject."""
    sg = scst.wait_disk(0, _target(name), "scsi_generic")
    wait_until(lambda: "Good" in sh("sg_raw", sg, *["00"] * 6, status=None), 20, f"{name} is not ready")


def _register() -> None:
    """Both hosts register all their paths; multipathd's holds the reservation."""
    for name in _THEIRS:
        _attention(name)
        _persist(name, "-o", "-I", "-S", _OTHER)
    _mpath("--out", "--register-ignore", f"--param-sark={_KEY}")
    _mpath("--out", "--reserve", f"--param-rk={_KEY}", f"--prout-type={_REGISTRANTS}")
    equal(_keys(), [_KEY] * 2 + [_OTHER] * 2, "keys")


class _Stuck:
    """A write of the other host that the target has and does not answer; nobody tries it again."""

    def __init__(self, name: str, at: int) -> None:
        self._name = name
        scst.put(_target(name) / "black_hole", "4")
        node = scst.wait_disk(0, _target(name), "scsi_generic")
        cdb = f"2a 00 {at // 512:08x} 00 00 08 00"
        self._process = subprocess.Popen(
            ["sg_raw", "-t", "30", "-s", str(_BLOCK), "-i", "/dev/urandom", node, *re.findall("..", cdb.replace(" ", ""))],
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        wait_until(lambda: self.count() == 1, 20, "the write does not arrive")

    def count(self) -> int:
        """Commands of this path that the target has."""
        session = next((_target(self._name) / "sessions").glob("*"))
        return int(scst.get(session / "lun0/active_commands"))

    def end(self) -> None:
        """Forget it."""
        scst.put(_target(self._name) / "black_hole", "0")
        self._process.kill()
        self._process.wait(40)


def _load() -> Fio:
    """The host with multipathd works, and everything it writes is verified."""
    return Fio(f"/dev/{_map()}", rw="randwrite", bsrange="4k-32k", iodepth=4, size="4m", loops=100000, verify="crc32c",
               verify_fatal=1, verify_backlog=16, serialize_overlap=1)


def _ios() -> int:
    words = Path(f"/sys/block/{_map()}/stat").read_text().split()
    return int(words[0]) + int(words[4])


_ROUNDS = scaled(1, 20)


@suite.test("the host with multipathd fences the other by mpathpersist: its writes conflict, those under way have no effect")
def fences() -> None:
    for number in range(_ROUNDS):
        _register()
        free = [(16 + number) << 20, (40 + number) << 20]
        for name, at in zip(_THEIRS, free):
            equal(_write(scst.wait_disk(0, _target(name)), at), "success", f"a registered host's write by {name}")
        load, stuck = _load(), _Stuck(_THEIRS[0], free[0] + _BLOCK)
        try:
            _mpath("--out", "--preempt-abort", f"--param-rk={_KEY}", f"--param-sark={_OTHER}", f"--prout-type={_REGISTRANTS}")
            equal(stuck.count(), 0, "commands of who was fenced")
            stuck.end()
            for name, at in zip(_THEIRS, free):
                equal(_write(scst.wait_disk(0, _target(name)), at, b"\xff"), errno_name(errno.EBADE), f"a write by {name}")
            before = _ios()
            wait_until(lambda: _ios() > before + 50 or not load.running, 60, "the load stands still")  # pylint: disable=cell-var-from-loop
            check(load.running, "the load ended")
        finally:
            stuck.end()
            load.stop()
        load.result()
        equal(_keys(), [_KEY] * 2, "keys")
        with open(_FILE, "rb") as disk:
            for at in free:
                disk.seek(at)
                check(disk.read(_BLOCK) == b"\x5a" * _BLOCK, "what was written before the fence")
            disk.seek(free[0] + _BLOCK)
            check(not any(disk.read(_BLOCK)), "the write that was under way has reached the disk")
        _mpath("--out", "--clear", f"--param-rk={_KEY}")


@suite.test("the host with multipathd is fenced: its I/O ends with conflicts, its paths stay, and nobody registers it again")
def is_fenced() -> None:
    _register()
    equal(_write(f"/dev/{_map()}", 0), "success", "a write before the fence")
    load = _load() if LONG else None
    _persist(_THEIRS[0], "-o", "-A", "-K", _OTHER, "-S", _KEY, "-T", _REGISTRANTS)
    if load:
        try:
            wait_until(lambda: not load.running, 60, "the load goes on")
        finally:
            load.kill()
    equal(_write(f"/dev/{_map()}", 0), errno_name(errno.EBADE), "a write of who was fenced")
    for name in _THEIRS:
        equal(_write(scst.wait_disk(0, _target(name)), 32 << 20), "success", f"a write of the holder by {name}")
    # A path that comes back is registered by multipathd only if the others still are.
    path = os.path.basename(scst.wait_disk(0, _target(_OURS[0])))
    sh("multipathd", "fail", "path", path)
    sh("multipathd", "reinstate", "path", path)

    def states() -> list[str]:
        return sh("multipathd", "show", "paths", "format", "%T").split()[1:]
    wait_until(lambda: states() == ["ready"] * 2, 30, f"paths: {states()}")
    equal(_keys(), [_OTHER] * 2, "keys")
    equal(_write(f"/dev/{_map()}", 0), errno_name(errno.EBADE), "a write by a path that has come back")
    _persist(_THEIRS[0], "-o", "-C", "-K", _OTHER)


if __name__ == "__main__":
    suite.main()
