# SPDX-License-Identifier: GPL-2.0
"""What can be said of the sources without running them."""

from __future__ import annotations

import contextlib
import fnmatch
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

from . import cache, guest, kernel, paths, pins, proc, sysroot
from . import reference as sysfs_reference
from .errors import LabError
from .ktap import Counts
from .progress import say
from .sandbox import Bind

_MAX_LINES = 600
_SOURCES = (".rs", ".c", ".h", ".py", ".sh")
_NEED_LICENCE = (*_SOURCES, ".toml", ".mk", ".config")


def tracked() -> list[Path]:
    """The files of this tree, also those that git does not know yet but would not ignore."""
    text = proc.capture(["git", "-C", str(paths.REPO), "ls-files", "--cached", "--others", "--exclude-standard"])
    return [Path(name) for name in text.splitlines() if (paths.REPO / name).is_file()]


def _read(path: Path) -> str:
    return (paths.REPO / path).read_text(errors="replace")


def _is_script(path: Path) -> bool:
    return path.suffix == "" and _read(path).startswith("#!")


def licences() -> list[str]:
    """Each source file names its licence in its first lines."""
    return [f"{path}: no SPDX line" for path in tracked()
            if (path.suffix in _NEED_LICENCE or path.name in ("Makefile", "Kbuild") or _is_script(path))
            and "SPDX-License-Identifier: " not in "".join(_read(path).splitlines(keepends=True)[:3])]


def lengths() -> list[str]:
    """A file has one idea in it."""
    counts = {path: _read(path).count("\n") for path in tracked() if path.suffix in _SOURCES}
    return [f"{path}: {count} lines, more than {_MAX_LINES}" for path, count in counts.items() if count > _MAX_LINES]


def _rooms() -> list[str]:
    lines = (paths.LAB / "unsafe-rooms").read_text().splitlines()
    return [line for line in lines if line and not line.startswith("#")]


def _unsafe_count(text: str) -> int:
    code = re.sub(r"//[^\n]*|/\*.*?\*/", "", text, flags=re.S)
    code = re.sub(r'"(?:\\.|[^"\\])*"', '""', code)
    return len(re.findall(r"\bunsafe\b", code))


def unsafe_rooms() -> list[str]:
    """`unsafe` stands only in its rooms; the number in each is printed."""
    problems, rooms = [], _rooms()
    per_room: dict[str, int] = {}
    for path in tracked():
        if path.suffix != ".rs" or path.parts[0] == "tests":
            continue
        count = _unsafe_count(_read(path))
        room = next((room for room in rooms if fnmatch.fnmatch(str(path), room)), None)
        if room:
            per_room[room] = per_room.get(room, 0) + count
        elif count:
            problems.append(f"{path}: {count} unsafe outside the rooms of lab/unsafe-rooms")
    if per_room:
        say("    unsafe: " + ", ".join(f"{room} {count}" for room, count in sorted(per_room.items())))
    return problems


def scripts() -> list[str]:
    """Shell and Python scripts parse."""
    problems = []
    for path in tracked():
        if path.suffix == ".py":
            try:
                compile(_read(path), str(path), "exec", dont_inherit=True)
            except SyntaxError as error:
                problems.append(f"{path}: {error}")
        elif path.suffix == ".sh" or (_is_script(path) and "sh" in _read(path).splitlines()[0]):
            done = subprocess.run(["bash", "-n", str(paths.REPO / path)], capture_output=True, text=True, check=False)
            if done.returncode:
                problems.append(done.stderr.strip())
    return problems


def rustfmt() -> list[str]:
    """The kernel's own format."""
    sources = [str(paths.REPO / path) for path in tracked() if path.suffix == ".rs"]
    if not sources:
        return []
    tree = kernel.stock("7.2")
    log = paths.fresh_log("rustfmt")
    sysroot.get().run(["rustfmt", "--check", "--edition", "2021", "--config-path", f"{tree.inside}/.rustfmt.toml",
                       *sources], log, "rustfmt", [tree.bind(), Bind.same(paths.REPO, False)], str(paths.REPO))
    return []


def clippy() -> list[str]:
    """The kernel's own lints, as errors, over all modules."""
    if not kernel.have_modules():
        return []
    kernel.build_modules(kernel.stock("7.2").called("clippy"), options=("CLIPPY=1", "KRUSTFLAGS=-Dwarnings"))
    return []


