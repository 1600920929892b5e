#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
# lab: group=disks timeout=200
"""dev_disk and dev_disk_perf: a SCSI disk of this machine, scsi_debug's, exported as it is."""

from __future__ import annotations

import contextlib
import errno
import os
import re
from pathlib import Path

import rod
import scst
import sg
from lib import Fio, Suite, check, equal, errno_name, fio, sh, wait_until

_PERF = scst.HANDLERS / "dev_disk_perf"
_PLAIN = scst.HANDLERS / "dev_disk"
# scsi_debug's: opts, and the LBA that its medium error is at.
_OPTS = Path("/sys/bus/pseudo/drivers/scsi_debug/opts")
_BAD_LBA = 0x1234


def _address() -> str:
    """H:C:I:L of scsi_debug's disk. What is exported of it has the same identity, but another host."""
    for place in Path("/sys/class/scsi_device").glob("*:*:*:*"):
        host = place.name.partition(":")[0]
        if Path(f"/sys/class/scsi_host/host{host}/proc_name").read_text().strip() == "scsi_debug":
            return place.name
    return ""


def _below() -> str:
    """The node of scsi_debug's disk."""
    return "/dev/" + next(Path(f"/sys/class/scsi_device/{_address()}/device/block").iterdir()).name


def setup() -> None:
    """The modules, and a disk of the machine."""
    scst.unload()
    scst.load()
    sh("modprobe", "scst_disk")
    sh("modprobe", "scsi_debug", "dev_size_mb=16", "sector_size=512", "delay=0")
    wait_until(lambda: _address() and any(Path(f"/sys/class/scsi_device/{_address()}/device/block").glob("sd*")), 20,
               "scsi_debug has no disk")


def teardown() -> None:
    """Leave nothing."""
    scst.clear()
    for handler in (_PLAIN, _PERF):
        for device in handler.glob("*:*:*:*"):
            scst.put(handler / "mgmt", f"del_device {device.name}")
    wait_until(lambda: scst.try_rmmod("scst_local"), 60, "rmmod scst_local")
    sh("rmmod", "scst_disk", "scst_vdisk", "scst")
    wait_until(lambda: scst.try_rmmod("scsi_debug"), 60, "rmmod scsi_debug: a reference was left")


suite = Suite(setup, teardown)


@suite.test("the handlers are there, and say what they take")
def handlers() -> None:
    for handler in (_PLAIN, _PERF):
        equal((handler / "mgmt").read_text(), 'Usage: echo "add_device H:C:I:L" >mgmt\n'
              '       echo "del_device H:C:I:L" >mgmt\n', f"{handler.name}/mgmt")
        equal(scst.get(handler / "type"), "0 - Direct-access device (e.g., magnetic disk)", f"{handler.name}/type")


@suite.test("what is no disk of this machine is refused")
def refused() -> None:
    for name in ("9:9:9:9", "0:0:0", "0:0:0:0:0", "a:0:0:0", "-1:0:0:0", "00:0:0:0", "4294967296:0:0:0",
                 "0:0:0:99999999999999999999", "disk", ":::"):
        equal(errno_name(scst.write(_PLAIN / "mgmt", f"add_device {name}")), "EINVAL", f"add_device {name}")
    equal(scst.write(_PLAIN / "mgmt", f"add_device {_address()} read_only=1"), errno.EINVAL, "a parameter")
    equal(list(_PLAIN.glob("*:*")), [], "devices")


@suite.test("a disk is exported: identity, size and data are its own")
def exported() -> None:
    address = _address()
    scst.put(_PLAIN / "mgmt", f"add_device {address}")
    equal(scst.write(_PERF / "mgmt", f"add_device {address}"), errno.EEXIST, "add_device to the other handler, too")
    equal((scst.DEVICES / address / "handler").resolve(), _PLAIN, "handler")
    scst.add_lun(address, 0)
    node, below = scst.wait_disk(0), _below()
    for page in ((), ("--page=0x80",), ("--page=0x83",), ("--page=0xb0",)):
        equal(sh("sg_inq", "--hex", *page, node), sh("sg_inq", "--hex", *page, below), f"INQUIRY {page}")
    equal(sh("blockdev", "--getsize64", node), sh("blockdev", "--getsize64", below), "size")
    result = fio(node, rw="randwrite", bsrange="512-64k", size="8m", iodepth=16, verify="crc32c", do_verify=1)
    check(result["write"]["total_ios"] > 100, "too few writes")
    sh("blockdev", "--flushbufs", below)
    equal(sh("sh", "-c", f"dd if={node} iflag=direct bs=64k 2>/dev/null | md5sum"),
          sh("sh", "-c", f"dd if={below} iflag=direct bs=64k 2>/dev/null | md5sum"), "data by both ways")


