# SPDX-License-Identifier: GPL-2.0
"""`make test` and `make soak`: the parts in their order, and one line at the end."""

from __future__ import annotations

import configparser
import dataclasses
import functools
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from bench import figures

from . import cache, cargo, check, fc, guest, keep, kernel, ktap, lanes, packaging, paths, pins, proc, vmtests
from .errors import LabError
from .ktap import Counts
from .progress import say, step

_HOST_TESTS = paths.REPO / "tests" / "host"


@dataclasses.dataclass(frozen=True)
class Mode:
    """How a part is run."""

    long: bool
    """The soak's length."""
    fresh: bool
    """What has passed with the same inputs is run again."""


def _skip(what: str, why: str) -> Counts:
    say(f"    skip {what}: {why}")
    return Counts(skipped=1, skips=[f"{what} ({why})"])


def _all_files() -> str:
    """The key of what depends on nothing but the files of this clone and on what is pinned."""
    tree = kernel.stock("7.2").path if kernel.have_modules() else None
    return keep.key((paths.REPO / path for path in check.tracked()), tree)


def _check(mode: Mode) -> Counts:
    return keep.run("check", _all_files, check.run, mode.fresh)


def _lab(mode: Mode) -> Counts:
    log = paths.fresh_log("lab")
    try:
        proc.run([sys.executable, "-m", "unittest", "discover", "-s", "tests/lab"], log, "the lab's own tests", cwd=paths.REPO)
    except LabError as error:
        say(f"    FAIL {error}")
        return Counts(failed=1, failures=["the lab's own tests"])
    found = re.search(r"^Ran (\d+) tests?", log.read_text(), re.M)
    return Counts(passed=int(found[1]) if found else 0)


def _cargo_counts(log: Path) -> Counts:
    """Sum the closing lines of the test binaries."""
    counts = Counts()
    for found in re.finditer(r"^test result: \w+\. (\d+) passed; (\d+) failed; (\d+) ignored", log.read_text(), re.M):
        counts.passed += int(found[1])
        counts.skipped += int(found[3])
    return counts


def _cargo(name: str, command: Sequence[str], about_s: int) -> Counts:
    """One command, and how it ended."""
    log = paths.fresh_log(name.replace(" ", "-"))
    try:
        with step("proto", name, about_s):
            cargo.run(command, log)
    except LabError as error:
        say(f"    FAIL {name}: {error}")
        return Counts(failed=1, failures=[f"scst_proto: {name}"])
    counts = _cargo_counts(log) if name == "cargo test" else Counts(passed=1)
    say(f"    ok   {name}: {counts}")
    return counts


def _proto(mode: Mode) -> Counts:
    if not (cargo.PLACE / "Cargo.toml").exists():
        return _skip("scst_proto", "not in this clone")

    def inputs() -> str:
        files = (paths.REPO / path for path in check.tracked() if (paths.REPO / path).is_relative_to(cargo.PLACE))
        return keep.key(files, Path(cargo.__file__).read_text(), cache.source(_run_proto, _cargo, _miri))

    return keep.run("proto", inputs, lambda: _run_proto(mode.long), mode.fresh or mode.long)


def _run_proto(long: bool) -> Counts:
    cargo.take_crates()
    counts = _cargo("cargo test", ["cargo", "test", "--no-fail-fast"], 30)
    counts.add(_cargo("cargo clippy", ["cargo", "clippy", "--all-targets", "--", "-D", "warnings"], 15))
    if not long:
        counts.add(_cargo("fuzz", ["sh", str(cargo.FUZZ), "2"], 60))
        if not counts.failed:
            cargo.keep_crates()
    counts.add(_miri())
    return counts


def _proto_jobs(mode: Mode) -> list[lanes.Job]:
    """In a long run a job a fuzz target."""
    jobs = [lanes.Job("proto", "the wire formats on the host: tests, properties, fuzzing", lambda: _proto(mode))]
    if mode.long:
        jobs += [lanes.Job(f"fuzz-{name}", "a fuzz target of scst_proto", functools.partial(
            _cargo, f"fuzz {name}", ["sh", str(cargo.FUZZ), "600", name], 620)) for name in cargo.fuzz_targets()]
    return jobs


def _miri() -> Counts:
    log = paths.fresh_log("miri")
    try:
        cargo.run(["cargo", "miri", "--version"], log)
    except LabError:
        return _skip("Miri", "this toolchain has no cargo miri")
    try:
        cargo.run(["cargo", "miri", "test"], log)
    except LabError as error:
        say(f"    FAIL Miri: {error}")
        return Counts(failed=1, failures=["scst_proto: Miri"])
    return Counts(passed=1)


