#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
# lab: group=srp cpus=1 timeout=300 soak=yes
"""SRP: the module's parameters: how targets and sessions are called, sizes from the least to the largest, bad values."""

from __future__ import annotations

import contextlib
import functools
import re
from collections.abc import Iterator
from pathlib import Path

import scst
import srp
import srp_target
from lib import LONG, Kmsg, Suite, check, equal, errno_name, fio, note, scaled, sh, wait_until
from srp import Host, Link

_LINK = Link(0)
_ROOT = srp_target.Ours.root
_PARAMETERS = Path("/sys/module/ib_srpt/parameters")
_GUID = "000000fffe000001"
"""Node GUID of the first link's device, and the GUID of its port."""
_MIB = 8


def setup() -> None:
    """The link, the initiator; no target."""
    srp.load_initiator()
    _LINK.up()


def teardown() -> None:
    """Leave nothing."""
    srp.unload_initiator()
    _LINK.remove()


suite = Suite(setup, teardown, limit_s=60)


@contextlib.contextmanager
def _loaded(**parameters: object) -> Iterator[Path]:
    """The modules, ib_srpt with parameters, and a file as LUN 0 of an enabled target, whose directory is given."""
    target = srp_target.Ours()
    target.load(**parameters)
    try:
        (place,) = _targets()
        scst.add_device("vdisk_fileio", "file0", f"filename={scst.image('/tmp/params', _MIB)}")
        scst.add_lun("file0", 0, place / "luns")
        scst.put(place / "enabled", "1")
        yield place
    finally:
        srp.log_out()
        for place in _targets():
            scst.put(place / "enabled", "0")
            scst.put(place / "luns/mgmt", "clear")
        target.unload()


def _targets() -> list[Path]:
    return [path.parent for path in _ROOT.glob("*/login_info")]


def _verify(host: Host) -> None:
    """What was written is read, in blocks that take one descriptor, several, and more than a table in the command."""
    fio(host.disk(), rw="randwrite", bssplit="4k/75:64k/17:1m/8", blockalign="4k", iodepth=32, size=f"{_MIB}m",
        number_ios=scaled(30, 200), verify="crc32c", verify_fatal=1, serialize_overlap=1, end_fsync=1)


def _session(place: Path, **login: object) -> str:
    """The name of the session that a login makes."""
    with srp.logged_in(_LINK, **login) as host:
        (session,) = (place / "sessions").iterdir()
        equal(scst.get(session / "initiator_name"), session.name, "initiator_name")
        fio(host.disk(), number_ios=16)
        name = session.name
    wait_until(lambda: not list((place / "sessions").iterdir()), 20, "the session is still there")
    return name


@suite.test("modinfo says what each parameter is for")
def explained() -> None:
    found = dict(line.split(":", 1) for line in sh("modinfo", "-F", "parm", "ib_srpt").splitlines())
    documented = {"rdma_cm_port", "srp_max_req_size", "srp_max_rsp_size", "srp_max_rdma_size", "use_srq", "srpt_srq_size",
                  "srpt_sq_size", "srpt_service_guid", "one_target_per_port", "use_port_guid_in_session_name",
                  "use_node_guid_in_target_name", "max_sge_delta", "trace_flag"}
    equal(set(found), documented, "parameters")
    short = [name for name, text in found.items() if len(text.split()) < 5]
    equal(short, [], "parameters that are not explained")


@suite.test("scst_max_dev_cmd_mem: a device's commands beyond it are told BUSY, and sent again")
def memory() -> None:
    scst.unload()
    sh("modprobe", "scst", "scst_max_dev_cmd_mem=1")
    with _loaded() as place, srp.logged_in(_LINK) as host:
        equal(Path("/sys/module/scst/parameters/scst_max_dev_cmd_mem").read_text(), "1\n", "scst_max_dev_cmd_mem")
        fio(host.disk(), rw="randwrite", bs="512k", iodepth=8, size=f"{_MIB}m", number_ios=40, verify="crc32c",
            verify_fatal=1, serialize_overlap=1)
        check(scst.failed(0, place) > 0, "no command was refused")


