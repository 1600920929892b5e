#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
# lab: group=srp cpus=1 timeout=120 soak=yes
"""SRP: which LUNs an initiator sees, by its name, by patterns, and while it is logged in."""

from __future__ import annotations

import errno
import re
import time

import scst
import sg
import srp
import srp_target
from lib import Fio, Kmsg, check, equal, fio, sh, wait_until
from srp import Host, Link
from srp_target import Ours, Target

_LINK = Link(0)
_SIZES = {"d0": 8, "d1": 16, "d2": 24, "d3": 32}
_OTHERS = ("192.168.77.2", "192.168.77.3")


def setup(target: Target) -> None:
    """Disks that are told apart by their sizes; two groups beside the default LUNs; two more initiator addresses."""
    for address in _OTHERS:
        sh("ip", "addr", "add", f"{address}/24", "dev", _LINK.netdev)
    assert isinstance(target, Ours)
    port = target.port(_LINK)
    for name, mib in _SIZES.items():
        scst.add_device("vdisk_nullio", name, f"size_mb={mib}")
    scst.add_lun("d0", 0, port / "luns")
    for group, initiator, luns in (("byname", _LINK.address, {0: "d1", 5: "d0"}), ("bypattern", "*.77.2", {0: "d2"})):
        scst.put(port / "ini_groups/mgmt", f"create {group}")
        scst.put(port / f"ini_groups/{group}/initiators/mgmt", f"add {initiator}")
        for lun, name in luns.items():
            scst.add_lun(name, lun, port / f"ini_groups/{group}/luns")
    target.enable(_LINK)


plan = srp_target.Plan(setup)


def _seen(host: Host) -> dict[int, int]:
    """LUN: size in MiB, as the initiator has them."""
    found = {}
    for lun in host.luns():
        node = host.disk(lun)
        found[lun] = int(sh("blockdev", "--getsize64", node)) >> 20
    return found


def _wait_for(host: Host, want: dict[int, int], whose: str) -> None:
    wait_until(lambda: host.luns() == sorted(want), 20, f"LUNs of {whose}: {host.luns()}, want {sorted(want)}")
    equal(_seen(host), want, f"LUNs of {whose}")


def _want(**luns: str) -> dict[int, int]:
    return {int(lun[1:]): _SIZES[name] for lun, name in luns.items()}


def _login(address: str) -> Host:
    return srp.login(_LINK, src=address, initiator_ext=f"{int(address.split('.')[3]):016x}")


@plan.test("default LUNs, a group by name, a group by pattern", only=("ours",))
def groups(target: Target) -> None:
    assert isinstance(target, Ours)
    cases = ((_LINK.address, "byname", _want(l0="d1", l5="d0")), ("192.168.77.2", "bypattern", _want(l0="d2")),
             ("192.168.77.3", target.port(_LINK).name, _want(l0="d0")))
    log = Kmsg()
    open_ = [(_login(address), address, group, want) for address, group, want in cases]
    lines = log.lines()
    equal(target.sessions(_LINK), sorted(address for address, _, _ in cases), "sessions")
    for host, address, group, want in open_:
        _wait_for(host, want, address)
        line = f'Using security group "{group}" for initiator "{address}"'
        check(any(line in text for text in lines), f"no log line {line}")
        host.logout()
    target.wait_idle()


@plan.test("sessions and the port carry the recorded attributes", only=("ours",))
def attributes(target: Target) -> None:
    assert isinstance(target, Ours)
    port = target.port(_LINK)
    log = Kmsg()
    with srp.logged_in(ch_count=2) as host:
        fio(host.disk(0), number_ios=200)
        line = (r"Received SRP_LOGIN_REQ with i_port_id [0-9a-f:]{39}, t_port_id 0000:00ff:fe00:0001:0000:00ff:fe00:0001 "
                r"and it_iu_len \d+ on port 1 \(guid=fe80:0000:0000:0000:0000:00ff:fe00:0001\); pkey 0xffff")
        found = [text for text in log.lines() if re.search(line, text)]
        equal(len(found), 2, "log lines of two logins")
        equal(target.sessions(_LINK), [_LINK.address], "one session, the I_T nexus, of two channels")
        session = port / "sessions" / _LINK.address
        equal(scst.get(session / "initiator_name"), _LINK.address, "initiator_name")
        equal(scst.get(session / "ch_state"), "live", "ch_state")
        for name in ("req_lim", "req_lim_delta", "comp_vector", "active_commands", "commands"):
            check(re.fullmatch(r"-?\d+", scst.get(session / name)), f"{name}: {scst.get(session / name)!r}")
        counts = [int(scst.get(port / "sessions" / name / "read_cmd_count")) for name in target.sessions(_LINK)]
        check(sum(counts) >= 200, f"read_cmd_count {counts}")
    equal(scst.get(port / "login_info"), "tid_ext=000000fffe000001,ioc_guid=000000fffe000001,pkey=ffff,"
          "dgid=fe80000000000000000000fffe000001,service_id=000000fffe000001", "login_info")
    equal(scst.get(port / "link_layer"), "Ethernet", "link_layer")
    equal(scst.get(port / "device"), _LINK.device, "device")


