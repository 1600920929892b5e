# SPDX-License-Identifier: GPL-2.0
"""Measure stacks in the virtual machine, where one guest instruction takes one nanosecond."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Optional

from lab import fc, kernel, paths, vm
from lab.errors import LabError
from lab.progress import step

from . import profile

_GUEST = paths.REPO / "bench" / "guest"
# TCG has no speculation to mitigate. Pressure accounting costs every wake-up: shared/baseline is reproduced without it on
# the local stacks and with it on SRP (LIO at queue depth 1: 128,700 with, 122,700 without, 127,800 there).
_APPEND = {"srp": "mitigations=off", "fc": "mitigations=off psi=0", "": "mitigations=off psi=0"}
# Adapters are in another process, whose time is not the guest's: with -icount the clock of a guest that waits for one leaps to its
# next timer (loading qla2xxx takes 100 s of such time), so fio's rate would be anything but instructions. There the plugin counts
# them, and time is the host's. The processor is that of -icount.
_MODEL = ("-cpu", "Skylake-Server,-erms")
# Such an I/O is a dozen round trips between processes, so there are fewer.
_FC_IOS = 3000


@dataclasses.dataclass(frozen=True)
class Load:
    """What fio does."""

    rw: str
    block_size: str
    iodepth: int
    count: int


@dataclasses.dataclass(frozen=True)
class Stack:
    """What fio does it to."""

    stack: str
    handler: str = "-"
    transport: str = "-"

    def label(self) -> str:
        """For the table."""
        return {"ours": "SCST (ours)", "lio": "LIO"}.get(self.stack, self.stack)

    @property
    def network(self) -> str:
        """`srp`, `fc` where initiator and target talk through a network, and so are measured in a boot of their own."""
        return self.transport if self.transport in ("srp", "fc") else ""

    @property
    def setup(self) -> str:
        """The function of guest/stacks.sh that makes it, less its prefix."""
        return f"{self.stack}_{self.network}" if self.network else self.stack


PEERS = (Stack("lio", "nullio", "tcm_loop"), Stack("scsi_debug", "fake_rw"), Stack("null_blk"))
SRP_PEERS = (Stack("lio", "nullio", "srp"),)
OURS = (Stack("ours", "nullio", "scst_local"),)
OURS_ALL = (*OURS, Stack("ours", "fileio", "scst_local"), Stack("ours", "blockio", "scst_local"))
SRP = (Stack("ours", "nullio", "srp"),)
SRP_ALL = (*SRP, Stack("ours", "fileio", "srp"), Stack("ours", "blockio", "srp"))
FC = (Stack("ours", "nullio", "fc"),)
FC_ALL = (*FC, Stack("ours", "fileio", "fc"), Stack("ours", "blockio", "fc"))
FC_PEERS = (Stack("lio", "nullio", "fc"),)
OUR_MODULES = ("scst", "scst_vdisk", "scst_local", "ib_srpt", "qla2x00tgt")


def loads(count: int, sequential: int = 0) -> list[Load]:
    """4 KiB random at queue depths 1 and 32, and 1 MiB sequential if SEQUENTIAL is not 0."""
    random = [Load(rw, "4k", depth, count) for rw in ("randread", "randwrite") for depth in (1, 32)]
    return random + [Load(rw, "1m", 8, sequential) for rw in ("read", "write") if sequential]


def _plan(stacks: Iterable[Stack], jobs: Iterable[Load]) -> list[tuple[Stack, Load]]:
    return [(stack, load) for stack in stacks for load in jobs]


def _line(stack: Stack, load: Load, count: int) -> str:
    return f"{stack.setup} {stack.handler} {load.rw} {load.block_size} {load.iodepth} {count}\n"


def have_ours(modules: Optional[Path], driver: str = "scst_local") -> bool:
    """Whether a module build holds what our stack with a target driver needs."""
    names = {path.stem for path in kernel.modules_in(modules)} if modules else set()
    return {"scst", "scst_vdisk", driver} <= names


def present(modules: Optional[Path], every: bool = False) -> list[Stack]:
    """Our stacks that a module build has; EVERY handler or nullio only."""
    found: list[Stack] = []
    for driver, some, all_ in (("scst_local", OURS, OURS_ALL), ("ib_srpt", SRP, SRP_ALL), ("qla2x00tgt", FC, FC_ALL)):
        if have_ours(modules, driver):
            found += all_ if every else some
    return found


def record(stack: Stack, load: Load, fio: Path) -> dict[str, object]:
    """One figure, from fio's JSON. Guest time is instructions, so it gives both rate and cost."""
    text = fio.read_text()
    # fio says around it what commands it has run.
    job = json.JSONDecoder().raw_decode(text, text.index("{"))[0]["jobs"][0]
    side = job["read" if "read" in load.rw else "write"]
    size = int(load.block_size[:-1]) << {"k": 10, "m": 20}[load.block_size[-1]]
    return {"stack": stack.stack, "transport": stack.transport, "handler": stack.handler, "rw": load.rw,
            "block_size": size, "iodepth": load.iodepth, "iops": round(side["iops"], 1),
            "insns_per_io": round(side["runtime"] * 1e6 / side["total_ios"])}


