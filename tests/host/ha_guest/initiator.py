#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""The initiator of two nodes over SRP, with the stock multipathd as a distribution sets it up: udev, and what the README says."""

from __future__ import annotations

import os
import sys

sys.path.insert(0, "/lab/vm")

# pylint: disable=wrong-import-position
import asked
import paths
import srp


class Initiator(paths.Initiator):
    """Two cards, a cable to each node."""

    def __init__(self) -> None:
        super().__init__()
        self._links = [srp.Card(initiator=True, number=number) for number in (0, 1)]

    def prepare(self) -> None:
        """Bring up the cards."""
        srp.load_initiator()
        for link in self._links:
            link.up()

    def login(self, *guids: str) -> str:
        """Log in to both nodes; the disk that the daemon makes of them."""
        disks = []
        for link, guid in zip(self._links, guids):
            # As many retries as there can be without being endless: a node that its host has no time for is not dead.
            host = srp.login(link, ch_count=1, id_ext=guid, ioc_guid=guid, tl_retry_count=6)
            host.set_timeouts(fast_io_fail=3, dev_loss=60, reconnect=10)
            disks.append([os.path.basename(host.disk(0))])
        return self.find(disks)


def main() -> int:
    """Be asked."""
    initiator = Initiator()
    initiator.start()
    can = ("login", "follow", "load", "through", "finish", "leave")
    asked.serve({name: getattr(initiator, name) for name in can}, 900)
    return 0


if __name__ == "__main__":
    sys.exit(main())
