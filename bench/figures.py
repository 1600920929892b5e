# SPDX-License-Identifier: GPL-2.0
"""Measure stacks in the virtual machine, where one guest instruction takes one nanosecond."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Optional

from lab import kernel, paths, vm
from lab.errors import LabError
from lab.progress import step

from . import profile

_GUEST = paths.REPO / "bench" / "guest"
# TCG has no speculation to mitigate, and pressure accounting costs every wake-up; both were off in shared/baseline.
_APPEND = "mitigations=off psi=0"


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


PEERS = (Stack("lio", "nullio", "tcm_loop"), Stack("scsi_debug", "fake_rw"), Stack("null_blk"))
OURS = (Stack("ours", "nullio", "scst_local"),)
OURS_ALL = (*OURS, Stack("ours", "fileio", "scst_local"), Stack("ours", "blockio", "scst_local"))


def loads(count: int, sequential: int = 0) -> list[Load]:
    """4 KiB random at queue depths 1 and 32, and 1 MiB sequential if SEQUENTIAL is not 0."""
    random = [Load(rw, "4k", depth, count) for rw in ("randread", "randwrite") for depth in (1, 32)]
    return random + [Load(rw, "1m", 8, sequential) for rw in ("read", "write") if sequential]


def _plan(stacks: Iterable[Stack], jobs: Iterable[Load]) -> list[tuple[Stack, Load]]:
    return [(stack, load) for stack in stacks for load in jobs]


def _line(stack: Stack, load: Load, count: int) -> str:
    return f"{stack.stack} {stack.handler} {load.rw} {load.block_size} {load.iodepth} {count}\n"


def have_ours(modules: Optional[Path]) -> bool:
    """Whether a module build holds what the local stack needs."""
    names = {path.stem for path in kernel.modules_in(modules)} if modules else set()
    return {"scst", "scst_vdisk", "scst_local"} <= names


def record(stack: Stack, load: Load, fio: Path) -> dict[str, object]:
    """One figure, from fio's JSON. Guest time is instructions, so it gives both rate and cost."""
    text = fio.read_text()
    job = json.loads(text[text.index("{"):])["jobs"][0]
    side = job["read" if "read" in load.rw else "write"]
    size = int(load.block_size[:-1]) << {"k": 10, "m": 20}[load.block_size[-1]]
    return {"stack": stack.stack, "transport": stack.transport, "handler": stack.handler, "rw": load.rw,
            "block_size": size, "iodepth": load.iodepth, "iops": round(side["iops"], 1),
            "insns_per_io": round(side["runtime"] * 1e6 / side["total_ios"])}


def _boot(name: str, text: str, modules: Optional[Path], **more: object) -> vm.Result:
    place = paths.BUILD / "bench"
    place.mkdir(parents=True, exist_ok=True)
    plan = place / "plan"
    plan.write_text(text)
    config = vm.Config(icount=True, cpus=1, mem="2G", extra=[_GUEST, plan, *more.pop("extra", ())],  # type: ignore[misc]
                       modules=modules, append=_APPEND + str(more.pop("append", "")), timeout=1500,
                       **more)  # type: ignore[arg-type]
    return vm.run(name, "#!/bin/bash\nexec /lab/guest/measure.sh /lab/plan\n", config)


def measure(stacks: Sequence[Stack], jobs: Sequence[Load], modules: Optional[Path],
            name: str = "bench") -> list[dict[str, object]]:
    """Records of every load on every stack, all in one boot."""
    plan = _plan(stacks, jobs)
    with step("bench", f"{len(plan)} fio jobs, counting instructions", 10 + 2 * len(plan)):
        result = _boot(name, "".join(_line(stack, load, load.count) for stack, load in plan), modules)
    if not result.ok:
        raise LabError(f"bench: {result.problem()}\n{result.output}")
    return [record(stack, load, result.share / "fio" / f"{stack.stack}.{stack.handler}.{load.rw}.{load.block_size}."
                                                       f"{load.iodepth}.json") for stack, load in plan]


def profiles(stacks: Sequence[Stack], jobs: Sequence[Load], modules: Optional[Path]) -> str:
    """Where the instructions go, as text: each load twice, and the difference of the two."""
    plugin, mark = profile.build()
    short, extra = 3000, 10000
    dumps = paths.BUILD / "bench" / "dump"
    for old in dumps.parent.glob("dump.*"):
        old.unlink()
    plan = _plan(stacks, jobs)
    text = "".join(_line(stack, load, count) for stack, load in plan for count in (short, short + extra))
    with step("bench", f"profiling {len(plan)} fio jobs", 10 + 5 * len(plan)):
        result = _boot("profile", text, modules, extra=[mark], append=" nokaslr",
                       qemu=["-plugin", f"file={plugin},out={dumps}"])
    if not result.ok:
        raise LabError(f"profile: {result.problem()}\n{result.output}")
    lines = []
    for number, (stack, load) in enumerate(plan):
        symbols = profile.Symbols((result.share / f"kallsyms.{stack.stack}.{stack.handler}").read_text())
        found = profile.difference(Path(f"{dumps}.{2 * number}"), Path(f"{dumps}.{2 * number + 1}"), extra, symbols)
        lines += [f"{stack.label()} {stack.handler} {load.rw} {load.block_size} QD {load.iodepth}: "
                  f"{found.total:,.0f} instructions per I/O", found.text(), ""]
    return "\n".join(lines)


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
