#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
# lab: group=disks also=7.3 timeout=240 drives=blk:128
"""Disks of every kind: what initiators are told, data integrity, block sizes, read-only, sizes that change."""

from __future__ import annotations

import functools
import mmap
import os
import re
import shlex
from pathlib import Path

import recording
import scst
import sg
from lib import LONG, Failure, Fio, Suite, check, equal, errno_name, fio, no_differences, scaled, sh, wait_until

_BLK = "/dev/disk/lab/blk"


def setup() -> None:
    """Devices and LUNs as when the recordings were made."""
    scst.unload()
    sh("modprobe", "null_blk", "nr_devices=1", "gb=1", "bs=512")
    sh("modprobe", "brd", "rd_nr=2", "rd_size=65536")
    for name in ("file0", "thin0"):
        scst.image(f"/tmp/{name}", 64)
    with open("/tmp/cd0", "wb") as handle:
        handle.truncate(175 * 2048)
    scst.load()
    lun = 0
    for handler, name, params in (
            ("nullio", "null0", "size_mb=64"), ("fileio", "file0", "filename=/tmp/file0"),
            ("fileio", "thin0", "filename=/tmp/thin0; thin_provisioned=1; write_through=1; t10_dev_id=ThinT10"),
            ("blockio", "blk0", "filename=/dev/nullb0"), ("blockio", "ram0", "filename=/dev/ram0"),
            ("nullio", "bs4k0", "size_mb=64; blocksize=4096; read_only=1; rotational=0")):
        scst.add_device(f"vdisk_{handler}", name, params)
        scst.add_lun(name, lun)
        lun += 1
    # When file0 was recorded, it was in a group with this port and one of another node.
    scst.add_device_group("dg", ("file0",))
    scst.add_target_group("dg", "here", 5, "active", ("scst_local_tgt",))
    scst.add_target_group("dg", "there", 6, "standby", ("remote_tgt",))
    scst.put(scst.GROUPS / "dg/target_groups/there/remote_tgt/rel_tgt_id", "0x21")
    scst.add_device("vcdrom", "cd0")
    scst.put(scst.DEVICES / "cd0/filename", "/tmp/cd0")
    scst.add_lun("cd0", 7)
    sh("modprobe", "sr_mod")
    for lun in range(6):
        scst.wait_disk(lun)
    scst.wait_disk(7, kind="scsi_generic")


def teardown() -> None:
    """Leave nothing."""
    scst.clear()
    scst.unload()
    sh("rmmod", "null_blk")


suite = Suite(setup, teardown)


def _test_unit_ready(node: str) -> str:
    """One TEST UNIT READY (the sg_turs of sg3_utils 1.48 sends none)."""
    return sh("sg_raw", node, "00", "00", "00", "00", "00", "00", status=None)


def _without(text: str, name: str, listed: recording.Differences) -> str:
    """A text without the lines, and the sections between empty lines, that are listed as different."""
    text = "\n\n".join(section for section in text.split("\n\n")
                       if not listed.allow("section", f"{name} {section.strip().partition(chr(10))[0]}"))
    return "\n".join(line for line in text.splitlines() if not listed.allow("line", f"{name} {line.strip()}"))


def _answers(name: str, lun: int) -> None:
    """Compare the answers of a disk with the recorded ones."""
    node = scst.wait_disk(lun, kind="scsi_generic")
    listed = recording.Differences("sg")
    # A unit attention that setting up left is not the subject.
    for _ in range(2):
        _test_unit_ready(node)
    problems = []
    for command, output, status in recording.commands(name):
        argv = shlex.split(command.replace("DEV", node))
        if listed.allow("output", f"{name} {command}"):
            continue
        output, got = (_without(text, name, listed) for text in (output, sh(*argv, status=None)))
        if " ".join(got.split()) != " ".join(output.split()):
            theirs, ours = output.splitlines(), got.splitlines()
            lines = [f"  - {line}" for line in theirs if line not in ours][:12]
            lines += [f"  + {line}" for line in ours if line not in theirs][:12]
            problems.append(f"{command}:\n" + "\n".join(lines))
    no_differences(problems)


for _name, _lun in (("null0", 0), ("file0", 1), ("thin0", 2), ("blk0", 3), ("bs4k0", 5), ("cd0", 7)):
    suite.test(f"{_name} answers sg_inq, sg_vpd, sg_readcap, sg_modes, sg_luns, sg_rtpg as recorded")(
        functools.partial(_answers, _name, _lun))


