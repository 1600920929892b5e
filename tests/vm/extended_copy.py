#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
# lab: group=scsi timeout=240 soak=yes
"""Third-party copy: sg_xcopy between disks of every kind, EXTENDED COPY in the background, who may, and what ends it."""

from __future__ import annotations

import os
import random
import struct
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path

import scst
import sg
from lib import Suite, check, equal, scaled, sh, wait_until
from slowdisk import SlowDisk

_ENDLESS = 3_600_000
_MIB = 1 << 20
_disk: list[SlowDisk] = []


def setup() -> None:
    """A file, a block device that can be slow, a disk that keeps nothing; a file that only the second initiator sees."""
    scst.unload()
    sh("modprobe", "sg")
    _disk.append(SlowDisk(64))
    for name in ("one", "other"):
        scst.image(f"/tmp/{name}", 64)
    scst.load()
    scst.add_device("vdisk_fileio", "one", "filename=/tmp/one; thin_provisioned=1")
    scst.add_device("vdisk_blockio", "slow", f"filename={_disk[0].device}")
    scst.add_device("vdisk_nullio", "null", "size_mb=64")
    scst.add_device("vdisk_fileio", "other", "filename=/tmp/other; blocksize=4096")
    second = scst.add_target("second", "second_host") / "luns"
    for lun, name in enumerate(("one", "slow", "null", "other")):
        if name != "other":
            scst.add_lun(name, lun)
            scst.wait_disk(lun)
        scst.add_lun(name, lun, second)
        scst.wait_disk(lun, scst.LOCAL / "second")


def teardown() -> None:
    """Leave nothing."""
    scst.clear()
    scst.unload()
    sh("dmsetup", "remove", "slow")
    sh("rmmod", "brd")


suite = Suite(setup, teardown)


def _node(lun: int, target: Path = scst.TARGET) -> str:
    """The /dev/sgN of a LUN, with no unit attention left."""
    node = scst.wait_disk(lun, target, "scsi_generic")
    wait_until(lambda: sg.command(node, "00 00 00 00 00 00").words() == "good", 20, f"{node} is not ready")
    return node


def _fill(path: str, mib: int) -> bytes:
    """Put what nobody else has written to the start of a block device."""
    data = random.randbytes(mib * _MIB)
    handle = os.open(path, os.O_WRONLY)
    with os.fdopen(handle, "wb") as disk:
        disk.write(data)
        disk.flush()
        os.fsync(handle)
    return data


def _read(path: str, mib: int) -> bytes:
    """The start of a block device, as the target has it now."""
    sh("blockdev", "--flushbufs", path)
    return Path(path).open("rb").read(mib * _MIB)


def _cscd(node: str, block: int = 512) -> bytes:
    """The identification descriptor of a disk: the EUI-64 designator of its page 83h."""
    page, at = sg.command(node, "12 01 83 00 ff 00", 255).data, 4
    while page[at + 1] & 0x3f != 2:
        at += 4 + page[at + 3]
    name = page[at + 4:at + 4 + page[at + 3]]
    return struct.pack(">4B4B20s4B", 0xe4, 0, 0, 0, page[at], page[at + 1], 0, len(name), name, 0, *block.to_bytes(3, "big"))


def _copy(node: str, ends: Sequence[bytes], blocks: int, number: int = 0, later: bool = False, offset: int = 0) -> str:
    """EXTENDED COPY of BLOCKS from the first of ENDS to the last; what came of it."""
    segments, at = b"", 0
    while at < blocks:
        count = min(blocks - at, 0xffff)
        segments += struct.pack(">BBHHHHHQQ", 2, 0, 0x18, 0, len(ends) - 1, 0, count, at, at + offset)
        at += count
    cscds = b"".join(ends)
    header = struct.pack(">BBH11xB4BI18xHHH", 1, 0, 0x20, 2 if later else 0, 0xff, 0, 0, 0, number, len(cscds), len(segments), 0)
    text = header + cscds + segments
    return sg.command(node, f"83 01 00 00 00 00 00 00 00 00 {len(text):08x} 00 00", out=text, seconds=120).words()


def _ask(node: str, number: int) -> sg.Answer:
    """RECEIVE COPY STATUS."""
    return sg.command(node, f"84 05 {number:08x} 00 00 00 00 00 00 00 80 00 00", 128)


def _status(node: str, number: int) -> tuple[int, int]:
    """Status of a copy, and bytes that it has moved."""
    answer = _ask(node, number)
    equal(answer.words(), "good", "RECEIVE COPY STATUS")
    data = answer.data
    equal((data[4], data[15]), (1, 0), "service action and units of the status")
    return data[5], int.from_bytes(data[16:24], "big")


