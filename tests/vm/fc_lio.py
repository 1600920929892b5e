#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
# lab: group=fc_lio timeout=420 fc=2
"""The Fibre Channel fabric: stock qla2xxx as initiator on one adapter, and with stock tcm_qla2xxx as target on the other."""

from __future__ import annotations

import os
from pathlib import Path

import fc
from lib import Fio, Suite, check, equal, fio, note, sh, wait_until

_LIO = Path("/sys/kernel/config/target")
_TPG = _LIO / "qla2xxx" / fc.wwpn(1) / "tpgt_1"
_BACKENDS = {"null": ("rd_mcp_0", "rd_pages=65536,rd_nullio=1"), "ram": ("rd_mcp_0", "rd_pages=16384")}
_fabric: list[fc.Fabric] = []


def setup() -> None:
    """The target on hba1: a LUN that stores nothing, and one of 64 MiB."""
    _fabric.append(fc.Fabric())
    fc.load(qlini_mode="exclusive", ql2xextended_error_logging=0)
    sh("modprobe", "tcm_qla2xxx")
    os.makedirs("/var/target/pr", exist_ok=True)
    _TPG.mkdir(parents=True)
    for lun, (name, (plugin, control)) in enumerate(_BACKENDS.items()):
        backend = _LIO / "core" / plugin / name
        backend.mkdir(parents=True)
        (backend / "control").write_text(control)
        (backend / "enable").write_text("1")
        (_TPG / "lun" / f"lun_{lun}").mkdir()
        (_TPG / "lun" / f"lun_{lun}" / name).symlink_to(backend)
    for attribute, value in {"generate_node_acls": 1, "cache_dynamic_acls": 1, "demo_mode_write_protect": 0}.items():
        (_TPG / "attrib" / attribute).write_text(str(value))
    (_TPG / "enable").write_text("1")


def teardown() -> None:
    """Take all down."""
    (_TPG / "enable").write_text("0")
    for lun, (name, (plugin, _)) in enumerate(_BACKENDS.items()):
        (_TPG / "lun" / f"lun_{lun}" / name).unlink()
        (_TPG / "lun" / f"lun_{lun}").rmdir()
        (_LIO / "core" / plugin / name).rmdir()
    _TPG.rmdir()
    _TPG.parent.rmdir()
    (_LIO / "qla2xxx").rmdir()
    sh("modprobe", "-r", "tcm_qla2xxx", timeout=120)
    fc.unload()


suite = Suite(setup, teardown, limit_s=120)


@suite.test("the initiator sees both disks, by FC names")
def seen() -> None:
    for lun in range(len(_BACKENDS)):
        note(fc.wait_disk(0, lun))
    names = sh("lsscsi", "-t")
    note(names)
    check(f"fc:0x{fc.wwpn(1).replace(':', '')}" in names.replace(" ", ""), "lsscsi -t shows no FC name of the target")
    ports = _fabric[0].do("ports")
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


@suite.test("a lost response is an abort, and the command is tried again", limit_s=200)
def aborted() -> None:
    node = fc.wait_disk(0, 0)
    Path("/sys/block", os.path.basename(node), "device/timeout").write_text("3")
    _fabric[0].do("clear")
    _fabric[0].do("drop response port=hba1 count=3 every=50")
    fio(node, iodepth=8, number_ios=500, size="64m")
    equal(_fabric[0].done(), 3, "responses lost")


@suite.test("lost data of reads and a full queue are repaired")
def repaired() -> None:
    node = fc.wait_disk(0, 0)
    _fabric[0].do("clear")
    _fabric[0].do("drop data port=hba0 count=5 every=20")
    _fabric[0].do("full port=hba1 count=5 every=30")
    _fabric[0].do("delay response ms=50 count=5 every=25")
    fio(node, iodepth=8, number_ios=500, size="64m")
    equal(_fabric[0].done(), 15, "frames that something was done to")


@suite.test("a link that bounces comes back, and I/O goes on")
def bounced() -> None:
    load = Fio(fc.wait_disk(0, 0), iodepth=8, time_based=None, runtime=100, size="64m")
    _fabric[0].do("link hba1 bounce ms=1000")
    wait_until(lambda: fc.online(1) and os.path.exists(fc.disks(0).get(0, "")), 60, "no disk after the link came back")
    before = int(Path("/sys/block", os.path.basename(fc.wait_disk(0, 0)), "stat").read_text().split()[0])
    wait_until(lambda: int(Path("/sys/block", os.path.basename(fc.wait_disk(0, 0)), "stat").read_text().split()[0])
               > before + 20, 60, "no I/O after the link came back")
    load.stop()
    load.result()


suite.main()