def no_panic() -> list[str]:
    """The parser's object cannot panic: it names no panicking symbol."""
    if not kernel.have_modules():
        return []
    out = kernel.build_modules(kernel.stock("7.2"))
    objects = [path for path in out.rglob("scst_proto.o")]
    problems = []
    for path in objects:
        text = sysroot.get().capture(["nm", "-u", str(path)], [Bind.same(paths.BUILD, False)])
        problems += [f"{path.name}: {line.split()[-1]}" for line in text.splitlines() if "panicking" in line]
    if not objects:
        problems.append("no object scst_proto.o in the build")
    return problems


def _layout(series: str) -> Path:
    """What the qla2xxx.ko of a series was built with."""
    return Path(f"include/qla2x00t_layout_{series}.h")


def qla2xxx_layout() -> list[str]:
    """The structures that are shared with the stock qla2xxx.ko are what that was built with, in each series."""
    script = paths.REPO / "packaging" / "qla2x00t-layout.sh"
    problems = []
    for series in pins.load().kernels:
        stock = guest.stock(series)
        modules = stock.modules / "usr/lib/modules" / stock.release
        command = ["sh", str(script), str(stock.image), f"{modules}/kernel/drivers/scsi/qla2xxx/qla2xxx.ko"]
        found = sysroot.get().capture(command, [Bind.same(paths.REPO, False), Bind.same(paths.cache(), False)])
        if found != (paths.REPO / _layout(series)).read_text():
            problems.append(f"{_layout(series)} is not what {script.name} makes of the stock kernel")
    return problems


def _gate(spoil: Callable[[Path], object], target: str) -> str:
    """What a build says whose recorded layout of qla2xxx is spoilt."""
    source = paths.BUILD / "gate"
    cache.remove(source)
    shutil.copytree(paths.REPO, source, ignore=shutil.ignore_patterns("build", "target", ".git"))
    spoil(source / _layout("7.2"))
    with contextlib.suppress(LabError):
        kernel.build_modules(kernel.stock("7.2").called("gate"), [target], source=source)
    cache.remove(source)
    return (paths.LOGS / "modules-gate.log").read_text()


def qla2xxx_gate() -> list[str]:
    """A kernel whose qla2xxx.ko is not the recorded one gets no qla2x00tgt, and is told why."""
    def grown(layout: Path) -> None:
        layout.write_text(layout.read_text().replace("sizeof(struct fc_port), ", "sizeof(struct fc_port), 1"))

    ways: list[tuple[str, Callable[[Path], object], str, str]] = [
        ("a structure has grown", grown, "include/qla2x00t_helpers.o",
         "these qla2xxx headers are not those that qla2xxx.ko was built with"),
        ("a series that is not known", Path.unlink, "include/scst_helpers.o",
         "qla2x00tgt is left out: there is no include/qla2x00t_layout_7.2.h"),
    ]
    problems = []
    for way, spoil, target, want in ways:
        say(f"    a build for a kernel that is not the recorded one: {way}")
        if want not in _gate(spoil, target):
            problems.append(f"{way}: the build does not say '{want}'")
    return problems


def reference() -> list[str]:
    """docs/ is what the code says."""
    return sysfs_reference.current() if kernel.have_modules() else []


ALL: tuple[Callable[[], list[str]], ...] = (licences, lengths, unsafe_rooms, scripts, reference, rustfmt, clippy,
                                            no_panic, qla2xxx_layout, qla2xxx_gate)


def run() -> Counts:
    """Every check; a failure lists what it found."""
    counts = Counts()
    for check in ALL:
        name = check.__name__.replace("_", " ")
        needs_modules = check in (clippy, no_panic, qla2xxx_layout, qla2xxx_gate)
        if needs_modules and not kernel.have_modules():
            counts.skipped += 1
            counts.skips.append(f"{name} (no Kbuild in this clone)")
            continue
        try:
            problems = check()
        except LabError as error:
            problems = [str(error)]
        if not problems:
            counts.passed += 1
            say(f"    ok   {name}")
            continue
        counts.fail(f"check: {name}")
        say(f"    FAIL {name}")
        for problem in problems[:40]:
            say(f"         {problem}")
    return counts
