# SPDX-License-Identifier: GPL-2.0
"""A client of offloaded data transfer: POPULATE TOKEN, WRITE USING TOKEN, RECEIVE ROD TOKEN INFORMATION (SBC-4 5.9, 5.53)."""

from __future__ import annotations

import struct
from collections.abc import Sequence

import sg
from lib import equal

Ranges = Sequence[tuple[int, int]]
"""First block and number of blocks of each."""


def _descriptors(ranges: Ranges) -> bytes:
    return struct.pack(">H", 16 * len(ranges)) + b"".join(struct.pack(">QI4x", *one) for one in ranges)


def _out(node: str, action: int, number: int, text: bytes) -> str:
    text = struct.pack(">H", len(text)) + text
    return sg.command(node, f"83 {action:02x} 00 00 00 00 {number:08x} {len(text):08x} 00 00", out=text, seconds=120).words()


def populate(node: str, ranges: Ranges, kind: int = 0, seconds: int = 0, number: int = 1) -> str:
    """POPULATE TOKEN; what came of it."""
    head = struct.pack(">BxII2x", 2 if kind else 0, seconds, kind)
    return _out(node, 0x10, number, head + _descriptors(ranges))


def information(node: str, number: int = 1) -> tuple[int, int, bytes]:
    """RECEIVE ROD TOKEN INFORMATION: status, blocks, token."""
    answer = sg.command(node, f"84 07 {number:08x} 00 00 00 00 00 00 04 00 00 00", 1024)
    equal(answer.words(), "good", "RECEIVE ROD TOKEN INFORMATION")
    data = answer.data
    equal((len(data), data[15]), (int.from_bytes(data[:4], "big") + 4, 0xf1), "length and units of the answer")
    descriptors = data[32 + data[13]:]
    length = int.from_bytes(descriptors[:4], "big")
    equal(len(descriptors), length + 4, "length of the token descriptors")
    return data[5], int.from_bytes(data[16:24], "big"), descriptors[6:]


def token(node: str, ranges: Ranges, kind: int = 0, seconds: int = 0) -> bytes:
    """A token for blocks of a disk."""
    equal(populate(node, ranges, kind, seconds), "good", "POPULATE TOKEN")
    status, blocks, made = information(node)
    equal((status, blocks, len(made)), (1, sum(count for _, count in ranges), 512), "what was made")
    return made


def use(node: str, made: bytes, ranges: Ranges, offset: int = 0, delete: bool = False, number: int = 2) -> str:
    """WRITE USING TOKEN; what came of it."""
    head = struct.pack(">B5xQ", 2 if delete else 0, offset)
    return _out(node, 0x11, number, head + made + bytes(6) + _descriptors(ranges))