@suite.test("large transfers, with data that are verified")
def large() -> None:
    node = scst.wait_disk(0)
    for size in ("256k", "512k"):
        fio(node, rw="write", bs=size, size="8m", iodepth=4, verify="crc32c", do_verify=1)


@suite.test("a medium error arrives as one, and the block can be read when the error has gone")
def errors() -> None:
    node = scst.wait_disk(0)
    _OPTS.write_text("2")
    try:
        output = sh("sg_dd", f"if={node}", "of=/dev/null", "bs=512", "bpt=1", f"skip={_BAD_LBA}", "count=1",
                    "blk_sgio=1", "verbose=1", status=None)
        check(re.search(r"[Mm]edium", output), f"no medium error: {output}")
    finally:
        _OPTS.write_text("0")
    sh("sg_dd", f"if={node}", "of=/dev/null", "bs=512", f"skip={_BAD_LBA}", "count=1", "blk_sgio=1")


def _ready(node: str) -> str:
    wait_until(lambda: sg.command(node, "00 00 00 00 00 00").words() == "good", 20, f"{node} is not ready")
    return node


@suite.test("reservations are between initiators, for the disk has only one: this machine")
def reserved() -> None:
    second = scst.add_target("second", "second_host")
    scst.add_lun(_address(), 0, second / "luns")
    first, other = _ready(scst.wait_disk(0, kind="scsi_generic")), _ready(scst.wait_disk(0, second, "scsi_generic"))
    write = "2a 00 00 00 00 00 00 00 01 00"
    sh("sg_persist", "-n", "--out", "--register", "--param-sark=0x1", first)
    sh("sg_persist", "-n", "--out", "--reserve", "--param-rk=0x1", "--prout-type=1", first)
    equal(sg.command(other, write, out=bytes(512)).words(), "status 0x18", "a write of who does not hold the reservation")
    equal(sg.command(first, write, out=bytes(512)).words(), "good", "a write of who holds it")
    check("0x1" in sh("sg_persist", "-n", "--in", "-k", other), "the key is not seen by the other initiator")
    sh("sg_persist", "-n", "--out", "--clear", "--param-rk=0x1", first)
    _ready(other)
    equal(sg.command(first, "16 00 00 00 00 00").words(), "good", "RESERVE(6)")
    equal(sg.command(other, write, out=bytes(512)).words(), "status 0x18", "a write beside RESERVE(6)")
    equal(sg.command(first, "17 00 00 00 00 00").words(), "good", "RELEASE(6)")
    equal(sg.command(other, write, out=bytes(512)).words(), "good", "a write after RELEASE(6)")
    scst.put(scst.LOCAL / "mgmt", "del_target second")


