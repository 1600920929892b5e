#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
# lab: group=fc_target also=7.3 timeout=400 fc=2 soak=yes
"""qla2x00tgt: stock qla2xxx as initiator on one adapter, and under our target on the other."""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Callable
from pathlib import Path

import fc
import fc_faults
import fc_npiv
import fc_ours
import fc_plan
import scst
from fc_ours import DRIVER, TARGET, sessions
from lib import LONG, Fio, Kmsg, Suite, check, equal, errno_name, fio, sh, wait_until

suite = Suite(fc_ours.setup, fc_ours.teardown, limit_s=90)
fc_plan.add(suite, fc_ours.fabric)


@suite.test("the tree: targets by WWPN, the attributes of SCST's driver, sessions by the initiator's WWPN")
def tree() -> None:
    equal(sorted(path.name for path in DRIVER.glob("*:*")), [fc.wwpn(0), fc.wwpn(1)], "targets")
    modes = {DRIVER: {"version": 0o444, "trace_level": 0o644, "mgmt": 0o644},
             TARGET: {"hw_target": 0o444, "enabled": 0o644, "rel_tgt_id": 0o644, "node_name": 0o444, "port_name": 0o444,
                      "explicit_confirmation": 0o644, "abort_isp": 0o200}}
    for place, files in modes.items():
        equal({name: stat.S_IMODE((place / name).stat().st_mode) for name in files}, files, f"modes in {place.name}")
    equal(scst.get(DRIVER / "version"), "3.11.0-pre", "version")
    equal(scst.get(TARGET / "hw_target"), "1", "hw_target")
    equal(scst.get(TARGET / "port_name"), fc.wwpn(1), "port_name")
    equal(scst.get(TARGET / "node_name"), "20" + fc.wwpn(1)[2:], "node_name")
    equal((TARGET / "host").resolve().name, fc.host(1).name, "host")
    fc_ours.wait_session()
    equal(sessions(), [fc.wwpn(0)], "sessions")
    session = TARGET / "sessions" / fc.wwpn(0)
    equal(scst.get(session / "initiator_name"), fc.wwpn(0), "initiator_name")
    check((session / "active_commands").is_file() and (session / "commands").is_file(), "no counts of commands")
    equal(errno_name(scst.write(TARGET / "explicit_confirmation", "2")), "EINVAL", "explicit_confirmation of 2")


@suite.test("explicit_confirmation: the initiator is to confirm responses while it is set, and no others")
def confirmed() -> None:
    node = fc.wait_disk(0, 0)
    fio(node, number_ios=50, size="64m")
    equal(fc_ours.count("hba1", "confirmed"), 0, "responses to be confirmed")
    scst.put(TARGET / "explicit_confirmation", "1")
    equal(scst.get(TARGET / "explicit_confirmation"), "1", "explicit_confirmation")
    fio(node, number_ios=50, size="64m")
    scst.put(TARGET / "explicit_confirmation", "0")
    before = fc_ours.count("hba1", "confirmed")
    check(before >= 50, f"{before} of 50 responses were to be confirmed")
    fio(node, number_ios=50, size="64m")
    equal(fc_ours.count("hba1", "confirmed"), before, "responses to be confirmed")


@suite.test("tcm_qla2xxx does not get an enabled port, and one that it has is refused here, with the reason")
def shared() -> None:
    log = Kmsg()
    sh("modprobe", "-a", "target_core_mod", "tcm_qla2xxx")
    port = Path("/sys/kernel/config/target/qla2xxx") / fc.wwpn(1)
    group = port / "tpgt_1"
    try:
        port.parent.mkdir()
        for path in (port, group):
            with contextlib.suppress(OSError):
                path.mkdir()
        check(not group.exists() or scst.write(group / "enable", "1"), "tcm_qla2xxx has enabled a port that is ours")
        fio(fc.wait_disk(0, 0), number_ios=50, size="64m")
        scst.put(TARGET / "enabled", "0")
        for path in (port, group):
            path.mkdir(exist_ok=True)
        scst.put(group / "enable", "1")
        equal(errno_name(scst.write(TARGET / "enabled", "1")), "EBUSY", "a port that tcm_qla2xxx has")
        want = f"{fc.wwpn(1)}: another target driver has it (tcm_qla2xxx): remove the target there first"
        check(any(want in line for line in log.lines()), "nothing said of who has the port")
        scst.put(group / "enable", "0")
    finally:
        for path in (group, port, port.parent):
            if path.exists():
                path.rmdir()
        sh("modprobe", "-r", "tcm_qla2xxx")
        scst.put(TARGET / "enabled", "1")
    fc_ours.wait_session()
    _see([0, 1])


