#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
# lab: group=scsi timeout=600 soak=yes
"""iscsi-test-cu of libiscsi on each kind of disk: a test passes, or data/iscsi-test-cu.txt says why not."""

from __future__ import annotations

import functools
import re
from pathlib import Path

import iscsi_cu
import scst
from lib import LONG, Suite, check, equal, sh

_KINDS = ("fileio", "blockio", "nullio", "thick", "thickblock")


def setup() -> None:
    """A disk of each kind: a thin file, a block device with discard, nothing, and a file and a block device that are not thin."""
    scst.unload()
    sh("modprobe", "sg")
    sh("modprobe", "brd", "rd_nr=2", "rd_size=131072")
    for name in ("thin", "thick"):
        scst.image(f"/tmp/{name}", 128)
    scst.load()
    # One logical block in a physical one: a test of GET LBA STATUS takes the two for the same.
    for lun, (kind, handler, params) in enumerate((
            ("fileio", "fileio", "filename=/tmp/thin; thin_provisioned=1; blocksize=4096"),
            ("blockio", "blockio", "filename=/dev/ram0"),
            ("nullio", "nullio", "size_mb=128"),
            ("thick", "fileio", "filename=/tmp/thick"),
            ("thickblock", "blockio", "filename=/dev/ram1; thin_provisioned=0"))):
        device = scst.add_device(f"vdisk_{handler}", kind, params)
        if handler != "nullio":
            scst.put(device / "lb_per_pb_exp", "0")
        scst.add_lun(kind, lun)
    for lun in range(len(_KINDS)):
        scst.wait_disk(lun)


def teardown() -> None:
    """Leave nothing."""
    scst.clear()
    scst.unload()
    sh("rmmod", "brd")


suite = Suite(setup, teardown, limit_s=400)


def _family(kind: str, lun: int) -> None:
    iscsi_cu.family(kind, scst.wait_disk(lun, kind="scsi_generic"))


for _lun, _kind in enumerate(_KINDS if LONG else _KINDS[:1]):
    suite.test(f"iscsi-test-cu on {_kind}")(functools.partial(_family, _kind, _lun))


@suite.test("REPORT LUNS, which iscsi-test-cu cannot ask a local device for: no LUN twice, none missing")
def report_luns() -> None:
    for lun in range(len(_KINDS)):
        answer = sh("sg_luns", "-q", scst.wait_disk(lun, kind="scsi_generic"))
        equal(re.findall(r"[0-9a-f]{16}", answer), [f"{number << 48:016x}" for number in range(len(_KINDS))],
              f"LUNs that LUN {lun} reports")


@suite.test("WRITE SAME with more or less data than a block is refused")
def data_out() -> None:
    node = scst.wait_disk(1, kind="scsi_generic")
    for cdb in ("41 00 00 00 00 00 00 00 01 00", "93 00 00 00 00 00 00 00 00 00 00 00 00 01 00 00"):
        for size, right in ((256, False), (1024, False), (512, True)):
            answer = sh("sg_raw", "-s", str(size), "-i", "/dev/zero", node, *cdb.split(), status=None)
            check(("Good" in answer) == right and (right or "Illegal Request" in answer), f"{size} bytes: {answer}")


@suite.test("holes of a thin file: sg_get_lba_status after UNMAP")
def holes() -> None:
    block, node = scst.wait_disk(0), scst.wait_disk(0, kind="scsi_generic")
    sh("dd", "if=/dev/urandom", f"of={block}", "bs=1M", "count=2", "oflag=direct", "status=none")
    sh("sg_unmap", "--lba=64", "--num=32", "--force", node)
    found = []
    for lba in (0, 64, 96):
        answer = sh("sg_raw", "-r", "24", "-o", "/tmp/lbas", node,
                    *f"9e 12 00 00 00 00 00 00 00 {lba:02x} 00 00 00 18 00 00".split())
        data = Path("/tmp/lbas").read_bytes()
        equal((len(data), data[8:16]), (24, lba.to_bytes(8, "big")), f"GET LBA STATUS of {lba}: {answer}")
        found.append((int.from_bytes(data[16:20], "big"), data[20]))
    equal((found[0], found[1], found[2][1]), ((64, 0), (32, 1), 0), "runs of blocks and their provisioning status")


@suite.test("the echo buffer, log pages and REQUEST SENSE of sg3_utils")
def small() -> None:
    node = scst.wait_disk(1, kind="scsi_generic")
    answer = sh("sg_raw", "-r", "16", node, *"3c 0a 00 00 00 00 00 00 10 00".split(), status=None)
    check("sequence" in answer, f"an echo buffer that nobody has written: {answer}")
    sh("sg_write_buffer", "--mode=echo", "--in=/dev/zero", "--length=64", node)
    answer = sh("sg_raw", "-r", "4", node, *"3c 0b 00 00 00 00 00 00 04 00".split())
    check("00 00 10 00" in answer, f"echo buffer descriptor: {answer}")
    check("0x2f" in sh("sg_logs", "-l", node), "supported log pages")
    check("Informational" in sh("sg_logs", "--page=0x2f", node), "page 2Fh")
    sh("sg_reset", "-d", node)
    answer = sh("sg_requests", node, status=None)
    check("reset" in answer or "29" in answer, f"REQUEST SENSE after a reset: {answer}")


if __name__ == "__main__":
    suite.main()
