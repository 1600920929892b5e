#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
# lab: group=scsi timeout=240 soak=yes
"""Offloaded data transfer: POPULATE TOKEN, WRITE USING TOKEN, RECEIVE ROD TOKEN INFORMATION; what ends a token."""

from __future__ import annotations

import os
import random
import struct
import time
from pathlib import Path

import rod
import scst
import sg
from lib import Suite, check, equal, scaled, sh, wait_until

_MIB = 1 << 20
_ACCESS_UPON_REFERENCE, _CHANGE_VULNERABLE, _ZERO = 0x0001_0000, 0x0080_0001, 0xffff_0001


def setup() -> None:
    """Two files, of blocks of 512 and 4096 bytes, that two initiators see."""
    scst.unload()
    sh("modprobe", "sg")
    scst.load()
    second = scst.add_target("second", "second_host") / "luns"
    for lun, (name, params) in enumerate((("small", "thin_provisioned=1"), ("large", "blocksize=4096"))):
        scst.add_device("vdisk_fileio", name, f"filename={scst.image(f'/tmp/{name}', 64)}; {params}")
        scst.add_lun(name, lun)
        scst.add_lun(name, lun, second)
        scst.wait_disk(lun)
        scst.wait_disk(lun, scst.LOCAL / "second")


def teardown() -> None:
    """Leave nothing."""
    scst.clear()
    scst.unload()


suite = Suite(setup, teardown)


def _node(lun: int, target: Path = scst.TARGET) -> str:
    """The /dev/sgN of a LUN, with no unit attention left."""
    node = scst.wait_disk(lun, target, "scsi_generic")
    wait_until(lambda: sg.command(node, "00 00 00 00 00 00").words() == "good", 20, f"{node} is not ready")
    return node


def _write(path: str, block: int, data: bytes) -> None:
    """Write past the page cache of the initiator, from a block of 512 bytes on."""
    handle = os.open(path, os.O_WRONLY)
    with os.fdopen(handle, "wb") as disk:
        disk.seek(block * 512)
        disk.write(data)
        disk.flush()
        os.fsync(handle)


def _read(path: str, block: int, length: int) -> bytes:
    sh("blockdev", "--flushbufs", path)
    with open(path, "rb") as disk:
        disk.seek(block * 512)
        return disk.read(length)


def _moved(node: str) -> tuple[int, int]:
    status, blocks, token = rod.information(node, 2)
    equal(token, b"", "a token of WRITE USING TOKEN")
    return status, blocks


@suite.test("what a token stands for is written, from ranges to ranges, on disks with blocks of another size too")
def copies() -> None:
    small, large = _node(0), _node(1)
    mib = scaled(6, 24)
    data = random.randbytes(mib * _MIB)
    _write(scst.wait_disk(0), 0, data)
    half = mib * 1024
    # The second half first, and a bit of the first.
    ranges = ((half, half), (64, 1024))
    token = rod.token(small, ranges)
    represented = data[half * 512:] + data[64 * 512:][:1024 * 512]
    blocks = len(represented) // 4096
    for node in (large, _node(1, scst.LOCAL / "second")):
        _write(scst.wait_disk(1), 0, bytes(mib * _MIB))
        equal(rod.use(node, token, ((256, 1), (8, 200), (300, blocks - 201))), "good", "WRITE USING TOKEN")
        equal(_moved(node), (1, blocks), "status and blocks of WRITE USING TOKEN")
        disk = scst.wait_disk(1)
        found = _read(disk, 256 * 8, 4096) + _read(disk, 64, 200 * 4096) + _read(disk, 300 * 8, (blocks - 201) * 4096)
        check(found == represented, "what the token stood for is not what was written")
    equal(rod.use(small, token, ((100_000, 16),), offset=half + 8, delete=True), "good", "WRITE USING TOKEN with an offset")
    check(_read(scst.wait_disk(0), 100_000, 8192) == represented[(half + 8) * 512:][:8192], "what begins within the token")
    equal(rod.use(small, token, ((0, 1),)), "additional sense 23h/09h", "a token that was deleted")


def _all(node: str, room: int = 65536) -> tuple[int, list[bytes]]:
    """REPORT ALL ROD TOKENS: how many there are, and the beginnings of those that there is room for."""
    answer = sg.command(node, f"84 08 00 00 00 00 00 00 00 00 {room:08x} 00 00", room)
    equal(answer.words(), "good", "REPORT ALL ROD TOKENS")
    there, rest = divmod(int.from_bytes(answer.data[:4], "big") - 4, 96)
    equal(rest, 0, "bytes of a token too many")
    return there, [answer.data[at:at + 96] for at in range(8, len(answer.data) - 95, 96)]


@suite.test("REPORT ALL ROD TOKENS tells which there are, and nothing that one could be used by")
def all_tokens() -> None:
    small, second = _node(0), _node(1, scst.LOCAL / "second")
    before, _ = _all(second)
    tokens = [rod.token(small, ((at, 8),)) for at in (0, 64, 128)]
    there, found = _all(second)
    equal((there, found[-3:]), (before + 3, [token[:96] for token in tokens]), "tokens, the oldest first")
    equal((_all(second, 8 + 96)), (there, found[:1]), "with room for one")
    check(tokens[0][96:] != tokens[1][96:], "tokens differ in what is not told only")
    equal(rod.use(small, tokens[1], ((5000, 8),), delete=True), "good", "a token is used and deleted")
    equal(_all(second)[1][-2:], [tokens[0][:96], tokens[2][:96]], "without what was deleted")