# Harmless commands: opcode and, after a comma, service action, as sg_opcodes names them; the bytes.
_HARMLESS = {
    "1e": "1e 00 00 00 00 00", "16": "16 00 00 00 00 00", "17": "17 00 00 00 00 00", "35": "35 00 00 00 00 00 00 00 00 00",
    "5e,0": "5e 00 00 00 00 00 00 00 40 00", "5e,2": "5e 02 00 00 00 00 00 00 40 00",
    "84,3": "84 03 00 00 00 00 00 00 00 00 00 00 00 40 00 00", "a3,a": "a3 0a 00 00 00 00 00 00 00 40 00 00",
    "a3,d": "a3 0d 00 00 00 00 00 00 00 10 00 00",
}


@suite.test("REPORT SUPPORTED OPERATION CODES names no command that is then unknown")
def supported() -> None:
    node = scst.wait_disk(0, kind="scsi_generic")
    listed = set()
    for line in sh("sg_opcodes", "-n", node).splitlines():
        found = re.match(r" ([0-9a-f]{2})\s+(?:([0-9a-f]{1,4})\s+)?\d+\s+\d,\d", line)
        if found:
            listed.add(found[1] + (f",{found[2]}" if found[2] else ""))
    check("28" in listed, f"READ(10) is not listed: {sorted(listed)}")
    unknown = []
    for name, cdb in _HARMLESS.items():
        if name in listed:
            answer = sh("sg_raw", "-r", "64", node, *cdb.split(), status=None)
            if "Invalid command operation code" in answer:
                unknown.append(f"{name} is listed, and answered with INVALID COMMAND OPERATION CODE")
    no_differences(unknown)


@suite.test("identities are made as IDENTITY.md says, with a setup_id too")
def identity() -> None:
    equal(scst.get(scst.DEVICES / "blk0/usn"), "192e8e20", "usn of blk0")
    equal(scst.get(scst.DEVICES / "blk0/t10_dev_id"), "192e8e20-blk0", "t10_dev_id of blk0")
    scst.put(scst.ROOT / "setup_id", "0x1234")
    scst.add_device("vdisk_nullio", "blk0x", "size_mb=1")
    usn = scst.get(scst.DEVICES / "blk0x/usn")
    scst.put(scst.ROOT / "setup_id", "0")
    scst.del_device("blk0x")
    check(usn.startswith("1234") and len(usn) == 12, f"usn with setup_id 0x1234: {usn}")
    equal(scst.get(scst.DEVICES / "blk0/usn"), "192e8e20", "usn of blk0, added before")


def _remove(lun: int, device: str) -> None:
    """The LUN goes, also for the initiator, which may get another device there next, and then the device."""
    scst.put(scst.TARGET / "luns/mgmt", f"del {lun}")
    scst.wait_gone(lun)
    scst.del_device(device)


def _verify(node: str, block_sizes: tuple[str, ...], depths: tuple[int, ...], mib: int) -> None:
    """Write all of a part in each size and at each depth, read it back and compare."""
    fio(node, [{"bs": size, "iodepth": depth} for size in block_sizes for depth in depths],
        rw="randwrite", size=f"{mib}m", verify="crc32c", verify_fatal=1, do_verify=1, end_fsync=1)


_SIZES = ("4k", "16k", "64k", "256k", "1m") if LONG else ("4k", "64k", "1m")
_DEPTHS = (1, 4, 16, 32) if LONG else (1, 32)


@suite.test("fileio keeps what fio writes: 4k to 1M, QD 1 to 32")
def verify_fileio() -> None:
    _verify(scst.wait_disk(1), _SIZES, _DEPTHS, scaled(4, 32))


@suite.test("fileio with o_direct and async keeps what fio writes")
def verify_direct() -> None:
    sh("mkfs.ext4", "-q", "-F", _BLK)
    sh("mount", _BLK, "/mnt")
    try:
        scst.image("/mnt/direct", 48)
        node = scst.disk("vdisk_fileio", "direct", 8, "filename=/mnt/direct; o_direct=1; async=1")
        _verify(node, ("4k", "256k"), (16,), scaled(4, 32))
        _remove(8, "direct")
    finally:
        sh("umount", "/mnt")


@suite.test("blockio keeps what fio writes: 4k to 1M, QD 1 to 32")
def verify_blockio() -> None:
    node = scst.disk("vdisk_blockio", "disk", 8, f"filename={os.path.realpath(_BLK)}")
    _verify(node, _SIZES, _DEPTHS, scaled(4, 32))
    # What the initiator wrote is on the device below, at the same place.
    fio(node, rw="write", bs="64k", size="4m", end_fsync=1)
    sh("sh", "-c", f"dd if={node} of=/tmp/above bs=1M count=4 iflag=direct status=none")
    _remove(8, "disk")
    sh("sh", "-c", f"dd if={_BLK} bs=1M count=4 status=none | cmp - /tmp/above")


