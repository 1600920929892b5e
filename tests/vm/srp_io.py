#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
# lab: group=srp also=7.3 cpus=1 timeout=300 mem=2G drives=blk:64 soak=yes
"""SRP: data is what was written, for every way that an initiator has to describe its buffers."""

from __future__ import annotations

import mmap
import os
import random
from pathlib import Path

import srp
import srp_target
import scst
from lib import LONG, Fio, Kmsg, check, equal, errno_name, fio, note, scaled
from srp import Host, Link
from srp_target import Target

_MIB = 1 << 20
_SIZE = 64


def setup(target: Target) -> None:
    """A file and a block device; a disk that stores nothing."""
    target.add("fileio", "file0", 0, scst.image("/tmp/file0", _SIZE))
    target.add("blockio", "blk0", 1, os.path.realpath("/dev/disk/lab/blk"))
    target.add("nullio", "null0", 2)
    target.enable(Link(0))


plan = srp_target.Plan(setup, limit_s=120)


def _largest_transfers(host: Host, lun: int) -> str:
    """Let a disk have commands as large as the host takes; its node."""
    node = host.disk(lun)
    queue = Path("/sys/block", os.path.basename(node), "queue")
    (queue / "max_sectors_kb").write_text((queue / "max_hw_sectors_kb").read_text())
    return node


def _verify(host: Host, lun: int, sizes: str, depth: int, mib: int) -> None:
    """MIB are written in the block sizes SIZES and read again, every block checked.

    Blocks of several sizes overlap, and of two that are under way at once either may be the last.
    """
    node = _largest_transfers(host, lun)
    common = {"bsrange": sizes, "blockalign": "4k", "iodepth": depth, "size": f"{_SIZE}m", "verify": "crc32c",
              "verify_fatal": 1, "randrepeat": 0, "serialize_overlap": 1}
    fio(node, rw="randwrite", io_size=f"{mib}m", timeout=240, **common)
    check(int(host.attribute("req_lim")) > 0, f"req_lim is {host.attribute('req_lim')}")


def _with(host_options: dict[str, object], *loads: tuple[int, str, int, int], **parameters: object) -> None:
    """Log in with options after loading ib_srp with parameters, and verify (LUN, sizes, depth, MiB) each."""
    srp.load_initiator(**parameters)
    with srp.logged_in(**{"ch_count": 4, **host_options}) as host:
        equal(host.attribute("ch_count"), str({"ch_count": 4, **host_options}["ch_count"]), "channels")
        for load in loads:
            _verify(host, *load)


@plan.test("fileio, 4 channels, QD 128, small blocks, immediate data")
def small(target: Target) -> None:
    _with({}, (0, "4k-64k", 128, scaled(4, 64)))


@plan.test("blockio, 4 channels, 64 KiB to 4 MiB")
def large(target: Target) -> None:
    _with({"max_sect": 8192}, (1, "64k-4m", scaled(8, 32), scaled(24, 256)))


@plan.test("blockio, blocks that fit into a command: memory that is not aligned as block devices want it")
def small_blocks(target: Target) -> None:
    _with({}, (1, "4k-8k", 32, scaled(1, 32)))


_SMALL = {"bsrange": "4k-64k", "iodepth": 128}
_ANY = {"bssplit": "4k/40:16k/20:64k/20:256k/10:1m/6:4m/4", "iodepth": 32}


@plan.test("both disks at a time, 4 channels, reads and writes mixed, 4 KiB to 4 MiB, QD 128 and 32")
def mixed(target: Target) -> None:
    # In the long form each disk has both loads, in a half of its own.
    plans = [(0, 0, _SMALL), (1, 0, _ANY)] + ([(0, 1, _ANY), (1, 1, _SMALL)] if LONG else [])
    with srp.logged_in(ch_count=4, max_sect=8192) as host:
        equal(host.attribute("ch_count"), "4", "channels")
        seconds, half = scaled(2, 600), _SIZE // 2
        loads = [Fio(_largest_transfers(host, lun), rw="randrw", blockalign="4k", offset=f"{part * half}m", size=f"{half}m",
                     verify="crc32c", verify_fatal=1, verify_backlog=256, serialize_overlap=1, randrepeat=0, time_based=None,
                     runtime=seconds, **options) for lun, part, options in plans]
        try:
            for load, (lun, part, _) in zip(loads, plans):
                record = load.result(seconds + 120)
                note(f"LUN {lun}, part {part}: " + ", ".join(
                    f"{record[way]['total_ios']} {way}s of {record[way]['io_bytes'] >> 20} MiB" for way in ("read", "write")))
        finally:
            for load in loads:
                load.kill()


