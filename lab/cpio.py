# SPDX-License-Identifier: GPL-2.0
"""Write the newc archives that the kernel unpacks as its first file system."""

from __future__ import annotations

import stat
from pathlib import Path
from typing import BinaryIO

_TRAILER = "TRAILER!!!"


class Writer:
    """Adds members to an archive one after another; parents of a member are made as needed."""

    def __init__(self, out: BinaryIO) -> None:
        self._out = out
        self._inode = 0
        self._made: set[str] = set()

    def directory(self, name: str) -> None:
        """Add a directory."""
        if name in ("", ".") or name in self._made:
            return
        self._made.add(name)
        self.directory(str(Path(name).parent))
        self._member(name, stat.S_IFDIR | 0o755, b"")

    def file(self, name: str, data: bytes, executable: bool = False) -> None:
        """Add a regular file."""
        self.directory(str(Path(name).parent))
        self._member(name, stat.S_IFREG | (0o755 if executable else 0o644), data)

    def close(self) -> None:
        """Add the end marker."""
        self._member(_TRAILER, 0, b"")

    def _member(self, name: str, mode: int, data: bytes) -> None:
        self._inode += 1
        encoded = name.encode() + b"\0"
        links = 2 if stat.S_ISDIR(mode) else 1
        fields = (self._inode, mode, 0, 0, links, 0, len(data), 0, 0, 0, 0, len(encoded), 0)
        header = "070701" + "".join(f"{value:08x}" for value in fields)
        self._padded(header.encode() + encoded)
        self._padded(data)

    def _padded(self, data: bytes) -> None:
        self._out.write(data + bytes(-len(data) % 4))
