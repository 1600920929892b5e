# SPDX-License-Identifier: GPL-2.0
"""What every Fibre Channel target has to stand, whoever it is: hba0 is the initiator, hba1 the target; LUN 0 stores nothing, LUN 1 64 MiB."""

from __future__ import annotations

import os
from pathlib import Path

import fc
from lib import Fio, Suite, check, equal, fio, note, sh, wait_until


def completed(node: str) -> int:
    """Reads and writes that a disk has completed."""
    words = Path("/sys/block", os.path.basename(node), "stat").read_text().split()
    return int(words[0]) + int(words[4])


def goes_on(node: str, what: str) -> None:
    """Fail unless a disk completes I/O."""
    before = completed(node)
    wait_until(lambda: completed(node) > before + 20, 60, f"no I/O {what}")


def hasty(node: str, seconds: int = 3) -> str:
    """Have the initiator give up commands after so many seconds; by itself it waits for thirty."""
    Path("/sys/block", os.path.basename(node), "device/timeout").write_text(str(seconds))
    return node


def add(suite: Suite, fabrics: list[fc.Fabric]) -> None:
    """Add the tests; the fabric is there when they run."""

    @suite.test("the initiator sees both disks, by FC names")
    def seen() -> None:
        for lun in range(2):
            note(fc.wait_disk(0, lun))
        names = sh("lsscsi", "-t")
        note(names)
        check(f"fc:0x{fc.wwpn(1).replace(':', '')}" in names.replace(" ", ""), "lsscsi -t shows no FC name of the target")
        ports = fabrics[0].do("ports")
        note(ports)
        check("hba0 " in ports and " online initiator " in ports and " online target " in ports, "the fabric's view of its ports")

    @suite.test("reads of 4 KiB at queue depth 32")
    def reads() -> None:
        result = fio(fc.wait_disk(0, 0), iodepth=32, number_ios=2000, size="64m")
        equal(result["read"]["total_ios"], 2000, "reads")

    @suite.test("data is what was written, in blocks of 4 KiB to 1 MiB")
    def verified() -> None:
        fio(fc.wait_disk(0, 1), rw="randwrite", bsrange="4k-1m", blockalign="4k", iodepth=16, size="64m", io_size="32m",
            verify="crc32c", verify_fatal=1, randrepeat=0, serialize_overlap=1)

    @suite.test("a LUN reset is answered")
    def lun_reset() -> None:
        load = Fio(fc.wait_disk(0, 0), iodepth=16, time_based=None, runtime=60, size="64m")
        sh("sg_reset", "--device", fc.wait_disk(0, 0), timeout=60)
        load.stop()
        load.result(errors=True)

    @suite.test("a lost response is an abort, and the command is tried again")
    def aborted() -> None:
        node = hasty(fc.wait_disk(0, 0))
        fabrics[0].do("clear")
        fabrics[0].do("drop response port=hba1 count=3 every=50")
        fio(node, iodepth=8, number_ios=500, size="64m")
        equal(fabrics[0].done(), 3, "responses lost")

    @suite.test("lost data of reads and a full queue are repaired")
    def repaired() -> None:
        node = fc.wait_disk(0, 0)
        fabrics[0].do("clear")
        fabrics[0].do("drop data port=hba0 count=5 every=20")
        fabrics[0].do("full port=hba1 count=5 every=30")
        fabrics[0].do("delay response ms=50 count=5 every=25")
        fio(node, iodepth=8, number_ios=500, size="64m")
        equal(fabrics[0].done(), 15, "frames that something was done to")

    @suite.test("a link that bounces comes back, and I/O goes on")
    def bounced() -> None:
        node = fc.wait_disk(0, 0)
        load = Fio(node, iodepth=8, time_based=None, runtime=100, size="64m")
        fabrics[0].do("link hba1 bounce ms=1000")
        goes_on(node, "after the link came back")
        load.stop()
        load.result()