@suite.test("sg_xcopy between disks and within one: what is there afterwards is what was")
def xcopy() -> None:
    mib = scaled(5, 24)
    count = mib * 2048 - 7
    for source, destination in ((0, 1), (1, 0), (0, 0)):
        data = _fill(scst.wait_disk(source), mib)
        # Beside itself where it is the same disk, and not at a multiple of anything.
        seek = mib * 2048 + 13 if source == destination else 0
        sh("sg_xcopy", f"if={_node(source)}", f"of={_node(destination)}", "bs=512", f"count={count}", f"seek={seek}", "bpt=3000",
           timeout=120)
        found = _read(scst.wait_disk(destination), 2 * mib + 1)[seek * 512:][:count * 512]
        check(found == data[:count * 512], f"LUN {destination} is not what was copied from LUN {source}")


@suite.test("a disk that keeps nothing is zeros to copy from, and has no copy manager of its own")
def void() -> None:
    one, null = _node(0), _node(2)
    _fill(scst.wait_disk(0), 2)
    equal(_copy(one, (_cscd(null), _cscd(one)), 2048), "good", "a copy of zeros")
    found = _read(scst.wait_disk(0), 2)
    check(found[:_MIB] == bytes(_MIB) and found[_MIB:] != bytes(_MIB), "what a copy of zeros leaves")
    equal(_copy(one, (_cscd(one), _cscd(null)), 2048), "good", "a copy to nowhere")
    equal(_copy(null, (_cscd(one), _cscd(null)), 2048), "Invalid command operation code", "EXTENDED COPY of such a disk")


@suite.test("what sg_copy_results and sg_vpd say of the copy manager")
def parameters() -> None:
    node = _node(0)
    said = sh("sg_copy_results", "-p", node)
    for line in ("Maximum segment length: 268435456", "Segment descriptor 0x02", "Target descriptor 0xe4"):
        check(line in said, f"sg_copy_results -p: no '{line}' in\n{said}")
    said = sh("sg_vpd", "-p", "tpc", node)
    for line in ("Receive ROD token information", "Maximum CSCD descriptor count: 0x8", "0xe4", "0xffff"):
        check(line.lower() in said.lower(), f"sg_vpd -p tpc: no '{line}' in\n{said}")
    check("3PC=1" in sh("sg_inq", node), "3PC of standard INQUIRY data")
    equal(sg.command(_node(2), "12 01 8f 00 ff 00", 255).words(), "Invalid field in cdb", "page 8Fh of a disk that keeps nothing")


@suite.test("EXTENDED COPY with four-byte identifiers: its status while it runs in the background, and after")
def background() -> None:
    one, slow = _node(0), _node(1)
    data = _fill(scst.wait_disk(0), 4)
    equal(_ask(one, 0x1234).words(), "Invalid field in cdb", "status of no copy")
    ends = (_cscd(one), _cscd(slow))
    _disk[0].set_delay(_ENDLESS)
    try:
        equal(_copy(one, ends, 4 * 2048, 0x1234, later=True), "good", "EXTENDED COPY with IMMED")
        equal(_status(one, 0x1234), (0x12, 0), "status of a copy that waits for its device")
        equal(_copy(one, ends, 8, 0x1234), "Operation in progress", "a second copy with the same list identifier")
        equal(_ask(_node(0, scst.LOCAL / "second"), 0x1234).words(), "Invalid field in cdb", "a copy of another initiator")
    finally:
        _disk[0].set_delay(0)
    wait_until(lambda: _status(one, 0x1234)[0] == 1, 60, "the copy is not complete")
    equal(_status(one, 0x1234), (1, 4 * _MIB), "status of a complete copy")
    check(_read(scst.wait_disk(1), 4) == data, "what was copied in the background")


def _busy(active: Path) -> bool:
    """Whether a LUN has a command that stays: what else the disk is asked for is answered at once."""
    for _ in range(10):
        if scst.get(active) == "0":
            return False
        time.sleep(0.05)
    return True


