#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
# lab: group=srp cpus=1 timeout=60
"""SRP: discovery, the device management datagrams that srp_daemon and ibsrpdm ask a target port with.

Both programs first ask the subnet manager of an InfiniBand fabric for ports that have device management; a RoCE network
has none, so they find nothing here. What they would then ask the port is sent to it here, over the same /dev/umad.
"""

from __future__ import annotations

import ctypes
import fcntl
import os
import select
import struct
from pathlib import Path
from typing import NamedTuple

import scst
import srp
import srp_target
from lib import check, equal, note, sh, wait_until
from srp import Link
from srp_target import Ours, Target

_LINK = Link(0)
_GUID = 0x000000FFFE000001
_CLASS = 0x06
_GET, _SET, _GET_RESPONSE = 0x01, 0x02, 0x81
_CLASS_PORT_INFO, _IO_UNIT_INFO, _PROFILE, _SERVICES = 0x01, 0x10, 0x11, 0x12
_REGISTER_AGENT, _ENABLE_PKEY = 0xC01C1B01, 0x1B03
"""ioctls of <rdma/ib_user_mad.h>."""


def setup(target: Target) -> None:
    """An enabled target."""
    sh("modprobe", "ib_umad")
    target.add("nullio", "null0", 0)
    target.enable(_LINK)


plan = srp_target.Plan(setup, limit_s=40)


class Answer(NamedTuple):
    """A device management response."""

    status: int
    data: bytes


class Agent:
    """Sends device management requests through a port's /dev/infiniband/umadN."""

    def __init__(self, link: Link) -> None:
        def node() -> str:
            for place in Path("/sys/class/infiniband_mad").glob("umad*"):
                if (place / "ibdev").read_text().strip() == link.initiator_device:
                    return place.name
            return ""
        wait_until(node, 10, "no umad of the port")
        path = Path("/dev/infiniband", node())
        if not path.exists():
            major, minor = (Path("/sys/class/infiniband_mad") / node() / "dev").read_text().split(":")
            path.parent.mkdir(exist_ok=True)
            os.mknod(path, 0o600 | 0o020000, os.makedev(int(major), int(minor)))
        self._fd = os.open(path, os.O_RDWR)
        fcntl.ioctl(self._fd, _ENABLE_PKEY)
        # Queue pair 1, the class, its version, no methods: it only asks.
        request = ctypes.create_string_buffer(struct.pack("=5IBBB3sBx", 0, 0, 0, 0, 0, 1, _CLASS, 1, b"", 0))
        fcntl.ioctl(self._fd, _REGISTER_AGENT, request)
        self._agent = struct.unpack_from("=I", request.raw)[0]
        # Not that of an IPv4 address: where the header is IPv4, ib_mad finds no answer's request.
        self._gid = bytes.fromhex(link.gid.replace(":", ""))
        self._transaction = 0

    def ask(self, attribute: int, modifier: int = 0, method: int = _GET) -> Answer:
        """Send a request and wait for its response."""
        self._transaction += 1
        mad = struct.pack(">BBBBHHQHHI", 1, _CLASS, 1, method, 0, 0, self._transaction, attribute, 0, modifier).ljust(256, b"\0")
        header = struct.pack("=5I", self._agent, 0, 2000, 3, 0) + struct.pack(">II", 1, 0x80010000) + \
            struct.pack("=HBBBBBB", 0, 0, 0, 1, 0, 64, 0) + self._gid + struct.pack(">I", 0) + struct.pack("=H6x", 0)
        os.write(self._fd, header + mad)
        check(select.select([self._fd], [], [], 15)[0], f"no answer to attribute {attribute:#x}")
        got = os.read(self._fd, 4096)
        status = struct.unpack_from("=I", got, 4)[0]
        check(status == 0, f"attribute {attribute:#x}: {os.strerror(status)}")
        answer = got[64:]
        equal(len(answer), 256, "bytes of the answer")
        equal(answer[3], _GET_RESPONSE, "method of the answer")
        equal(struct.unpack_from(">I", answer, 12)[0], self._transaction, "transaction")
        return Answer(struct.unpack_from(">H", answer, 4)[0], answer[64:])

    def close(self) -> None:
        """Close the device."""
        os.close(self._fd)


@plan.test("a target port answers as srp_daemon asks: unit, controller, service", only=("ours",))
def answers(target: Target) -> None:
    assert isinstance(target, Ours)
    agent = Agent(_LINK)
    try:
        equal(agent.ask(_CLASS_PORT_INFO).status, 0, "ClassPortInfo")
        unit = agent.ask(_IO_UNIT_INFO)
        change, slots = struct.unpack_from(">HB", unit.data)
        equal((unit.status, change, slots, unit.data[4] >> 4), (0, 1, 16, 1), "IOUnitInfo: controller in slot 1 of 16")
        profile = agent.ask(_PROFILE, 1)
        equal(profile.status, 0, "IOControllerProfile")
        (guid,) = struct.unpack_from(">Q", profile.data)
        io_class, subclass, protocol, version = struct.unpack_from(">HHHH", profile.data, 28)
        depth, reads, send_size, rdma_size, operations = struct.unpack_from(">HxBIIB", profile.data, 40)
        services = profile.data[54]
        equal(guid, _GUID, "controller GUID")
        equal((io_class, subclass, protocol, version), (0x0100, 0x609E, 0x0108, 1), "SRP")
        equal((depth, send_size, rdma_size, operations, services), (128, 8276, 65536, 0x2B, 1), "what it can do")
        check(reads > 0, "no RDMA READs")
        equal(profile.data[64:128].rstrip(b"\0"), b"SCST SRP target", "ID string")
        scst.put(target.port(_LINK) / "port_id", "rack 7")
        equal(agent.ask(_PROFILE, 1).data[64:128].rstrip(b"\0"), b"rack 7", "ID string that port_id chose")
        service = agent.ask(_SERVICES, 1 << 16)
        equal(service.status, 0, "ServiceEntries")
        equal(service.data[:40].rstrip(b"\0"), f"SRP.T10:{_GUID:016x}".encode(), "service name")
        equal(struct.unpack_from(">Q", service.data, 40)[0], _GUID, "service ID")
    finally:
        agent.close()


@plan.test("slots without controller, and what else makes no sense, are refused", only=("ours",))
def refusals(target: Target) -> None:
    agent = Agent(_LINK)
    try:
        for attribute, modifier, method, status in ((_PROFILE, 2, _GET, 0x0100), (_PROFILE, 0, _GET, 0x001C),
                                                    (_PROFILE, 17, _GET, 0x001C), (_SERVICES, 2 << 16, _GET, 0x0100),
                                                    (_SERVICES, 1 << 16 | 0x0101, _GET, 0x001C), (0x13, 0, _GET, 0x000C),
                                                    (_CLASS_PORT_INFO, 0, _SET, 0x000C)):
            equal(hex(agent.ask(attribute, modifier, method).status), hex(status), f"{attribute:#x} {modifier:#x}")
    finally:
        agent.close()


@plan.test("ibsrpdm ends, and finds nothing where there is no subnet manager", only=("ours",))
def programs(target: Target) -> None:
    agent = Agent(_LINK)
    agent.close()
    text = sh("ibsrpdm", "-c", "-d", "/dev/infiniband/umad0", status=None)
    note(text.strip())
    check("ioc_guid" not in text, "ibsrpdm found a target without a subnet manager")


if __name__ == "__main__":
    plan.main()
