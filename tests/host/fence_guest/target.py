#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""The target of two hosts that fence one another: a disk, by four cards."""

from __future__ import annotations

import sys

sys.path.insert(0, "/lab/vm")

# pylint: disable=wrong-import-position
import asked
import scst
import srp
import srp_target
from lib import sh, wait_until

_CARDS = 4
_HOLDS_DATA = "4"


class Target:
    """What it can be asked."""

    def __init__(self) -> None:
        sh("modprobe", "-a", "rdma_rxe")
        self._links = [srp.Card(initiator=False, number=number) for number in range(_CARDS)]
        for link in self._links:
            link.up()
        self._target = srp_target.Ours()

    def ready(self) -> None:
        """Let the hosts in."""
        self._target.load()
        self._target.add("fileio", "fence", 0, scst.image("/tmp/fence", 64), self._links)
        self._target.enable(*self._links)

    def _active(self, link: srp.Link) -> int:
        sessions = self._target.port(link) / "sessions"
        return sum(int(scst.get(path)) for path in sessions.glob("*/lun0/active_commands"))

    def hold(self, number: str) -> None:
        """Commands with data that come by this card are kept, and not executed; wait for some."""
        link = self._links[int(number)]
        scst.put(self._target.port(link) / "black_hole", _HOLDS_DATA)
        wait_until(lambda: self._active(link), 60, f"no commands by card {number}")

    def release(self, number: str) -> None:
        """None of those that were kept is left; those that come are executed again."""
        link = self._links[int(number)]
        wait_until(lambda: not self._active(link), 60, f"card {number} has {self._active(link)} commands")
        scst.put(self._target.port(link) / "black_hole", "0")

    def unload(self) -> None:
        """Leave nothing."""
        self._target.unload()


def main() -> int:
    """Serve until told to end."""
    target = Target()
    asked.serve({name: getattr(target, name) for name in ("ready", "hold", "release")}, 900)
    target.unload()
    return 0


if __name__ == "__main__":
    sys.exit(main())
