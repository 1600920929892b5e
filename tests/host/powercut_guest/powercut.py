#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0
"""Runs in the guest: check what the last round's power cut left, then write until the power goes.

    powercut.py PATH DEVICE ROUND ACKNOWLEDGED

A record is one 4 KiB block: its round and number, repeated. The number of a record is printed once the device has
said that the record is stable. PATH begins each line, as several run at the same time.

Of the path `aptpl` a record is a reservation that is to survive (APTPL, SPC-6 5.14.5): round and number are its key.
"""

import mmap
import os
import struct
import sys

sys.path.insert(0, "/lab/vm")

import sg  # pylint: disable=wrong-import-position

BLOCK = 4096
RECORDS = 4096


def record(round_number: int, index: int) -> bytes:
    """The block that record INDEX of a round must be."""
    return struct.pack("<QQ", round_number, index) * (BLOCK // 16)


def say(text: str) -> None:
    """One line, in one piece."""
    os.write(1, f"{sys.argv[1]} {text}\n".encode())


def verify(device: str, round_number: int, acknowledged: int) -> None:
    """All acknowledged records of the last round must be there, whole."""
    with open(device, "rb") as disk:
        for index in range(acknowledged + 1):
            if disk.read(BLOCK) != record(round_number, index):
                say(f"lost {index}")
                sys.exit(1)
    say(f"verified {acknowledged + 1}")


def write(device: str, round_number: int) -> None:
    """Even rounds write with FUA (O_DSYNC), odd rounds write and then flush."""
    fua = round_number % 2 == 0
    handle = os.open(device, os.O_RDWR | os.O_DIRECT | (os.O_DSYNC if fua else 0))
    buffer = mmap.mmap(-1, BLOCK)
    for index in range(RECORDS):
        buffer[:] = record(round_number, index)
        if os.pwrite(handle, buffer, index * BLOCK) != BLOCK:
            raise OSError("short write")
        if not fua:
            os.fdatasync(handle)
        say(f"stable {index}")


def key(round_number: int, index: int) -> int:
    """The reservation key of record INDEX of a round; none is 0."""
    return (round_number + 1) << 32 | index + 1


def sent(device: str, cdb: str, into: int = 0, out: bytes = b"") -> bytes:
    """What a command answers; a unit attention comes first, once."""
    for _ in range(4):
        answer = sg.command(device, cdb, into, out)
        if answer.words() == "good":
            return answer.data
    raise OSError(f"{cdb}: {answer.words()}")


def verify_reservation(device: str, round_number: int, acknowledged: int) -> None:
    """The key is that of the last acknowledged change, or of the one after; the reservation is there."""
    keys = sent(device, "5e 00 00 00 00 00 00 00 40 00", 64)
    held = sent(device, "5e 01 00 00 00 00 00 00 40 00", 64)
    wanted = [key(round_number, acknowledged).to_bytes(8, "big"), key(round_number, acknowledged + 1).to_bytes(8, "big")]
    # Without a holder's key READ RESERVATION has a header only.
    if len(keys) != 16 or keys[8:] not in wanted or held[8:16] != keys[8:] or held[21] & 0xf != 1:
        say(f"lost {acknowledged}")
        sys.stderr.write(f"keys {keys.hex()}, reservation {held.hex()}\n")
        sys.exit(1)
    say(f"verified {acknowledged + 1}")


def reserve(device: str, round_number: int) -> None:
    """Change the key of a reservation again and again; the first time, make one."""
    for index in range(RECORDS):
        # REGISTER AND IGNORE EXISTING KEY with APTPL.
        sent(device, "5f 06 00 00 00 00 00 00 18 00", out=struct.pack(">QQ4xB3x", 0, key(round_number, index), 1))
        if index == 0:
            # RESERVE, Write Exclusive; by its holder it is none more.
            sent(device, "5f 01 01 00 00 00 00 00 18 00", out=struct.pack(">QQ8x", key(round_number, index), 0))
        say(f"stable {index}")


def main() -> None:
    """Verify the last round if there was one, then write this one."""
    path, device, round_number, acknowledged = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
    if path == "aptpl":
        if round_number > 0:
            verify_reservation(device, round_number - 1, acknowledged)
        reserve(device, round_number)
        return
    if round_number > 0:
        verify(device, round_number - 1, acknowledged)
    write(device, round_number)


if __name__ == "__main__":
    main()
