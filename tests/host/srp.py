#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""SRP between two machines: the README's chapter is typed; then the initiator's is killed under load.

The target has to notice that, and be removable. In the long form LIO's target does the second part, too.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Optional

from bench import figures
from lab import apart, guest, kernel, pair, vm, vmtests

_TARGET, _INITIATOR = 0, 1
_EXTRA = (Path(__file__).resolve().parent / "srp_guest", vmtests.scripts())
_CHAPTER = "the README's chapter"
_STEPS = ("login and fio --verify between two machines", "the initiator's machine is killed under load",
          "the loaded session ends by itself", "the idle one ends when told to, and the target unloads")
# The card as it was before the chapter.
_AFRESH = """rmmod ib_srp || :
rdma link delete rxe0
ip addr flush dev eth0
ip link set eth0 address 02:00:00:00:0%d:01
"""


def _then(side: int, target: str) -> str:
    """What a machine does for the second part."""
    return "exec /lab/srp_guest/" + (f"target.py {target}" if side == _TARGET else "initiator.py")


class Ending:
    """The second part, as the machines tell it."""

    def __init__(self, machines: Sequence[vm.Machine]) -> None:
        self._machines = machines
        self.reached: set[str] = set()

    def line(self, side: int, line: str) -> bool:
        """A line that a machine has printed; true where the initiator's dies."""
        if line == "ready":
            pair.tell(self._machines[_INITIATOR], "go")
        else:
            print(f"# {('target', 'initiator')[side]}: {line}", flush=True)
        for step, beginning in zip(_STEPS, ("verified", "loaded", "session gone", "unloaded")):
            if line.startswith(beginning):
                self.reached.add(step)
        return (side, line) == (_INITIATOR, "loaded")

    def ended(self, side: int) -> None:
        """A machine has ended: if it is the initiator's, the target is told."""
        if side == _INITIATOR:
            pair.tell(self._machines[_TARGET], "killed")

    def judge(self, results: Sequence[vm.Result]) -> set[str]:
        """The steps that were passed."""
        for result, good in zip(results, (results[_TARGET].ok, results[_INITIATOR].killed)):
            if not good:
                print("# " + result.problem().replace("\n", "\n# "), flush=True)
        if not results[_TARGET].ok:
            self.reached.discard(_STEPS[3])
        return self.reached


class Ours(apart.Story):
    """Both parts, with our target."""

    def __init__(self, modules: Path) -> None:
        super().__init__(modules, [_AFRESH % side + _then(side, "ours") for side in (_TARGET, _INITIATOR)], _EXTRA)
        self.ending = Ending(self.machines)

    def further(self, side: int, line: str) -> bool:
        return self.ending.line(side, line)

    def ended(self, side: int) -> None:
        self.ending.ended(side)


def _chapter(report: apart.Report) -> bool:
    """Print what was typed, and whether it came out as the chapter says."""
    told = [line for name, line in report.lines if name == "target" and line.startswith("id_ext=")]
    given = [line.partition("=")[2] for _, line in report.lines if line.startswith("$ login=")]
    target = [line for name, line in report.lines if name == "target"]
    missing = [what for what, found in (
        ("the target tells what the initiator has to say", told == given and len(told) == 1),
        ("a disk of the initiator", any(re.search(r"disk +SCST_FIO disk01 .*/dev/sd", line) for _, line in report.lines)),
        ("fio's figure", any(re.search(r"read: IOPS=[1-9]", line) for _, line in report.lines)),
        ("a session called by the initiator's address", "192.168.5.2" in target and "live" in target)) if not found]
    print("# " + report.text().replace("\n", "\n# "), flush=True)
    for line in [*report.problem.splitlines(), *(f"missing: {what}" for what in missing)]:
        print(f"# {line}", flush=True)
    return not report.problem and not missing


def _ours(modules: Path) -> set[str]:
    if apart.wrong_form():
        print(f"# {apart.wrong_form()}", flush=True)
        return set()
    story = Ours(modules)
    results = story.run()
    reached = story.ending.judge(results)
    # What becomes of the machines afterwards is judged by the other steps.
    if _chapter(story.report((None, None))):
        reached.add(_CHAPTER)
    return reached


def _lio() -> set[str]:
    """The second part with LIO's target, which does not tell of its sessions."""
    cable = pair.Cable("srp-LIO")
    machines = [vm.Machine(f"srp-LIO-{name}", "#!/bin/bash\n" + _then(side, "LIO") + "\n",
                           vm.Config(cpus=1, qemu=cable.end(side), extra=_EXTRA))
                for side, name in enumerate(("target", "initiator"))]
    ending = Ending(machines)
    results = pair.run([(machine, lambda line, side=side: ending.line(side, line)) for side, machine in enumerate(machines)],
                       ending.ended)
    return ending.judge(results)


def _say(name: str, steps: Sequence[str], reached: set[str], number: int) -> bool:
    for count, step in enumerate(steps, number):
        print(f"{'ok' if step in reached else 'not ok'} {count} - {name}: {step}", flush=True)
    return set(steps) <= reached


def main() -> int:
    """KTAP; LIO's target where ours is not built, and in the long form."""
    modules: Optional[Path] = kernel.build_modules(kernel.stock("7.2")) if kernel.have_modules() else None
    guest.stock()
    ours = (_CHAPTER, *_STEPS)
    lio = tuple(step for step in _STEPS if step != _STEPS[2])
    if modules is None or not figures.have_ours(modules, "ib_srpt"):
        print(f"KTAP version 1\n1..{1 + len(lio)}\nok 1 - ours # SKIP no ib_srpt in this clone's build", flush=True)
        return 0 if _say("LIO", lio, _lio(), 2) else 1
    long = os.environ.get("LAB_LENGTH") == "long"
    print(f"KTAP version 1\n1..{len(ours) + len(lio) * long}", flush=True)
    good = _say("ours", ours, _ours(modules), 1)
    if long:
        good &= _say("LIO", lio, _lio(), 1 + len(ours))
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
