# SPDX-License-Identifier: GPL-2.0
"""The debug kernel with KASAN, for soaks: built once, by clang, as Rust code can be checked with that only."""

from __future__ import annotations

import re
from pathlib import Path

from . import cache, debug_kernel, guest, kernel, paths, pins, sysroot
from .errors import LabError
from .progress import step

_SERIES = "7.2"
_OPTIONS = ("LLVM=-19", f"LIBCLANG_PATH={sysroot.LIBCLANG}", "LOCALVERSION=-scst-kasan")
_FRAGMENTS = (paths.LAB / "debug.config", paths.LAB / "kasan.config")
_OFF = re.compile(r"# (CONFIG_\w+) is not set")


def _fragment() -> str:
    """The options of both fragments: a later line for an option is the one that counts."""
    chosen: dict[str, str] = {}
    for line in "\n".join(path.read_text() for path in _FRAGMENTS).splitlines():
        off = _OFF.fullmatch(line)
        if off or line.startswith("CONFIG_"):
            chosen[off[1] if off else line.partition("=")[0]] = line
    return "\n".join(chosen.values()) + "\n"


def _make(partial: Path) -> None:
    log = paths.fresh_log("kasan-kernel")
    root = sysroot.get()
    tree = kernel.Tree("kasan", partial / "tree", "", _OPTIONS)
    tree.path.mkdir()
    make = ["nice", "make", kernel.jobs(), *tree.options]
    fragment = _fragment()
    with step("setup", "building the kernel with KASAN, once", 1200):
        kernel.unpack_source(pins.load().kernel(_SERIES), tree.path, log)
        (tree.path / "lab.config").write_text(fragment)
        for target in (("KCONFIG_ALLCONFIG=lab.config", "allnoconfig"), ("bzImage", "modules")):
            root.run([*make, *target], log, "make " + " ".join(target), [tree.bind(writable=True)], tree.inside)
            have = set((tree.path / ".config").read_text().splitlines())
            missing = [line for line in fragment.splitlines() if line.startswith("CONFIG_") and line not in have]
            if missing:
                raise LabError("the configuration of the kernel with KASAN lacks: " + " ".join(missing))
    (tree.path / "arch/x86/boot/bzImage").rename(partial / "bzImage")
    (partial / "release").write_text((tree.path / "include/config/kernel.release").read_text())


def _entry() -> Path:
    digest = cache.key(pins.load().kernel(_SERIES).sha256["source"], _fragment(), _OPTIONS,
                       cache.source(_make, kernel.unpack_source), sysroot.toolchain())
    return cache.entry("kasan", digest, _make)


def tree() -> kernel.Tree:
    """The tree that modules for it are built against."""
    made = _entry()
    return kernel.Tree("kasan", made / "tree", (made / "release").read_text().strip(), _OPTIONS)


def bootable() -> guest.Kernel:
    """The kernel, for `vm.Config`."""
    return debug_kernel.boot_of(_entry())