def _fabric(mode: Mode) -> Counts:
    return keep.run("fabric", _all_files, fc.tests, mode.fresh)


def _build(mode: Mode) -> Counts:
    if not kernel.have_modules():
        return _skip("modules", "no Kbuild in this clone")
    counts = Counts()
    for series in pins.load().kernels:
        try:
            found = kernel.modules_in(kernel.build_modules(kernel.stock(series)))
            counts.passed += 1
            say(f"    ok   {series}: {' '.join(path.name for path in found)}")
        except LabError as error:
            counts.fail(f"build for {series}")
            say(f"    FAIL {series}: {error}")
    return counts


def _in_machine() -> str:
    """The key of what a machine finds whose clock is its instructions, or whose modules do not load: the files, and what it boots."""
    images = [image.stat() for image in (guest.userland(), guest.stock().image)]
    return cache.key(_all_files(), [(image.st_size, image.st_mtime_ns) for image in images])


@dataclasses.dataclass(frozen=True)
class _Cost:
    """Instructions per I/O that have a limit, perhaps."""

    section: str
    """Of bench/limits."""
    name: str
    count: float

    @classmethod
    def of(cls, record: dict[str, object], section: str, count: float) -> "_Cost":
        """By the words that say which load it is."""
        return cls(section, " ".join(str(record[word]) for word in ("transport", "handler", "rw", "block_size", "iodepth")), count)

    @classmethod
    def all_of(cls, record: dict[str, object]) -> "_Cost":
        """Those of the whole machine."""
        return cls.of(record, "insns_per_io", int(str(record["insns_per_io"])))

    def what(self) -> str:
        """For a person."""
        return "instructions per I/O" + " in our modules" * self.section.startswith("own")


def _limits(mode: Mode) -> Counts:
    return keep.run("bench", _in_machine, _run_limits, mode.fresh)


def _run_limits() -> Counts:
    modules = kernel.build_modules(kernel.stock("7.2")) if kernel.have_modules() else None
    parser = configparser.ConfigParser(delimiters=("=",))
    parser.read_string((paths.REPO / "bench" / "limits").read_text())
    counts = Counts()

    def judge(measured: Callable[[], list[_Cost]]) -> None:
        found = {(cost.section, cost.name): cost for cost in measured() if cost.name in parser[cost.section]}

        def over(cost: _Cost) -> bool:
            return cost.count > int(parser[cost.section][cost.name])

        if any(map(over, found.values())):
            say("    measured once more: what is waited for adds to a figure, and nothing takes from it")
            for cost in measured():
                key = cost.section, cost.name
                if key in found and cost.count < found[key].count:
                    found[key] = cost
        for cost in found.values():
            limit = parser[cost.section][cost.name]
            say(f"    {'FAIL' if over(cost) else 'ok  '} {cost.name}: {cost.count:.0f} {cost.what()}, limit {limit}")
            if over(cost):
                counts.fail(f"bench: {cost.name}: {cost.count:.0f} {cost.what()} > {limit}")
            else:
                counts.passed += 1

    def own(found: list[figures.Profiled]) -> list[_Cost]:
        return [_Cost.of(each.record, "own_insns_per_io", each.ours()) for each in found]

    def over_srp() -> list[_Cost]:
        reads = [load for load in figures.loads(0) if load.rw == "randread"]
        found = figures.profiles(figures.SRP, reads, modules, 1000, 4000)
        return [*(_Cost.all_of(each.record) for each in found), *own(found)]

    if figures.have_ours(modules):
        limits = parser["insns_per_io"]
        stacks = [stack for stack in figures.OURS_ALL
                  if any(name.startswith(f"{stack.transport} {stack.handler} ") for name in limits)]
        judge(lambda: list(map(_Cost.all_of, figures.measure(stacks, figures.loads(10000), modules, "bench-short"))))
    else:
        counts.add(_skip("bench", "our modules are not in this clone's build"))
    if figures.have_ours(modules, "ib_srpt"):
        judge(over_srp)
    else:
        counts.add(_skip("bench over SRP", "no ib_srpt in this clone's build"))
    if figures.have_ours(modules, "qla2x00tgt"):
        judge(lambda: own(figures.profiles(figures.FC, [figures.Load("randread", "4k", 32, 0)], modules, 100, 300)))
    else:
        counts.add(_skip("bench over Fibre Channel", "no qla2x00tgt in this clone's build"))
    return counts


def _host(script: Path, mode: Mode) -> Counts:
    if "kept=yes" in vmtests.words(script):
        return keep.run(script.name, _in_machine, lambda: _run_host(script, mode), mode.fresh or mode.long)
    return _run_host(script, mode)


