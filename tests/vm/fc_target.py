#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
# lab: group=fc_target timeout=300 fc=2
"""qla2x00tgt: stock qla2xxx as initiator on one adapter, and under our target on the other."""

from __future__ import annotations

import fc
import fc_plan
import scst
from lib import Fio, Suite, check, equal, errno_name, sh

_DRIVER = scst.ROOT / "targets" / "qla2x00t"
_TARGET = _DRIVER / fc.wwpn(1)
_fabric: list[fc.Fabric] = []


def setup() -> None:
    """The target on hba1: a LUN that stores nothing, and one of 64 MiB."""
    _fabric.append(fc.Fabric())
    fc.load(qlini_mode="exclusive")
    sh("modprobe", "-a", "scst", "scst_vdisk", "qla2x00tgt")
    scst.add_device("vdisk_nullio", "null", "size_mb=1024")
    scst.add_device("vdisk_fileio", "ram", f"filename={scst.image('/tmp/ram', 64)}")
    scst.add_lun("null", 0, _TARGET / "luns")
    scst.add_lun("ram", 1, _TARGET / "luns")
    scst.put(_TARGET / "enabled", "1")


def teardown() -> None:
    """Take all down."""
    sh("rmmod", "qla2x00tgt", timeout=120)
    for name in ("null", "ram"):
        scst.del_device(name)
    sh("modprobe", "-r", "scst_vdisk", "scst")
    fc.unload()


suite = Suite(setup, teardown, limit_s=90)
fc_plan.add(suite, _fabric)


def _sessions() -> list[str]:
    return sorted(path.name for path in (_TARGET / "sessions").glob("*:*"))


@suite.test("the tree: targets by WWPN, the attributes of SCST's driver, sessions by the initiator's WWPN")
def tree() -> None:
    equal(sorted(path.name for path in _DRIVER.glob("*:*")), [fc.wwpn(0), fc.wwpn(1)], "targets")
    for path in _DRIVER / "version", _DRIVER / "trace_level":
        check(path.is_file(), f"no {path}")
    equal(scst.get(_TARGET / "hw_target"), "1", "hw_target")
    equal(scst.get(_TARGET / "port_name"), fc.wwpn(1), "port_name")
    equal(scst.get(_TARGET / "node_name"), "20" + fc.wwpn(1)[2:], "node_name")
    equal((_TARGET / "host").resolve().name, fc.host(1).name, "host")
    equal(_sessions(), [fc.wwpn(0)], "sessions")
    session = _TARGET / "sessions" / fc.wwpn(0)
    equal(scst.get(session / "initiator_name"), fc.wwpn(0), "initiator_name")
    check((session / "active_commands").is_file() and (session / "commands").is_file(), "no counts of commands")
    scst.put(_TARGET / "explicit_confirmation", "1")
    equal(scst.get(_TARGET / "explicit_confirmation"), "1", "explicit_confirmation")
    scst.put(_TARGET / "explicit_confirmation", "0")
    equal(errno_name(scst.write(_TARGET / "explicit_confirmation", "2")), "EINVAL", "explicit_confirmation of 2")


@suite.test("a target reset is answered under load")
def target_reset() -> None:
    load = Fio(fc.wait_disk(0, 0), iodepth=16, time_based=None, runtime=60, size="64m")
    sh("sg_reset", "--target", fc.wait_disk(0, 0), timeout=60)
    load.stop()
    load.result(errors=True)


suite.main()
