# SPDX-License-Identifier: GPL-2.0
"""An SRP initiator in user space that does what it is told, right or wrong: one RDMA channel, raw information units.

The formats are those of SRP (ANSI INCITS 365); the login over RDMA/CM is the 56-byte form of Linux. All is big-endian.
"""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
import os
import select
import struct
import time
from collections.abc import Sequence
from typing import Optional

import srp
from lib import Failure, check
from pyverbs import cmid as rdmacm
from pyverbs import cq, enums, mr, qp, wr
from pyverbs import librdmacm_enums as cm_enums
from srp import Link

TSK_MGMT, CMD, I_LOGOUT = 0x01, 0x02, 0x03
CRED_RSP, AER_RSP = 0x41, 0x42
T_LOGOUT, CRED_REQ, AER_REQ = 0x80, 0x81, 0x82
LOGIN_RSP, RSP, LOGIN_REJ = 0xC0, 0xC1, 0xC2
DIRECT, INDIRECT, IMMEDIATE = 1, 2, 3
"""Data-buffer descriptor formats."""
MULTIPLE, WITH_IMMEDIATE = 0x01, 0x80
"""Flags of a login: other channels of the initiator port are to stay; data may be in the command."""
ABORT_TASK, ABORT_TASK_SET, CLEAR_TASK_SET, LUN_RESET, CLEAR_ACA = 0x01, 0x02, 0x04, 0x08, 0x40
_PAGE = 4096
_RECEIVES = 256
_LARGEST = 16384
_ACCESS = enums.IBV_ACCESS_LOCAL_WRITE | enums.IBV_ACCESS_REMOTE_READ | enums.IBV_ACCESS_REMOTE_WRITE


def login_request(tag: int = 1, formats: int = 6, flags: int = 0, opcode: int = 0, iu_length: int = 4096,
                  initiator: bytes = b"", target: bytes = b"", immediate_offset: int = 0) -> bytes:
    """An SRP_LOGIN_REQ as it goes into the private data of an RDMA/CM request; of another INITIATOR port each time."""
    target = target or bytes.fromhex(srp.service_id()) * 2
    return struct.pack(">QHBBI16s16sH6x", tag, formats, flags, opcode, iu_length, initiator or port_id(), target,
                       immediate_offset)


def port_id() -> bytes:
    """An initiator port identifier that nobody had before."""
    return b"raw port" + struct.pack(">Q", os.getpid() << 32 | next(_ports))


_ports = itertools.count(1)


def wire_lun(lun: int) -> bytes:
    """A LUN below 256 in its 8-byte form, peripheral addressing."""
    return struct.pack(">BB6x", 0, lun)


def command(tag: int, cdb: bytes, table: bytes = b"", lun: bytes = bytes(8), out_format: int = 0, in_format: int = 0,
            out_count: int = 0, in_count: int = 0, additional: int = 0, attribute: int = 0) -> bytes:
    """An SRP_CMD; TABLE is what follows the CDB, ADDITIONAL the length of the additional CDB in words."""
    return struct.pack(">BB3xBBBQ4x8sxBxB16s", CMD, 0, out_format << 4 | in_format, out_count, in_count, tag, lun,
                       attribute, additional << 2, cdb) + table


def descriptor(address: int, key: int, length: int) -> bytes:
    """A direct data-buffer descriptor."""
    return struct.pack(">QII", address, key, length)


def indirect(table: bytes, length: int, descriptors: Sequence[bytes] = ()) -> bytes:
    """An indirect table descriptor: where the TABLE lies, the LENGTH of all, and a partial list."""
    return table + struct.pack(">I", length) + b"".join(descriptors)


def task_management(tag: int, function: int, lun: bytes = bytes(8), task: int = 0) -> bytes:
    """An SRP_TSK_MGMT."""
    return struct.pack(">BB6xQ4x8s2xBxQ8x", TSK_MGMT, 0, tag, lun, function, task)


@dataclasses.dataclass(frozen=True)
class Response:
    """An SRP_RSP."""

    tag: int
    delta: int
    flags: int
    status: int
    out_residual: int
    in_residual: int
    sense: bytes
    data: bytes

    @property
    def code(self) -> Optional[int]:
        """The response code, if there is one."""
        return self.data[3] if self.flags & 1 and len(self.data) >= 4 else None

    @property
    def refused(self) -> bool:
        """It was not carried out."""
        return self.status != 0 or bool(self.code)

    def __str__(self) -> str:
        if self.code:
            return f"code {self.code}"
        if len(self.sense) >= 14:
            return f"{self.sense[2] & 15:x}/{self.sense[12]:02x}/{self.sense[13]:02x}"
        return f"status {self.status:#04x}"


