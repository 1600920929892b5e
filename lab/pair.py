# SPDX-License-Identifier: GPL-2.0
"""Several machines at a time, joined by network cables."""

from __future__ import annotations

import concurrent.futures
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Optional

from . import paths, proc, vm

OnLine = Callable[[str], bool]


class Cable:
    """A cable between two machines. Each end is a network card of its machine; frames to an end that is gone are lost."""

    def __init__(self, name: str, number: int = 0) -> None:
        """The NUMBER tells the cables of one machine apart: its card there has the address 02:00:00:00:SIDE:NUMBER+1."""
        self._name, self._number = name, number

    def _socket(self, side: int) -> Path:
        return paths.BUILD / "vm" / f"{self._name}-{self._number}-{side}"

    def end(self, side: int) -> list[str]:
        """QEMU's options for the machine at SIDE 0 or 1."""
        name = f"cable{self._number}"
        here, there = self._socket(side), self._socket(1 - side)
        here.parent.mkdir(parents=True, exist_ok=True)
        here.unlink(missing_ok=True)
        return ["-netdev", f"dgram,id={name},local.type=unix,local.path={here},remote.type=unix,remote.path={there}",
                "-device", f"virtio-net-pci,netdev={name},mac=02:00:00:00:{side:02x}:{self._number + 1:02x},romfile="]


def run(machines: Sequence[tuple[vm.Machine, Optional[OnLine]]],
        after: Callable[[int], object] = lambda number: None) -> list[vm.Result]:
    """Run machines side by side until all have ended; what each of them prints goes to its own function.

    A machine whose function returns true is killed, and the others run on. AFTER gets the number of each that has ended.
    """
    def one(number: int) -> tuple[vm.Result, float]:
        machine, on_line = machines[number]
        before = proc.spent()
        try:
            result = machine.run(on_line)
        finally:
            after(number)
        return result, proc.spent() - before

    with concurrent.futures.ThreadPoolExecutor(len(machines)) as pool, proc.ending_all():
        ended = list(pool.map(one, range(len(machines))))
    proc.charge(sum(seconds for _, seconds in ended))
    return [result for result, _ in ended]


def tell(machine: vm.Machine, word: str) -> None:
    """Say something to the job of a machine: it finds a file of that name in /lab/share."""
    (machine.share / word).touch()
