# SPDX-License-Identifier: GPL-2.0
"""`make run`: disks of every kind over SRP and on the local target, data checked through them, figures beside the peers, FC among them."""

from __future__ import annotations

import concurrent.futures
from pathlib import Path
from typing import Optional

from bench import figures

from . import apart, paths, proc, vm
from .errors import LabError
from .progress import say, step

_JOB = paths.REPO / "lab" / "guest" / "demo.sh"


def _ios(stack: figures.Stack) -> int:
    """I/Os a job: what takes more instructions needs fewer, as fio counts in milliseconds and so rounds by a per cent.

    Over Fibre Channel each is a dozen round trips between two processes of the host, and nothing is rounded.
    """
    if stack.network == "srp":
        return 1500 if stack.handler == "nullio" else 1000
    if stack.network:
        return 500
    return 4000 if stack.handler in ("fileio", "blockio") else 7500


def _loads(stack: figures.Stack) -> list[figures.Load]:
    """What is measured of a stack; what an I/O costs over Fibre Channel is known only where many share an interrupt."""
    return [load for load in figures.loads(_ios(stack)) if stack.network != "fc" or load.iodepth > 1]


def _attach_and_verify(modules: Path) -> None:
    disk = vm.Drive("data", paths.BUILD / "disks" / "run-data.img", 256)
    config = vm.Config(modules=modules, drives=[disk], extra=[paths.REPO / "bench" / "guest"])
    with step("run", "a nullio, a fileio and a blockio disk over SRP and on the local target, verifying data", 60):
        result = vm.run("run", _JOB, config)
    say(result.output.rstrip())
    if not result.ok:
        raise LabError(f"run: {result.problem()}")


def _measure(network: str, stacks: list[figures.Stack], modules: Optional[Path]) -> list[dict[str, object]]:
    """The figures of the stacks over NETWORK. The Fibre Channel machine takes longest and is first to get a processor."""
    if network != "fc":
        proc.yield_processor()
    return figures.measure_each([(stack, load) for stack in stacks if stack.network == network for load in _loads(stack)], modules,
                                "run-figures")


def _apart(modules: Path) -> None:
    with step("run", "the README's chapter on SRP, typed on two machines", 60):
        report = apart.run(modules)
    say("SRP between two machines")
    say(report.text())
    if report.problem:
        raise LabError(f"run: {report.problem}")


def run(modules: Optional[Path]) -> int:
    """The whole of `make run`."""
    stacks = [*figures.present(modules, every=True), *figures.SRP_PEERS, *figures.FC_PEERS, *figures.PEERS]
    stacks.sort(key=lambda stack: not stack.network)
    networks = list(dict.fromkeys(stack.network for stack in stacks))
    # A thread each, as one that has yielded the processor cannot take that back.
    with concurrent.futures.ThreadPoolExecutor(len(networks)) as pool, proc.ending_all():
        # Side by side: where instructions are counted, the host's load does not show.
        measured = [pool.submit(_measure, network, stacks, modules) for network in networks]
        if modules and figures.have_ours(modules, "ib_srpt") and figures.have_ours(modules):
            _attach_and_verify(modules)
            _apart(modules)
        else:
            say("[run] our modules are not in this clone's build: the peers only")
        records = [record for one in measured for record in one.result()]
    say("\n" + figures.table(records))
    say(f"\nrecords: {figures.save(records, 'run.json')}")
    return 0
