# SPDX-License-Identifier: GPL-2.0
"""`make run`: disks of every kind on the local target, data checked through them, figures beside the peers."""

from __future__ import annotations

from pathlib import Path
from typing import Optional

from bench import figures

from . import paths, vm
from .errors import LabError
from .progress import say, step

_JOB = paths.REPO / "lab" / "guest" / "demo.sh"


def _attach_and_verify(modules: Path) -> None:
    disk = vm.Drive("data", paths.BUILD / "disks" / "run-data.img", 256)
    config = vm.Config(modules=modules, drives=[disk], extra=[paths.REPO / "bench" / "guest"])
    with step("run", "booting, attaching a nullio, a fileio and a blockio disk, verifying data", 25):
        result = vm.run("run", _JOB, config)
    say(result.output.rstrip())
    if not result.ok:
        raise LabError(f"run: {result.problem()}")


def run(modules: Optional[Path]) -> int:
    """The whole of `make run`."""
    ours = figures.have_ours(modules)
    if ours:
        assert modules is not None
        _attach_and_verify(modules)
    else:
        say("[run] our modules are not in this clone's build: the peers only")
    jobs = figures.loads(10000)
    stacks = [*figures.present(modules, every=True), *figures.PEERS, *figures.SRP_PEERS]
    records = figures.measure(stacks, jobs, modules, "run-figures")
    say("\n" + figures.table(records))
    say(f"\nrecords: {figures.save(records, 'run.json')}")
    return 0