def _alignment(node: str) -> int:
    """How a block device wants memory to be aligned, as a mask of address bits."""
    return int(Path("/sys/block", os.path.basename(node), "queue/dma_alignment").read_text())


@suite.test("blockio with memory that the initiator's disk takes and the device below does not")
def unaligned_memory() -> None:
    below = os.path.realpath(_BLK)
    node = scst.disk("vdisk_blockio", "disk", 8, f"filename={below}")
    check(_alignment(node) < 4 <= _alignment(below), f"alignments {_alignment(node)} and {_alignment(below)}")
    sent, got = mmap.mmap(-1, 2 << 20), mmap.mmap(-1, 2 << 20)
    handles = [os.open(node, os.O_RDWR | os.O_DIRECT), os.open(below, os.O_RDONLY | os.O_DIRECT)]
    try:
        for start, total in ((4, 512), (52, 4096), (4092, 8192), (508, 68 << 10), (2052, 1 << 20)):
            data = os.urandom(total)
            sent[start:start + total] = data
            # Two pieces, neither of them a block.
            with memoryview(sent) as out, memoryview(got) as back:
                written = [out[start:start + 260], out[start + 260:start + total]]
                equal(os.pwritev(handles[0], written, total), total, f"writing {total} bytes at address {start}")
                read = [back[start:start + 132], back[start + 132:start + total]]
                equal(os.preadv(handles[0], read, total), total, f"reading {total} bytes at address {start}")
                for piece in written + read:
                    piece.release()
            check(got[start:start + total] == data, f"{total} bytes at address {start} are not read as written")
            check(not any(got[:start]) and not any(got[start + total:]), f"{total} bytes at address {start}: and others")
            got[:] = bytes(len(got))
            equal(os.preadv(handles[1], [got], 0), len(got), "reading the device below")
            check(got[total:2 * total] == data, f"{total} bytes at address {start} are not on the device below")
            got[:] = bytes(len(got))
    finally:
        for handle in handles:
            os.close(handle)
    _remove(8, "disk")


@suite.test("unaligned and odd sizes: 512 bytes to 1 MiB + 512 at odd offsets")
def odd_sizes() -> None:
    for lun in (1, 4):
        fio(scst.wait_disk(lun), rw="randwrite", bsrange="512-1025k", blockalign=512, iodepth=4,
            size="8m", verify="crc32c", verify_fatal=1)


@suite.test("4 KiB blocks: fileio and blockio")
def blocks_4k() -> None:
    scst.image("/tmp/f4k", 32)
    for handler, where in (("vdisk_fileio", "/tmp/f4k"), ("vdisk_blockio", "/dev/ram1")):
        node = scst.disk(handler, "b4k", 8, f"filename={where}; blocksize=4096")
        name = os.path.basename(node)
        equal(Path(f"/sys/block/{name}/queue/logical_block_size").read_text().strip(), "4096", f"{handler}: block size")
        _verify(node, ("4k", "128k"), (8,), 4)
        _remove(8, "b4k")


def _drive(node: str) -> str:
    """What a drive says to TEST UNIT READY."""
    return sg.command(node, "00 00 00 00 00 00").words()


@suite.test("a drive gets another disc, keeps one that is not to be removed, and is empty")
def disc() -> None:
    node, medium = scst.wait_disk(7, kind="scsi_generic"), scst.DEVICES / "cd0/filename"
    wait_until(lambda: _drive(node) == "good", 20, f"{node}: {_drive(node)}")
    Path("/tmp/cd1").write_bytes(b"\xcd" * (64 * 2048))
    scst.put(medium, "/tmp/cd1")
    equal((_drive(node), _drive(node)), ("additional sense 28h/00h", "good"), "after another disc was put in")
    equal(sg.command(node, "25 00 00 00 00 00 00 00 00 00", 8).data.hex(), f"{63:08x}{2048:08x}", "its capacity")
    equal(sg.command(node, "28 00 00 00 00 3f 00 00 01 00", 2048).data, b"\xcd" * 2048, "its last block")
    equal(sg.command(node, "1e 00 00 00 01 00").words(), "good", "PREVENT MEDIUM REMOVAL")
    equal(errno_name(scst.write(medium, "/tmp/cd0")), "EBUSY", "another disc while that is prevented")
    equal(sg.command(node, "1e 00 00 00 00 00").words(), "good", "ALLOW MEDIUM REMOVAL")
    scst.put(medium, "none")
    answers = [_drive(node) for _ in range(3)]
    equal(answers[-1], "additional sense 3ah/00h", f"an empty drive: {answers}")
    scst.put(medium, "/tmp/cd0")
    wait_until(lambda: _drive(node) == "good", 20, f"{node}: {_drive(node)}")


