#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
# lab: group=disks timeout=240
"""Thin provisioning: what a disk in a sparse file says of its space, thresholds, and a file system that is full."""

from __future__ import annotations

import errno
import mmap
import os
import struct
from pathlib import Path

import scst
import sg
from lib import Failure, Suite, Uevents, check, equal, sh, wait_until

_MIB = 1 << 20
_DISK = 64
"""MiB of the disk."""
_ROOM = 24
"""MiB of the file system that its file is in."""
_WHERE = Path("/tmp/thin-room")
_TUR = "00 00 00 00 00 00"
_MODE_CHANGED, _THRESHOLD, _FULL = (0x2a, 1), (0x38, 7), (0x27, 7)
_DEVICE = scst.DEVICES / "thin"


def setup() -> None:
    """A file that has less room than it says, as LUN 0 of two initiators."""
    scst.unload()
    sh("modprobe", "sg")
    _WHERE.mkdir(exist_ok=True)
    sh("mount", "-t", "tmpfs", "-o", f"size={_ROOM}m", "none", str(_WHERE))
    scst.load()
    scst.add_device("vdisk_fileio", "thin", f"filename={scst.image(str(_WHERE / 'thin'), _DISK)}; thin_provisioned=1")
    second = scst.add_target("second", "second_host")
    scst.add_lun("thin", 0)
    scst.add_lun("thin", 0, second / "luns")
    scst.wait_disk(0)
    scst.wait_disk(0, second)


def teardown() -> None:
    """Leave nothing."""
    scst.clear()
    scst.unload()
    sh("umount", str(_WHERE))


suite = Suite(setup, teardown)


def _nodes() -> tuple[str, str]:
    """/dev/sgN of both initiators, with no unit attention left."""
    nodes = (scst.wait_disk(0, kind="scsi_generic"), scst.wait_disk(0, scst.LOCAL / "second", "scsi_generic"))
    for node in nodes:
        wait_until(lambda node=node: sg.command(node, _TUR).words() == "good", 20, f"{node} is not ready")
    return nodes


def _asked(node: str, what: str, cdb: str, into: int) -> bytes:
    answer = sg.command(node, cdb, into)
    equal(answer.words(), "good", what)
    return answer.data


def _told(node: str) -> tuple[int, int]:
    """Additional sense of the unit attention that waits; zeroes if none does."""
    answer = sg.command(node, _TUR)
    return answer.additional_sense() if answer.status else (0, 0)


def _write(first: int, count: int = 1) -> None:
    """Write MiBs, one after the other, by the kernel's own initiator."""
    memory = mmap.mmap(-1, _MIB)
    memory[:] = os.urandom(_MIB)
    fd = os.open(scst.wait_disk(0), os.O_WRONLY | os.O_DIRECT)
    try:
        for number in range(first, first + count):
            equal(os.pwritev(fd, [memory], number * _MIB), _MIB, "bytes written")
    finally:
        os.close(fd)


def _unmap(node: str, first: int, count: int) -> None:
    """Give MiBs back."""
    sh("sg_unmap", f"--lba={first << 11}", f"--num={count << 11}", "--force", node)


def _counts(node: str) -> tuple[int, int]:
    """Threshold sets that are available and used, by log page 0Ch."""
    page = _asked(node, "LOG SENSE", "4d 00 4c 00 00 00 00 00 40 00", 64)
    equal(page[:4], bytes([0x0c, 0, 0, 24]), "header of log page 0Ch")
    (one, _, _, available, _), (two, _, _, used, _) = struct.iter_unpack(">HBBII", page[4:])
    equal((one, two), (1, 2), "parameter codes")
    return available, used


def _left() -> int:
    """Whole MiB that the file system has left."""
    found = os.statvfs(_WHERE)
    return found.f_bavail * found.f_frsize // _MIB


@suite.test("a sparse file is counted: VPD page B2h, log page 0Ch, and what sg3_utils make of them")
def counted() -> None:
    node, _ = _nodes()
    page = _asked(node, "VPD page B2h", "12 01 b2 00 40 00", 64)
    equal((1 << page[4]) * 512, _MIB, "bytes of a threshold set")
    equal(_counts(node), (_left(), 0), "available and used at first")
    _write(0, 4)
    equal(_counts(node), (_left(), 4), "available and used after 4 MiB")
    equal(_left(), _ROOM - 4, "what the file system has left")
    _unmap(node, 1, 2)
    equal(_counts(node), (_left(), 2), "available and used when 2 of them were given back")
    text = sh("sg_logs", "--page=0xc", node)
    check("Available LBA mapping" in text and "Used LBA mapping" in text, f"sg_logs: {text}")
    text = sh("sg_vpd", "--page=lbpv", node)
    check("Threshold exponent" not in text or ": 11" in text, f"sg_vpd: {text}")
    text = sh("sg_modes", "--page=0x1c,2", node)
    check("Logical block provisioning" in text, f"sg_modes: {text}")
    _unmap(node, 0, _DISK)