@suite.test("a target for each device, ib_srpt_target_N; sessions by the initiator's port identifier")
def by_device() -> None:
    other = Link(1)
    with _loaded(one_target_per_port="N") as place:
        equal(place.name, "ib_srpt_target_0", "target")
        equal(_session(place), f"0x{0:016x}{_GUID}", "session")
        equal(_session(place, initiator_ext="00000000000000ab"), f"0x{0xab:016x}{_GUID}", "session with initiator_ext")
        scst.put(place / "ini_groups/mgmt", "create group")
        scst.put(place / "ini_groups/group/initiators/mgmt", "add 0x00000000000000cd*")
        log = Kmsg()
        with srp.logged_in(_LINK, initiator_ext="00000000000000cd") as host:
            check(any('Using security group "group"' in line for line in log.lines()), "not in the group of its name")
            equal(host.luns(), [], "LUNs of a group that has none")
        scst.put(place / "ini_groups/group/initiators/mgmt", "clear")
        scst.put(place / "ini_groups/mgmt", "del group")
        try:
            other.up()
            wait_until(lambda: len(_targets()) == 2, 10, "the second device has no target")
            equal({path.name for path in _targets()}, {"ib_srpt_target_0", "ib_srpt_target_1"}, "targets")
        finally:
            other.remove()
        wait_until(lambda: len(_targets()) == 1, 10, "the second device's target is still there")


@suite.test("a target for each device, called by its node GUID; sessions by the target's port too")
def by_guid() -> None:
    with _loaded(one_target_per_port="N", use_node_guid_in_target_name="Y", use_port_guid_in_session_name="Y") as place:
        equal(place.name, "0000:00ff:fe00:0001", "target")
        equal(_session(place, initiator_ext="00000000000000ab"), f"0x{_GUID}{_GUID}", "session")


@suite.test("a target for each port, called by its GID, sessions by the initiator's address; the other parameters say nothing")
def by_port() -> None:
    with _loaded(use_node_guid_in_target_name="Y", use_port_guid_in_session_name="Y") as place:
        equal(place.name, _LINK.gid, "target")
        equal(_session(place), _LINK.initiator_address, "session")
        equal((_PARAMETERS / "srpt_service_guid").read_text().strip(), f"0x{_GUID}", "srpt_service_guid by itself")


@suite.test("srpt_service_guid is what initiators have to name")
def service_guid() -> None:
    guid = "0123456789abcdef"
    for text in (f"0x{guid}", *((guid,) if LONG else ())):
        with _loaded(srpt_service_guid=text) as place:
            equal((_PARAMETERS / "srpt_service_guid").read_text().strip(), f"0x{guid}", "srpt_service_guid")
            info = dict(item.split("=") for item in scst.get(place / "login_info").split(","))
            equal([info[name] for name in ("tid_ext", "ioc_guid", "service_id")], [guid] * 3, "login_info")
            log = Kmsg()
            equal(errno_name(srp.try_login(_LINK)), "ECONNRESET", "a login that names another")
            check(any("there is no target of this identifier" in line for line in log.lines()), "the log has no reason")
            _session(place, id_ext=guid, ioc_guid=guid)


# What is given to ib_srpt, to ib_srp, and to the login: as little, and as much, as there can be. In the long form each alone.
_Options = dict[str, object]
_ALONE: tuple[tuple[_Options, _Options, _Options], ...] = (
    ({"srp_max_req_size": 996}, {"use_imm_data": "N"}, {}),
    ({"srp_max_req_size": 65536}, {"max_imm_data": 32768}, {"cmd_sg_entries": 255}),
    ({"srp_max_rsp_size": 40}, {}, {}),
    ({"srp_max_rsp_size": 4096}, {}, {}),
    ({"srpt_sq_size": 16}, {"never_register": "Y"}, {"cmd_sg_entries": 255}),
    ({"srpt_sq_size": 65536}, {}, {}),
    ({"use_srq": "Y", "srpt_srq_size": 4}, {}, {"ch_count": 2}),
    ({"use_srq": "Y"}, {}, {"ch_count": 4}),
    ({"use_srq": "Y", "srpt_srq_size": 65535}, {"use_imm_data": "N"}, {}),
    ({"srp_max_rdma_size": 0}, {}, {}),
    ({"srp_max_rdma_size": 4294967295}, {}, {}),
    ({"max_sge_delta": 0}, {}, {}),
    ({"max_sge_delta": 4294967295}, {}, {}),
)
_TOGETHER: tuple[tuple[_Options, _Options, _Options], ...] = (
    ({"srp_max_rsp_size": 40, "srpt_sq_size": 16, "srp_max_rdma_size": 0, "max_sge_delta": 4294967295},
     {"never_register": "Y"}, {"cmd_sg_entries": 255}),
    ({"srp_max_req_size": 65536, "srp_max_rsp_size": 4096, "srpt_sq_size": 65536, "srp_max_rdma_size": 4294967295,
      "max_sge_delta": 0}, {"max_imm_data": 32768}, {"cmd_sg_entries": 255}),
    ({"srp_max_req_size": 996, "use_srq": "Y", "srpt_srq_size": 65535}, {"use_imm_data": "N"}, {"ch_count": 4}),
    ({"use_srq": "Y", "srpt_srq_size": 4}, {}, {"ch_count": 2}),
)


