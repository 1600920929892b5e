#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
# lab: soak=only
"""Two Fibre Channel nodes that serve one disk, and an initiator with the stock multipathd.

The short form has one switch and a port each, the long one two switches and four ports each.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Optional

from bench import figures
from lab import fc, guest, kernel, pair, paths, vm, vmtests

_LONG = os.environ.get("LAB_LENGTH") == "long"
_GUEST = Path(__file__).resolve().parent / "ha_guest"
_SWITCHES = ("a", "b") if _LONG else ("a",)
_PORTS = 4 if _LONG else 1
_RELOADS = 3 if _LONG else 1
_MEM = "768M"


def _adapters() -> list[tuple[str, str]]:
    """The initiator's, node 1's, node 2's; each machine's take turns on the switches."""
    return [(f"hba{number}", _SWITCHES[number % _PORTS % len(_SWITCHES)]) for number in range(3 * _PORTS)]


class Cluster:
    """Three machines, and what is asked of them."""

    def __init__(self, fabric: fc.Fabric, modules: Path) -> None:
        image = paths.BUILD / "disks/fc-shared.img"
        image.unlink(missing_ok=True)
        disk = vm.Drive("shared", image, 64, shared=True)
        extra = [_GUEST, vmtests.scripts(), paths.REPO / "README.md"]
        timeout = 3600 if _LONG else 600

        def machine(name: str, which: int, job: str, **options: object) -> pair.Asked:
            slots = fabric.slots(*(f"hba{number}" for number in range(which * _PORTS, (which + 1) * _PORTS)))
            config = vm.Config(cpus=1, mem=_MEM, fc=slots, extra=extra, timeout=timeout, **options)  # type: ignore[arg-type]
            return pair.Asked(name, vm.Machine(f"fc-{name.replace(' ', '')}", f"#!/bin/bash\nexec /lab/ha_guest/{job}\n", config))

        self.nodes = {number: machine(f"node {number}", number, f"fc_node.py {number} {_PORTS}", modules=modules, drives=[disk])
                      for number in (1, 2)}
        # The kernel of the initiator warns so of disks that it is giving up when their port comes back.
        self.initiator = machine("initiator", 0, f"fc_initiator.py {_PORTS}",
                                 allow=[r"WARNING: .*scsi_device_block", "Call Trace:"])
        self._dead: Optional[pair.Asked] = None
        self.all = [self.nodes[1], self.nodes[2], self.initiator]

    def see_both(self) -> str:
        """The disk through all ports of both nodes; those of the active one are the better ones."""
        for number in (1, 2):
            self.nodes[number].ask("ready", 300)
        found = self.initiator.ask("login", 700)
        return found + ", seen after " + self.initiator.ask("follow active nonoptimized", 100)

    def prefers(self) -> str:
        """A verified load goes through the active node only."""
        self.initiator.ask("load")
        return "after " + self.initiator.ask("through 1", 100)

    def switch_lost(self) -> str:
        """One of two switches goes, and comes back."""
        self.initiator.ask("cut")
        took = self.initiator.ask("through 1", 150)
        self.initiator.ask("mend", 700)
        self.initiator.ask("follow active nonoptimized", 150)
        return f"I/O went on after {took}"

    def reloaded(self) -> str:
        """The drivers of each node are taken out and put in again, under I/O."""
        slowest = 0.0
        for _ in range(_RELOADS):
            for number in (2, 1):
                self.nodes[number].ask("leave", 200)
                slowest = max(slowest, float(self.initiator.ask(f"through {3 - number}", 150).split()[0]))
                self.nodes[number].ask("ready", 200)
                self.initiator.ask("again", 700)
                self.initiator.ask("follow active nonoptimized", 150)
            self.initiator.ask("through 1", 100)
        return f"{2 * _RELOADS} reloads, I/O went on after {slowest} s at most"

    def death(self) -> str:
        """The node that is preferred dies; the other takes over."""
        self.nodes[1].ask("die")
        self._dead = self.nodes[1]
        took = self.initiator.ask("through 2", 150)
        self.initiator.ask("follow dead nonoptimized", 100)
        return f"I/O went on after {took}; {self.initiator.ask('finish', 250)}"

    def end(self) -> str:
        """All that still runs ends by itself, the initiator first."""
        self.initiator.ask("leave", 100)
        for machine in reversed(self.all):
            if machine is not self._dead:
                machine.ask("end", 100)
        return ""

    def blocks(self) -> str:
        """Blocks of all sizes, verified for ten minutes."""
        return self.initiator.ask("blocks 600", 1500)


def _skip(why: str) -> int:
    print(f"KTAP version 1\n1..1\nok 1 - two nodes # SKIP {why}", flush=True)
    return 0


def main() -> int:
    """KTAP."""
    modules = kernel.build_modules(kernel.stock("7.2")) if kernel.have_modules() else None
    if modules is None or not figures.have_ours(modules, "qla2x00tgt"):
        return _skip("no qla2x00tgt in this clone's build")
    guest.stock()
    with fc.fabric("nodes", _adapters()) as fabric:
        cluster = Cluster(fabric, modules)
        steps = [("the initiator sees one disk through both nodes, by FC names", cluster.see_both),
                 ("multipathd prefers the active node", cluster.prefers),
                 ("qla2x00tgt and qla2xxx are reloaded under I/O", cluster.reloaded),
                 ("the preferred node's machine is killed under load, and the other one serves", cluster.death),
                 ("everything is taken down", cluster.end)]
        if _LONG:
            steps[1:1] = [("fio --verify with blocks of 4 KiB to 1 MiB", cluster.blocks)]
            steps[3:3] = [("one of two switches is lost and comes back", cluster.switch_lost)]
        return pair.tell_story(cluster.all, steps)


if __name__ == "__main__":
    sys.exit(main())
