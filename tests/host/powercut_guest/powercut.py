#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0
"""Runs in the guest: check what the last round's power cut left, then write until the power goes.

    powercut.py PATH DEVICE ROUND ACKNOWLEDGED

A record is one 4 KiB block: its round and number, repeated. The number of a record is printed once the device has
said that the record is stable. PATH begins each line, as several run at the same time.
"""

import mmap
import os
import struct
import sys

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


def main() -> None:
    """Verify the last round if there was one, then write this one."""
    device, round_number, acknowledged = sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
    if round_number > 0:
        verify(device, round_number - 1, acknowledged)
    write(device, round_number)


if __name__ == "__main__":
    main()
