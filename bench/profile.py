# SPDX-License-Identifier: GPL-2.0
"""Instructions per I/O by module and symbol, from the dumps of the insns plugin."""

from __future__ import annotations

import bisect
import collections
import dataclasses
from pathlib import Path

from lab import paths, sysroot
from lab.sandbox import Bind

_BENCH = paths.REPO / "bench"
USER = "[user]"
KERNEL = "[kernel]"


# Of the plugin: the release's QEMU, and the newer one that machines with adapters of another process run on.
API, API_FC = 4, 7


def build(api: int = API) -> tuple[Path, Path]:
    """Compile the plugin, for a version of its API, and the guest's marker; their paths."""
    out = paths.BUILD / "bench"
    out.mkdir(parents=True, exist_ok=True)
    log = paths.fresh_log("plugin")
    plugin, mark = out / f"insns-{api}.so", out / "mark"
    binds = [Bind.same(paths.REPO)]
    root = sysroot.get()
    root.run(["gcc-14", "-shared", "-fPIC", "-O2", "-Wall", "-fvisibility=hidden", f"-DAPI={api}", "-o",
              str(plugin), str(_BENCH / "insns.c")], log, "compiling the plugin", binds)
    root.run(["gcc-14", "-static", "-O2", "-Wall", "-o", str(mark), str(_BENCH / "mark.c")], log,
             "compiling the marker", binds)
    return plugin, mark


class Symbols:
    """The guest kernel's symbols, from its /proc/kallsyms."""

    def __init__(self, kallsyms: str) -> None:
        rows = []
        for line in kallsyms.splitlines():
            fields = line.split()
            if fields[1] in "tTwWiI":
                rows.append((int(fields[0], 16), fields[2], fields[3][1:-1] if len(fields) > 3 else KERNEL))
        rows.sort()
        self._starts = [row[0] for row in rows]
        self._rows = rows

    def find(self, address: int) -> tuple[str, str]:
        """Module and symbol of a code address."""
        if address < 1 << 63:
            return USER, USER
        _, symbol, module = self._rows[max(bisect.bisect_right(self._starts, address) - 1, 0)]
        return module, symbol


@dataclasses.dataclass(frozen=True)
class Profile:
    """Instructions per I/O."""

    total: float
    by_module: dict[str, float]
    by_symbol: dict[tuple[str, str], float]

    def text(self, top: int = 25) -> str:
        """A listing for a person."""
        lines = ["  by module: " + ", ".join(f"{name} {count:,.0f}" for name, count in self.by_module.items()
                                             if count >= 1)]
        for (module, symbol), count in list(self.by_symbol.items())[:top]:
            lines.append(f"  {count:9.1f} {100 * count / self.total:5.1f} %  {symbol} [{module}]")
        return "\n".join(lines)


def _load(dump: Path, symbols: Symbols) -> "collections.Counter[tuple[str, str]]":
    counts: collections.Counter[tuple[str, str]] = collections.Counter()
    with dump.open() as lines:
        for line in lines:
            address, count = line.split()
            counts[symbols.find(int(address, 16))] += int(count)
    return counts


def difference(short: Path, long: Path, extra_ios: int, symbols: Symbols) -> Profile:
    """What each I/O costs: the dump of a long job less that of a short one, so that fio's start cancels out."""
    before, after = _load(short, symbols), _load(long, symbols)
    cost = {key: (after[key] - before[key]) / extra_ios for key in after.keys() | before.keys()}
    by_symbol = dict(sorted(cost.items(), key=lambda item: -item[1]))
    modules: collections.Counter[str] = collections.Counter()
    for (module, _), count in cost.items():
        modules[module] += count  # type: ignore[assignment]
    return Profile(sum(cost.values()), dict(modules.most_common()), by_symbol)