@suite.test("UNMAP gives the blocks of a thin file back and they read as zeros")
def unmap() -> None:
    node = scst.wait_disk(2)
    fio(node, rw="write", bs="1m", size="16m", end_fsync=1)
    used = os.stat("/tmp/thin0").st_blocks
    sh("blkdiscard", "-o", "4194304", "-l", "8388608", node)
    sh("sh", "-c", f"dd if={node} bs=1M skip=4 count=8 iflag=direct status=none | cmp -n 8388608 - /dev/zero")
    left = os.stat("/tmp/thin0").st_blocks
    check(left <= used - (8 << 20) // 512, f"blocks of the file: {used} before, {left} after UNMAP of 8 MiB")


def _refuses_writes(lun: int) -> None:
    node = scst.wait_disk(lun)
    equal(Path(f"/sys/block/{os.path.basename(node)}/ro").read_text().strip(), "1", "ro of the initiator's disk")
    raw = scst.wait_disk(lun, kind="scsi_generic")
    answer = sh("sg_raw", "-s", "512", "-i", "/dev/zero", raw, "2a", "00", "00", "00", "00", "00", "00", "00", "01",
                "00", status=None)
    check("Write protected" in answer or "Data Protect" in answer, f"WRITE(10) to a read-only LUN: {answer}")


@suite.test("a read-only LUN and a read-only device refuse writes with DATA PROTECT")
def read_only() -> None:
    scst.add_lun("file0", 8, params="read_only=1")
    _refuses_writes(8)
    scst.put(scst.TARGET / "luns/mgmt", "del 8")
    scst.wait_gone(8)
    scst.add_device("vdisk_fileio", "ro0", "filename=/tmp/file0; read_only=1")
    scst.add_lun("ro0", 8)
    _refuses_writes(8)
    _remove(8, "ro0")


def _sectors(node: str) -> int:
    return int(Path(f"/sys/block/{os.path.basename(node)}/size").read_text())


def _rescan(lun: int) -> None:
    (scst.scsi_device(lun) / "rescan").write_text("1")


@suite.test("a changed size is seen by the initiator: nullio size_mb, fileio resync_size, under I/O")
def resize() -> None:
    node = scst.wait_disk(0)
    load = Fio(node, size="32m", time_based=None, runtime=60)
    try:
        scst.put(scst.DEVICES / "null0/size_mb", "96")
        answer = _test_unit_ready(scst.wait_disk(0, kind="scsi_generic"))
        _rescan(0)
        wait_until(lambda: _sectors(node) == 96 << 11, 30, f"nullio: {_sectors(node)} sectors (TUR said {answer})")
    finally:
        load.stop()
    load.result()
    os.truncate("/tmp/file0", 80 << 20)
    scst.put(scst.DEVICES / "file0/resync_size", "1")
    equal(scst.get(scst.DEVICES / "file0/size"), str(80 << 20), "size of file0")
    node = scst.wait_disk(1)
    _rescan(1)
    wait_until(lambda: _sectors(node) == 80 << 11, 30, f"fileio: {_sectors(node)} sectors")
    fio(node, rw="write", bs="64k", offset="70m", size="8m", verify="crc32c")


@suite.test("writes beyond the end and in a file that became short are errors, not hangs")
def beyond() -> None:
    raw = scst.wait_disk(1, kind="scsi_generic")
    answer = sh("sg_raw", "-s", "512", "-i", "/dev/zero", raw, "2a", "00", "7f", "ff", "ff", "ff", "00", "00", "01",
                "00", status=None)
    check("out of range" in answer, f"WRITE(10) beyond the end: {answer}")
    os.truncate("/tmp/file0", 1 << 20)
    try:
        fio(scst.wait_disk(1), rw="read", bs="64k", offset="2m", size="1m")
    except Failure as failure:
        check("EIO" in str(failure) or "ENODATA" in str(failure), f"read of a hole at the end: {failure}")
    finally:
        os.truncate("/tmp/file0", 80 << 20)


@suite.test("a LUN and its device go while the disk is there")
def remove() -> None:
    for lun in (0, 3):
        scst.put(scst.TARGET / "luns/mgmt", f"del {lun}")
        scst.wait_gone(lun)
    for name in ("null0", "blk0"):
        scst.del_device(name)
        check(not (scst.DEVICES / name).exists(), f"{name} is still there")
    equal(scst.write(scst.HANDLERS / "vdisk_fileio/mgmt", "del_device file0"), 0, "del_device of an exported device")
    wait_until(lambda: not (scst.TARGET / "luns/1").exists(), 30, "LUN 1 of a deleted device")


if __name__ == "__main__":
    suite.main()
