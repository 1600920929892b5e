#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
# lab: group=disks timeout=240 soak=yes
"""WRITE ATOMIC(16): who has it, what is refused, and the kernel's own atomic writes through to the device below."""

from __future__ import annotations

import errno
import mmap
import os
import struct
from pathlib import Path

import iscsi_cu
import scst
import sg
from lib import LONG, Failure, Suite, check, equal, sh, wait_until

_BLOCK = 512
_MIB = 16
_RWF_ATOMIC = 0x40
_TRACING = Path("/sys/kernel/tracing")
_EVENT = _TRACING / "events/scsi/scsi_dispatch_cmd_start"
_LUNS = {"below": 0, "none": 1, "file": 2}


def setup() -> None:
    """A disk on a device that writes atomically, one that keeps nothing, and one in a file."""
    scst.unload()
    sh("modprobe", "sg")
    sh("modprobe", "scsi_debug", "atomic_wr=1", "atomic_wr_max_length=256", "delay=0", f"dev_size_mb={_MIB}")
    where = Path("/sys/bus/pseudo/drivers/scsi_debug")
    disks = "adapter0/host*/target*/*/block/*/queue/atomic_write_max_bytes"
    wait_until(lambda: any(where.glob(disks)), 20, "no disk of scsi_debug")
    scst.load()
    below = f"filename=/dev/{next(where.glob(disks)).parts[-3]}"
    image = f"filename={scst.image('/tmp/atomic', _MIB)}"
    for name, handler, params in (("below", "blockio", below), ("none", "nullio", f"size_mb={_MIB}"), ("file", "fileio", image)):
        scst.add_device(f"vdisk_{handler}", name, params)
        scst.add_lun(name, _LUNS[name])
    for lun in _LUNS.values():
        scst.wait_disk(lun)


def teardown() -> None:
    """Leave nothing."""
    scst.clear()
    scst.unload()
    wait_until(lambda: scst.try_rmmod("scsi_debug"), 20, "rmmod scsi_debug: in use")


suite = Suite(setup, teardown)


def _node(name: str) -> str:
    node = scst.wait_disk(_LUNS[name], kind="scsi_generic")
    wait_until(lambda: sg.command(node, "00 00 00 00 00 00").words() == "good", 20, f"{node} is not ready")
    return node


def _queue(node: str, name: str) -> int:
    return int(Path("/sys/block", os.path.basename(node), "queue", name).read_text())


def _below() -> str:
    return scst.get(scst.DEVICES / "below/filename")


def _write(node: str, lba: int, blocks: int, boundary: int = 0, sent: int = -1) -> str:
    """A WRITE ATOMIC(16), and what came of it."""
    cdb = struct.pack(">BBQHHBB", 0x9c, 0, lba, boundary, blocks, 0, 0)
    size = blocks * _BLOCK if sent < 0 else sent
    return sg.command(node, cdb.hex(" "), out=b"\xa5" * size).words()


def _said(name: str) -> tuple[int, ...]:
    """Maximum length, alignment, granularity and what there is with boundaries, by VPD page B0h; support by the command's
    own report."""
    page = sg.command(_node(name), "12 01 b0 00 40 00", 64).data
    support = sg.command(_node(name), "a3 0c 03 9c 00 00 00 00 00 40 00 00", 64).data
    return (*struct.unpack(">5I", page[44:64]), support[1] & 7)


@suite.test("VPD page B0h and REPORT SUPPORTED OPERATION CODES say who writes atomically")
def said() -> None:
    below = _below()
    most, unit = _queue(below, "atomic_write_unit_max_bytes"), _queue(below, "atomic_write_unit_min_bytes")
    check(most > unit > _BLOCK, f"the device below: {unit} to {most} bytes")
    equal(_said("below"), (most // _BLOCK, unit // _BLOCK, unit // _BLOCK, 0, 0, 3), "blockio on a device that can")
    equal(_said("none"), (16384, 0, 1, 0, 0, 3), "nullio")
    equal(_said("file"), (0, 0, 0, 0, 0, 1), "fileio")
    ours = scst.wait_disk(_LUNS["below"])
    equal(_queue(ours, "atomic_write_unit_max_bytes"), most, "what sd makes of it")
    equal(_queue(ours, "atomic_write_unit_min_bytes"), unit, "and the least")
    equal(_queue(scst.wait_disk(_LUNS["file"]), "atomic_write_max_bytes"), 0, "and of a file")


@suite.test("WRITE ATOMIC is carried out as a whole or refused")
def refused() -> None:
    node, most = _node("below"), _said("below")[0]
    field = "Invalid field in cdb"
    for lba, blocks, boundary, sent, want in (
            (8, 8, 0, -1, "good"), (0, most, 0, -1, "good"), (0, 0, 0, -1, "good"), (2, 6, 0, -1, "good"),
            (1, 8, 0, -1, field), (8, 3, 0, -1, field), (0, most + 2, 0, -1, field), (8, 8, 8, -1, field),
            (8, 8, 0, 4 * _BLOCK, field), (_MIB << 11, 2, 0, -1, "additional sense 21h/00h")):
        equal(_write(node, lba, blocks, boundary, sent), want, f"{blocks} blocks at {lba}, boundary {boundary}, {sent} bytes")
    equal(_write(_node("none"), 3, 5), "good", "nullio")
    equal(_write(_node("file"), 0, 8), "Invalid command operation code", "fileio")


def _atomically(fd: int, data: bytes, at: int) -> None:
    memory = mmap.mmap(-1, len(data))
    memory[:] = data
    equal(os.pwritev(fd, [memory], at, _RWF_ATOMIC), len(data), "bytes written")


@suite.test("the kernel's atomic writes (RWF_ATOMIC) go through sd, the target and the device below as one WRITE ATOMIC each")
def by_sd() -> None:
    ours, below = scst.wait_disk(_LUNS["below"]), _below()
    most = _queue(ours, "atomic_write_unit_max_bytes")
    fd = os.open(ours, os.O_RDWR | os.O_DIRECT)
    (_EVENT / "enable").write_text("1")
    (_TRACING / "trace").write_text("")
    (_TRACING / "tracing_on").write_text("1")
    try:
        for size in (1024, 4096, 65536, most):
            data = os.urandom(size)
            _atomically(fd, data, 2 * size)
            with open(below, "rb", buffering=0) as handle:
                sh("blockdev", "--flushbufs", below)
                handle.seek(2 * size)
                equal(handle.read(size), data, f"{size} bytes on the device below")
        try:
            _atomically(fd, bytes(4096), 1024)
        except OSError as error:
            equal(error.errno, errno.EINVAL, "an atomic write that is not aligned")
        else:
            raise Failure("an atomic write that is not aligned succeeds")
    finally:
        os.close(fd)
        (_EVENT / "enable").write_text("0")
    lines = [line for line in (_TRACING / "trace").read_text().splitlines() if "WRITE_ATOMIC_16" in line]
    hosts = [int(line.partition("host_no=")[2].split()[0]) for line in lines]
    equal(sorted(hosts.count(host) for host in set(hosts)), [4, 4], f"WRITE ATOMIC by host:\n{chr(10).join(lines)}")


if LONG:
    @suite.test("what iscsi-test-cu makes of WRITE ATOMIC where a device below has it")
    def _iscsi_cu() -> None:
        iscsi_cu.family("atomic", _node("below"), "WriteAtomic16.*")


if __name__ == "__main__":
    suite.main()
