# SPDX-License-Identifier: GPL-2.0
"""/dev/scst_event as a daemon sees it, and a daemon that carries out SET TARGET PORT GROUPS."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import select
import struct
import threading
from collections.abc import Callable, Iterator
from typing import Optional

from lib import check, equal, errno_name

NODE = "/dev/scst_event"
ALLOW, DISALLOW, NEXT, DONE = 0x40407501, 0x40407502, 0xc0447503, 0x40087504
HEADER = "=iII50s"  # length of the payload, code, number, issuer
LUN_NOT_FOUND, TM_RECEIVED, STPG, REGISTERED = 1, 4, 5, 6
_CORE = b"SCST core"


class Daemon:
    """An open /dev/scst_event."""

    living: "list[Daemon]" = []

    def __init__(self, codes: tuple[int, ...] = (), flags: int = 0) -> None:
        self.fd = os.open(NODE, os.O_RDWR | flags)
        Daemon.living.append(self)
        for code in codes:
            equal(self.allow(code), 0, f"ALLOW {code}")

    def _ioctl(self, command: int, data: bytearray) -> int:
        try:
            fcntl.ioctl(self.fd, command, data)
            return 0
        except OSError as error:
            return error.errno or -1

    @staticmethod
    def _filter(code: int, issuer: bytes, payload: bytes, length: Optional[int]) -> bytearray:
        size = len(payload) if length is None else length
        return bytearray(struct.pack(HEADER, size, code, 0, issuer) + payload + bytes(2))

    def allow(self, code: int, issuer: bytes = _CORE, payload: bytes = b"", length: Optional[int] = None) -> int:
        """The errno."""
        return self._ioctl(ALLOW, self._filter(code, issuer, payload, length))

    def disallow(self, code: int, issuer: bytes = _CORE) -> int:
        """The errno."""
        return self._ioctl(DISALLOW, self._filter(code, issuer, b"", None))

    def next(self, room: int = 65536) -> tuple[int, bytes]:
        """The errno, and the event or, if it has no room, what it needs."""
        data = bytearray(room + 4)
        data[:4] = struct.pack("=i", room)
        result = self._ioctl(NEXT, data)
        return result, bytes(data[4:] if not result else data[:4])

    def event(self, code: int) -> tuple[int, bytes]:
        """The next event, which has to be CODE: its number and payload."""
        check(self.readable(60), f"no event {code} in a minute")
        result, data = self.next()
        equal(errno_name(result), "success", "GET_NEXT_EVENT")
        length, got, number, issuer = struct.unpack_from(HEADER, data)
        equal((got, issuer.rstrip(b"\0")), (code, _CORE), "code and issuer")
        return number, data[62:62 + length]

    def readable(self, seconds: float) -> bool:
        """Whether poll() says so in time."""
        poll = select.poll()
        poll.register(self.fd, select.POLLIN)
        return bool(poll.poll(seconds * 1000))

    def done(self, number: int, status: int) -> int:
        """The errno."""
        return self._ioctl(DONE, bytearray(struct.pack("=Ii", number, status)))

    def close(self) -> None:
        """As a daemon that ends."""
        Daemon.living.remove(self)
        os.close(self.fd)


def text(field: bytes) -> str:
    """What is before the first NUL."""
    return field.partition(b"\0")[0].decode()


Change = tuple[int, str, str, str, str]
"""Number of a target port group, its old and its new state, its device group and its name."""


def asked(payload: bytes) -> tuple[str, list[Change]]:
    """The device that got a SET TARGET PORT GROUPS, and what it is to change."""
    count = struct.unpack_from("=H", payload, 72)[0]
    groups = [payload[at:at + 194] for at in range(74, 74 + 194 * count, 194)]
    return text(payload[8:72]), [(struct.unpack_from("=H", group)[0], text(group[2:34]), text(group[34:66]),
                                  text(group[66:130]), text(group[130:194])) for group in groups]


@contextlib.contextmanager
def serving(change: Callable[[list[Change]], object]) -> Iterator[list[str]]:
    """Have CHANGE do what initiators ask for, as long as the block runs; what went wrong is in the list."""
    daemon, wrong, stop = Daemon((STPG,)), [], threading.Event()

    def serve() -> None:
        while not stop.is_set():
            if not daemon.readable(0.2):
                continue
            number, payload = daemon.event(STPG)
            status = 0
            try:
                change(asked(payload)[1])
            except Exception as error:  # pylint: disable=broad-except
                wrong.append(repr(error))
                status = errno.EIO
            daemon.done(number, status)

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    try:
        yield wrong
    finally:
        stop.set()
        thread.join(70)
        daemon.close()
