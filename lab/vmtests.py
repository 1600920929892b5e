# SPDX-License-Identifier: GPL-2.0
"""The test scripts that run inside the virtual machine (`tests/vm`).

A test is an executable that speaks KTAP. A comment line in it, `# lab: key=value ...`, says what it needs:
    group=NAME     tests of one group share a boot, in the order of their names    (default: default)
    kernel=debug   the debug kernel instead of the stock one; kernel=kasan the one with KASAN, of a test with soak=only
    also=7.3       in `make test` also on the stock kernel of that series, in one boot with the others that have this
    icount=yes     one processor, whose time is counted in instructions: latencies do not depend on the host
    cpus=N         processors of the machine in `make test`, the fewest that one of the group names; in `make soak` there are
                   always two                                                      (default: 2)
    mem=SIZE timeout=SECONDS drives=NAME:MB,...
    fc=N           N Fibre Channel adapters of one fabric (lab/fc.py), a port of its command language beside them
    soak=yes       `make soak` runs it too, with LAB_LENGTH=long; `make test` has LAB_LENGTH=short
    soak=kasan     as soak=yes, there on the debug kernel with KASAN
    soak=only      `make test` does not run it, unless it is named
    append=WORD,...  words for the kernel's command line
    allow=REGEX    kernel log lines that are no failure (no spaces: write \\s)
"""

from __future__ import annotations

import dataclasses
import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Optional

from . import cache, debug_kernel, fc, guest, kasan_kernel, kernel, ktap, lanes, paths, sysroot, vm
from .ktap import Counts
from .progress import say, step
from .sandbox import Bind

_PLACE = paths.REPO / "tests" / "vm"
_KNOWN = ("group", "kernel", "also", "icount", "cpus", "mem", "timeout", "drives", "fc", "soak", "append", "allow")
_LONG_FACTOR = 20
# For the boot, and for a machine that runs when nothing else wants the processor.
_SPARE_S = 600

_JOB = """#!/bin/bash
export LAB_LENGTH=%(length)s
cd /lab/vm
python3 /lab/tests.py %(tests)s
if [ -e /sys/kernel/debug/kmemleak ]; then
	sleep 6
	echo scan > /sys/kernel/debug/kmemleak
	sleep 6
	echo scan > /sys/kernel/debug/kmemleak
	cat /sys/kernel/debug/kmemleak > /lab/share/kmemleak
fi
exit 0
"""


@dataclasses.dataclass(frozen=True)
class Test:
    """One script and what it needs."""

    path: Path
    needs: dict[str, str]


@dataclasses.dataclass(frozen=True)
class Boot:
    """A kernel, and which tests run on it."""

    kernel: str
    """One of `_FLAVOURS`."""
    group: str

    @classmethod
    def of(cls, test: Test, long: bool) -> Boot:
        """The one that a test belongs to."""
        flavour = "kasan" if long and test.needs.get("soak") == "kasan" else test.needs.get("kernel", "stock")
        return cls(flavour, test.needs.get("group", "default"))

    @property
    def name(self) -> str:
        """Of the job."""
        return f"{self.group}-kasan" if self.kernel == "kasan" else self.group


def words(script: Path) -> list[str]:
    """The words of a script's line `# lab:`."""
    found = re.search(r"^# lab:(.*)$", script.read_text(), re.M)
    return found[1].split() if found else []


def find() -> list[Test]:
    """All test scripts."""
    tests = []
    for path in sorted(_PLACE.glob("*")):
        if path.suffix not in (".sh", ".py") or not os.access(path, os.X_OK):
            continue
        needs = dict(item.partition("=")[::2] for item in words(path))
        for key in needs:
            if key not in _KNOWN:
                raise ValueError(f"{path}: '# lab:' knows no '{key}' (only {', '.join(_KNOWN)})")
        tests.append(Test(path, needs))
    return tests


def _megabytes(size: str) -> int:
    return int(size[:-1]) << {"M": 0, "G": 10}[size[-1]]


