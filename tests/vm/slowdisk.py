# SPDX-License-Identifier: GPL-2.0
"""A RAM disk whose commands take as long as a test wants them to."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator

from lib import sh

_NAME = "slow"


class SlowDisk:
    """The disk /dev/mapper/slow: /dev/ram0 below dm-delay, fast until told otherwise."""

    def __init__(self, mib: int = 32) -> None:
        """Of this size; where the RAM disk is built into the kernel, it has its own."""
        self.node = f"/dev/mapper/{_NAME}"
        sh("modprobe", "brd", "rd_nr=1", f"rd_size={mib << 10}")
        self._sectors = int(sh("blockdev", "--getsz", "/dev/ram0"))
        if not os.path.exists(self.node):
            sh("modprobe", "dm_delay")
            sh("dmsetup", "create", _NAME, "--noudevsync", "--table", self._table(0))
            sh("dmsetup", "mknodes")

    def _table(self, milliseconds: int) -> str:
        return f"0 {self._sectors} delay /dev/ram0 0 {milliseconds}"

    @property
    def device(self) -> str:
        """The block device's own node."""
        return os.path.realpath(self.node)

    def set_delay(self, milliseconds: int) -> None:
        """Change how slow it is; what waits there goes through first."""
        sh("dmsetup", "suspend", "--noflush", "--nolockfs", _NAME)
        sh("dmsetup", "reload", _NAME, "--table", self._table(milliseconds))
        sh("dmsetup", "resume", _NAME)

    @contextlib.contextmanager
    def slow(self, milliseconds: int) -> Iterator[None]:
        """Slow for as long as the block runs."""
        self.set_delay(milliseconds)
        try:
            yield
        finally:
            self.set_delay(0)
