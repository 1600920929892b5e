#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
# lab: group=disks timeout=240
"""Protection information: what disks say of it, every check as read and as write, the kernel's own behind sd, refusals."""

from __future__ import annotations

import mmap
import os
import re
import struct
from collections.abc import Callable
from pathlib import Path

import scst
import sg
from lib import Failure, Kmsg, Suite, check, equal, errno_name, fio, scaled, sh, wait_until

_BLOCK = 512
_MIB = 16
_NO_SENSE = (0, 0, -1)
# Additional sense codes and qualifiers.
_GUARD, _APP, _REF = (0x10, 1), (0x10, 2), (0x10, 3)
_MISCOMPARE, _OPCODE, _FIELD, _LENGTH = (0x1d, 0), (0x20, 0), (0x24, 0), (0x1a, 0)


def setup() -> None:
    """The modules, and the initiator's raw way in."""
    scst.unload()
    sh("modprobe", "sg")
    sh("modprobe", "brd", "rd_nr=1", "rd_size=16384")
    scst.load()


def teardown() -> None:
    """Leave nothing."""
    scst.clear()
    scst.unload()
    sh("rmmod", "brd")


suite = Suite(setup, teardown)


def _crc(data: bytes) -> int:
    """The guard, a bit at a time."""
    crc = 0
    for byte in data:
        crc ^= byte << 8
        for _ in range(8):
            crc = (crc << 1 ^ (0x8bb7 if crc & 0x8000 else 0)) & 0xffff
    return crc


def _wire(blocks: list[bytes], first: int, app: int = 0, wrong: str = "", at: int = 0) -> bytes:
    """Blocks with their tuples behind them; block AT with one field WRONG."""
    out = b""
    for number, block in enumerate(blocks):
        fields = {"guard": _crc(block), "app": app, "ref": first + number & 0xffffffff}
        if wrong and number == at:
            fields[wrong] ^= 0x40
        out += block + struct.pack(">HHI", fields["guard"], fields["app"], fields["ref"])
    return out


def _raw(node: str, cdb: bytes, sent: bytes = b"", wanted: int = 0) -> tuple[bytes, tuple[int, int, int]]:
    """A command through /dev/sg: what was read, and additional sense code, qualifier and INFORMATION field."""
    answer = sg.command(node, cdb.hex(" "), wanted, sent)
    if answer.status == 2:
        info = int.from_bytes(answer.sense[3:7], "big") if answer.sense[0] & 0x80 else -1
        return b"", (*answer.additional_sense(), info)
    equal(answer.words(), "good", f"command {cdb.hex()}")
    return answer.data, _NO_SENSE


def _rw(write: bool, protect: int, lba: int, blocks: int) -> bytes:
    return struct.pack(">BBIBHB", 0x2a if write else 0x28, protect << 5, lba, 0, blocks, 0)


def _rw32(write: bool, protect: int, lba: int, blocks: int, tags: tuple[int, int, int]) -> bytes:
    """READ(32), WRITE(32); TAGS: first reference tag, application tag, its mask."""
    return struct.pack(">B6xBHBxQIHHI", 0x7f, 0x18, 0x0b if write else 0x09, protect << 5, lba, *tags, blocks)


def _read(node: str, protect: int, lba: int, blocks: int) -> tuple[bytes, tuple[int, int, int]]:
    size = _BLOCK + (8 if protect else 0)
    return _raw(node, _rw(False, protect, lba, blocks), wanted=blocks * size)


