# SPDX-License-Identifier: GPL-2.0
"""Targets on virtual ports (NPIV) of hba1, made by add_target."""

from __future__ import annotations

from pathlib import Path

import config
import fc
import fc_ours
import scst
from fc_ours import DRIVER, TARGET
from lib import Suite, check, equal, errno_name, fio, wait_until

PORT = "22:00:00:00:fc:00:00:01"
NODE = "23:00:00:00:fc:00:00:01"
VIRTUAL = DRIVER / PORT


def disks() -> list[str]:
    """What the initiator sees behind the virtual port."""
    ports = [path.parent for path in Path("/sys/class/fc_remote_ports").glob("rport-*/port_name")
             if path.read_text().strip() == "0x" + PORT.replace(":", "")]
    return [f"/dev/{disk.name}" for port in ports for disk in (port / "device").glob("target*/*/block/*")]


def _manage(line: str) -> str:
    return errno_name(scst.write(DRIVER / "mgmt", line))


def _wait_session() -> None:
    wait_until(lambda: [path.name for path in (VIRTUAL / "sessions").glob("*:*")] == [fc.wwpn(0)], 120,
               "the initiator has no session with the virtual port")


def add(suite: Suite) -> None:
    """Add the tests."""

    @suite.test("add_target of a virtual port wants its names, and a port that it can be on")
    def refused() -> None:
        parent = f"parent_host={fc.wwpn(1)}"
        for line, want in ((f"add_target {PORT}", "EINVAL"), (f"add_target {PORT} {parent}", "EINVAL"),
                           (f"add_target nobody node_name={NODE}; {parent}", "EINVAL"),
                           (f"add_target {PORT} node_name=23:00; {parent}", "EINVAL"),
                           (f"add_target {PORT} node_name={NODE}; parent_host={NODE}", "ENODEV"),
                           (f"add_target {fc.wwpn(1)} node_name={NODE}; {parent}", "EEXIST"),
                           (f"del_target {fc.wwpn(1)}", "ENOENT"), (f"del_target {PORT}", "ENOENT")):
            equal(_manage(line), want, line)

    @suite.test("NPIV: a virtual port has its own names, sessions and LUNs, and comes and goes with the port that it is on")
    def virtual() -> None:
        scst.put(DRIVER / "mgmt", f"add_target {PORT} node_name={NODE}; parent_host={fc.wwpn(1)}")
        equal(scst.get(VIRTUAL / "node_name"), NODE, "node_name")
        equal(scst.get(VIRTUAL / "parent_host"), fc.wwpn(1), "parent_host")
        check(not (VIRTUAL / "hw_target").exists(), "hw_target of a virtual port")
        saved = [line.strip() for line in config.save().partition(f"TARGET {PORT} {{")[2].partition("}")[0].splitlines()]
        for line in (f"node_name {NODE}", f"parent_host {fc.wwpn(1)}"):
            check(line in saved, f"'{line}' is not in the configuration that is saved: {saved}")
        other = NODE[:-1] + "2"
        scst.put(VIRTUAL / "node_name", other)
        equal(scst.get(VIRTUAL / "node_name"), other, "node_name that was written")
        scst.add_lun("ram", 0, VIRTUAL / "luns")
        scst.put(VIRTUAL / "enabled", "1")
        _wait_session()
        wait_until(lambda: len(disks()) == 1, 90, "the initiator has no disk of the virtual port")
        fio(disks()[0], rw="randwrite", bsrange="4k-256k", blockalign="4k", iodepth=8, size="8m", io_size="4m", verify="crc32c",
            verify_fatal=1)
        scst.put(TARGET / "enabled", "0")
        equal(scst.get(VIRTUAL / "enabled"), "0", "enabled, where the port that it is on is not")
        equal(errno_name(scst.write(VIRTUAL / "enabled", "1")), "EPERM", "enabling it then")
        scst.put(TARGET / "enabled", "1")
        scst.put(VIRTUAL / "enabled", "1")
        _wait_session()
        fc_ours.wait_session()
        resets = fc_ours.count("hba1", "resets")
        scst.put(TARGET / "abort_isp", "1")
        wait_until(lambda: fc_ours.count("hba1", "resets") > resets, 90, "the chip was not reset")
        wait_until(disks, 90, "the initiator has no disk of the virtual port after a reset")
        fio(disks()[0], number_ios=20, size="8m")
        _wait_session()
        scst.put(DRIVER / "mgmt", f"del_target {PORT}")
        check(not VIRTUAL.exists(), "the target is still there")
        fc_ours.wait_session()