@suite.test("it is copied from and to, by EXTENDED COPY and by tokens, if it is a LUN of the copy manager")
def copied() -> None:
    disk, address = _ready(scst.wait_disk(0, kind="scsi_generic")), _address()
    file = scst.disk("vdisk_fileio", "copied", 1, f"filename={scst.image('/tmp/copied', 16)}")
    copy = _ready(scst.wait_disk(1, kind="scsi_generic"))
    below = f"/dev/{next(Path(f'/sys/class/scsi_device/{address}/device/scsi_generic').iterdir()).name}"
    check("3PC=0" in sh("sg_inq", disk) and "0x8f" not in sh("sg_vpd", "-l", disk), "a disk that is none has copies")
    manager = scst.ROOT / "targets/copy_manager/copy_manager_tgt/luns/mgmt"
    scst.put(manager, f"add {address} 100")
    check("3PC=1" in sh("sg_inq", disk) and "3PC=0" in sh("sg_inq", below), "3PC of standard INQUIRY data")
    pages, own = (sg.command(node, "12 01 00 00 ff 00", 255).data for node in (disk, below))
    equal(sorted(pages[4:]), sorted([*own[4:], 0x8f]), "VPD pages")
    equal(list(pages[4:]), sorted(pages[4:]), "their order")
    check("ROD token" in sh("sg_vpd", "-p", "tpc", disk), "page 8Fh")

    def filled(node: str) -> bytes:
        data = os.urandom(4 << 20)
        Path("/tmp/data").write_bytes(data)
        sh("dd", "if=/tmp/data", f"of={node}", "bs=1M", "oflag=direct", "status=none")
        return data

    def found(node: str, block: int, size: int) -> bytes:
        sh("blockdev", "--flushbufs", node)
        with open(node, "rb") as handle:
            handle.seek(block * 512)
            return handle.read(size)

    node = scst.wait_disk(0)
    # What is on the disk below is looked at there.
    ends = {disk: (node, _below()), copy: (file, file)}
    for source, destination in ((copy, disk), (disk, copy), (disk, disk)):
        wanted, where = filled(ends[source][0]), ends[destination][1]
        sh("sg_xcopy", f"if={source}", f"of={destination}", "bs=512", "count=8000", "seek=10001", "bpt=5000")
        check(found(where, 10001, 8000 * 512) == wanted[:8000 * 512], f"what was copied from {source} to {destination}")
        made = rod.token(source, ((0, 6000), (7000, 192)))
        equal(rod.use(destination, made, ((20000, 6192),)), "good", "WRITE USING TOKEN")
        equal(rod.information(destination, 2)[:2], (1, 6192), "status and blocks")
        check(found(where, 20000, 6192 * 512) == wanted[:6000 * 512] + wanted[7000 * 512:7192 * 512],
              f"what a token of {source} put on {destination}")
    made = rod.token(disk, ((0, 8),))
    sh("dd", "if=/dev/zero", f"of={node}", "bs=4k", "count=1", "oflag=direct", "status=none")
    equal(rod.use(copy, made, ((0, 8),)), "additional sense 23h/06h", "a token of blocks that have changed")
    equal(rod.populate(disk, ((32760, 9),)), "additional sense 21h/00h", "blocks beyond the end")
    scst.put(manager, "del 100")
    check("3PC=0" in sh("sg_inq", disk), "3PC of a disk that is no more a LUN of the copy manager")
    scst.put(scst.TARGET / "luns/mgmt", "del 1")
    scst.wait_gone(1)
    scst.del_device("copied")


@suite.test("while it is exported the disk's driver stays; del_device under load ends the load, and nothing else")
def removed() -> None:
    check("in use" in sh("rmmod", "scsi_debug", status=1), "rmmod scsi_debug")
    address = _address()
    load = Fio(scst.wait_disk(0), iodepth=8, time_based=None, runtime=3600)
    scst.put(_PLAIN / "mgmt", f"del_device {address}")
    scst.wait_gone(0)
    load.stop()
    load.result(errors=True)
    check(not (scst.DEVICES / address).exists(), "the device is still there")
    # The machine has its disk as before.
    sh("dd", f"if={_below()}", "of=/dev/null", "bs=64k", "count=16", "iflag=direct", "status=none")


@suite.test("dev_disk_perf moves nothing for READ and WRITE, and no memory of the kernel")
def perf() -> None:
    address, below = _address(), _below()
    sh("dd", "if=/dev/urandom", f"of={below}", "bs=64k", "count=16", "oflag=direct", "status=none")
    before = sh("md5sum", below)
    scst.put(_PERF / "mgmt", f"add_device {address}")
    scst.add_lun(address, 0)
    node = scst.wait_disk(0)
    sh("dd", "if=/dev/urandom", f"of={node}", "bs=64k", "count=16", "oflag=direct", "status=none")
    descriptor = os.open(node, os.O_RDONLY)
    with contextlib.closing(os.fdopen(descriptor, "rb")) as disk:
        equal(disk.read(1 << 20).count(b"\0"), 1 << 20, "zeros in what is read")
    sh("blockdev", "--flushbufs", below)
    equal(sh("md5sum", below), before, "the disk's data")
    scst.put(_PERF / "mgmt", f"del_device {address}")
    scst.wait_gone(0)


if __name__ == "__main__":
    suite.main()
