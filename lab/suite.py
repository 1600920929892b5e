# SPDX-License-Identifier: GPL-2.0
"""`make test` and `make soak`: the parts in their order, and one line at the end."""

from __future__ import annotations

import configparser
import dataclasses
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from bench import figures

from . import check, debug_kernel, fc, kernel, ktap, packaging, paths, proc, sysroot, vm, vmtests
from .errors import LabError
from .ktap import Counts
from .progress import say
from .sandbox import Bind

_PROTO = paths.REPO / "scst_proto"
_HOST_TESTS = paths.REPO / "tests" / "host"


def _skip(what: str, why: str) -> Counts:
    say(f"    skip {what}: {why}")
    return Counts(skipped=1, skips=[f"{what} ({why})"])


def _check(long: bool) -> Counts:
    return check.run()


def _lab(long: bool) -> Counts:
    done = subprocess.run([sys.executable, "-m", "unittest", "discover", "-s", "tests/lab"], cwd=paths.REPO, text=True,
                          stdin=subprocess.DEVNULL, capture_output=True, check=False)
    found = re.search(r"^Ran (\d+) tests?", done.stderr, re.M)
    ran = int(found[1]) if found else 0
    if done.returncode == 0 and ran:
        return Counts(passed=ran)
    say(done.stderr)
    return Counts(failed=1, failures=["the lab's own tests"])


def _cargo(arguments: Sequence[str], log: Path) -> None:
    home = paths.cache() / "cargo"
    home.mkdir(parents=True, exist_ok=True)
    sysroot.get().run(arguments, log, " ".join(arguments), [Bind.same(paths.REPO), Bind.same(home)], str(_PROTO),
                      {"CARGO_HOME": str(home), "CARGO_TARGET_DIR": str(paths.BUILD / "cargo")}, network=True)


def _cargo_counts(log: Path) -> Counts:
    """Sum the closing lines of the test binaries."""
    counts = Counts()
    for found in re.finditer(r"^test result: \w+\. (\d+) passed; (\d+) failed; (\d+) ignored", log.read_text(), re.M):
        counts.passed += int(found[1])
        counts.skipped += int(found[3])
    return counts


def _proto(long: bool) -> Counts:
    if not (_PROTO / "Cargo.toml").exists():
        return _skip("scst_proto", "not in this clone")
    counts = Counts()
    fuzz = _PROTO / "fuzz" / "run.sh"
    steps = [("cargo test", ["cargo", "test", "--no-fail-fast"]),
             ("cargo clippy", ["cargo", "clippy", "--all-targets", "--", "-D", "warnings"])]
    if fuzz.exists():
        steps.append(("fuzz", ["sh", str(fuzz), "600" if long else "8"]))
    for name, command in steps:
        log = paths.fresh_log(name.replace(" ", "-"))
        try:
            _cargo(command, log)
            found = _cargo_counts(log) if name == "cargo test" else Counts(passed=1)
            counts.add(found)
            say(f"    ok   {name}: {found}")
        except LabError as error:
            counts.fail(f"scst_proto: {name}")
            say(f"    FAIL {name}: {error}")
    counts.add(_miri())
    return counts


def _miri() -> Counts:
    log = paths.fresh_log("miri")
    try:
        _cargo(["cargo", "miri", "--version"], log)
    except LabError:
        return _skip("Miri", "this toolchain has no cargo miri")
    try:
        _cargo(["cargo", "miri", "test"], log)
    except LabError as error:
        say(f"    FAIL Miri: {error}")
        return Counts(failed=1, failures=["scst_proto: Miri"])
    return Counts(passed=1)


def _fabric(long: bool) -> Counts:
    return fc.tests()


def _build(long: bool) -> Counts:
    if not kernel.have_modules():
        return _skip("modules", "no Kbuild in this clone")
    counts = Counts()
    for series in ("7.2", "7.3"):
        try:
            found = kernel.modules_in(kernel.build_modules(kernel.stock(series)))
            counts.passed += 1
            say(f"    ok   {series}: {' '.join(path.name for path in found)}")
        except LabError as error:
            counts.fail(f"build for {series}")
            say(f"    FAIL {series}: {error}")
    return counts


def _vm(long: bool) -> Counts:
    return vmtests.run([], long)


def _kunit(long: bool) -> Counts:
    script = paths.REPO / "tests" / "kunit.sh"
    if not kernel.have_modules():
        return _skip("KUnit", "no Kbuild in this clone")
    modules = kernel.build_modules(debug_kernel.tree())
    result = vm.run("kunit", script, vm.Config(kernel=debug_kernel.bootable(), modules=modules, timeout=600,
                                               append="loglevel=7 kunit.enable=1 kunit.autorun=1"))
    dmesg = result.share / "dmesg"
    counts = ktap.parse((dmesg.read_text(errors="replace") if dmesg.exists() else result.console).splitlines())
    if not result.ok:
        counts.fail(f"KUnit: {result.problem()}")
        say("    " + result.problem().replace("\n", "\n    "))
    if counts.total == 0:
        if not (paths.REPO / "kunit").is_dir():
            return _skip("KUnit", "no kunit/ in this clone; the modules did load on the debug kernel")
        counts.fail("KUnit: no suite reported a result")
    for name in counts.failures:
        say(f"    FAIL {name}")
    return counts


