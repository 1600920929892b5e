# SPDX-License-Identifier: GPL-2.0
"""RoCE v2 spoken by a user-space process: a port that is no RDMA device, datagrams to queue pair 1, reliable queue pairs.

Packets are those of the InfiniBand Architecture Specification volume 1, chapter 9, in UDP as in annex A17. Nothing is
done behind the back of whoever uses this: packets are taken in, and acknowledged, only in `Port.poll`.
"""

from __future__ import annotations

import collections
import contextlib
import itertools
import select
import socket
import struct
import time
import zlib
from collections.abc import Callable
from typing import NamedTuple, Optional

_UDP_PORT = 4791
_GSI_KEY = 0x80010000
_MTU = 1024
_SEND, _WRITE, _READ, _READ_ANSWER, _ACK, _DATAGRAM = 0x00, 0x06, 0x0C, 0x0D, 0x11, 0x64
"""Opcodes; where a message has several packets the first of its row, which goes on with MIDDLE, LAST, ONLY."""
_HALF = 1 << 23
_SEQUENCE_ERROR, _ACCESS_ERROR, _RNR = 0x60, 0x62, 1
"""Syndromes of a negative acknowledgement, and what the upper bits of one are where no receive is posted."""
_RETRY_S = 0.5


def gid(address: str) -> bytes:
    """The GID that an IPv4 address is."""
    return bytes(10) + b"\xff\xff" + socket.inet_aton(address)


class Packet(NamedTuple):
    """A base transport header, and what follows it without padding and CRC."""

    opcode: int
    queue_pair: int
    psn: int
    wants_ack: bool
    rest: bytes


def _parse(data: bytes) -> Packet:
    opcode, flags, queue_pair, psn = struct.unpack(">BBxxII", data[:12])
    padding = flags >> 4 & 3
    return Packet(opcode, queue_pair & 0xFFFFFF, psn & 0xFFFFFF, bool(psn >> 31), data[12:len(data) - 4 - padding])


class Port:
    """An IPv4 address that speaks RoCE v2 with one other. Nobody else may have UDP port 4791 there."""

    def __init__(self, address: str, peer: str, namespace: "contextlib.AbstractContextManager[None]") -> None:
        self.address, self.peer = address, peer
        with namespace:
            self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        # Not to be fragmented, which makes the identification in the IP header 0.
        self._socket.setsockopt(socket.IPPROTO_IP, 10, 2)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
        self._socket.bind((address, _UDP_PORT))
        self._pairs: dict[int, QueuePair] = {}
        self.numbers = itertools.count(0x1001)
        """Those of the next queue pairs."""
        self._psn = 0
        self.datagrams: collections.deque[bytes] = collections.deque()
        """What came to queue pair 1 and is not taken yet."""
        self.lose: Callable[[], bool] = lambda: False
        """Says of each packet, in either direction, whether it is lost."""

    def send(self, opcode: int, queue_pair: int, psn: int, rest: bytes, wants_ack: bool = False) -> None:
        """Send a packet."""
        padding = -len(rest) % 4
        head = struct.pack(">BBHII", opcode, padding << 4, 0xFFFF, queue_pair, wants_ack << 31 | psn & 0xFFFFFF)
        body = rest + bytes(padding)
        udp = 8 + len(head) + len(body) + 4
        # What routers may change counts as ones.
        crc = zlib.crc32(b"\xff" * 8 + struct.pack(">BBHHHBBH4s4s", 0x45, 0xFF, 20 + udp, 0, 0x4000, 0xFF, 17, 0xFFFF,
                                                   socket.inet_aton(self.address), socket.inet_aton(self.peer)) +
                         struct.pack(">HHHH", _UDP_PORT, _UDP_PORT, udp, 0xFFFF) + head[:4] + b"\xff" + head[5:] + body)
        if not self.lose():
            self._socket.sendto(head + body + struct.pack("<I", crc), (self.peer, _UDP_PORT))

    def send_datagram(self, data: bytes) -> None:
        """Send a management datagram to queue pair 1."""
        self._psn += 1
        self.send(_DATAGRAM, 1, self._psn, struct.pack(">II", _GSI_KEY, 1) + data)

    def poll(self, seconds: float = 0) -> bool:
        """Take in what has come, waiting up to so long for the first packet; whether there was one."""
        if not select.select([self._socket], [], [], seconds)[0]:
            return False
        while True:
            try:
                data, (sender, _) = self._socket.recvfrom(8192, socket.MSG_DONTWAIT)
            except BlockingIOError:
                return True
            if sender != self.peer or len(data) < 16 or self.lose():
                continue
            packet = _parse(data)
            if packet.queue_pair == 1 and packet.opcode == _DATAGRAM:
                self.datagrams.append(packet.rest[8:])
            elif packet.queue_pair in self._pairs:
                self._pairs[packet.queue_pair].take(packet)

    def queue_pair(self) -> "QueuePair":
        """A new queue pair, not connected."""
        number = next(self.numbers)
        self._pairs[number] = QueuePair(self, number)
        return self._pairs[number]

    def forget(self, number: int) -> None:
        """From here on a queue pair does not exist."""
        self._pairs.pop(number, None)

    def close(self) -> None:
        """Give the address back."""
        self._socket.close()


class Region(NamedTuple):
    """Memory that the peer may read and write."""

    address: int
    key: int
    memory: bytearray

    def descriptor(self, offset: int = 0, length: Optional[int] = None) -> bytes:
        """A direct data-buffer descriptor of a part."""
        return struct.pack(">QII", self.address + offset, self.key, len(self.memory) - offset if length is None else length)


