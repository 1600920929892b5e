#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""One of two nodes that serve a disk they share: node.py NUMBER.

Its target group is `local`, the other node's `remote`, as a resource agent finds them. Node 1 begins as the active one.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

sys.path.insert(0, "/lab/vm")

# pylint: disable=wrong-import-position
import asked
import scst
import srp
import srp_target
from lib import sh

_GROUP = scst.GROUPS / "esos"
_STATES = {1: ("active", "standby"), 2: ("standby", "active")}


class _Card(srp.Card):
    """The only card of this machine, on the second node too."""

    @property
    def netdev(self) -> str:
        return "eth0"


def _state(local: str, remote: str) -> str:
    """Set both states, and how long that took; `-` leaves one as it is."""
    start = time.monotonic()
    for name, state in (("local", local), ("remote", remote)):
        if state != "-":
            scst.put(_GROUP / f"target_groups/{name}/state", state)
    return f"{(time.monotonic() - start) * 1000:.0f} ms"


def _medium() -> str:
    return "open" if scst.get(scst.DEVICES / "shared/active") == "1" else "closed"


def guid(link: srp.Link) -> str:
    """What initiators have to say to log in."""
    return Path(f"/sys/class/infiniband/{link.device}/node_guid").read_text().strip().replace(":", "")


def set_up(number: int, local: str, remote: str) -> tuple[srp_target.Ours, srp.Link]:
    """The target of node NUMBER, not enabled yet, with the disk as LUN 0, and the states of its groups."""
    sh("modprobe", "-a", "rdma_rxe")
    link = _Card(initiator=False, number=number - 1)
    link.up()
    target = srp_target.Ours()
    target.load()
    Path("/sys/module/scst/parameters/alua_invariant_check").write_text("Y")
    scst.put(target.port(link) / "rel_tgt_id", str(number))
    # Only one of them can have it open: what is not served is closed, and so it begins.
    scst.add_device("vdisk_blockio", "shared",
                    f"filename=/dev/disk/lab/shared; t10_dev_id=shared; active={int(local == 'active')}")
    scst.put(scst.DEVICES / "shared/usn", "shared")
    scst.add_device_group("esos", ("shared",))
    for name, who, state in (("local", number, local), ("remote", 3 - number, remote)):
        member = link.gid if name == "local" else "peer"
        scst.add_target_group("esos", name, who, state, (member,))
    scst.put(_GROUP / "target_groups/remote/peer/rel_tgt_id", str(3 - number))
    scst.add_lun("shared", 0, target.port(link) / "luns")
    return target, link


def main() -> int:
    """Serve until told to end."""
    number = int(sys.argv[1])
    target, link = set_up(number, *_STATES[number])
    target.enable(link)
    asked.serve({"state": _state, "medium": _medium, "guid": lambda: guid(link)}, 900)
    target.unload()
    return 0


if __name__ == "__main__":
    sys.exit(main())
