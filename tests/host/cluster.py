#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
# lab: soak=only
"""Two nodes of a Pacemaker cluster with the resource agent of packaging/ocf, and an initiator with the stock multipathd."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Optional

from bench import figures
from lab import guest, kernel, pair, paths, vm, vmtests

_HERE = Path(__file__).resolve().parent
_MOVES = 4


class Cluster:
    """Three machines, and what is asked of them."""

    def __init__(self, modules: Path) -> None:
        image = paths.BUILD / "disks/cluster-shared.img"
        image.unlink(missing_ok=True)
        disk = vm.Drive("shared", image, 64, shared=True)
        # Of the initiator to each node, and between these.
        cables = [pair.Cable("cluster", number) for number in (0, 1, 2)]
        extra = [_HERE / "ha_guest", _HERE / "cluster_guest", vmtests.scripts(), paths.REPO / "packaging",
                 paths.REPO / "README.md"]

        def node(number: int) -> pair.Asked:
            config = vm.Config(cpus=1, modules=modules, drives=[disk], extra=extra, timeout=3000,
                               userland=guest.cluster_userland(),
                               qemu=[*cables[number - 1].end(0), *cables[2].end(number - 1)])
            job = f"#!/bin/bash\nexec /lab/cluster_guest/node.py {number}\n"
            return pair.Asked(f"node {number}", vm.Machine(f"cluster-node{number}", job, config))

        self.nodes = {number: node(number) for number in (1, 2)}
        config = vm.Config(cpus=1, qemu=[*cables[0].end(1), *cables[1].end(1)], extra=extra, timeout=3000,
                           append="net.ifnames=0")
        self.initiator = pair.Asked("initiator", vm.Machine(
            "cluster-initiator", "#!/bin/bash\nexec /lab/ha_guest/initiator.py\n", config))
        self._promoted = 0
        self._dead: Optional[pair.Asked] = None

    @property
    def all(self) -> list[pair.Asked]:
        """The machines."""
        return [self.nodes[1], self.nodes[2], self.initiator]

    def tester(self) -> str:
        """Before the cluster is there."""
        return "\n".join(self.nodes[number].ask("tester", 400) for number in (1, 2))

    def form(self) -> str:
        """A cluster that promotes one of its nodes."""
        for number in (1, 2):
            self.nodes[number].ask("join", 200)
        for number in (1, 2):
            self.nodes[number].ask("together", 300)
        self.nodes[1].ask("configure", 200)
        self._promoted = int(self.nodes[1].ask("roles", 300))
        return f"node {self._promoted} is promoted; {self._states()}"

    def _states(self) -> str:
        return "; ".join(f"node {number}: {self.nodes[number].ask('states')}" for number in (1, 2))

    def _served_by(self, number: int) -> str:
        """Wait for the roles and for I/O; how long both took."""
        roles = ["Promoted" if number == node else "Unpromoted" for node in (1, 2)]
        took = self.nodes[number].ask(f"roles {' '.join(roles)}", 300)
        self._promoted = number
        return f"{took}, I/O after {self.initiator.ask(f'through {number}', 200)} more"

    def log_in(self) -> str:
        """The initiator finds both nodes, and begins a verifying load."""
        guids = [self.nodes[number].ask("guid") for number in (1, 2)]
        found = self.initiator.ask(f"login {' '.join(guids)}", 300)
        self.initiator.ask("load")
        return f"{found}; {self._served_by(self._promoted)}"

    def moves(self) -> str:
        """The promoted role goes to and fro."""
        took = []
        for _ in range(_MOVES):
            other = 3 - self._promoted
            self.nodes[1].ask(f"move {other}", 200)
            took.append(self._served_by(other))
        return "\n".join([*took, self._states()])

    def rests(self) -> str:
        """The promoted node is taken out of service and comes back."""
        old, other = self._promoted, 3 - self._promoted
        self.nodes[other].ask(f"rest {old} on", 200)
        gone = self.nodes[other].ask("roles " + ("- Promoted" if other == 2 else "Promoted -"), 300)
        self.initiator.ask(f"through {other}", 200)
        self.nodes[other].ask(f"rest {old} off", 200)
        return f"promoted after {gone}, both again after {self._served_by(other)}"

    def death(self) -> str:
        """The promoted node's machine is killed."""
        old, other = self._promoted, 3 - self._promoted
        self.nodes[old].ask("die")
        self._dead = self.nodes[old]
        took = self.nodes[other].ask("roles " + ("- Promoted" if other == 2 else "Promoted -"), 300)
        more = self.initiator.ask(f"through {other}", 200)
        return f"promoted after {took}, I/O after {more} more; {self.initiator.ask('finish', 250)}"

    def end(self) -> str:
        """All that still runs leaves."""
        self.initiator.ask("leave", 100)
        for machine in self.all:
            if machine is not self._dead:
                if machine is not self.initiator:
                    machine.ask("leave", 400)
                machine.ask("end", 100)
        return ""


def main() -> int:
    """KTAP."""
    modules = kernel.build_modules(kernel.stock("7.2")) if kernel.have_modules() else None
    if modules is None or not figures.have_ours(modules, "ib_srpt"):
        print("KTAP version 1\n1..1\nok 1 - a cluster # SKIP no ib_srpt in this clone's build", flush=True)
        return 0
    guest.stock()
    cluster = Cluster(modules)
    return pair.tell_story(cluster.all, [
        ("ocf-tester passes the agent on both nodes", cluster.tester),
        ("the nodes form a cluster, and one of them is promoted", cluster.form),
        ("the initiator sees one disk through both, and I/O goes through the promoted one", cluster.log_in),
        (f"the promoted role is moved {_MOVES} times under a verifying load", cluster.moves),
        ("the promoted node goes out of service and comes back", cluster.rests),
        ("the promoted node's machine is killed, and the other one serves", cluster.death),
        ("everything is taken down", cluster.end)])


if __name__ == "__main__":
    sys.exit(main())