class QueuePair:
    """A reliable connection. It takes every message, up to the length that memory allows."""

    def __init__(self, port: Port, number: int) -> None:
        self._port, self.number = port, number
        self.psn = number * 0x777 & 0xFFFFFF
        """The peer's first sequence number."""
        self._peer = 0
        self._expected = self.psn
        self._next = self._messages = 0
        self._regions: list[Region] = []
        self._unacknowledged: collections.deque[tuple[int, int, bytes]] = collections.deque()
        self._sent_at = 0.0
        self._parts = b""
        self._write: tuple[Optional[Region], int] = (None, 0)
        self._complained = False
        self.received: collections.deque[bytes] = collections.deque()
        """Messages that are not taken yet."""
        self.refused: Optional[int] = None
        """The syndrome of the negative acknowledgement that ended it."""

    def connect(self, peer: int, psn: int) -> None:
        """The peer's queue pair, and where it expects sequence numbers to begin."""
        self._peer, self._next = peer, psn

    def region(self, size: int) -> Region:
        """Give the peer memory."""
        count = len(self._regions) + 1
        self._regions.append(Region(count << 32, self.number << 8 | count & 0xFF, bytearray(size)))
        return self._regions[-1]

    def send(self, message: bytes) -> None:
        """Send a message."""
        pieces = [message[start:start + _MTU] for start in range(0, len(message), _MTU)] or [b""]
        for index, piece in enumerate(pieces):
            opcode = _SEND + _place(index, len(pieces))
            self._unacknowledged.append((self._next, opcode, piece))
            self._port.send(opcode, self._peer, self._next, piece, wants_ack=True)
            self._next = self._next + 1 & 0xFFFFFF
        self._sent_at = time.monotonic()

    def retry(self) -> None:
        """Send again what has not been acknowledged for long."""
        if self._unacknowledged and time.monotonic() > self._sent_at + _RETRY_S:
            self._send_again()

    def _send_again(self) -> None:
        for psn, opcode, piece in self._unacknowledged:
            self._port.send(opcode, self._peer, psn, piece, wants_ack=True)
        self._sent_at = time.monotonic()

    def take(self, packet: Packet) -> None:
        """A packet has come."""
        if packet.opcode == _ACK:
            self._acknowledged(packet)
            return
        distance = packet.psn - self._expected & 0xFFFFFF
        if 0 < distance < _HALF:
            if not self._complained:
                self._answer(_SEQUENCE_ERROR, self._expected)
            self._complained = True
            return
        self._complained = False
        if packet.opcode == _READ:
            self._read(packet)
        elif distance or self._message(packet):
            if not distance:
                self._expected = packet.psn + 1 & 0xFFFFFF
            if packet.wants_ack or distance:
                self._answer(0x1F, self._expected - 1)

    def _acknowledged(self, packet: Packet) -> None:
        syndrome = packet.rest[0]
        # A negative one is of the packet that it names, and acknowledges those before.
        last = packet.psn if syndrome < 0x20 else packet.psn - 1
        while self._unacknowledged and last - self._unacknowledged[0][0] & 0xFFFFFF < _HALF:
            self._unacknowledged.popleft()
        if syndrome >> 5 == _RNR:
            time.sleep(0.01)
            self._send_again()
        elif syndrome == _SEQUENCE_ERROR:
            self._send_again()
        elif syndrome > _SEQUENCE_ERROR:
            self.refused = syndrome

    def _answer(self, syndrome: int, psn: int) -> None:
        self._port.send(_ACK, self._peer, psn, struct.pack(">I", syndrome << 24 | self._messages & 0xFFFFFF))

    def _find(self, address: int, key: int, length: int) -> Optional[Region]:
        for region in self._regions:
            if region.key == key and region.address <= address <= address + length <= region.address + len(region.memory):
                return region
        return None

    def _message(self, packet: Packet) -> bool:
        """Take a packet of a SEND or an RDMA WRITE in its turn; whether it is right."""
        rest = packet.rest
        if packet.opcode < _WRITE:
            self._parts += rest
            if packet.opcode in (_SEND + 2, _SEND + 4):
                self.received.append(self._parts)
                self._parts = b""
                self._messages += 1
            return True
        if packet.opcode in (_WRITE, _WRITE + 4):
            address, key, length = struct.unpack(">QII", rest[:16])
            region = self._find(address, key, length)
            if region is None and length:
                self._answer(_ACCESS_ERROR, packet.psn)
                return False
            self._write, rest = (region, address - region.address if region else 0), rest[16:]
        region, offset = self._write
        if region is not None:
            region.memory[offset:offset + len(rest)] = rest
        self._write = region, offset + len(rest)
        self._messages += packet.opcode in (_WRITE + 2, _WRITE + 4)
        return True

    def _read(self, packet: Packet) -> None:
        address, key, length = struct.unpack(">QII", packet.rest[:16])
        region = self._find(address, key, length)
        if region is None:
            self._answer(_ACCESS_ERROR, packet.psn)
            return
        count = max(1, -(-length // _MTU))
        if packet.psn == self._expected:
            self._expected = packet.psn + count & 0xFFFFFF
            self._messages += 1
        for index in range(count):
            start = address - region.address + index * _MTU
            piece = bytes(region.memory[start:start + min(_MTU, length - index * _MTU)])
            place = _place(index, count)
            head = b"" if place == 1 else struct.pack(">I", 0x1F << 24 | self._messages & 0xFFFFFF)
            self._port.send(_READ_ANSWER + (3 if place == 4 else place), self._peer, packet.psn + index, head + piece)


def _place(index: int, count: int) -> int:
    """Where in a message a packet stands, as opcodes say: FIRST, MIDDLE, LAST (2; with immediate data 3), ONLY."""
    if count == 1:
        return 4
    return 0 if index == 0 else 2 if index == count - 1 else 1