def _write(node: str, protect: int, lba: int, data: bytes) -> tuple[int, int, int]:
    size = _BLOCK + (8 if protect else 0)
    return _raw(node, _rw(True, protect, lba, len(data) // size), data)[1]


def _disk(handler: str, name: str, lun: int, params: str) -> tuple[str, str]:
    """A device as a LUN: /dev/sdX and /dev/sgN."""
    block = scst.disk(f"vdisk_{handler}", name, lun, params)
    return block, scst.wait_disk(lun, kind="scsi_generic")


def _file(name: str, lun: int, params: str) -> tuple[str, str]:
    """The same in a file, with an empty one for the tags."""
    scst.image(f"/tmp/{name}", _MIB)
    Path(f"/tmp/{name}.dif").write_bytes(b"")
    return _disk("fileio", name, lun, f"filename=/tmp/{name}; dif_filename=/tmp/{name}.dif; {params}")


def _gone(name: str, lun: int) -> None:
    scst.put(scst.TARGET / "luns/mgmt", f"del {lun}")
    scst.wait_gone(lun)
    scst.del_device(name)


def _failed(lun: int) -> dict[str, list[int]]:
    """`dif_checks_failed` of a LUN: application tag, reference tag, guard."""
    path = scst.TARGET / f"sessions/{scst.SESSION}/lun{lun}/dif_checks_failed"
    rows = [line.split() for line in path.read_text().splitlines()]
    equal(rows[0], ["app", "ref", "guard"], "head of dif_checks_failed")
    return {row[0]: [int(n) for n in row[1:]] for row in rows[1:]}


@suite.test("dif: what a disk of each type says of itself")
def _said() -> None:
    for lun, (kind, spt, tag, checks) in enumerate(((1, 0, "0x1234", 7), (2, 2, "0", 5), (3, 4, "0x51234", 7))):
        name = f"said{kind}"
        block, node = _disk("nullio", name, lun, f"size_mb={_MIB}; dif_mode=scst; dif_type={kind}; dif_static_app_tag={tag}")
        check("Protect=1" in sh("sg_inq", node), f"type {kind}: no PROTECT in INQUIRY")
        page, _ = _raw(node, bytes([0x12, 1, 0x86, 0, 64, 0]), wanted=64)
        equal(page[4], spt << 3 | checks, f"type {kind}: byte 4 of VPD page 86h")
        capacity, _ = _raw(node, bytes([0x9e, 0x10] + [0] * 11 + [32, 0, 0]), wanted=32)
        equal(capacity[12:14], bytes([kind - 1 << 1 | 1, 3]), f"type {kind}: P_TYPE and exponents")
        device = scst.DEVICES / name
        equal((device / "dif_mode").read_text(), "scst\n[key]\n", "dif_mode")
        equal((device / "dif_type").read_text(), f"{kind}\n[key]\n", "dif_type")
        equal((device / "dif_static_app_tag").read_text(), f"{tag}\n[key]\n" if kind != 2 else "0x0\n", "dif_static_app_tag")
        integrity = Path("/sys/block", os.path.basename(block), "integrity")
        equal(scst.get(integrity / "format"), f"T10-DIF-TYPE{3 if kind == 3 else 1}-CRC", f"type {kind}: what sd makes of it")
        equal(scst.get(integrity / "device_is_integrity_capable"), "1", "device_is_integrity_capable")
        supported, _ = _raw(node, bytes([0xa3, 0x0c, 3, 0x7f, 0, 9, 0, 0, 0, 64, 0, 0]), wanted=64)
        equal(supported[1] & 7, 3 if kind == 2 else 1, f"type {kind}: SUPPORT of READ(32)")
        _gone(name, lun)


@suite.test("dif: each field that is wrong is found in a write and in a read, at its block")
def _checks() -> None:
    _, node = _file("checked", 0, "dif_mode=scst|dev_store; dif_type=1; dif_static_app_tag=0x77")
    lba, blocks = 100, [bytes([n + 1]) * _BLOCK for n in range(70)]
    equal(_raw(node, bytes([0x1a, 8, 0x0a, 0, 64, 0]), wanted=16)[0][4 + 5] & 0x80, 0x80, "ATO")
    equal(_read(node, 1, 0, 1), (bytes(_BLOCK) + b"\xff" * 8, _NO_SENSE), "a block that was never written")
    good = _wire(blocks, lba, 0x77)
    equal(_write(node, 1, lba, good), _NO_SENSE, "a good write")
    equal(_read(node, 1, lba, 70), (good, _NO_SENSE), "what was written")
    equal(_read(node, 0, lba, 70), (b"".join(blocks), _NO_SENSE), "the same without tuples")
    wrong = (("guard", _GUARD, (1, 4, 5)), ("app", _APP, (1, 2, 5)), ("ref", _REF, (1, 2, 5)))
    for field, sense, checking in wrong:
        for protect in range(1, 6):
            bad = _wire(blocks[:3], lba, 0x77, field, 2)
            want = (*sense, lba + 2) if protect in checking else _NO_SENSE
            equal(_write(node, protect, lba, bad), want, f"write with WRPROTECT {protect} and a wrong {field}")
        # The last but one that was not checked is on the medium now.
        equal(_write(node, 3, lba, bad), _NO_SENSE, "a write that is not checked")
        for protect in range(6):
            want = (*sense, lba + 2) if protect in (*checking, 0) else _NO_SENSE
            equal(_read(node, protect, lba, 3)[1], want, f"read with RDPROTECT {protect} and a wrong {field}")
        equal(_read(node, 3, lba, 3)[0], bad, f"what is on the medium with a wrong {field}")
        verify = bytes([0x2f, 1 << 5]) + _rw(False, 0, lba, 3)[2:]
        equal(_raw(node, verify)[1], (*sense, lba + 2), f"VERIFY with a wrong {field}")
    counts = _failed(0)
    check(all(counts["scst"]) and not any(counts["tgt"] + counts["dev"]), f"dif_checks_failed: {counts}")
    escaped = _wire(blocks[:1], lba + 5, 0xffff, "guard")
    equal(_write(node, 1, lba, escaped), _NO_SENSE, "an escaped tuple")
    equal(_read(node, 1, lba, 1), (escaped, _NO_SENSE), "and as it is read")
    for cdb in (_rw(False, 6, lba, 1), _rw(True, 7, lba, 1)):
        sent = {"sent": bytes(520)} if cdb[0] == 0x2a else {"wanted": 520}
        equal(_raw(node, cdb, **sent)[1][:2], _FIELD, "a reserved protect field")
    equal(_raw(node, _rw32(False, 1, lba, 1, (lba, 0, 0)), wanted=520)[1][:2], _OPCODE, "READ(32), type 1")
    scst.put(scst.TARGET / f"sessions/{scst.SESSION}/lun0/dif_checks_failed", "0")
    equal(sum(map(sum, _failed(0).values())), 0, "dif_checks_failed after it was reset")
    _gone("checked", 0)


@suite.test("dif: VERIFY with BYTCHK compares tuples too, and then does not check those on the medium")
def _compares() -> None:
    _, node = _file("compared", 0, "dif_mode=scst|dev_store; dif_type=1; dif_static_app_tag=0x77")
    # Over the end of a piece of 64 blocks.
    lba, blocks = 60, [bytes([n + 1]) * _BLOCK for n in range(8)]

    def verify(protect: int, sent: bytes, bytchk: int = 1, count: int = len(blocks)) -> tuple[int, int, int]:
        return _raw(node, bytes([0x2f, protect << 5 | bytchk << 1]) + _rw(False, 0, lba, count)[2:], sent)[1]

    good = _wire(blocks, lba, 0x77)
    equal(_write(node, 1, lba, good), _NO_SENSE, "a good write")
    for protect in range(1, 6):
        equal(verify(protect, good), _NO_SENSE, f"VRPROTECT {protect}, all the same")
        other = _wire([*blocks[:6], b"\xee" * _BLOCK, blocks[7]], lba, 0x77)
        equal(verify(protect, other), (*_MISCOMPARE, 6 * 520), f"VRPROTECT {protect}, other data")
    # Where what is sent is checked that comes first; what is compared is told by where it is in what was sent.
    for field, sense, checking, comparing in (("guard", _GUARD, (1, 4, 5), (3,)), ("app", _APP, (1, 2, 5), (3, 4)),
                                              ("ref", _REF, (1, 2, 5), (3, 4))):
        bad = _wire(blocks, lba, 0x77, field, 5)
        for protect in range(1, 6):
            want = (*sense, lba + 5) if protect in checking else (*sense, 5 * 520 + 512) if protect in comparing else _NO_SENSE
            equal(verify(protect, bad), want, f"VRPROTECT {protect}, another {field}")
        equal(_write(node, 3, lba, bad), _NO_SENSE, "a write that is not checked")
        equal(verify(3, bad), _NO_SENSE, f"VRPROTECT 3, the same wrong {field} on the medium")
        equal(verify(0, b"".join(blocks)), (*sense, lba + 5), f"VRPROTECT 0, a wrong {field} on the medium")
        equal(_write(node, 1, lba, good), _NO_SENSE, "a good write again")
    equal(verify(0, b"".join(blocks)), _NO_SENSE, "VRPROTECT 0")
    one = [b"\x5a" * _BLOCK] * 8
    equal(_write(node, 1, lba, _wire(one, lba, 0x77)), _NO_SENSE, "a write of the same blocks")
    equal(verify(1, _wire(one[:1], lba, 0x77), 3), _NO_SENSE, "BYTCHK 11b, whose reference tags count on")
    equal(_write(node, 3, lba, _wire(one, lba, 0x77, "ref", 5)), _NO_SENSE, "a reference tag that does not")
    equal(verify(1, _wire(one[:1], lba, 0x77), 3), (*_REF, 512), "BYTCHK 11b, another reference tag")
    _gone("compared", 0)


@suite.test("dif: type 2 takes its tags from the CDB, type 3 has none but the administrator's")
def _types() -> None:
    _, node = _file("two", 0, "dif_mode=scst|dev_store; dif_type=2")
    block = [b"\xa5" * _BLOCK]
    wire = _wire(block, 0xdeadbeef, 0x1230)
    equal(_raw(node, _rw32(True, 1, 7, 1, (0xdeadbeef, 0x123f, 0xfff0)), wire)[1], _NO_SENSE, "WRITE(32)")
    equal(_raw(node, _rw32(False, 1, 7, 1, (0xdeadbeef, 0x123f, 0xfff0)), wanted=520), (wire, _NO_SENSE), "READ(32)")
    equal(_raw(node, _rw32(False, 1, 7, 1, (0xdeadbeee, 0, 0)), wanted=520)[1], (*_REF, 7), "another reference tag")
    equal(_raw(node, _rw32(False, 1, 7, 1, (0xdeadbeef, 0x123f, 0xffff)), wanted=520)[1], (*_APP, 7), "another application tag")
    equal(_read(node, 0, 7, 1), (block[0], _NO_SENSE), "READ(10) without protect field")
    equal(_read(node, 1, 7, 1)[1][:2], _OPCODE, "READ(10) with one")
    _gone("two", 0)
    _, node = _file("three", 0, "dif_mode=scst|dev_store; dif_type=3")
    wire = _wire(block, 0x01020304, 0x1111)
    equal(_write(node, 1, 9, wire), _NO_SENSE, "any tags with type 3")
    equal(_read(node, 1, 9, 1), (wire, _NO_SENSE), "the same tags")
    scst.put(scst.DEVICES / "three/dif_static_app_tag", "0x010203041112")
    equal(_read(node, 1, 9, 1)[1], (*_APP, 9), "another application tag than the administrator's")
    scst.put(scst.DEVICES / "three/dif_static_app_tag", "0x010203051111")
    equal(_read(node, 1, 9, 1)[1], (*_REF, 9), "another reference tag than the administrator's")
    _gone("three", 0)


@suite.test("dif: WRITE SAME, COMPARE AND WRITE and ORWRITE with tuples")
def _others() -> None:
    _, node = _file("others", 0, "dif_mode=scst|dev_store; dif_type=1; dif_static_app_tag=0x77")
    lba, one, two = 60, b"\x11" * _BLOCK, b"\x22" * _BLOCK

    def same(protect: int, sent: bytes, blocks: int = 9, ndob: int = 0) -> tuple[int, int, int]:
        cdb = struct.pack(">BBQIBB", 0x93, protect << 5 | ndob, lba, blocks, 0, 0)
        return _raw(node, cdb, sent)[1]

    def expect(data: list[bytes], what: str) -> None:
        equal(_read(node, 1, lba, len(data)), (_wire(data, lba, 0x77), _NO_SENSE), what)

    # Over the end of a piece of 64 blocks.
    equal(same(1, _wire([one], lba, 0x77)), _NO_SENSE, "WRITE SAME")
    expect([one] * 9, "its blocks, each with its own reference tag")
    for field, sense in (("guard", _GUARD), ("app", _APP), ("ref", _REF)):
        equal(same(1, _wire([two], lba, 0x77, field)), (*sense, lba), f"WRITE SAME with a wrong {field}")
    expect([one] * 9, "what was there before")
    equal(same(1, two)[:2], _LENGTH, "WRITE SAME with no room for a tuple")
    equal(same(0, two), _NO_SENSE, "WRITE SAME without a protect field")
    expect([two] * 9, "whose tuples are made")
    equal(same(1, b"", 2, 1), _NO_SENSE, "WRITE SAME without data")
    equal(_read(node, 1, lba, 2), ((bytes(_BLOCK) + b"\xff" * 8) * 2, _NO_SENSE), "writes blocks that nobody checks")

    def swap(protect: int, old: bytes, new: bytes, blocks: int) -> tuple[int, int, int]:
        cdb = struct.pack(">BBQ3xBBB", 0x89, protect << 5, lba, blocks, 0, 0)
        return _raw(node, cdb, old + new)[1]

    equal(same(1, _wire([one], lba, 0x77)), _NO_SENSE, "WRITE SAME before COMPARE AND WRITE")
    good, bad = _wire([two] * 6, lba, 0x77), _wire([two] * 6, lba, 0x77, "guard", 5)
    equal(swap(1, _wire([one] * 6, lba, 0x77), bad, 6), (*_GUARD, lba + 5), "COMPARE AND WRITE with a wrong guard at its end")
    expect([one] * 9, "none of which was written")
    equal(swap(1, good, good, 6)[:2], _MISCOMPARE, "COMPARE AND WRITE of other data")
    expect([one] * 9, "what was there before")
    equal(swap(1, _wire([one] * 6, lba, 0x77), good, 6), _NO_SENSE, "COMPARE AND WRITE")
    expect([two] * 6 + [one] * 3, "what it has written")
    equal(swap(0, two * 2, one * 2, 2), _NO_SENSE, "COMPARE AND WRITE without a protect field")
    expect([one] * 2 + [two] * 4 + [one] * 3, "whose tuples are made")

    def either(protect: int, sent: bytes, blocks: int) -> tuple[int, int, int]:
        return _raw(node, struct.pack(">BBQIBB", 0x8b, protect << 5, lba, blocks, 0, 0), sent)[1]

    equal(either(1, _wire([two] * 9, lba, 0x77, "ref", 7), 9), (*_REF, lba + 7), "ORWRITE with a wrong reference tag")
    equal(either(1, _wire([two] * 9, lba, 0x77), 9), _NO_SENSE, "ORWRITE")
    expect([b"\x33" * _BLOCK] * 2 + [two] * 4 + [b"\x33" * _BLOCK] * 3, "data of both, with guards of their own")
    _damage("/tmp/others", (lba + 1) * _BLOCK)
    equal(either(1, _wire([two] * 2, lba, 0x77), 2), (*_GUARD, lba + 1), "ORWRITE to a block that was damaged")
    for cdb in ("93", "89", "8b"):
        raw = bytes.fromhex(cdb) + bytes([6 << 5]) + bytes(14)
        raw = raw[:13] + b"\1" + raw[14:]
        equal(_raw(node, raw, bytes(1040 if cdb == "89" else 520))[1][:2], _FIELD, f"a reserved protect field of {cdb}h")
    _gone("others", 0)
    # Type 2 takes tags from CDBs of 32 bytes, which these commands do not have here.
    _, node = _file("two", 0, "dif_mode=scst|dev_store; dif_type=2")
    equal(same(1, _wire([one], lba))[:2], _OPCODE, "WRITE SAME(16) with a protect field, type 2")
    equal(swap(1, _wire([bytes(_BLOCK)], lba), _wire([one], lba), 1)[:2], _OPCODE, "COMPARE AND WRITE with one")
    _gone("two", 0)
    _, node = _file("three", 0, "dif_mode=scst|dev_store; dif_type=3")
    wire = _wire([one], 0x01020304, 0x1111)
    equal(same(1, wire, 3), _NO_SENSE, "WRITE SAME, type 3")
    equal(_read(node, 1, lba, 3), (wire * 3, _NO_SENSE), "the same tuple in each block")
    _gone("three", 0)


@suite.test("dif: who does not store makes the tuples, and checks what comes")
def _made() -> None:
    for lun, (handler, mode, row) in enumerate((("nullio", "tgt", "tgt"), ("nullio", "tgt|scst", "tgt"), ("fileio", "scst", "scst"))):
        name = f"made{lun}"
        scst.image(f"/tmp/{name}", _MIB)
        where = f"size_mb={_MIB}" if handler == "nullio" else f"filename=/tmp/{name}"
        _, node = _disk(handler, name, lun, f"{where}; dif_mode={mode}; dif_type=1")
        data = bytes(_BLOCK) if handler == "nullio" else b"\x5a" * _BLOCK
        equal(_write(node, 1, 11, _wire([data], 11)), _NO_SENSE, "a good write")
        equal(_write(node, 1, 11, _wire([data], 12)), (*_REF, 11), "a wrong one")
        equal(_read(node, 1, 11, 1), (_wire([data], 11), _NO_SENSE), "a read")
        equal(_failed(lun)[row], [0, 1, 0], f"dif_checks_failed of {mode}")
        _gone(name, lun)


def _verified(block: str) -> None:
    """Data of the initiator's own making, with the kernel's tuples: written, read, compared."""
    fio(block, rw="randwrite", bsrange="4k-64k", size=f"{scaled(4, 15)}m", iodepth=8, verify="crc32c", serialize_overlap=1)


def _damage(path: str, at: int) -> None:
    """Change a byte behind the target's back."""
    with open(path, "r+b") as handle:
        handle.seek(at)
        byte = handle.read(1)
        handle.seek(at)
        handle.write(bytes([byte[0] ^ 1]))


def _reads_badly(block: str, lba: int, log: Callable[[], list[str]]) -> None:
    """The initiator gets an error for a block, and its kernel says what about."""
    fd = os.open(block, os.O_RDONLY | os.O_DIRECT)
    try:
        os.preadv(fd, [mmap.mmap(-1, 4096)], lba * _BLOCK)
    except OSError as error:
        check(errno_name(error.errno or 0) in ("EILSEQ", "EIO"), f"a damaged block: {error}")
    else:
        raise Failure("a damaged block is read without an error")
    finally:
        os.close(fd)
    text = "\n".join(log())
    check("protection error" in text or "check failed" in text, f"the kernel says only: {text}")


@suite.test("dif: sd makes and checks type 1, and a byte that changes on the medium is found")
def _behind_sd() -> None:
    block, node = _file("sd", 0, "dif_mode=tgt|scst|dev_store; dif_type=1")
    _verified(block)
    tuples = Path("/tmp/sd.dif").read_bytes()
    equal(len(tuples), _MIB << 20 >> 9 << 3, "bytes of tuples")
    check(tuples != b"\xff" * len(tuples), "sd has written no tuple")
    lba = next(n for n in range(0, len(tuples) // 8, 8) if tuples[n * 8 + 2:n * 8 + 8] == struct.pack(">HI", 0, n))
    equal(_read(node, 0, lba, 1)[1], _NO_SENSE, "before the damage")
    _damage("/tmp/sd", lba * _BLOCK)
    log = Kmsg()
    _reads_badly(block, lba, log.lines)
    log.close()
    equal(_failed(0)["scst"][2] > 0, True, "the guard in dif_checks_failed")
    equal(_read(node, 1, lba, 1)[1], (*_GUARD, lba), "the block, raw")
    # What is written anew is good again, and what was given back is not checked.
    equal(_write(node, 0, lba, b"\x11" * _BLOCK), _NO_SENSE, "a write without tuples")
    equal(_read(node, 1, lba, 1), (_wire([b"\x11" * _BLOCK], lba), _NO_SENSE), "has tuples")
    equal(_raw(node, bytes([0x04, 0x90, 0, 0, 0, 0]), bytes(4))[1], _NO_SENSE, "FORMAT UNIT of this type")
    equal(_read(node, 1, lba, 1)[0][_BLOCK:], b"\xff" * 8, "a formatted block")
    equal(_raw(node, bytes([0x04, 0xd0, 0, 0, 0, 0]), bytes(4))[1][:2], _FIELD, "FORMAT UNIT of another type")
    _gone("sd", 0)


@suite.test("dif: blocks and tuples on a block device that keeps both")
def _block_device() -> None:
    sh("modprobe", "scsi_debug", "dif=1", "dix=1", "delay=0", f"dev_size_mb={_MIB}")
    where = Path("/sys/bus/pseudo/drivers/scsi_debug")
    disks = "adapter0/host*/target*/*/block/*/integrity/format"
    wait_until(lambda: any(where.glob(disks)), 20, "no disk of scsi_debug")
    name = next(where.glob(disks)).parts[-3]
    params = f"filename=/dev/{name}; dif_mode=scst|dev_check|dev_store"
    equal(scst.write(scst.HANDLERS / "vdisk_blockio/mgmt", f"add_device b3 {params}; dif_type=3"), 22, "type 3 on type 1")
    block, node = _disk("blockio", "both", 0, f"{params}; dif_type=1")
    _verified(block)
    data = [b"\x21" * _BLOCK, b"\x43" * _BLOCK]
    equal(_write(node, 1, 30, _wire(data, 30)), _NO_SENSE, "a write with tuples")
    equal(_read(node, 1, 30, 2), (_wire(data, 30), _NO_SENSE), "comes back")
    equal(_write(node, 1, 30, _wire(data, 30, 0, "ref", 1)), (*_REF, 31), "a wrong one is refused")
    equal(_raw(f"/dev/{name}", _rw(False, 0, 30, 2), wanted=1024), (b"".join(data), _NO_SENSE), "what the device has")
    _gone("both", 0)
    # Only the device checks.
    _, node = _disk("blockio", "below", 0, f"filename=/dev/{name}; dif_mode=dev_check|dev_store; dif_type=1")
    equal(_write(node, 1, 30, _wire(data, 30, 0, "guard", 1)), (*_GUARD, 31), "a wrong guard for the device")
    equal(_failed(0)["dev"], [0, 0, 1], "dif_checks_failed of the device")
    _gone("below", 0)
    wait_until(lambda: scst.try_rmmod("scsi_debug"), 20, "rmmod scsi_debug: in use")


@suite.test("dif: what is not possible is refused with what is wrong")
def _refused() -> None:
    log = Kmsg()
    for handler, params, said in (
            ("nullio", "size_mb=16; dif_mode=dev_store; dif_type=1", "dev_store"),
            ("nullio", "size_mb=16; dif_mode=dev_check; dif_type=1", "vdisk_blockio"),
            ("nullio", "size_mb=16; dif_mode=scst", "dif_type"),
            ("nullio", "size_mb=16; dif_mode=all; dif_type=1", "tgt, scst, dev_check, dev_store"),
            ("nullio", "size_mb=16; dif_mode=scst; dif_type=4", "dif_type|4"),
            ("blockio", "filename=/dev/ram0; dif_mode=dev_store; dif_type=1", "integrity profile"),
            ("blockio", "filename=/dev/ram0; dif_mode=dev_check; dif_type=1", "dev_store"),
            ("blockio", "filename=/dev/ram0; dif_filename=/tmp/x; dif_type=1", "dev_store")):
        equal(scst.write(scst.HANDLERS / f"vdisk_{handler}/mgmt", f"add_device no {params}"), 22, params)
        text = "\n".join(log.lines())
        check(re.search(said, text), f"{params}: the log says only: {text}")
    scst.image("/tmp/no", _MIB)
    gone = "filename=/tmp/no; dif_filename=/tmp/there/is/none; dif_mode=dev_store; dif_type=1"
    equal(scst.write(scst.HANDLERS / "vdisk_fileio/mgmt", f"add_device no {gone}"), 2, gone)
    log.close()
    # A device without protection information has no protect field either.
    _, node = _disk("nullio", "plain", 0, f"size_mb={_MIB}")
    equal(_read(node, 1, 0, 1)[1][:2], _FIELD, "RDPROTECT without protection information")
    _gone("plain", 0)


if __name__ == "__main__":
    suite.main()
