#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
# lab: group=fc_target timeout=900 fc=2 soak=yes
"""qla2x00tgt: stock qla2xxx as initiator on one adapter, and under our target on the other."""

from __future__ import annotations

import os
from pathlib import Path

import fc
import fc_plan
import scst
from lib import Failure, Fio, Kmsg, Suite, check, equal, errno_name, sh, wait_until

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


@suite.test("LUNs are masked by the initiator's WWPN")
def masked() -> None:
    groups = _TARGET / "ini_groups"
    scst.put(groups / "mgmt", "create own")
    try:
        scst.put(groups / "own/luns/mgmt", "add ram 5")
        scst.put(groups / "own/initiators/mgmt", f"add {fc.wwpn(0)[:-1]}?")
        wait_until(lambda: (_TARGET / "sessions" / fc.wwpn(0) / "lun5").is_dir(), 5, "the session has not changed groups")
        fc.rescan(0)
        fc.wait_disk(0, 5)
    finally:
        scst.put(groups / "mgmt", "del own")
    for path in fc.disks(0).values():
        Path("/sys/block", os.path.basename(path), "device/delete").write_text("1\n")
    fc.rescan(0)
    fc.wait_disk(0, 0)
    fc.wait_disk(0, 1)


@suite.test("a target reset is answered under load")
def target_reset() -> None:
    load = Fio(fc.wait_disk(0, 0), iodepth=16, time_based=None, runtime=60, size="64m")
    sh("sg_reset", "--target", fc.wait_disk(0, 0), timeout=60)
    load.stop()
    load.result(errors=True)


@suite.test("lost data of a write and a lost command end, and are tried again")
def write_lost() -> None:
    node = fc_plan.hasty(fc.wait_disk(0, 1))
    _fabric[0].do("clear")
    _fabric[0].do("drop data port=hba0 every=10 count=2")
    _fabric[0].do("drop command port=hba0 every=25 count=2")
    load = Fio(node, rw="write", bs="64k", iodepth=4, size="8m", verify="crc32c", verify_fatal=1, do_verify=1)
    load.result(120)
    equal(_fabric[0].done(), 4, "frames lost")


@suite.test("the target is disabled and enabled under load")
def disabled() -> None:
    load = Fio(fc.wait_disk(0, 0), iodepth=8, time_based=None, runtime=300, size="64m")
    for _ in range(2):
        scst.put(_TARGET / "enabled", "0")
        equal(_sessions(), [], "sessions of a disabled target")
        scst.put(_TARGET / "enabled", "1")
        wait_until(_sessions, 60, "nobody has logged in again")
    fc_plan.goes_on(0, 0, "after the target was enabled")
    load.stop()
    load.result()


@suite.test("the target's chip is reset under load")
def reset() -> None:
    load = Fio(fc.wait_disk(0, 0), iodepth=8, time_based=None, runtime=300, size="64m")
    scst.put(_TARGET / "abort_isp", "1")
    wait_until(lambda: fc.online(1) and _sessions(), 60, "nobody has logged in again")
    fc_plan.goes_on(0, 0, "after the reset")
    load.stop()
    load.result()


@suite.test("a port that is an initiator by qlini_mode, or another driver's, is refused with a word of why")
def refused() -> None:
    other = _DRIVER / fc.wwpn(0)
    sh("modprobe", "tcm_qla2xxx")
    lio = Path("/sys/kernel/config/target/qla2xxx") / fc.wwpn(0)
    lio.mkdir(parents=True)
    log = Kmsg()
    try:
        equal(errno_name(scst.write(other / "enabled", "1")), "EBUSY", "enabling a port of tcm_qla2xxx")
        check(any("tcm_qla2xxx" in line for line in log.lines()), "no word of tcm_qla2xxx")
        try:
            (lio.parent / fc.wwpn(1)).mkdir()
        except OSError:
            pass
        else:
            raise Failure("tcm_qla2xxx gets a port that is enabled here")
    finally:
        log.close()
        lio.rmdir()
        lio.parent.rmdir()
        sh("modprobe", "-r", "tcm_qla2xxx")


@suite.test("the modules are unloaded and loaded under load")
def reloaded() -> None:
    load = Fio(fc.wait_disk(0, 0), iodepth=8, time_based=None, runtime=300, size="64m")
    sh("rmmod", "qla2x00tgt", timeout=120)
    check(not _DRIVER.exists(), "the driver's directory is still there")
    sh("modprobe", "qla2x00tgt")
    scst.add_lun("null", 0, _TARGET / "luns")
    scst.add_lun("ram", 1, _TARGET / "luns")
    scst.put(_TARGET / "enabled", "1")
    wait_until(_sessions, 60, "nobody has logged in again")
    fc_plan.goes_on(0, 0, "after the module was loaded again")
    load.stop()
    load.result()


suite.main()