def _run_host(script: Path, mode: Mode) -> Counts:
    env = dict(os.environ, LAB_LENGTH="long" if mode.long else "short", PYTHONPATH=str(paths.REPO))
    lines = []
    with proc.spawn([str(script)], stdout=subprocess.PIPE, stdin=subprocess.DEVNULL, env=env) as child:
        assert child.stdout is not None
        for raw in child.stdout:
            lines.append(raw.decode(errors="replace").rstrip())
            say(f"      {lines[-1]}")
        status = child.wait()
    counts = ktap.parse(lines, script.name)
    if status != 0 and not counts.failed:
        counts.fail(f"{script.name}: exit status {status}")
    return counts


def _host_jobs(mode: Mode) -> list[lanes.Job]:
    """Tests that drive machines from outside: executables in tests/host that speak KTAP.

    In a line `# lab:`, `timed=no` says that nothing in one depends on how fast its machines are, `kept=yes` that what it finds is
    a function of files, `soak=only` that it is no part of a short run.
    """
    scripts = [path for path in sorted(_HOST_TESTS.glob("*")) if os.access(path, os.X_OK) and path.is_file()
               and (mode.long or "soak=only" not in vmtests.words(path))]
    return [lanes.Job(path.name, "drives machines from outside", functools.partial(_host, path, mode),
                      "timed=no" not in vmtests.words(path), 100) for path in scripts]


def _dkms(mode: Mode) -> Counts:
    return packaging.try_dkms()


@dataclasses.dataclass(frozen=True)
class Part:
    """One part of a run."""

    name: str
    jobs: Callable[[Mode], list[lanes.Job]]
    """What there is to do."""
    in_test: bool = True
    in_soak: bool = False


def _part(name: str, what: str, function: Callable[[Mode], Counts], about_s: int = 0, in_test: bool = True,
          in_soak: bool = False) -> Part:
    """A part that is one job; timed if ABOUT_S."""
    return Part(name, lambda mode: [lanes.Job(name, what, lambda: function(mode), bool(about_s), about_s)], in_test, in_soak)


PARTS = (
    _part("check", "format, lints, unsafe rooms, licences, lengths", _check),
    _part("lab", "the lab's own judgement", _lab),
    _part("build", "the modules for both kernels", _build),
    _part("fabric", "the Fibre Channel fabric: its own tests", _fabric),
    Part("proto", _proto_jobs, in_soak=True),
    Part("vm", lambda mode: vmtests.jobs([], mode.long), in_soak=True),
    _part("bench", "instructions per I/O within their limits", _limits),
    Part("host", _host_jobs, in_soak=True),
    _part("dkms", "the DKMS package on Debian's own packages", _dkms, in_test=False),
)


def _jobs(wanted: Sequence[str], mode: Mode) -> list[lanes.Job]:
    """The jobs of the WANTED parts, or single jobs or tests of tests/vm by name; else all of a test or of a soak."""
    if not wanted:
        return [job for part in PARTS if (part.in_soak if mode.long else part.in_test) for job in part.jobs(mode)]
    parts = {part.name: part for part in PARTS}
    single = {job.name: job for part in PARTS for job in part.jobs(mode)}
    tests = {name for test in vmtests.find() for name in (test.path.name, test.path.stem)}
    unknown = [name for name in wanted if name not in parts and name not in single and name not in tests]
    if unknown:
        raise LabError(f"no part, job or test called {' '.join(unknown)}\nparts: {' '.join(parts)}\n"
                       f"jobs: {' '.join(single)}\ntests: {' '.join(test.path.name for test in vmtests.find())}")
    jobs = [job for name in wanted if name in parts for job in parts[name].jobs(mode)]
    jobs += [single[name] for name in wanted if name in single and name not in parts]
    # Without its suffix the name of a test may be that of a boot, which is meant; a script of tests/host may have the name of one.
    named = [name for name in wanted if name in tests and name not in parts and ("." in name or name not in single)]
    return jobs + (vmtests.jobs(named, mode.long) if named else [])


def run(wanted: Sequence[str], long: bool, fresh: bool = False) -> int:
    """Run what is WANTED, all if that is empty, and say how it went."""
    start = time.monotonic()
    # What somebody names is run.
    total = lanes.run(_jobs(wanted, Mode(long, fresh or bool(wanted))))
    used = os.times()
    say(f"\n=== all: {time.monotonic() - start:.0f} s, {used.children_user + used.children_system:.0f} s of processors")
    for name in total.skips:
        say(f"skipped: {name}")
    for name in total.failures:
        say(f"failed: {name.splitlines()[0]}")
    if total.total == 0:
        total.fail("nothing was run")
    say(str(total))
    return 1 if total.failed else 0
