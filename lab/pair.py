# SPDX-License-Identifier: GPL-2.0
"""Several machines at a time, joined by network cables."""

from __future__ import annotations

import concurrent.futures
import queue
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Optional

from . import paths, proc, vm
from .errors import LabError

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


class Asked:
    """A machine whose job does what it is asked to, one thing after the other (`asked.serve` of tests/vm)."""

    def __init__(self, name: str, machine: vm.Machine) -> None:
        self.name, self.machine = name, machine
        self._lines: "queue.SimpleQueue[str]" = queue.SimpleQueue()
        self._count = 0

    def on_line(self, line: str) -> bool:
        """A line of the job; true where it says that it is to be killed."""
        self._lines.put(line)
        return line.endswith(" kill me")

    def ended(self) -> None:
        """The machine has ended: nobody waits for it any more."""
        self._lines.put("ended")

    def ask(self, words: str, seconds: float = 200) -> str:
        """Have something done, and its answer; LabError if that fails or is not there in time."""
        self._put(words)
        while True:
            try:
                line = self._lines.get(timeout=seconds)
            except queue.Empty:
                raise LabError(f"{self.name}: {words}: no answer in {seconds:g} s") from None
            number, _, answer = line.partition(" ")
            if line == "ended":
                self._lines.put(line)
                raise LabError(f"{self.name}: {words}: the machine has stopped")
            if answer == "kill me":
                return ""
            if number == str(self._count):
                how, _, text = answer.partition(" ")
                if how != "ok":
                    raise LabError(f"{self.name}: {words}: {text}")
                return text

    def give_up(self) -> None:
        """Have it end, whenever it gets to that."""
        self._put("end")

    def _put(self, words: str) -> None:
        self._count += 1
        question = self.machine.share / f"ask.{self._count}"
        partial = question.with_suffix(".partial")
        partial.write_text(words)
        partial.rename(question)


def _run_all(machines: Sequence[Asked], story: Callable[[], None]) -> None:
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        told = pool.submit(story)
        results = run([(each.machine, each.on_line) for each in machines], lambda number: machines[number].ended())
        told.result()
    for each, result in zip(machines, results):
        if not result.ok and not result.killed:
            print(f"# {each.name}: " + result.problem().replace("\n", "\n# "), flush=True)
            raise LabError(f"{each.name} did not end well")


def tell_story(machines: Sequence[Asked], steps: Sequence[tuple[str, Callable[[], str]]]) -> int:
    """Run MACHINES, and STEPS one after the other as long as none fails, which the last of them makes end; KTAP.

    A step says what it has seen. The exit status.
    """
    print(f"KTAP version 1\n1..{len(steps) + 1}", flush=True)
    failed = False

    def story() -> None:
        nonlocal failed
        for number, (name, step) in enumerate(steps, 1):
            try:
                text = "" if failed else step()
                verdict = "not ok" if failed else "ok"
            except LabError as error:
                failed, verdict, text = True, "not ok", str(error)
            for line in text.splitlines():
                print(f"# {line}", flush=True)
            print(f"{verdict} {number} - {name}", flush=True)
        if failed:
            for machine in machines:
                machine.give_up()

    try:
        _run_all(machines, story)
        verdict = "ok"
    except LabError as error:
        print(f"# {error}", flush=True)
        failed, verdict = True, "not ok"
    print(f"{verdict} {len(steps) + 1} - the machines end, and their kernels have nothing to say", flush=True)
    return int(failed)