@plan.test("LUNs come and go while an initiator is logged in", only=("ours",))
def coming_and_going(target: Target) -> None:
    assert isinstance(target, Ours)
    luns = target.port(_LINK) / "ini_groups/byname/luns"
    with srp.logged_in() as host:
        load = Fio(host.disk(5), time_based=None, runtime=3600)
        try:
            scst.add_lun("d3", 7, luns)
            host.rescan()
            _wait_for(host, _want(l0="d1", l5="d0", l7="d3"), "the host")
            fio(host.disk(7), number_ios=100)
            scst.put(luns / "mgmt", "del 7")
            errors = sh("dd", f"if={host.disk(7, 'block')}", "of=/dev/null", "bs=4k", "count=1", "iflag=direct",
                        status=None) if 7 in host.luns() else "error"
            check("error" in errors, f"a LUN that went still reads: {errors}")
            check(load.running, "the load on another LUN ended")
        finally:
            load.stop()
        load.result()
        (host.scsi_device(7) / "delete").write_text("1")


@plan.test("an initiator is moved to another group while it is logged in and has I/O", only=("ours",))
def moved(target: Target) -> None:
    assert isinstance(target, Ours)
    groups_ = target.port(_LINK) / "ini_groups"
    with srp.logged_in() as host:
        load = Fio(host.disk(5), time_based=None, runtime=3600)
        try:
            scst.put(groups_ / "byname/initiators/mgmt", f"move {_LINK.address} bypattern")
            time.sleep(0.5)
            (host.scsi_device(5) / "delete").write_text("1")
        finally:
            load.kill()
        (host.scsi_device(0) / "delete").write_text("1")
        host.rescan()
        _wait_for(host, _want(l0="d2"), "the moved initiator")
        equal(target.sessions(_LINK), [_LINK.address], "sessions")
        fio(host.disk(0), number_ios=100)
    scst.put(groups_ / "bypattern/initiators/mgmt", f"move {_LINK.address} byname")
    with srp.logged_in() as host:
        _wait_for(host, _want(l0="d1", l5="d0"), "the initiator that is back")


@plan.test("protection information is behind each block; a device that the port itself would have to check is refused", only=("ours",))
def protected(target: Target) -> None:
    assert isinstance(target, Ours)
    luns = target.port(_LINK) / "ini_groups/byname/luns"
    for name, mode in (("checked", "scst"), ("by_port", "tgt")):
        scst.add_device("vdisk_nullio", name, f"size_mb=8; dif_mode={mode}; dif_type=1")
    log = Kmsg()
    equal(scst.write(luns / "mgmt", "add by_port 8"), errno.EINVAL, "add of a device with dif_mode=tgt")
    check(any("dif_mode tgt" in line for line in log.lines()), "the log does not say why")
    equal(scst.get(target.port(_LINK) / "dif_capabilities"), "dif_supported", "dif_capabilities")
    scst.add_lun("checked", 8, luns)
    with srp.logged_in() as host:
        node = host.disk(8)
        block = bytes(512)
        wire = b"".join(block + b"\0\0\0\0" + lba.to_bytes(4, "big") for lba in range(5, 8))
        equal(sg.command(node, "28 20 00 00 00 05 00 00 03 00", into=1560).data, wire, "what READ(10) with RDPROTECT returns")
        write = "2a 20 00 00 00 05 00 00 03 00"
        equal(sg.command(node, write, out=wire).words(), "good", "WRITE(10) of that")
        wrong = wire[:-1] + b"\0"
        equal(sg.command(node, write, out=wrong).additional_sense(), (0x10, 0x03), "WRITE(10) with a wrong reference tag")
        fio(node, rw="randrw", size="1m")
        equal((target.port(_LINK) / "dif_checks_failed").read_text().splitlines()[2], "scst\t0\t1\t0", "dif_checks_failed")
    scst.put(luns / "mgmt", "del 8")
    for name in ("checked", "by_port"):
        scst.del_device(name)


@plan.test("a target that is not enabled takes no login; force_close ends a session", only=("ours",))
def refused(target: Target) -> None:
    assert isinstance(target, Ours)
    with srp.logged_in() as host:
        host.set_timeouts(1, 5, -1)
        scst.put(target.port(_LINK) / "sessions" / _LINK.address / "force_close", "1")
        wait_until(lambda: not target.sessions(_LINK), 20, "the session is still there")
        host.wait_lost()
        host.logout()
    target.wait_idle()
    target.disable(_LINK)
    check(srp.try_login(_LINK) != 0, "a login through a disabled port succeeded")
    target.enable(_LINK)
    with srp.logged_in() as host:
        _wait_for(host, _want(l0="d1", l5="d0"), "the host")


if __name__ == "__main__":
    plan.main()