def parse_response(unit: bytes) -> Response:
    """Take an SRP_RSP apart, and see that it is one."""
    check(len(unit) >= 36 and unit[0] == RSP, f"no SRP_RSP: {unit[:36].hex()}")
    delta, tag, flags, status, out, in_, sense, data = struct.unpack(">4xiQ2xBBIIII", unit[:36])
    check(len(unit) >= 36 + sense + data, f"SRP_RSP of {len(unit)} bytes with {data} and {sense} more")
    return Response(tag, delta, flags, status, out, in_, unit[36 + data:36 + data + sense], unit[36:36 + data])


class Rejected(Exception):
    """The login was rejected; `reason` is SRP's, None where the target gave none."""

    def __init__(self, event: str, private: bytes) -> None:
        self.reason: Optional[int] = None
        if len(private) >= 8 and private[0] == LOGIN_REJ:
            (self.reason,) = struct.unpack(">I", private[4:8])
        super().__init__(f"{event}, reason {self.reason and hex(self.reason)}")


class Buffer:
    """Memory that the target may read and write."""

    def __init__(self, channel: "Channel", size: int) -> None:
        self.size = size
        self._mr = mr.MR(channel.pd, size, _ACCESS)
        self.address, self.key = self._mr.buf, self._mr.rkey

    def descriptor(self, offset: int = 0, length: Optional[int] = None) -> bytes:
        """A direct descriptor of a part."""
        return descriptor(self.address + offset, self.key, self.size - offset if length is None else length)

    def read(self, length: int, offset: int = 0) -> bytes:
        """What is in it."""
        return bytes(self._mr.read(length, offset))

    def write(self, data: bytes, offset: int = 0) -> None:
        """Put something in."""
        self._mr.write(data, len(data), offset)

    def close(self) -> None:
        """Take it away from the target."""
        self._mr.close()


def _event_channel() -> tuple[rdmacm.CMEventChannel, int]:
    """An event channel and its descriptor; pyverbs does not tell, and a wait for an event has no time-out."""
    # The next descriptor is the lowest that is free.
    free = os.dup(0)
    os.close(free)
    channel = rdmacm.CMEventChannel()
    check(os.readlink(f"/proc/self/fd/{free}").endswith("/rdma_cm"), "the event channel has another descriptor")
    return channel, free


class Conversation:
    """Information units with a target, however they travel."""

    def __init__(self) -> None:
        self.credits = 0
        self.longest = 0
        self.login_flags = 0
        self.logout_reason: Optional[int] = None
        self.dead = False
        """The connection is of no use any more. LOGOUT_REASON is what the target said of it, if it did."""

    def send(self, unit: bytes) -> None:
        """Send an information unit, whatever the credits say."""
        raise NotImplementedError

    def receive(self, seconds: float = 5) -> Optional[bytes]:
        """The next information unit; None when the connection is dead, or nothing came in time."""
        raise NotImplementedError

    def _logged_in(self, private: bytes) -> None:
        """Take what an SRP_LOGIN_RSP says."""
        check(private[0] == LOGIN_RSP, f"the reply has no SRP_LOGIN_RSP: {private[:52].hex()}")
        self.credits, self.longest, self.login_flags = struct.unpack(">i8xI6xB", private[4:27])

    def _spent(self, unit: bytes) -> None:
        """Count what a unit to be sent costs."""
        if unit[:1] in (bytes([CMD]), bytes([TSK_MGMT])):
            self.credits -= 1

    def _earned(self, unit: bytes) -> None:
        """Count what a unit that came grants."""
        if unit[0] in (RSP, CRED_REQ, AER_REQ):
            self.credits += struct.unpack(">i", unit[4:8])[0]

    def response(self, seconds: float = 5) -> Optional[Response]:
        """The next SRP_RSP; None if the connection ended or nothing came. Requests of the target are answered."""
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            unit = self.receive(left)
            if unit is None:
                return None
            if unit[0] == RSP:
                return parse_response(unit)
            if unit[0] in (CRED_REQ, AER_REQ):
                self.send(struct.pack(">B7xQ", CRED_RSP if unit[0] == CRED_REQ else AER_RSP,
                                      *struct.unpack(">Q", unit[8:16])))
        return None

    def ask(self, unit: bytes, seconds: float = 20) -> Optional[Response]:
        """Send a request and wait for its response."""
        self.send(unit)
        return self.response(seconds)


