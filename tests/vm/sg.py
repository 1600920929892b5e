# SPDX-License-Identifier: GPL-2.0
"""SCSI commands to a disk of this machine by the SG_IO ioctl (scsi/sg.h): where there are too many for a process each."""

from __future__ import annotations

import ctypes
import dataclasses
import fcntl
import os

_SG_IO = 0x2285
_DXFER_NONE, _DXFER_TO_DEV, _DXFER_FROM_DEV = -1, -2, -3
_CHECK_CONDITION = 2
_SENSE_SIZE = 96
# Additional sense code and qualifier (SPC-6, annex F), in the words of sg3_utils.
_WORDS = {
    (0x00, 0x16): "Operation in progress",
    (0x04, 0x0a): "Logical unit not accessible, asymmetric access state transition",
    (0x04, 0x0b): "Logical unit not accessible, target port in standby state",
    (0x04, 0x0c): "Logical unit not accessible, target port in unavailable state",
    (0x0d, 0x02): "Copy target device not reachable",
    (0x1a, 0x00): "Parameter list length error",
    (0x20, 0x00): "Invalid command operation code",
    (0x24, 0x00): "Invalid field in cdb",
    (0x26, 0x00): "Invalid field in parameter list",
    (0x26, 0x0a): "Unexpected inexact segment",
    (0x27, 0x00): "Write protected",
    (0x29, 0x00): "Power on, reset, or bus device reset occurred",
    (0x29, 0x07): "I_T nexus loss occurred",
    (0x2a, 0x06): "Asymmetric access state changed",
    (0x3f, 0x03): "Inquiry data has changed",
    (0x3f, 0x0e): "Reported luns data has changed",
}


class _Header(ctypes.Structure):
    """struct sg_io_hdr."""

    _fields_ = [
        ("interface_id", ctypes.c_int), ("dxfer_direction", ctypes.c_int), ("cmd_len", ctypes.c_ubyte),
        ("mx_sb_len", ctypes.c_ubyte), ("iovec_count", ctypes.c_ushort), ("dxfer_len", ctypes.c_uint),
        ("dxferp", ctypes.c_void_p), ("cmdp", ctypes.c_void_p), ("sbp", ctypes.c_void_p), ("timeout", ctypes.c_uint),
        ("flags", ctypes.c_uint), ("pack_id", ctypes.c_int), ("usr_ptr", ctypes.c_void_p), ("status", ctypes.c_ubyte),
        ("masked_status", ctypes.c_ubyte), ("msg_status", ctypes.c_ubyte), ("sb_len_wr", ctypes.c_ubyte),
        ("host_status", ctypes.c_ushort), ("driver_status", ctypes.c_ushort), ("resid", ctypes.c_int),
        ("duration", ctypes.c_uint), ("info", ctypes.c_uint),
    ]


@dataclasses.dataclass(frozen=True)
class Answer:
    """What came of a command."""

    status: int
    """SAM-6, 5.3.1."""
    host_status: int
    sense: bytes
    data: bytes
    """Data-in, as long as it was."""

    def additional_sense(self) -> tuple[int, int]:
        """Additional sense code and qualifier; zeroes where there is no sense."""
        if len(self.sense) > 3 and self.sense[0] & 0x7f in (0x72, 0x73):
            return self.sense[2], self.sense[3]
        return (self.sense[12], self.sense[13]) if len(self.sense) > 13 else (0, 0)

    def words(self) -> str:
        """`good`, or what went wrong."""
        if self.host_status:
            return f"host status {self.host_status:#x}"
        if self.status == _CHECK_CONDITION:
            code = self.additional_sense()
            return _WORDS.get(code, f"additional sense {code[0]:02x}h/{code[1]:02x}h")
        return f"status {self.status:#x}" if self.status else "good"


def command(node: str, cdb: str, into: int = 0, out: bytes = b"", seconds: float = 20) -> Answer:
    """Send a CDB (hexadecimal bytes with spaces between) to /dev/sgN or /dev/sdX.

    INTO is room for data-in, OUT data-out; not both.
    """
    raw = bytes.fromhex(cdb)
    cdb_buffer = ctypes.create_string_buffer(raw, len(raw))
    data = ctypes.create_string_buffer(out, len(out)) if out else ctypes.create_string_buffer(max(into, 1))
    sense = ctypes.create_string_buffer(_SENSE_SIZE)
    header = _Header(
        interface_id=ord("S"), dxfer_direction=_DXFER_TO_DEV if out else _DXFER_FROM_DEV if into else _DXFER_NONE,
        cmd_len=len(raw), mx_sb_len=_SENSE_SIZE, dxfer_len=len(out) or into, dxferp=ctypes.addressof(data),
        cmdp=ctypes.addressof(cdb_buffer), sbp=ctypes.addressof(sense), timeout=int(seconds * 1000))
    handle = os.open(node, os.O_RDWR | os.O_NONBLOCK)
    try:
        fcntl.ioctl(handle, _SG_IO, header)
    finally:
        os.close(handle)
    return Answer(header.status, header.host_status, sense.raw[:header.sb_len_wr], data.raw[:into - header.resid] if into else b"")
