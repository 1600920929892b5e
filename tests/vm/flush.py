#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
# lab: group=disks timeout=150 soak=yes
"""Power cuts of a disk with a volatile cache: null_blk forgets what was not flushed when its power goes.

tests/host/powercut.py kills whole machines; there, what the guest has handed to the virtual disk survives without a
flush. Here it does not, so a flush that our target forgets loses data; and a round takes a second.
"""

from __future__ import annotations

import contextlib
import mmap
import os
import random
from collections.abc import Callable
from pathlib import Path

import scst
from lib import Failure, Suite, check, no_differences, note, scaled, sh, wait_until

_PLACE = Path("/sys/kernel/config/nullb/cut")
_NODE = "/dev/cut"
_BLOCK = 4096
_RECORDS = 24
_SECTORS = 48 << 11
_ROUNDS = scaled(4, 100)


def _power(on: bool) -> None:
    (_PLACE / "power").write_text("1" if on else "0")
    if on:
        wait_until(lambda: os.path.exists(_NODE), 10, f"no {_NODE}")


def setup() -> None:
    """A disk of 48 MiB with a cache of 32 MiB that does not survive power off."""
    scst.clear()
    scst.unload()
    sh("modprobe", "null_blk", "nr_devices=0")
    sh("modprobe", "dm_mod")
    _PLACE.mkdir()
    for name, value in (("memory_backed", "1"), ("size", "48"), ("blocksize", "512"), ("cache_size", "32")):
        (_PLACE / name).write_text(value)
    _power(True)
    scst.load()


def teardown() -> None:
    """Leave nothing."""
    scst.clear()
    scst.unload()
    with contextlib.suppress(OSError):
        _power(False)
        _PLACE.rmdir()
        sh("rmmod", "null_blk")


suite = Suite(setup, teardown)


def _record(round_number: int, index: int) -> bytes:
    return (b"%08d %08d " % (round_number, index) * _BLOCK)[:_BLOCK]


def _write(node: str, round_number: int, way: str, cut: Callable[[], None]) -> dict[int, bool]:
    """Write records in a random order, then cut; which, and whether the target said that they are stable."""
    source = random.Random(round_number)
    handle = os.open(node, os.O_RDWR | os.O_DIRECT)
    synced = os.open(node, os.O_RDWR | os.O_DIRECT | os.O_DSYNC)
    buffer = mmap.mmap(-1, _BLOCK)
    stable: dict[int, bool] = {}
    for index in source.sample(range(_RECORDS * 8), _RECORDS):
        buffer[:] = _record(round_number, index)
        if way == "FUA":
            os.pwrite(synced, buffer, index * _BLOCK)
            stable[index] = True
        else:
            os.pwrite(handle, buffer, index * _BLOCK)
            stable[index] = False
            if way == "SYNCHRONIZE CACHE" and source.random() < 0.3:
                os.fdatasync(handle)
                stable = dict.fromkeys(stable, True)
    cut()
    with contextlib.suppress(OSError):
        os.close(handle)
        os.close(synced)
    return stable


def _lost(path: str, round_number: int, stable: dict[int, bool]) -> tuple[list[str], int]:
    """The acknowledged records that are not there, and how many others are not."""
    lost, gone = [], 0
    with open(path, "rb") as medium:
        for index, acknowledged in stable.items():
            medium.seek(index * _BLOCK)
            if medium.read(_BLOCK) != _record(round_number, index):
                gone += 1
                if acknowledged:
                    lost.append(f"round {round_number}: acknowledged record {index} is lost")
    return lost, gone - len(lost)


def _blockio(round_number: int, way: str, params: str) -> tuple[list[str], int]:
    node = scst.disk("vdisk_blockio", "cut", 0, f"filename={_NODE}{params}")
    stable = _write(node, round_number, way, lambda: _power(False))
    scst.put(scst.TARGET / "luns/mgmt", "clear")
    scst.wait_gone(0)
    scst.del_device("cut")
    _power(True)
    return _lost(_NODE, round_number, stable)


def _unplug() -> None:
    """Let nothing reach the disk any more. Without that its removal would sync the file system."""
    sh("dmsetup", "suspend", "--noflush", "--nolockfs", "plug")
    sh("dmsetup", "reload", "plug", "--table", f"0 {_SECTORS} error")
    sh("dmsetup", "resume", "plug")
    _power(False)


def _fileio(round_number: int, way: str, params: str) -> tuple[list[str], int]:
    sh("dmsetup", "create", "plug", "--noudevsync", "--table", f"0 {_SECTORS} linear {_NODE} 0")
    sh("dmsetup", "mknodes")
    sh("mount", "/dev/mapper/plug", "/mnt")
    node = scst.disk("vdisk_fileio", "cut", 0, f"filename=/mnt/cut{params}")
    stable = _write(node, round_number, way, _unplug)
    scst.put(scst.TARGET / "luns/mgmt", "clear")
    scst.wait_gone(0)
    scst.del_device("cut")
    sh("umount", "/mnt")
    sh("dmsetup", "remove", "--retry", "--noudevsync", "plug")
    _power(True)
    sh("mount", _NODE, "/mnt")
    try:
        return _lost("/mnt/cut", round_number, stable)
    finally:
        sh("umount", "/mnt")


def _rounds(kind: str) -> None:
    lost: list[str] = []
    others = {"FUA": 0, "SYNCHRONIZE CACHE": 0, "write_through": 0, "nothing": 0}
    for number in range(_ROUNDS):
        way = list(others)[number % len(others)]
        params = "; write_through=1" if way == "write_through" else ""
        found, gone = (_blockio if kind == "blockio" else _fileio)(number, "FUA" if params else way, params)
        lost += [f"{way}, {line}" for line in found]
        others[way] += gone
    note(f"writes that were not acknowledged as stable and are gone: {others}")
    no_differences(lost)
    check(others["nothing"] > 0, "writes without a flush all survived: the cut does not cut")


@suite.test(f"blockio: {_ROUNDS} power cuts lose nothing that was written with FUA or flushed")
def blockio() -> None:
    _rounds("blockio")


@suite.test(f"fileio: {_ROUNDS} power cuts lose nothing that was written with FUA or flushed")
def fileio() -> None:
    sh("mkfs.ext4", "-q", "-F", _NODE)
    sh("mount", _NODE, "/mnt")
    # Blocks that are there: what is tested is the data, not the file's metadata, in half of the file.
    sh("sh", "-c", "dd if=/dev/zero of=/mnt/cut bs=4k count=96 status=none; truncate -s 16M /mnt/cut; sync")
    sh("umount", "/mnt")
    _rounds("fileio")


@suite.test("a SYNCHRONIZE CACHE that the disk cannot do returns the disk's error")
def error() -> None:
    node = scst.disk("vdisk_blockio", "cut", 0, f"filename={_NODE}")
    handle = os.open(node, os.O_RDWR | os.O_DIRECT)
    buffer = mmap.mmap(-1, _BLOCK)
    os.pwrite(handle, buffer, 0)
    _power(False)
    try:
        os.fdatasync(handle)
    except OSError:
        return
    finally:
        os.close(handle)
        scst.put(scst.TARGET / "luns/mgmt", "clear")
        scst.wait_gone(0)
        scst.del_device("cut")
        _power(True)
    raise Failure("a flush that the disk could not do was acknowledged")


if __name__ == "__main__":
    suite.main()