def _timeout(tests: list[Test]) -> int:
    return sum(int(test.needs.get("timeout", 120)) for test in tests)


@dataclasses.dataclass(frozen=True)
class _Flavour:
    """A kernel that tests run on."""

    tree: Callable[[], kernel.Tree]
    bootable: Callable[[], guest.Kernel]


_FLAVOURS = {
    "stock": _Flavour(lambda: kernel.stock("7.2"), guest.stock),
    "7.3": _Flavour(lambda: kernel.stock("7.3"), lambda: guest.stock("7.3")),
    "debug": _Flavour(debug_kernel.tree, debug_kernel.bootable),
    "kasan": _Flavour(kasan_kernel.tree, kasan_kernel.bootable),
}


def _config(boot: Boot, tests: list[Test], long: bool, modules: Optional[Path]) -> vm.Config:
    icount = {test.needs.get("icount", "no") for test in tests}
    if len(icount) > 1:
        raise ValueError(f"group {boot.group}: either all of its tests have icount=yes or none")
    sizes: dict[str, int] = {}
    for test in tests:
        for item in filter(None, test.needs.get("drives", "").split(",")):
            name, _, size = item.partition(":")
            sizes[name] = max(sizes.get(name, 0), int(size or 64))
    drives = [vm.Drive(name, paths.BUILD / "disks" / f"{boot.group}-{name}.img", size) for name, size in sizes.items()]
    for drive in drives:
        drive.image.unlink(missing_ok=True)
    timeout = _timeout(tests) * (_LONG_FACTOR if long else 1) + _SPARE_S
    mem = f"{max(_megabytes(test.needs.get('mem', '1G')) for test in tests)}M"
    cpus = 2 if long else min((int(test.needs["cpus"]) for test in tests if "cpus" in test.needs), default=2)
    return vm.Config(cpus=cpus, mem=mem, drives=drives, timeout=timeout, modules=modules,
                     append=" ".join(test.needs["append"].replace(",", " ") for test in tests if "append" in test.needs),
                     icount=icount == {"yes"}, kernel=_FLAVOURS[boot.kernel].bootable(),
                     extra=[scripts(), paths.LAB / "guest/tests.py", paths.REPO / "bench" / "guest", paths.REPO / "packaging", paths.REPO / "README.md"],
                     allow=[test.needs["allow"] for test in tests if "allow" in test.needs])


def _compile(partial: Path) -> None:
    place = partial / "vm"
    shutil.copytree(_PLACE, place, ignore=shutil.ignore_patterns("__pycache__"))
    command = ["python3", "-m", "compileall", "-q", "--invalidation-mode", "unchecked-hash", "-s", str(place), "-p", "/lab/vm", str(place)]
    sysroot.get().run(command, paths.fresh_log("tests-vm"), "compiling the tests", [Bind.same(place)])


def scripts() -> Path:
    """A copy of tests/vm with Python's byte code: it would take the guest's emulated processors longer to make it."""
    files = [path for path in sorted(_PLACE.rglob("*")) if path.is_file() and "__pycache__" not in path.parts]
    digest = cache.key(cache.source(_compile), sysroot.toolchain(),
                       [(path.relative_to(_PLACE), path.stat().st_mode, path.read_bytes()) for path in files])
    return cache.entry("tests", digest, _compile) / "vm"


def _sections(output: str) -> dict[str, tuple[list[str], Optional[int]]]:
    """The lines that each test printed, and its exit status; None if it did not end."""
    found: dict[str, tuple[list[str], Optional[int]]] = {}
    name = None
    for line in output.splitlines():
        if line.startswith("##lab begin "):
            name = line.split()[2]
            found[name] = ([], None)
        elif line.startswith("##lab end ") and name:
            found[name] = (found[name][0], int(line.split()[3]))
            name = None
        elif name:
            found[name][0].append(line)
    return found


