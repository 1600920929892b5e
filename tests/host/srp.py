#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""SRP between two machines; the initiator's is killed under load, and the target has to notice and be removable."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Optional

from bench import figures
from lab import guest, kernel, pair, paths, vm

_GUEST = Path(__file__).resolve().parent / "srp_guest"
_CONFIG = {"extra": [_GUEST, paths.REPO / "tests" / "vm"], "timeout": 300}
_STEPS = ("login and fio --verify between two machines", "the initiator's machine is killed under load",
          "the loaded session ends by itself", "the idle one ends when told to, and the target unloads")


class Story:
    """What has happened so far, from the lines of both machines."""

    def __init__(self, name: str, modules: Optional[Path]) -> None:
        cable = pair.Cable(f"srp-{name}")
        self.target = vm.Machine(f"srp-{name}-target", f"#!/bin/bash\nexec /lab/srp_guest/target.py {name}\n",
                                 vm.Config(cpus=1, modules=modules, qemu=cable.end(0), **_CONFIG))
        self.initiator = vm.Machine(f"srp-{name}-initiator", "#!/bin/bash\nexec /lab/srp_guest/initiator.py\n",
                                    vm.Config(cpus=1, qemu=cable.end(1), **_CONFIG))
        self.reached: set[str] = set()

    def target_line(self, line: str) -> bool:
        """A line of the target."""
        if line == "ready":
            pair.tell(self.initiator, "go")
        if line.startswith("session gone"):
            self.reached.add(_STEPS[2])
        if line.startswith("unloaded"):
            self.reached.add(_STEPS[3])
        if not line.startswith("ready"):
            print(f"# target: {line}", flush=True)
        return False

    def initiator_line(self, line: str) -> bool:
        """A line of the initiator; true where it dies."""
        print(f"# initiator: {line}", flush=True)
        if line.startswith("verified"):
            self.reached.add(_STEPS[0])
        return line == "loaded"

    def run(self) -> set[str]:
        """Run both machines; the steps that were passed."""
        def killed(line: str) -> bool:
            if self.initiator_line(line):
                self.reached.add(_STEPS[1])
                return True
            return False

        results = pair.run([(self.target, self.target_line), (self.initiator, killed)],
                           after=lambda number: pair.tell(self.target, "killed") if number == 1 else None)
        if not results[0].ok:
            print("# " + results[0].problem().replace("\n", "\n# "), flush=True)
            self.reached.discard(_STEPS[3])
        if not results[1].killed:
            print("# " + results[1].problem().replace("\n", "\n# "), flush=True)
        return self.reached


def main() -> int:
    """KTAP; LIO's target where ours is not built, and in the long form."""
    modules = kernel.build_modules(kernel.stock("7.2")) if kernel.have_modules() else None
    ours = figures.have_ours(modules, "ib_srpt")
    guest.stock()
    names = [*(["ours"] if ours else []), *(["LIO"] if not ours or os.environ.get("LAB_LENGTH") == "long" else [])]
    print(f"KTAP version 1\n1..{len(names) * len(_STEPS) + (not ours)}", flush=True)
    number = failed = 0
    if not ours:
        number = 1
        print("ok 1 - ours # SKIP no ib_srpt in this clone's build", flush=True)
    for name in names:
        reached = Story(name, modules if name == "ours" else None).run()
        for step in _STEPS:
            number += 1
            # LIO's target does not tell of its sessions.
            skipped = " # SKIP not to be seen" if (name, step) == ("LIO", _STEPS[2]) else ""
            passed = step in reached or skipped
            failed += not passed
            print(f"{'ok' if passed else 'not ok'} {number} - {name}: {step}{skipped}", flush=True)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