def _boot(name: str, network: str, text: str, modules: Optional[Path], **more: object) -> vm.Result:
    place = paths.BUILD / "bench"
    place.mkdir(parents=True, exist_ok=True)
    # Several boots may be under way, and the guest finds it under its own name.
    plan = place / name / "plan"
    plan.parent.mkdir(exist_ok=True)
    plan.write_text(text)
    counted = network != "fc"
    with fc.attached(name, 0 if counted else 2) as slots:
        config = vm.Config(icount=counted, cpus=1, mem="2G", extra=[_GUEST, plan, *more.pop("extra", ())],
                           modules=modules, append=_APPEND[network] + str(more.pop("append", "")), timeout=1500,
                           fc=slots, qemu=[*(() if counted else _MODEL), *more.pop("qemu", ())],
                           **more)  # type: ignore[arg-type]
        return vm.run(name, "#!/bin/bash\nexec /lab/guest/measure.sh /lab/plan\n", config)


def _boots(plan: Sequence[tuple[Stack, Load]]) -> Iterable[tuple[str, list[tuple[Stack, Load]]]]:
    """The plan by the boots that there are."""
    for network in dict.fromkeys(stack.network for stack, _ in plan):
        yield network, [(stack, load) for stack, load in plan if stack.network == network]


def measure(stacks: Sequence[Stack], jobs: Sequence[Load], modules: Optional[Path],
            name: str = "bench") -> list[dict[str, object]]:
    """Records of every load on every stack, as of `measure_each`."""
    return measure_each(_plan(stacks, jobs), modules, name)