def _judge(name: str, section: Optional[tuple[list[str], Optional[int]]]) -> Counts:
    counts = Counts()
    if section is None:
        counts.fail(f"{name}: not run, the machine had stopped")
        return counts
    lines, status = section
    counts = ktap.parse(lines, name)
    if status is None:
        counts.fail(f"{name}: did not end")
    elif status != 0 and not counts.failed:
        counts.fail(f"{name}: exit status {status}")
    elif counts.total == 0:
        counts.fail(f"{name}: reported no result")
    if counts.failed:
        for line in lines[-60:]:
            say(f"      | {line}")
    return counts


class _Where:
    """Tells how far a machine has come, and what it took there."""

    def __init__(self, machine: vm.Machine, reached: Callable[[str], None]) -> None:
        self._machine = machine
        self._reached = reached
        self._test = ""
        self.cost: dict[str, float] = {}
        """Processor seconds of each test."""

    def line(self, text: str) -> bool:
        """A line that the machine has printed. False: it runs on."""
        if text.startswith("##lab begin "):
            self._test = text.split()[2]
            self.cost[self._test] = -self._machine.spent()
            self._reached(self._test)
        elif text.startswith("##lab end "):
            self.cost[self._test] += self._machine.spent()
        elif text.startswith(("ok ", "not ok ")):
            self._reached(f"{self._test}: {text}")
        return False


def run_group(boot: Boot, tests: list[Test], long: bool, modules: Optional[Path] = None, prefix: str = "test") -> Counts:
    """Boot once for some tests and judge each; with the MODULES of a directory, or those of this clone.

    PREFIX: of the name of its directory in build/vm.
    """
    flavour, group = boot.kernel, boot.group
    if modules is None and kernel.have_modules():
        modules = kernel.build_modules(_FLAVOURS[flavour].tree())
    job = _JOB % {"length": "long" if long else "short", "tests": " ".join(test.path.name for test in tests)}
    config, name = _config(boot, tests, long, modules), f"{prefix}-{flavour}-{group}"
    adapters = max(int(test.needs.get("fc", 0)) for test in tests)
    with fc.attached(name, adapters) as slots, step("vm", f"group {group} ({flavour} kernel)") as reached:
        machine = vm.Machine(name, job, dataclasses.replace(config, fc=slots))
        where = _Where(machine, reached)
        result = machine.run(where.line)
    sections = _sections(result.output)
    total = Counts()
    for test in tests:
        name = test.path.name if boot == Boot.of(test, long) else f"{test.path.name} on {flavour}"
        counts = _judge(name, sections.get(test.path.name))
        say(f"    {'FAIL' if counts.failed else 'ok  '} {name}: {counts} ({where.cost.get(test.path.name, 0):.0f} s of processors)")
        total.add(counts)
    if result.timed_out or result.status is None or result.complaints:
        total.fail(f"group {group}: {result.problem()}")
        say("    " + result.problem().replace("\n", "\n    "))
    leaks = result.share / "kmemleak"
    if leaks.exists() and leaks.read_text(errors="replace").strip():
        total.fail(f"group {group}: kmemleak")
        say(leaks.read_text(errors="replace")[:4000])
    return total


def jobs(names: list[str], long: bool) -> list[lanes.Job]:
    """A job a boot for the tests NAMES; if empty for all, or in a long run for those that are soaks."""
    boots: dict[Boot, list[Test]] = {}
    for test in find():
        if names and test.path.stem not in names and test.path.name not in names:
            continue
        if not names and test.needs.get("soak", "no") in (("no",) if long else ("only",)):
            continue
        boots.setdefault(Boot.of(test, long), []).append(test)
        series = test.needs.get("also")
        if series and not names and not long:
            boots.setdefault(Boot(series, series), []).append(test)
    return [_job(boot, tests, long) for boot, tests in boots.items()]


def _job(boot: Boot, tests: list[Test], long: bool) -> lanes.Job:
    what = f"in the virtual machine: {' '.join(test.path.name for test in tests)}"
    # Where time is instructions a busy host changes nothing.
    return lanes.Job(boot.name, what, lambda: run_group(boot, tests, long), "icount" not in tests[0].needs, _timeout(tests))
