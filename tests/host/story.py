# SPDX-License-Identifier: GPL-2.0
"""Several machines that are asked, step by step, and what came of it as KTAP."""

from __future__ import annotations

import concurrent.futures
from collections.abc import Callable, Sequence

from lab import pair
from lab.errors import LabError


class Machines:
    """Machines that run side by side, each with a job that is asked."""

    all: Sequence[pair.Asked] = ()

    def __init__(self) -> None:
        self._dead: list[pair.Asked] = []

    def kill(self, machine: pair.Asked) -> None:
        """Kill a machine as a power cut does."""
        machine.ask("die")
        self._dead.append(machine)

    def end(self) -> str:
        """All that still runs ends by itself; the last of `all` first lets go of what the others have."""
        self.all[-1].ask("leave", 100)
        for machine in self.all:
            if machine not in self._dead:
                machine.ask("end", 100)
        return ""

    def _run(self, story: Callable[[], None]) -> None:
        machines = [(each.machine, each.on_line) for each in self.all]
        with concurrent.futures.ThreadPoolExecutor(1) as pool:
            told = pool.submit(story)
            results = pair.run(machines, after=lambda number: self.all[number].ended())
            told.result()
        for each, result in zip(self.all, results):
            if not result.ok and not result.killed:
                print(f"# {each.name}: " + result.problem().replace("\n", "\n# "), flush=True)
                raise LabError(f"{each.name} did not end well")

    def tell(self, steps: Sequence[tuple[str, Callable[[], str]]]) -> int:
        """Go through the steps, each with what it shows, beside the machines; the exit status."""
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
                for machine in self.all:
                    machine.give_up()

        try:
            self._run(story)
            verdict = "ok"
        except LabError as error:
            print(f"# {error}", flush=True)
            failed, verdict = True, "not ok"
        print(f"{verdict} {len(steps) + 1} - the machines end, and their kernels have nothing to say", flush=True)
        return int(failed)


def skip(why: str) -> int:
    """The whole test cannot be made; the exit status."""
    print(f"KTAP version 1\n1..1\nok 1 - the machines # SKIP {why}", flush=True)
    return 0
