# SPDX-License-Identifier: GPL-2.0
"""The InfiniBand connection manager in user space, the active side, and a login to an SRP target through it.

Messages are those of the InfiniBand Architecture Specification volume 1, chapter 12. They are management datagrams of
class 7, which over RoCE go between queue pairs 1 as on any fabric; the stock initiator has no way to send them there, as
it asks a subnet manager for the path first.
"""

from __future__ import annotations

import itertools
import struct
import time
from collections.abc import Callable
from typing import NamedTuple, Optional

import roce
import srp
import srp_raw as raw
from lib import check

REQ, MRA, REJ, REP, RTU, DREQ, DREP = range(0x10, 0x17)
"""Attribute identifiers, which tell messages apart."""
INVALID_SERVICE, STALE, CONSUMER = 8, 10, 28
"""Reasons of a REJ."""
_DATA = {REJ: 84, REP: 36, RTU: 8, DREQ: 12, DREP: 8}
"""Where the private data begin."""


class Message(NamedTuple):
    """A message of the connection manager; the fields are what stands behind the MAD's header."""

    kind: int
    fields: bytes

    @property
    def sender(self) -> int:
        """Communication identifier of who sent it."""
        return int.from_bytes(self.fields[:4], "big")

    @property
    def receiver(self) -> int:
        """Communication identifier of whom it is for."""
        return int.from_bytes(self.fields[4:8], "big")

    @property
    def private(self) -> bytes:
        """The private data, with their padding."""
        return self.fields[_DATA[self.kind]:]

    @property
    def reason(self) -> int:
        """Of a REJ: why."""
        return int.from_bytes(self.fields[10:12], "big")


def login_request(tag: int = 1, formats: int = 6, flags: int = 0, opcode: int = 0, iu_length: int = 4096,
                  initiator: bytes = b"", target: bytes = b"", immediate_offset: int = 0) -> bytes:
    """An SRP_LOGIN_REQ in the 64 bytes of the standard; of another INITIATOR port each time."""
    return struct.pack(">B7xQI4xHBxH2x16s16s", opcode, tag, iu_length, formats, flags, immediate_offset,
                       initiator or raw.port_id(), target or bytes.fromhex(srp.service_id()) * 2)


class Initiator:
    """Connections through a port: knows which message is whose."""

    _identifiers = itertools.count(0x10001)

    def __init__(self, link: srp.BareWire) -> None:
        self.port = roce.Port(link.initiator_address, link.address, link.in_namespace())
        self._channels: dict[int, Channel] = {}
        self.strays: list[Message] = []
        """Messages for nobody."""

    def send(self, kind: int, fields: bytes) -> None:
        """Send a message."""
        head = struct.pack(">BBBBHHQHHI", 1, 7, 2, 3, 0, 0, kind << 32 | next(self._identifiers), kind, 0, 0)
        self.port.send_datagram((head + fields).ljust(256, b"\0"))

    def channel(self, patience: int = 18, retries: int = 3) -> "Channel":
        """A connection that is not requested yet.

        The target's CM waits 4 us times 2 to the power of PATIENCE for an answer, and asks RETRIES times more.
        """
        number = next(self._identifiers)
        self._channels[number] = Channel(self, number, patience, retries)
        return self._channels[number]

    def poll(self, seconds: float = 0) -> None:
        """Take in what has come."""
        self.port.poll(seconds)
        while self.port.datagrams:
            mad = self.port.datagrams.popleft()
            check(mad[:4] == bytes([1, 7, 2, 3]), f"a datagram that is none of a CM: {mad[:24].hex()}")
            message = Message(int.from_bytes(mad[16:18], "big"), mad[24:])
            channel = self._channels.get(message.receiver)
            if channel is None:
                self.strays.append(message)
            else:
                channel.take(message)

    def forget(self, number: int) -> None:
        """From here on a connection does not exist."""
        self._channels.pop(number, None)

    def wait(self, seconds: float) -> None:
        """Be there for the target for so long."""
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            self.poll(left)