class Channel(Conversation):
    """A connection to the target's port of a link, a login if all goes well."""

    _hollow = 0

    def __init__(self, link: Link = Link(0)) -> None:
        """Find the way there; nothing reaches the target yet."""
        super().__init__()
        self._events, self._fd = _event_channel()
        info = rdmacm.AddrInfo(src=None, dst=link.address, dst_service=str(srp.PORT),
                               port_space=cm_enums.RDMA_PS_TCP)
        self.id = rdmacm.CMID(creator=self._events)
        self.id.resolve_addr(info, 20000)
        self._expect(cm_enums.RDMA_CM_EVENT_ADDR_RESOLVED, 30)
        self.id.resolve_route(20000)
        self._expect(cm_enums.RDMA_CM_EVENT_ROUTE_RESOLVED, 30)
        self.pd = self.id.pd
        self._cq: Optional[cq.CQ] = None
        self._qp: Optional[qp.QP] = None
        self._queue: list[tuple[int, bytes]] = []

    def event(self, seconds: float = 10) -> tuple[int, str, bytes]:
        """The next event of the connection manager: number, name, private data."""
        if not select.select([self._fd], [], [], seconds)[0]:
            raise Failure(f"no event of the connection manager in {seconds:g} s")
        event = rdmacm.CMEvent(self._events)
        found = event.event_type, event.event_str(), event.private_data
        event.ack_cm_event()
        return found

    def _expect(self, wanted: int, seconds: float = 10) -> bytes:
        number, name, private = self.event(seconds)
        if number in (cm_enums.RDMA_CM_EVENT_REJECTED, cm_enums.RDMA_CM_EVENT_UNREACHABLE,
                      cm_enums.RDMA_CM_EVENT_CONNECT_ERROR):
            raise Rejected(name, private)
        check(number == wanted, f"event {name}")
        return private

    def request(self, private: bytes, queue_pair: bool = True) -> None:
        """Send a connection request with this private data; without a QUEUE_PAIR it is a hollow one."""
        # The connection manager takes a number that it knows for a remnant of an old connection.
        Channel._hollow += 1
        number = 0x100000 + Channel._hollow
        if queue_pair:
            self._make_queue_pair()
            assert self._qp is not None
            number = self._qp.qp_num
        parameters = rdmacm.ConnParam(resources=16, depth=16, retry=7, rnr_retry=7, qp_num=number,
                                      data_len=len(private))
        parameters.set_private_data(private)
        self.id.connect(parameters)

    def _make_queue_pair(self) -> None:
        self._cq = cq.CQ(self.id.context, 2 * _RECEIVES + 512)
        capacity = qp.QPCap(max_send_wr=512, max_recv_wr=_RECEIVES)
        init = qp.QPInitAttr(qp_type=enums.IBV_QPT_RC, scq=self._cq, rcq=self._cq, cap=capacity)
        self._qp = qp.QP(self.pd, init)
        self._modify(enums.IBV_QPS_INIT)
        self._in = mr.MR(self.pd, _RECEIVES * _PAGE, enums.IBV_ACCESS_LOCAL_WRITE)
        self._out = mr.MR(self.pd, 64 * _LARGEST, enums.IBV_ACCESS_LOCAL_WRITE)
        self._next_out = 0
        for slot in range(_RECEIVES):
            self._post_receive(slot)

    def _modify(self, state: int) -> None:
        assert self._qp is not None
        attributes, mask = self.id.init_qp_attr(state)
        if state == enums.IBV_QPS_INIT:
            attributes.qp_access_flags = _ACCESS
        self._qp.modify(attributes, mask)

    def _post_receive(self, slot: int) -> None:
        assert self._qp is not None
        place = wr.SGE(self._in.buf + slot * _PAGE, _PAGE, self._in.lkey)
        self._qp.post_recv(wr.RecvWR(wr_id=slot, num_sge=1, sg=[place]))

    def wait_accepted(self) -> None:
        """Wait for the target's SRP_LOGIN_RSP, or Rejected. The queue pair may send from now on."""
        # Of many requests at a time some are lost, and the CM sends them again after seconds.
        self._logged_in(self._expect(cm_enums.RDMA_CM_EVENT_CONNECT_RESPONSE, 40))
        if self._qp is not None:
            self._modify(enums.IBV_QPS_RTR)
            self._modify(enums.IBV_QPS_RTS)

    def complete(self) -> None:
        """Tell the target that the connection is complete (RTU)."""
        self.id.establish()

    def send(self, unit: bytes) -> None:
        assert self._qp is not None
        check(len(unit) <= _LARGEST, "too long for the buffers here")
        place = self._next_out % 64 * _LARGEST
        self._next_out += 1
        self._out.write(unit, len(unit), place)
        self._qp.post_send(wr.SendWR(wr_id=1 << 32, num_sge=1, opcode=enums.IBV_WR_SEND,
                                     sg=[wr.SGE(self._out.buf + place, len(unit), self._out.lkey)]))
        self._spent(unit)

    def _poll(self) -> int:
        """Take what has completed; the number of units."""
        assert self._cq is not None
        count, completions = self._cq.poll(32)
        for done in completions[:count]:
            if done.status != enums.IBV_WC_SUCCESS:
                self.dead = True
            elif done.wr_id < _RECEIVES:
                unit = bytes(self._in.read(done.byte_len, done.wr_id * _PAGE))
                if unit[0] == T_LOGOUT:
                    (self.logout_reason,) = struct.unpack(">I", unit[4:8])
                self._queue.append((done.wr_id, unit))
        return int(count)

    def _see_disconnect(self) -> None:
        """Look whether the target has disconnected; if so take what it sent before, and agree."""
        if self.dead or not select.select([self._fd], [], [], 0)[0]:
            return
        if self.event()[0] == cm_enums.RDMA_CM_EVENT_DISCONNECTED:
            end = time.monotonic() + 0.2
            while self._cq is not None and self.logout_reason is None and time.monotonic() < end:
                if not self._poll():
                    time.sleep(0.002)
            self.dead = True
            with contextlib.suppress(Exception):
                self.id.disconnect()

    def receive(self, seconds: float = 5) -> Optional[bytes]:
        assert self._cq is not None
        end = time.monotonic() + seconds
        while not self._queue:
            count = self._poll()
            if not self._queue:
                self._see_disconnect()
            if not self._queue and (self.dead or time.monotonic() > end):
                return None
            if not count:
                time.sleep(0.002)
        slot, unit = self._queue.pop(0)
        if not self.dead:
            self._post_receive(slot)
        self._earned(unit)
        return unit

    def ended(self, seconds: float = 20) -> bool:
        """Whether the target ends the connection in this time; answers that come until then are forgotten."""
        end = time.monotonic() + seconds
        while not self.dead and (left := end - time.monotonic()) > 0:
            if self._cq is not None:
                self.receive(left)
            else:
                self._see_disconnect()
                time.sleep(0.002)
        return self.dead

    def close(self, disconnect: bool = True) -> None:
        """End the connection, politely or by falling silent."""
        if disconnect:
            with contextlib.suppress(Exception):
                self.id.disconnect()
        for part in (self._qp, getattr(self, "_in", None), getattr(self, "_out", None), self._cq, self.id,
                     self._events):
            if part is not None:
                with contextlib.suppress(Exception):
                    part.close()


def login(link: Link = Link(0), private: bytes = b"", complete: bool = True) -> Channel:
    """A channel that is logged in; Rejected if the target does not want it."""
    channel = Channel(link)
    try:
        channel.request(private or login_request())
        channel.wait_accepted()
        if complete:
            channel.complete()
        return channel
    except BaseException:
        channel.close(disconnect=False)
        raise


INQUIRY = bytes([0x12, 0, 0, 0, 96, 0])
TEST_UNIT_READY = bytes(6)


def read10(block: int, count: int) -> bytes:
    """A READ(10)."""
    return struct.pack(">BBIBHB", 0x28, 0, block, 0, count, 0)


def write10(block: int, count: int) -> bytes:
    """A WRITE(10)."""
    return struct.pack(">BBIBHB", 0x2A, 0, block, 0, count, 0)