@suite.test("the token of zeros, which nobody has to make")
def zeros() -> None:
    small = _node(0)
    _write(scst.wait_disk(0), 0, random.randbytes(4 * _MIB))
    token = struct.pack(">I2xH504x", _ZERO, 504)
    equal(rod.use(small, token, ((8, 4096), (6000, 8))), "good", "WRITE USING TOKEN")
    equal(_moved(small), (1, 4104), "status and blocks")
    disk = scst.wait_disk(0)
    check(not any(_read(disk, 8, 4096 * 512)) and not any(_read(disk, 6000, 4096)), "zeros were not written")
    check(any(_read(disk, 0, 4096)) and any(_read(disk, 6008, 4096)), "more than that was written")


@suite.test("a token of blocks as they were ends when one of them changes, and not when another does")
def revoked() -> None:
    small = _node(0)
    disk = scst.wait_disk(0)
    first = random.randbytes(8192)
    _write(disk, 1000, first)
    ranges = ((1000, 16), (2000, 16))
    token, live = rod.token(small, ranges, _CHANGE_VULNERABLE), rod.token(small, ranges, _ACCESS_UPON_REFERENCE)
    _write(disk, 992, bytes(4096))
    _write(disk, 1016, bytes(4096))
    equal(rod.use(small, token, ((5000, 16),)), "good", "after writes beside")
    check(_read(disk, 5000, 8192) == first, "what the token stood for")
    now = random.randbytes(4096)
    _write(disk, 1008, now)
    equal(rod.use(small, token, ((5000, 16),)), "additional sense 23h/06h", "after a write")
    equal(rod.use(small, live, ((5000, 16),)), "good", "a token of blocks as they are")
    check(_read(disk, 5000, 8192) == first[:4096] + now, "blocks as they are")
    for what, change in (("UNMAP", ["sg_unmap", "--lba=1000", "--num=8", "--force", small]),
                         ("WRITE SAME", ["sg_write_same", "--lba=2008", "--num=8", "-i", "/dev/zero", "-x", "512", small]),
                         ("EXTENDED COPY", ["sg_xcopy", f"if={small}", f"of={small}", "bs=512", "count=8", "seek=1000"])):
        token = rod.token(small, ranges)
        sh(*change)
        equal(rod.use(small, token, ((5000, 16),)), "additional sense 23h/06h", f"after {what}")


@suite.test("tokens that nobody uses expire; those that nobody has made are refused, and so is what they cannot do")
def refused() -> None:
    small = _node(0)
    token = rod.token(small, ((0, 8),), seconds=1)
    time.sleep(1.1)
    equal(rod.use(small, token, ((5000, 8),)), "additional sense 23h/07h", "a token that has expired")
    token = rod.token(small, ((0, 8),))
    equal(rod.use(small, token, ((5000, 8),), offset=8), "Invalid field in parameter list", "an offset beyond the token")
    equal(rod.use(small, token[:-400] + b"?" + token[-399:], ((5000, 8),)), "additional sense 23h/05h", "a token that was changed")
    equal(rod.use(small, token[:8] + b"\xff" + token[9:], ((5000, 8),)), "additional sense 23h/04h", "a token of nobody")
    equal(rod.use(small, token[:6] + b"\0\0" + token[8:], ((5000, 8),)), "additional sense 23h/0ah", "a token of another length")
    for what, ranges in (("overlap", ((0, 8), (4, 8))), ("are none", ())):
        equal(rod.populate(small, ranges), "Invalid field in parameter list", f"ranges that {what}")
    equal(rod.populate(small, ((131072 - 4, 8),)), "additional sense 21h/00h", "blocks beyond the end")
    equal(rod.populate(small, tuple((at * 2, 1) for at in range(65))), "additional sense 26h/08h", "too many ranges")
    equal(rod.populate(small, ((0, 8),), kind=0x0080_0002), "additional sense 23h/01h", "a persistent token")
    equal(rod.populate(small, ((0, 8),), seconds=3601), "Invalid field in parameter list", "a time-out that is too long")
    second = _node(0, scst.LOCAL / "second")
    answer = sg.command(second, "84 07 00 00 00 01 00 00 00 00 04 00 00 00", 1024)
    equal(answer.words(), "Invalid field in cdb", "the token of another initiator")


@suite.test("who has a token may use it, whoever has reserved what it stands for")
def reserved() -> None:
    small, second = _node(0), _node(0, scst.LOCAL / "second")
    token = rod.token(small, ((0, 8),))
    sh("sg_persist", "-n", "-o", "-G", "-S", "0x1", second)
    sh("sg_persist", "-n", "-o", "-R", "-K", "0x1", "-T", "3", second)
    try:
        equal(rod.populate(small, ((0, 8),)), "status 0x18", "POPULATE TOKEN beside an Exclusive Access reservation")
        equal(rod.use(small, token, ((5000, 8),)), "status 0x18", "WRITE USING TOKEN beside one")
        equal(rod.use(_node(1), token, ((5000, 1),)), "good", "WRITE USING TOKEN on another disk")
    finally:
        sh("sg_persist", "-n", "-o", "-C", "-K", "0x1", second)


if __name__ == "__main__":
    suite.main()
