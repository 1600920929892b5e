#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""The initiator of two Fibre Channel nodes, with the stock multipathd: fc_initiator.py PORTS."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, "/lab/vm")

# pylint: disable=wrong-import-position
import asked
import fc
import paths
from lib import check, fio, sh


class Initiator(paths.Initiator):
    """As many adapters as each node, on the same switches."""

    def __init__(self, ports: int) -> None:
        super().__init__()
        self._ports = ports
        switches = min(ports, 2)
        self._paths = switches * (ports // switches) ** 2
        """To each node."""
        self._fabric = fc.Fabric()

    def prepare(self) -> None:
        """Load the driver."""
        fc.load()

    def _seen(self, node: int) -> list[str]:
        """The disks behind the ports of a node."""
        names = {"0x" + fc.wwpn(node * self._ports + port).replace(":", "") for port in range(self._ports)}
        ports = [path.parent.name for path in Path("/sys/class/fc_remote_ports").glob("rport-*/port_name")
                 if path.read_text().strip() in names]
        return sorted(disk.name for port in ports
                      for disk in Path("/sys/class/fc_remote_ports", port, "device").glob("target*/*/block/*"))

    def login(self) -> str:
        """Wait for all paths to both nodes."""
        found = self.again()
        names = sh("lsscsi", "-t")
        for number in range(self._ports, 3 * self._ports):
            check(f"fc:0x{fc.wwpn(number).replace(':', '')}" in names.replace(" ", ""), f"lsscsi -t: no hba{number}: {names}")
        return found

    def again(self) -> str:
        """As `login`, when paths have gone and come."""
        paths.wait(lambda: all(len(self._seen(node)) == self._paths for node in (1, 2)), 120, "paths are missing")
        return self.find([self._seen(node) for node in (1, 2)])

    def cut(self) -> None:
        """All that goes through the second switch is lost."""
        for number in range(1, self._ports, 2):
            self._fabric.do(f"link hba{number} down")

    def mend(self) -> None:
        """It is there again."""
        for number in range(1, self._ports, 2):
            self._fabric.do(f"link hba{number} up")
        self.again()

    def blocks(self, seconds: str) -> str:
        """Write and compare blocks of all sizes for so many seconds."""
        record = fio(self.node, rw="randwrite", bsrange="4k-1m", blockalign="4k", iodepth=64, size="64m", loops=100000,
                     verify="crc32c", verify_fatal=1, verify_backlog=128, serialize_overlap=1, time_based=None,
                     runtime=int(seconds), timeout=int(seconds) + 300)
        written, read = (record[which]["io_bytes"] >> 20 for which in ("write", "read"))
        return f"{written} MiB written, {read} MiB read back and compared"


def main() -> int:
    """Be asked."""
    initiator = Initiator(int(sys.argv[1]))
    initiator.start()
    can = ("login", "again", "follow", "load", "through", "finish", "cut", "mend", "blocks", "leave")
    asked.serve({name: getattr(initiator, name) for name in can}, 2000)
    return 0


if __name__ == "__main__":
    sys.exit(main())
