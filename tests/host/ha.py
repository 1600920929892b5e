#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""Two nodes that serve one disk, and an initiator with the stock multipathd: it follows each change of states, and a node's death."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Optional

from bench import figures
from lab import guest, kernel, pair, paths, vm, vmtests
from lab.errors import LabError

_LONG = os.environ.get("LAB_LENGTH") == "long"
_GUEST = Path(__file__).resolve().parent / "ha_guest"
_FAIL_OVERS = 200 if _LONG else 4
_STATES = ("nonoptimized", "standby", "unavailable", "offline", "active") if _LONG else ("nonoptimized", "unavailable", "active")


class Cluster:
    """Three machines, and what is asked of them."""

    def __init__(self, modules: Path) -> None:
        image = paths.BUILD / "disks/ha-shared.img"
        image.unlink(missing_ok=True)
        disk = vm.Drive("shared", image, 64, shared=True)
        cables = [pair.Cable("ha", number) for number in (0, 1)]
        extra = [_GUEST, vmtests.scripts(), paths.REPO / "README.md"]
        timeout = 3600 if _LONG else 1500

        def node(number: int) -> pair.Asked:
            config = vm.Config(cpus=1, modules=modules, drives=[disk], qemu=cables[number - 1].end(0), extra=extra,
                               timeout=timeout)
            job = f"#!/bin/bash\nexec /lab/ha_guest/node.py {number}\n"
            return pair.Asked(f"node {number}", vm.Machine(f"ha-node{number}", job, config))

        self.nodes = {number: node(number) for number in (1, 2)}
        # The names of network cards are the kernel's, with udev too.
        config = vm.Config(cpus=1, qemu=[*cables[0].end(1), *cables[1].end(1)], extra=extra, timeout=timeout,
                           append="net.ifnames=0")
        self.initiator = pair.Asked("initiator", vm.Machine(
            "ha-initiator", "#!/bin/bash\nexec /lab/ha_guest/initiator.py\n", config))

        self._dead: Optional[pair.Asked] = None

    @property
    def all(self) -> list[pair.Asked]:
        """The machines."""
        return [self.nodes[1], self.nodes[2], self.initiator]

    def states(self, one: str, two: str) -> None:
        """Both nodes have the same view; who is to serve less hears it first."""
        order = (1, 2) if two == "active" else (2, 1)
        for number in order:
            local, remote = (one, two) if number == 1 else (two, one)
            self.nodes[number].ask(f"state {local} {remote}")

    def see_both(self) -> str:
        """Log in; the active node's path is the better one."""
        guids = [self.nodes[number].ask("guid", 300) for number in (1, 2)]
        found = self.initiator.ask(f"login {' '.join(guids)}", 300)
        return found + ", seen after " + self.initiator.ask("follow active standby")

    def follow(self) -> str:
        """The second node goes through the states."""
        took = []
        for state in _STATES:
            self.states("active", state)
            took.append(f"{state} after {self.initiator.ask(f'follow active {state}')}")
        self.states("active", "standby")
        self.initiator.ask("follow active standby")
        return ", ".join(took)

    def fail_over(self) -> str:
        """The disk goes to and fro under a verifying load."""
        self.initiator.ask("load")
        self.initiator.ask("through 1", 300)
        slowest = 0.0
        for number in range(_FAIL_OVERS):
            old, new = 1 + number % 2, 2 - number % 2
            # As a resource agent does: demote, tell the other, promote, tell the first.
            for state in ("transitioning", "standby"):
                self.nodes[old].ask(f"state {state} -")
                self.nodes[new].ask(f"state - {state}")
            if self.nodes[old].ask("medium") != "closed":
                raise LabError(f"node {old} still has the disk open")
            self.nodes[new].ask("state active -")
            self.nodes[old].ask("state - active")
            slowest = max(slowest, float(self.initiator.ask(f"through {new}", 300).split()[0]))
            if (number + 1) % 20 == 0:
                print(f"# {number + 1} fail-overs, the slowest {slowest} s", flush=True)
        return f"{_FAIL_OVERS} fail-overs, the slowest {slowest} s"

    def death(self) -> str:
        """The node that serves dies; the other takes over."""
        alive = 1 + _FAIL_OVERS % 2
        self.nodes[3 - alive].ask("state standby active")
        self.nodes[alive].ask("state active standby")
        self.initiator.ask(f"through {alive}", 300)
        self.nodes[alive].ask("die")
        self._dead = self.nodes[alive]
        self.nodes[3 - alive].ask("state active offline")
        took = self.initiator.ask(f"through {3 - alive}", 300)
        views = ["dead", "active"] if alive == 1 else ["active", "dead"]
        self.initiator.ask(f"follow {' '.join(views)}")
        return f"I/O went on after {took}; {self.initiator.ask('finish', 250)}"

    def end(self) -> str:
        """All that still runs ends by itself."""
        self.initiator.ask("leave")
        for machine in self.all:
            if machine is not self._dead:
                machine.ask("end")
        return ""


def main() -> int:
    """KTAP."""
    modules = kernel.build_modules(kernel.stock("7.2")) if kernel.have_modules() else None
    if modules is None or not figures.have_ours(modules, "ib_srpt"):
        print("KTAP version 1\n1..1\nok 1 - two nodes # SKIP no ib_srpt in this clone's build", flush=True)
        return 0
    guest.stock()
    cluster = Cluster(modules)
    steps = [("the initiator sees one disk through two nodes", cluster.see_both),
             ("multipathd follows every state", cluster.follow),
             (f"fio --verify survives {_FAIL_OVERS} fail-overs", cluster.fail_over),
             ("the active node's machine is killed, and the other one serves", cluster.death),
             ("everything is taken down", cluster.end)]
    return pair.tell_story(cluster.all, steps)


if __name__ == "__main__":
    sys.exit(main())