@suite.test("a target reset is answered under load")
def target_reset() -> None:
    load = Fio(fc.wait_disk(0, 0), iodepth=16, time_based=None, runtime=60, size="64m")
    sh("sg_reset", "--target", fc.wait_disk(0, 0), timeout=60)
    load.stop()
    load.result(errors=True)


def _see(luns: list[int]) -> None:
    """Look anew, until the initiator has these LUNs, and no others."""
    for path in Path("/sys/class/scsi_host", fc.host(0).name, "device").glob("rport-*/target*/*/delete"):
        path.write_text("1")
    fc.rescan(0)
    wait_until(lambda: sorted(fc.disks(0)) == luns, 90, f"LUNs {sorted(fc.disks(0))}, not {luns}")


def _long(name: str) -> Callable[[Callable[[], None]], Callable[[], None]]:
    """A test that waits for long, and is for the soak."""
    return suite.test(name) if LONG else lambda function: function


@suite.test("LUN masking: an initiator's LUNs are those of the group that its WWPN is in, by name or by pattern")
def masking() -> None:
    groups = TARGET / "ini_groups"
    for name, pattern, luns in (("byname", fc.wwpn(0), [0, 7]), ("bypattern", "21:00:00:??:fc:*", [5]),
                                ("others", "21:00:00:00:fc:00:00:99", [3])):
        scst.put(groups / "mgmt", f"create {name}")
        for lun in luns:
            scst.add_lun("ram" if lun else "null", lun, groups / name / "luns")
        scst.put(groups / name / "initiators/mgmt", f"add {pattern}")
        _relogin()
        _see([0, 1] if name == "others" else luns)
        link = TARGET / "sessions" / fc.wwpn(0) / "luns"
        equal(link.resolve(), (TARGET if name == "others" else groups / name) / "luns", "the session's LUNs")
        scst.put(groups / name / "initiators/mgmt", "clear")
        scst.put(groups / "mgmt", f"del {name}")
    _relogin()
    _see([0, 1])


def _relogin() -> None:
    """The initiator logs in anew."""
    scst.put(TARGET / "enabled", "0")
    scst.put(TARGET / "enabled", "1")
    fc_ours.wait_session()


@_long("a target that is enabled without a link is said to be so")
def offline() -> None:
    log = Kmsg()
    scst.put(TARGET / "enabled", "0")
    fc_ours.fabric[0].do("link hba1 down")
    try:
        wait_until(lambda: not fc.online(1), 30, "the link is still there")
        scst.put(TARGET / "enabled", "1")
        lines = log.lines()
        check(any("has no link" in line for line in lines), f"nothing said of a port without a link: {lines}")
    finally:
        fc_ours.fabric[0].do("link hba1 up")
    fc_ours.wait_session()


@suite.test("a disk without protection information refuses commands that ask for it")
def protection() -> None:
    node = fc.wait_disk(0, 1)
    # RDPROTECT 1: the data would come with protection information.
    text = sh("sg_raw", "-r", "512", node, "28", "20", *["00"] * 6, "01", "00", status=None)
    check("Illegal Request" in text or "illegal request" in text, f"READ(10) with RDPROTECT: {text}")
    form = Path("/sys/block", os.path.basename(node), "integrity/format")
    equal(form.read_text().strip() if form.exists() else "none", "none", "integrity format")


@suite.test("a sequence retransmission request for a command that is not there is refused, and I/O goes on")
def retransmission() -> None:
    fc_ours.fabric[0].do("srr hba1")
    wait_until(lambda: fc_ours.count("hba1", "refused") == 1, 60, "the request was not refused")
    fio(fc.wait_disk(0, 0), number_ios=50, size="64m")


fc_npiv.add(suite)
if LONG:
    fc_faults.add(suite)


@suite.test("an adapter without qla2xxx, and a mode in which no port is a target, are said")
def said() -> None:
    log = Kmsg()
    fc_ours.unload()
    device = fc.host(1).resolve().parents[2].name
    fc_faults.DRIVER.joinpath("unbind").write_text(device)
    sh("modprobe", "qla2x00tgt")
    want = f"Adapter {device}: it is no target, as qla2xxx does not drive it"
    wait_until(lambda: any(want in line for line in log.lines()), 60, "nothing said of an adapter without a driver")
    sh("rmmod", "qla2x00tgt")
    if LONG:
        fc.unload()
        fc.load(qlini_mode="enabled")
        sh("modprobe", "qla2x00tgt")
        equal(errno_name(scst.write(TARGET / "enabled", "1")), "EINVAL", "a target where qlini_mode=enabled")
        check(any("load that with qlini_mode=exclusive" in line for line in log.lines()), "nothing said of qlini_mode")
        sh("rmmod", "qla2x00tgt")


suite.main()
