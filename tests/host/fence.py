#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
# lab: soak=only
"""Fencing as fence_mpath does it: two hosts, each with the stock multipathd, shut one another out by PREEMPT AND ABORT under load."""

from __future__ import annotations

import sys
from pathlib import Path

from bench import figures
from lab import guest, kernel, pair, vm, vmtests

_HERE = Path(__file__).resolve().parent
_ROUNDS = 2
_PATHS = 2
"""Cables of each host to the target."""


class Cluster:
    """Three machines, and what is asked of them."""

    def __init__(self, modules: Path) -> None:
        cables = [pair.Cable("fence", number) for number in range(2 * _PATHS)]
        extra = [_HERE / "ha_guest", _HERE / "fence_guest", vmtests.scripts()]
        timeout = 1500

        def machine(name: str, job: str, qemu: list[str], **options: object) -> pair.Asked:
            config = vm.Config(cpus=1, qemu=qemu, extra=extra, timeout=timeout, **options)  # type: ignore[arg-type]
            return pair.Asked(name, vm.Machine(f"fence-{name.replace(' ', '')}", f"#!/bin/bash\nexec /lab/fence_guest/{job}\n", config))

        self.target = machine("target", "target.py", [word for cable in cables for word in cable.end(0)], modules=modules)
        # The names of network cards are the kernel's, with udev too.
        self.hosts = {number: machine(f"host {number}", f"host.py {number}",
                                      [word for cable in cables[(number - 1) * _PATHS:number * _PATHS] for word in cable.end(1)],
                                      append="net.ifnames=0") for number in (1, 2)}
        self.all = [self.target, *self.hosts.values()]

    def see(self) -> str:
        """Both find the disk."""
        self.target.ask("ready", 300)
        return "\n".join(f"{host.name}: {host.ask('login', 300)}" for host in self.hosts.values())

    def register(self) -> str:
        """Both register, and the first one reserves."""
        for host in self.hosts.values():
            host.ask("register", 100)
        self.hosts[1].ask("reserve", 100)
        for host in self.hosts.values():
            host.ask("begin", 200)
        return self.hosts[2].ask("keys 1 1 2 2", 100)

    def _fence(self, winner: int) -> str:
        """One host fences the other, which goes on trying; then the other comes back."""
        first, second = self.hosts[winner], self.hosts[3 - winner]
        # One of its paths answers no more: what goes that way is under way when the fence comes.
        held = (3 - winner - 1) * _PATHS
        self.target.ask(f"hold {held}", 100)
        took = first.ask("fence", 200)
        second.ask("refused", 200)
        first.ask("unchanged", 100)
        self.target.ask(f"release {held}", 100)
        second.ask("refused", 200)
        first.ask("unchanged", 100)
        first.ask("goes_on", 100)
        first.ask(f"keys {winner} {winner}", 100)
        said = second.ask("ended", 300)
        first.ask("unchanged", 100)
        # Its paths come and go, and no daemon registers it again.
        second.ask("paths_return", 100)
        first.ask(f"keys {winner} {winner}", 100)
        second.ask("refused", 100)
        second.ask("stop", 100)
        second.ask("register", 100)
        second.ask("begin", 200)
        first.ask("keys 1 1 2 2", 100)
        return f"host {winner} fenced in {took}; {said}"

    def fences(self) -> str:
        """They take turns: each time who holds the reservation is shut out, but for the first."""
        return "\n".join(self._fence(1 + number % 2) for number in range(_ROUNDS))

    def verified(self) -> str:
        """What was written since then is there."""
        for host in self.hosts.values():
            host.ask("goes_on", 100)
        return "\n".join(f"{host.name}: {host.ask('finish', 300)}" for host in self.hosts.values())

    def end(self) -> str:
        """All end by themselves, the target last."""
        for host in self.hosts.values():
            host.ask("leave", 150)
        for machine in reversed(self.all):
            machine.ask("end", 100)
        return ""


def main() -> int:
    """KTAP."""
    modules = kernel.build_modules(kernel.stock("7.2")) if kernel.have_modules() else None
    if modules is None or not figures.have_ours(modules, "ib_srpt"):
        print("KTAP version 1\n1..1\nok 1 - two hosts # SKIP no ib_srpt in this clone's build", flush=True)
        return 0
    guest.stock()
    cluster = Cluster(modules)
    return pair.tell_story(cluster.all, [
        ("two hosts have a disk by two paths each, as their multipathd sees it", cluster.see),
        ("both register by mpathpersist, and one of them reserves", cluster.register),
        (f"{_ROUNDS} times one fences the other under load: no write of it is executed afterwards, and the load of who holds goes on",
         cluster.fences),
        ("what both have written last is read back and compared", cluster.verified),
        ("everything is taken down", cluster.end)])


if __name__ == "__main__":
    sys.exit(main())