def _limits(long: bool) -> Counts:
    modules = kernel.build_modules(kernel.stock("7.2")) if kernel.have_modules() else None
    parser = configparser.ConfigParser(delimiters=("=",))
    parser.read_string((paths.REPO / "bench" / "limits").read_text())
    counts = Counts()

    def judge(record: dict[str, object], section: str, cost: float, what: str) -> None:
        name = f"{record['transport']} {record['handler']} {record['rw']} {record['block_size']} {record['iodepth']}"
        limit = parser[section].get(name)
        if limit is None:
            return
        good = cost <= int(limit)
        say(f"    {'ok  ' if good else 'FAIL'} {name}: {cost:.0f} {what}, limit {limit}")
        counts.passed += good
        if not good:
            counts.fail(f"bench: {name}: {cost:.0f} {what} > {limit}")

    def total(record: dict[str, object]) -> None:
        judge(record, "insns_per_io", int(str(record["insns_per_io"])), "instructions per I/O")

    if figures.have_ours(modules):
        limits = parser["insns_per_io"]
        stacks = [stack for stack in figures.OURS_ALL
                  if any(name.startswith(f"{stack.transport} {stack.handler} ") for name in limits)]
        for record in figures.measure(stacks, figures.loads(10000), modules, "bench-short"):
            total(record)
    else:
        counts.add(_skip("bench", "our modules are not in this clone's build"))
    if figures.have_ours(modules, "ib_srpt"):
        reads = [load for load in figures.loads(0) if load.rw == "randread"]
        for found in figures.profiles(figures.SRP, reads, modules, 1000, 4000):
            total(found.record)
            judge(found.record, "own_insns_per_io", found.ours(), "instructions per I/O in our modules")
    else:
        counts.add(_skip("bench over SRP", "no ib_srpt in this clone's build"))
    return counts


def _host(long: bool) -> Counts:
    """Tests that drive machines from outside (power cuts): executables in tests/host that speak KTAP."""
    total = Counts()
    scripts = [path for path in sorted(_HOST_TESTS.glob("*")) if os.access(path, os.X_OK) and path.is_file()]
    if not scripts:
        return _skip("host tests", "none in this clone")
    env = dict(os.environ, LAB_LENGTH="long" if long else "short", PYTHONPATH=str(paths.REPO))
    for script in scripts:
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
        total.add(counts)
    return total


def _dkms(long: bool) -> Counts:
    return packaging.try_dkms()


@dataclasses.dataclass(frozen=True)
class Part:
    """One part of a run."""

    name: str
    what: str
    function: Callable[[bool], Counts]
    in_test: bool = True
    in_soak: bool = False


PARTS = (
    Part("check", "format, lints, unsafe rooms, licences, lengths", _check),
    Part("lab", "the lab's own judgement", _lab),
    Part("proto", "the wire formats on the host: tests, properties, fuzzing", _proto, in_soak=True),
    Part("fabric", "the Fibre Channel fabric: its own tests", _fabric),
    Part("build", "the modules for both kernels", _build),
    Part("vm", "test scripts in the virtual machine", _vm, in_soak=True),
    Part("host", "tests that drive machines from outside", _host, in_soak=True),
    Part("kunit", "KUnit on the debug kernel", _kunit),
    Part("bench", "instructions per I/O within their limits", _limits),
    Part("dkms", "the DKMS package on Debian's own packages", _dkms, in_test=False),
)


def _one(part: Part, long: bool, names: list[str]) -> Counts:
    say(f"\n=== {part.name}: {part.what}")
    start = time.monotonic()
    try:
        counts = vmtests.run(names, long) if names else part.function(long)
    except LabError as error:
        counts = Counts()
        counts.fail(f"{part.name}: {str(error).splitlines()[0]}")
        say(f"    FAIL {error}")
    say(f"=== {part.name}: {counts} ({time.monotonic() - start:.0f} s)")
    return counts


def run(wanted: Sequence[str], long: bool) -> int:
    """Run the WANTED parts (or single tests of tests/vm by name), else all of a test or of a soak."""
    known = {part.name: part for part in PARTS}
    tests = [name for name in wanted if name not in known]
    parts = [known[name] for name in wanted if name in known]
    if not wanted:
        parts = [part for part in PARTS if (part.in_soak if long else part.in_test)]
    unknown = [name for name in tests if name not in {t.path.stem for t in vmtests.find()}
               and name not in {t.path.name for t in vmtests.find()}]
    if unknown:
        raise LabError(f"no part or test called {' '.join(unknown)}; parts: {' '.join(known)}")
    total = Counts()
    start = time.monotonic()
    for part in parts:
        total.add(_one(part, long, []))
    if tests:
        total.add(_one(known["vm"], long, tests))
    say(f"\n=== all parts: {time.monotonic() - start:.0f} s")
    for name in total.skips:
        say(f"skipped: {name}")
    for name in total.failures:
        say(f"failed: {name.splitlines()[0]}")
    if total.total == 0:
        total.fail("nothing was run")
    say(str(total))
    return 1 if total.failed else 0