def measure_each(whole: Sequence[tuple[Stack, Load]], modules: Optional[Path], name: str = "bench") -> list[dict[str, object]]:
    """Records of loads, each on its stack; a boot for the local stacks and one for those over a network."""
    records = []
    for network, plan in _boots(whole):
        if network == "fc":
            small = [(stack, load) for stack, load in plan if load.block_size == "4k"]
            count = min([_FC_IOS, *(load.count for _, load in small)])
            records += [one.record for one in _profiles(small, modules, count // 3, count, name)]
            continue
        each = 15 if network else 2
        with step("bench", f"{len(plan)} fio jobs{' over ' * bool(network)}{network}, counting instructions",
                  10 + each * len(plan)):
            result = _boot(f"{name}-{network}" if network else name, network,
                           "".join(_line(stack, load, load.count) for stack, load in plan), modules)
        if not result.ok:
            raise LabError(f"bench: {result.problem()}\n{result.output}")
        records += [record(stack, load, _fio_of(result, stack, load)) for stack, load in plan]
    return records


def _fio_of(result: vm.Result, stack: Stack, load: Load) -> Path:
    return result.share / "fio" / f"{stack.setup}.{stack.handler}.{load.rw}.{load.block_size}.{load.iodepth}.json"


@dataclasses.dataclass(frozen=True)
class Profiled:
    """A load on a stack: what it cost, and where."""

    stack: Stack
    load: Load
    record: dict[str, object]
    profile: profile.Profile

    def ours(self) -> float:
        """Instructions per I/O in our own modules."""
        return sum(self.profile.by_module.get(name, 0) for name in OUR_MODULES)

    def text(self) -> str:
        """For a person."""
        return (f"{self.stack.label()} {self.stack.transport} {self.stack.handler} {self.load.rw} {self.load.block_size} "
                f"QD {self.load.iodepth}: {self.profile.total:,.0f} instructions per I/O\n{self.profile.text()}\n")


def profiles(stacks: Sequence[Stack], jobs: Sequence[Load], modules: Optional[Path], short: int = 3000,
             extra: int = 10000, name: str = "profile") -> list[Profiled]:
    """Where the instructions go: each load with SHORT I/Os and with EXTRA more, and the difference of the two."""
    return _profiles(_plan(stacks, jobs), modules, short, extra, name)


def _profiles(whole: Sequence[tuple[Stack, Load]], modules: Optional[Path], short: int, extra: int, name: str) -> list[Profiled]:
    found = []
    for network, plan in _boots(whole):
        plugin, mark = profile.build(profile.API_FC if network == "fc" else profile.API)
        boot = f"{name}-{network}" if network else name
        dumps = paths.BUILD / "bench" / f"dump-{boot}"
        for old in dumps.parent.glob(f"{dumps.name}.*"):
            old.unlink()
        text = "".join(_line(stack, load, count) for stack, load in plan for count in (short, short + extra))
        seconds = 10 + {"srp": 25, "fc": 10}.get(network, 5) * len(plan)
        with step("bench", f"profiling {len(plan)} fio jobs{' over ' * bool(network)}{network}", seconds):
            result = _boot(boot, network, text, modules, extra=[mark],
                           append=" nokaslr", qemu=["-plugin", f"file={plugin},out={dumps}"])
        if not result.ok:
            raise LabError(f"profile: {result.problem()}\n{result.output}")
        for number, (stack, load) in enumerate(plan):
            symbols = profile.Symbols((result.share / f"kallsyms.{stack.setup}.{stack.handler}").read_text())
            costs = profile.difference(Path(f"{dumps}.{2 * number}"), Path(f"{dumps}.{2 * number + 1}"), extra, symbols)
            figure = record(stack, load, _fio_of(result, stack, load))
            if network == "fc":
                figure["insns_per_io"], figure["iops"] = round(costs.total), round(1e9 / costs.total, 1)
            found.append(Profiled(stack, load, figure, costs))
    return found


def table(records: Sequence[dict[str, object]]) -> str:
    """Instructions per I/O, a row a stack; the rate in brackets is at one instruction a nanosecond."""
    columns = list(dict.fromkeys((r["rw"], r["block_size"], r["iodepth"]) for r in records))
    rows = list(dict.fromkeys((r["stack"], r["transport"], r["handler"]) for r in records))
    cells = {(r["stack"], r["transport"], r["handler"], r["rw"], r["block_size"], r["iodepth"]): r for r in records}
    heads = [f"{rw} {_size(size)} QD{depth}" for rw, size, depth in columns]
    lines = ["guest instructions per I/O (I/Os per second at 1 instruction = 1 ns)",
             f"{'':34}" + "".join(f"{head:>21}" for head in heads)]
    for row in rows:
        stack = Stack(str(row[0]), str(row[2]), str(row[1]))
        name = " ".join(part for part in (stack.label(), stack.transport, stack.handler) if part != "-")
        text = f"{name:34}"
        for column in columns:
            cell = cells.get((*row, *column))
            text += f"{'-':>21}" if cell is None else f"{_cell(cell):>21}"
        lines.append(text)
    return "\n".join(lines)


def _cell(record_: dict[str, object]) -> str:
    return f"{record_['insns_per_io']:,} ({record_['iops']:,.0f})"


def _size(size: object) -> str:
    number = int(str(size))
    return f"{number >> 20}M" if number >= 1 << 20 else f"{number >> 10}k"


def save(records: Sequence[dict[str, object]], name: str) -> Path:
    """Write build/NAME."""
    path = paths.BUILD / name
    path.write_text(json.dumps(list(records), indent=1) + "\n")
    return path