@suite.test("thresholds that an administrator has set: all initiators are told, once, and again after space was given back")
def attributes() -> None:
    node, other = _nodes()
    scst.put(_DEVICE / "threshold_available_mb", "20")
    equal((_DEVICE / "threshold_available_mb").read_text(), "20\n[key]\n", "threshold_available_mb")
    equal((_told(node), _told(other)), (_MODE_CHANGED, _MODE_CHANGED), "what initiators hear of the setting")
    _write(0, 3)
    equal((_told(node), _told(other)), ((0, 0), (0, 0)), "with more left than the threshold")
    events = Uevents()
    _write(3, 3)
    equal(_told(other), _THRESHOLD, "another initiator, below the threshold")
    # The kernel's initiator was told in one of its writes, or is by the next.
    _write(6, 1)
    events.wait(scst.scsi_device(0), "SDEV_UA=THIN_PROVISIONING_SOFT_THRESHOLD_REACHED")
    events.close()
    _write(7, 3)
    equal((_told(node), _told(other)), ((0, 0), (0, 0)), "further below")
    _unmap(node, 0, _DISK)
    _write(0, 6)
    equal(_told(other), _THRESHOLD, "below the threshold again")
    _nodes()
    scst.put(_DEVICE / "threshold_available_mb", "0")
    _nodes()
    _unmap(node, 0, _DISK)
    _write(0, 10)
    equal((_told(node), _told(other)), ((0, 0), (0, 0)), "with no threshold")
    equal((_DEVICE / "threshold_available_mb").read_text(), "0\n", "threshold_available_mb")
    _unmap(node, 0, _DISK)


def _select(node: str, page: bytes, save: bool) -> None:
    sent = bytes(8) + page
    answer = sg.command(node, f"55 {0x10 | save:02x} 00 00 00 00 00 00 {len(sent):02x} 00", out=sent)
    equal(answer.words(), "good", f"MODE SELECT of {page.hex(' ')}")


@suite.test("thresholds of MODE SELECT: SITUA, LBPERE, and what is saved")
def mode_page() -> None:
    node, other = _nodes()
    page = bytearray(_asked(node, "MODE SENSE", "5a 08 1c 02 00 00 00 00 40 00", 64)[8:])
    equal((len(page), page[:4]), (32, bytes([0xdc, 2, 0, 28])), "the mode page")
    page[0] &= 0x7f
    page[4] = 1
    page[24:32] = struct.pack(">BBHI", 0x81, 2, 0, 5)
    _select(node, page, save=False)
    equal(scst.get(_DEVICE / "threshold_used_mb"), "5", "threshold_used_mb")
    equal((_told(node), _told(other)), ((0, 0), _MODE_CHANGED), "what initiators hear of the setting")
    data = os.urandom(_MIB)
    for number in range(6):
        sent = sg.command(node, f"2a 00 00 00 {number << 3:02x} 00 00 08 00 00", out=data)
        equal(sent.words(), "good", f"write {number}")
    equal((_told(node), _told(other)), (_THRESHOLD, (0, 0)), "with SITUA only who has written is told")
    # Without LBPERE nobody is.
    recovery = bytearray(_asked(node, "MODE SENSE", "5a 08 01 00 00 00 00 00 40 00", 64)[8:])
    equal(recovery[7], 0x80, "LBPERE")
    recovery[0], recovery[7] = 1, 0
    _select(node, recovery, save=False)
    _nodes()
    _write(6, 4)
    equal((_told(node), _told(other)), ((0, 0), (0, 0)), "without LBPERE")
    # What was not saved is gone after a reset, which arms what was.
    sh("sg_reset", "--device", node)
    _nodes()
    equal(scst.get(_DEVICE / "threshold_used_mb"), "0", "threshold_used_mb after a reset")
    page[4] = 0
    _select(node, page, save=True)
    _nodes()
    for how in ("as it is set", "after a reset"):
        _write(10)
        equal(_told(other), _THRESHOLD, f"a threshold that is passed {how}")
        _nodes()
        sh("sg_reset", "--device", node)
        _nodes()
        equal(scst.get(_DEVICE / "threshold_used_mb"), "5", f"threshold_used_mb {how}")
    scst.put(_DEVICE / "threshold_used_mb", "0")
    _nodes()
    _unmap(node, 0, _DISK)


@suite.test("a full file system: SPACE ALLOCATION FAILED WRITE PROTECT, ENOSPC for who writes, and all is well after UNMAP")
def full() -> None:
    node, _ = _nodes()
    _write(0, _ROOM - 1)
    before = Path(scst.wait_disk(0)).open("rb").read(_MIB)
    try:
        _write(_ROOM - 1, 4)
    except OSError as error:
        equal(error.errno, errno.ENOSPC, "error of a write without room")
    else:
        raise Failure("more was written than there is room for")
    answer = sg.command(node, "2a 00 00 01 c0 00 00 00 08 00", out=bytes(8 * 512))
    equal((answer.status, answer.sense[2] & 0x0f, answer.additional_sense()), (2, 7, _FULL), "WRITE without room")
    same = sg.command(node, "41 00 00 01 c0 00 00 00 08 00", out=bytes(512))
    equal(same.additional_sense(), _FULL, "WRITE SAME without room")
    # What has room already can be written.
    _write(1)
    equal(Path(scst.wait_disk(0)).open("rb").read(_MIB), before, "what was written before")
    _unmap(node, 8, 8)
    _write(_ROOM + 2, 4)
    _unmap(node, 0, _DISK)
    equal(_counts(node), (_left(), 0), "available and used when all was given back")


if __name__ == "__main__":
    suite.main()