@suite.test("COPY OPERATION ABORT: answered when nothing is written any more")
def abort() -> None:
    one, slow = _node(0), _node(1)
    _fill(scst.wait_disk(0), 4)
    before = _fill(scst.wait_disk(1), 4)
    ends = (_cscd(one), _cscd(slow))
    active = scst.TARGET / "sessions" / scst.SESSION / "lun0/active_commands"
    _disk[0].set_delay(_ENDLESS)
    try:
        equal(_copy(one, ends, 4 * 2048, 7, later=True), "good", "EXTENDED COPY with IMMED")
        ending = subprocess.Popen(["sg_raw", one, *"83 1c 00 00 00 07 00 00 00 00 00 00 00 00 00 00".split()],
                                  stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        wait_until(lambda: _busy(active), 30, "COPY OPERATION ABORT has not come, or does not wait")
        check(ending.poll() is None, "COPY OPERATION ABORT was answered while a write was under way")
    finally:
        _disk[0].set_delay(0)
    said = ending.communicate(timeout=60)[0]
    check("Good" in said, f"COPY OPERATION ABORT: {said}")
    equal(_status(one, 7)[0], 0x60, "status of an aborted copy")
    check(_read(scst.wait_disk(1), 4)[2 * _MIB:] == before[2 * _MIB:], "the copy went on")


@suite.test("a LUN that goes ends the copy, and goes when nothing is written any more")
def gone() -> None:
    one, slow = _node(0), _node(1)
    ends = (_cscd(one), _cscd(slow))
    # The device was the second to become a LUN of the copy manager.
    writing = scst.ROOT / "targets/copy_manager/copy_manager_tgt/sessions/copy_manager_sess/lun1/active_commands"
    _disk[0].set_delay(_ENDLESS)
    try:
        equal(_copy(one, ends, 4 * 2048, 8, later=True), "good", "EXTENDED COPY with IMMED")
        wait_until(lambda: scst.get(writing) != "0", 30, "nothing is written")
        ending = subprocess.Popen(["sh", "-c", f"echo del 1 > {scst.TARGET}/luns/mgmt"])
        wait_until(lambda: not (scst.TARGET / "luns/1").exists(), 30, "the LUN does not go")
        check(ending.poll() is None, "the LUN is gone while a write is under way")
    finally:
        _disk[0].set_delay(0)
    equal(ending.wait(timeout=60), 0, "status of the removal")
    scst.wait_gone(1)
    one = _node(0)
    check(_status(one, 8)[0] in (2, 0x60), "the copy is not over")
    equal(_copy(one, ends, 8), "Copy target device not reachable", "a copy to a disk that the initiator does not see")
    scst.add_lun("slow", 1)
    scst.wait_disk(1)


@suite.test("devices that an initiator does not see are copied if an administrator allows it; blocks of another size are")
def not_connected() -> None:
    one = _node(0)
    ends = (_cscd(one), _cscd(_node(3, scst.LOCAL / "second"), 4096))
    equal(_copy(one, ends, 64), "Copy target device not reachable", "a copy to a disk that is not seen")
    data = _fill(scst.wait_disk(0), 1)
    allow = scst.ROOT / "targets/copy_manager/allow_not_connected_copy"
    scst.put(allow, "1")
    try:
        equal(_copy(one, ends, 64), "good", "the same, allowed")
        equal(_copy(one, ends, 63), "Unexpected inexact segment", "63 blocks of 512 bytes are no whole blocks of 4096")
    finally:
        scst.put(allow, "0")
    check(_read(scst.wait_disk(3, scst.LOCAL / "second"), 1)[:64 * 512] == data[:64 * 512], "what was copied")


@suite.test("whose reservation it is decides who may copy; a disk that is mapped read-only is none to copy to")
def reserved() -> None:
    one, slow, second = _node(0), _node(1), _node(1, scst.LOCAL / "second")
    ends = (_cscd(one), _cscd(slow))
    before = _fill(scst.wait_disk(1), 1)
    sh("sg_persist", "-n", "-o", "-G", "-S", "0x1", second)
    sh("sg_persist", "-n", "-o", "-R", "-K", "0x1", "-T", "1", second)
    try:
        equal(_copy(one, ends, 8), "status 0x18", "a copy to a disk that another has reserved")
        equal(_copy(one, ends[::-1], 8), "good", "a copy from a disk that it may only read: Write Exclusive")
        equal(_copy(second, ends, 8, offset=2048), "good", "a copy that the holder asks for")
        check(_read(scst.wait_disk(1), 1) == before, "the refused copy has written")
    finally:
        sh("sg_persist", "-n", "-o", "-C", "-K", "0x1", second)
    scst.put(scst.TARGET / "luns/mgmt", "del 1")
    scst.wait_gone(1)
    scst.add_lun("slow", 1, params="read_only=1")
    one = _node(0)
    equal(_copy(one, (_cscd(one), _cscd(_node(1))), 8), "Write protected", "a copy to a LUN that is read-only")


if __name__ == "__main__":
    suite.main()