class Channel(raw.Conversation):
    """A connection to the target's service, a login if all goes well."""

    def __init__(self, initiator: Initiator, number: int, patience: int, retries: int) -> None:
        super().__init__()
        self._initiator, self._number = initiator, number
        self._patience, self._retries = patience, retries
        self.queue_pair = initiator.port.queue_pair()
        self.reply: Optional[Message] = None
        """The target's answer to the request, REP or REJ."""
        self.messages: list[int] = []
        """Kinds of all messages that came."""
        self._request = b""
        self.agrees = True
        """Whether it answers a DREQ."""

    def request(self, private: bytes, queue_pair: int = 0, service: str = "",
                change: Optional[Callable[[bytearray], None]] = None) -> None:
        """Send a REQ with these private data, for this connection's QUEUE_PAIR or another, with a CHANGE to its fields."""
        port = self._initiator.port
        patience = self._patience << 3
        fields = bytearray(struct.pack(
            ">I4xQQ4xIIIIIHBBHH16s16sIBBBB44x92s", self._number, int(service or srp.service_id(), 16), 0x0200000000000009, 0,
            (queue_pair or self.queue_pair.number) << 8 | 4, 4, patience | 1, self.queue_pair.psn << 8 | patience | 7, 0xFFFF,
            3 << 4 | 7, self._retries << 4, 0xFFFF, 0xFFFF, roce.gid(port.address), roce.gid(port.peer), 0, 0, 64, 8, 18 << 3,
            private))
        if change:
            change(fields)
        self._request = bytes(fields)
        self.repeat()

    def repeat(self) -> None:
        """Send the same REQ."""
        self._initiator.send(REQ, self._request)

    def wait_accepted(self, seconds: float = 20) -> None:
        """Wait for the target's SRP_LOGIN_RSP, or Rejected. The queue pair may send from now on."""
        self.wait_for(lambda: self.reply is not None, seconds, "the REQ has no answer")
        assert self.reply is not None
        if self.reply.kind == REJ:
            raise raw.Rejected(f"REJ {self.reply.reason}", self.reply.private)
        self._logged_in(self.reply.private)
        self.queue_pair.connect(int.from_bytes(self.reply.fields[12:15], "big"),
                                int.from_bytes(self.reply.fields[20:23], "big"))

    def wait_for(self, true: Callable[[], object], seconds: float, what: str) -> None:
        """Be there for the target until TRUE holds; a Failure after so many SECONDS."""
        end = time.monotonic() + seconds
        while not true():
            left = end - time.monotonic()
            check(left > 0, f"after {seconds:g} s: {what}; messages {[hex(kind) for kind in self.messages]}")
            self._initiator.poll(min(left, 0.1))

    def answer(self, kind: int, rest: bytes = b"") -> None:
        """Send a message about this connection: identifiers, and the REST of the fields."""
        remote = self.reply.sender if self.reply else 0
        self._initiator.send(kind, struct.pack(">II", self._number, remote) + rest)

    def complete(self) -> None:
        """Send the RTU."""
        self.answer(RTU)

    def take(self, message: Message) -> None:
        """A message of the CM has come."""
        self.messages.append(message.kind)
        if message.kind in (REP, REJ) and self.reply is None:
            self.reply = message
        elif message.kind == DREQ and self.agrees:
            self.answer(DREP)
        if message.kind in (REJ, DREQ):
            self.dead = True

    def send(self, unit: bytes) -> None:
        self._spent(unit)
        self.queue_pair.send(unit)

    def receive(self, seconds: float = 5) -> Optional[bytes]:
        end = time.monotonic() + seconds
        while not self.queue_pair.received:
            left = end - time.monotonic()
            if left <= 0 or self.dead or self.queue_pair.refused:
                return None
            self._initiator.poll(min(left, 0.1))
            self.queue_pair.retry()
        unit = self.queue_pair.received.popleft()
        if unit[0] == raw.T_LOGOUT:
            (self.logout_reason,) = struct.unpack(">I", unit[4:8])
        self._earned(unit)
        return unit

    def ended(self, seconds: float = 20) -> bool:
        """Whether the target ends the connection in this time; answers that come until then are forgotten."""
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0 and (self.queue_pair.received or not self.dead):
            self.receive(left)
        return self.dead

    def disconnect(self, seconds: float = 20) -> None:
        """Send a DREQ and wait for the DREP."""
        assert self.reply is not None
        self.answer(DREQ, self.reply.fields[12:15] + b"\0")
        self.wait_for(lambda: DREP in self.messages, seconds, "the DREQ has no answer")
        self.forget()

    def forget(self) -> None:
        """Be there no more."""
        self.dead = True
        self._initiator.forget(self._number)
        self._initiator.port.forget(self.queue_pair.number)


def login(initiator: Initiator, private: bytes = b"", complete: bool = True, patience: int = 18) -> Channel:
    """A channel that is logged in; Rejected if the target does not want it."""
    channel = initiator.channel(patience)
    try:
        channel.request(private or login_request())
        channel.wait_accepted()
    except BaseException:
        channel.forget()
        raise
    if complete:
        channel.complete()
    return channel