@plan.test("without immediate data")
def no_immediate(target: Target) -> None:
    _with({}, (0, "4k-64k", 32, scaled(2, 32)), use_imm_data="N")


@plan.test("a login that wants larger requests than the target takes is rejected, the next one is not")
def too_large(target: Target) -> None:
    srp.load_initiator(max_imm_data=1 << 20)
    log = Kmsg()
    equal(errno_name(srp.try_login(Link(0))), "ECONNRESET", "login")
    lines = log.lines()
    check(any("max_it_iu_len too large" in line for line in lines), "the initiator was given another reason:\n" +
          "\n".join(lines))
    Path("/sys/module/ib_srp/parameters/max_imm_data").write_text("4096")
    with srp.logged_in() as host:
        _verify(host, 0, "4k-16k", 16, 1)


@plan.test("one descriptor a command")
def direct(target: Target) -> None:
    _with({"cmd_sg_entries": 1, "ch_count": 1, "max_sect": 8192}, (1, "4k-4m", 8, scaled(10, 128)))


@plan.test("a descriptor a page: tables of up to 255 in the command")
def indirect(target: Target) -> None:
    _with({"cmd_sg_entries": 255, "max_sect": 8192}, (0, "4k-1m", 16, scaled(8, 128)), never_register="Y", indirect_sg_entries=255)


@plan.test("a descriptor a page: more of them than the command holds", only=("ours",))
def partial(target: Target) -> None:
    _with({"cmd_sg_entries": 12, "allow_ext_sg": 1, "sg_tablesize": 1024, "max_sect": 8192}, (1, "4k-4m", 16, scaled(16, 256)),
          never_register="Y", indirect_sg_entries=1024)


@plan.test("more commands than credits, and a small queue: credits come back, none is lost")
def credits(target: Target) -> None:
    srp.load_initiator()
    for queue, depth in ((512, 256), (8, 64)):
        with srp.logged_in(queue_size=queue, ch_count=2) as host:
            before = int(host.attribute("req_lim"))
            fio(host.disk(2), rw="randrw", iodepth=depth, number_ios=scaled(400, 100000))
            after = int(host.attribute("req_lim"))
            note(f"queue of {queue}: req_lim {before} -> {after}, ran out {host.attribute('zero_req_lim')} times")
            # The initiator shows the least of its channels; a request of its own may be under way.
            check(after >= before - 1, f"req_lim fell from {before} to {after}")


def _pieces(memory: mmap.mmap, rng: random.Random, total: int) -> list[memoryview]:
    """Views of TOTAL bytes in pages that do not follow one another."""
    view = memoryview(memory)
    pages = list(range(0, len(memory), 4096))
    rng.shuffle(pages)
    return [view[start:start + 4096] for start in pages[:total // 4096]]


@plan.test("buffers scattered over memory")
def scattered(target: Target) -> None:
    rng = random.Random(1)
    with srp.logged_in(cmd_sg_entries=255) as host:
        handle = os.open(host.disk(0), os.O_RDWR | os.O_DIRECT)
        out, back = mmap.mmap(-1, 4 * _MIB), mmap.mmap(-1, 4 * _MIB)
        try:
            for number in range(scaled(8, 400)):
                total = 4096 * rng.randint(1, 200)
                offset = 4096 * rng.randint(0, _SIZE * 256 - 200)
                sent, got = _pieces(out, rng, total), _pieces(back, rng, total)
                data = rng.randbytes(total)
                for index, piece in enumerate(sent):
                    piece[:] = data[4096 * index:4096 * index + 4096]
                equal(os.pwritev(handle, sent, offset), total, f"write {number}")
                equal(os.preadv(handle, got, offset), total, f"read {number}")
                check(b"".join(got) == data, f"round {number}: {total} bytes at {offset} are not what was written")
        finally:
            os.close(handle)


@plan.test("buffered I/O in 8 MiB")
def buffered(target: Target) -> None:
    with srp.logged_in(max_sect=8192) as host:
        fio(_largest_transfers(host, 0), rw="write", bs="8m", direct=0, ioengine="psync", size=f"{scaled(8, _SIZE)}m",
            verify="crc32c", verify_fatal=1, end_fsync=1)


if __name__ == "__main__":
    plan.main()