def _sizes(ours: dict[str, object], theirs: dict[str, object], login: dict[str, object]) -> None:
    srp.load_initiator(**theirs)
    with _loaded(**ours) as place, srp.logged_in(_LINK, **login) as host:
        for name, value in ours.items():
            equal(scst.get(_PARAMETERS / name), str(value), name)
        _verify(host)
        (session,) = (place / "sessions").iterdir()
        note(f"req_lim {scst.get(session / 'req_lim')}, it has {scst.get(session / 'commands')} commands")


for _case in _ALONE if LONG else _TOGETHER:
    _text = ", ".join(f"{name}={value}" for name, value in _case[0].items())
    suite.test(f"{_text}: what was written is read")(functools.partial(_sizes, *_case))


# Refused where C SCST refuses them: the module does not load.
_BAD = (("srp_max_req_size", 995), ("srp_max_req_size", 65537), ("srp_max_rsp_size", 39), ("srp_max_rsp_size", 4097),
        ("srpt_srq_size", 3), ("srpt_srq_size", 65536), ("srpt_sq_size", 15), ("srpt_sq_size", -1), ("rdma_cm_port", 65536),
        ("srpt_service_guid", "0xfast"), ("srpt_service_guid", "11223344556677889"), ("use_srq", 2))


@suite.test("a value that cannot be: the module does not load, and the log says why")
def refused() -> None:
    sh("modprobe", "-a", "scst", "scst_vdisk")
    try:
        for name, value in _BAD:
            log = Kmsg()
            text = sh("modprobe", "ib_srpt", f"{name}={value}", status=None)
            check("Invalid argument" in text or "out of range" in text, f"{name}={value}: {text!r}")
            check(not scst.loaded("ib_srpt"), f"{name}={value}: loaded")
            lines = [line for line in log.lines() if name in line]
            check(any(re.search(rf"parameter {name}: (must be in|this is no valid)", line) for line in lines),
                  f"{name}={value}: log {lines}")
    finally:
        sh("rmmod", "scst_vdisk", "scst")


@suite.test("a value that cannot be written to a loaded module is refused; trace_flag chooses what is logged")
def written() -> None:
    def closing() -> list[str]:
        log = Kmsg()
        with srp.logged_in(_LINK) as host:
            host.set_timeouts(1, 5, -1)
            (session,) = (place / "sessions").iterdir()
            scst.put(session / "force_close", "1")
            wait_until(lambda: not session.exists(), 20, "the session is still there")
            host.wait_lost()
        return [line for line in log.lines() if "ib_srpt" in line]
    with _loaded() as place:
        equal(scst.get(_PARAMETERS / "trace_flag"), "9984", "trace_flag")
        lines = closing()
        check(any("Closing a channel" in line for line in lines), f"log {lines}")
        check(not any("a channel was" in line for line in lines), f"log {lines}")
        for name, bad, good in (("srp_max_rsp_size", "39", "512"), ("srpt_srq_size", "0", "100"), ("use_srq", "maybe", "Y"),
                                ("srp_max_rdma_size", "-1", "4096"), ("trace_flag", "much", str(0x800))):
            before = scst.get(_PARAMETERS / name)
            equal(errno_name(scst.write(_PARAMETERS / name, bad)), "EINVAL", f"{name}={bad}")
            equal(scst.get(_PARAMETERS / name), before, name)
            scst.put(_PARAMETERS / name, good)
            equal(scst.get(_PARAMETERS / name), good, name)
        lines = closing()
        check(not any("Closing a channel" in line for line in lines), f"log {lines}")
        check(any("a channel was live, is" in line for line in lines), f"log {lines}")


if __name__ == "__main__":
    suite.main()
