#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""One of two nodes that serve a disk they share over Fibre Channel: fc_node.py NUMBER PORTS.

Device group `default`; this node's ports are the target group `local`, those of the other one `remote`. Node 1 is the active one.
"""

from __future__ import annotations

import sys

sys.path.insert(0, "/lab/vm")

# pylint: disable=wrong-import-position
import asked
import fc
import scst
from lib import sh, wait_until

_GROUP = scst.GROUPS / "default"
_DRIVER = scst.ROOT / "targets/qla2x00t"
# Target group numbers of node 1 and node 2, as the two-server configuration of SCST's users has them.
_FIRST_GROUP = 256
_STATES = {1: "active", 2: "nonoptimized"}


class Node:
    """What it can be asked."""

    def __init__(self, number: int, ports: int) -> None:
        self._number, self._ports = number, ports

    def _names(self, number: int) -> list[str]:
        """The targets of a node; the initiator has the first adapters."""
        return [fc.wwpn(number * self._ports + port) for port in range(self._ports)]

    def start(self) -> None:
        """The disk, and the groups."""
        sh("modprobe", "-a", "scst", "scst_vdisk")
        scst.add_device("vdisk_blockio", "shared", "filename=/dev/disk/lab/shared; t10_dev_id=shared")
        scst.put(scst.DEVICES / "shared/usn", "shared")
        scst.add_device_group("default", ("shared",))
        # This node's ports are added when they are there: those that are not are taken for another node's.
        for name, who in (("local", self._number), ("remote", 3 - self._number)):
            scst.add_target_group("default", name, _FIRST_GROUP + who - 1, _STATES[who], self._names(who) if name == "remote" else ())
        for place, target in enumerate(self._names(3 - self._number), 1):
            number = (2 - self._number) * self._ports + place
            scst.put(_GROUP / "target_groups/remote" / target / "rel_tgt_id", str(number))

    def ready(self) -> None:
        """Load the drivers, and let initiators in."""
        fc.load(qlini_mode="exclusive")
        sh("modprobe", "qla2x00tgt")
        for place, name in enumerate(self._names(self._number), 1):
            target = _DRIVER / name
            wait_until(target.exists, 30, f"no target {name}")
            scst.put(target / "rel_tgt_id", str((self._number - 1) * self._ports + place))
            scst.put(_GROUP / "target_groups/local/mgmt", f"add {name}")
            scst.add_lun("shared", 0, target / "luns")
            scst.put(target / "enabled", "1")

    def leave(self) -> None:
        """Take the drivers out, whatever initiators do."""
        sh("rmmod", "qla2x00tgt", timeout=180)
        fc.unload()


def main() -> int:
    """Serve until told to end."""
    node = Node(*map(int, sys.argv[1:]))
    node.start()
    asked.serve({"ready": node.ready, "leave": node.leave}, 2000)
    node.leave()
    scst.put(scst.GROUPS / "mgmt", "del default")
    scst.del_device("shared")
    sh("modprobe", "-r", "scst_vdisk", "scst")
    return 0


if __name__ == "__main__":
    sys.exit(main())
