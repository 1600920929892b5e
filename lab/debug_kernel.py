# SPDX-License-Identifier: GPL-2.0
"""The debug kernel: built once from the pinned source, with lockdep, KUnit and friends."""

from __future__ import annotations

import re
from pathlib import Path

from . import cache, guest, kernel, paths, pins, sysroot
from .errors import LabError
from .progress import step

_SERIES = "7.2"
_SUFFIX = "-scst-debug"
_FRAGMENT = paths.LAB / "debug.config"


def _options() -> list[str]:
    return [*kernel.MAKE, f"LOCALVERSION={_SUFFIX}"]


def _missing(fragment: str, config: str) -> list[str]:
    """Lines of the fragment that kconfig did not take over."""
    have = set(config.splitlines())
    return [line for line in fragment.splitlines() if re.match(r"CONFIG_\w+=", line) and line not in have]


def _make(partial: Path) -> None:
    log = paths.fresh_log("debug-kernel")
    root = sysroot.get()
    tree = kernel.Tree("debug", partial / "tree", "", _options())
    tree.path.mkdir()
    make = ["nice", "make", kernel.jobs(), *tree.options]
    with step("setup", "building the debug kernel, once", 420):
        kernel.unpack_source(pins.load().kernel(_SERIES), tree.path, log)
        (tree.path / "lab.config").write_text(_FRAGMENT.read_text())
        for target in (("KCONFIG_ALLCONFIG=lab.config", "allnoconfig"), ("bzImage", "modules")):
            root.run([*make, *target], log, "make " + " ".join(target), [tree.bind(writable=True)], tree.inside)
            missing = _missing(_FRAGMENT.read_text(), (tree.path / ".config").read_text())
            if missing:
                raise LabError("the debug kernel's configuration lacks: " + " ".join(missing))
    (tree.path / "arch/x86/boot/bzImage").rename(partial / "bzImage")
    (partial / "release").write_text((tree.path / "include/config/kernel.release").read_text())


def _entry() -> Path:
    digest = cache.key(pins.load().kernel(_SERIES).sha256["source"], _FRAGMENT.read_text(), kernel.MAKE,
                       cache.source(_make, kernel.unpack_source), sysroot.toolchain())
    return cache.entry("debug", digest, _make)


def tree() -> kernel.Tree:
    """The tree that modules for the debug kernel are built against."""
    made = _entry()
    return kernel.Tree("debug", made / "tree", (made / "release").read_text().strip(), _options())


# Of SLUB's checks all but the stack of every allocation and release, which finds nothing (kmemleak keeps that of what leaks) and
# costs more than all others; and few of the disks that are built in.
_APPEND = "slab_debug=FZP brd.rd_nr=1 loop.max_loop=1 scsi_debug.add_host=0"


def _make_boot(made: Path, partial: Path) -> None:
    """What the guest needs beside the kernel: an initramfs, and a module index that says what is built in."""
    guest.write_initramfs(partial / "initramfs", guest.busybox())
    where = partial / "modules/usr/lib/modules" / (made / "release").read_text().strip()
    (where / "updates").mkdir(parents=True)
    for name in ("modules.builtin", "modules.builtin.modinfo"):
        (where / name).write_bytes((made / "tree" / name).read_bytes())
    (where / "modules.order").write_text("")


def boot_of(made: Path) -> guest.Kernel:
    """What boots of an entry with `tree`, `release` and `bzImage`."""
    boot = cache.entry("debugboot", cache.key(made.name, cache.source(_make_boot), guest.recipe()),
                       lambda partial: _make_boot(made, partial))
    return guest.Kernel((made / "release").read_text().strip(), made / "bzImage", boot / "initramfs", boot / "modules",
                        append=_APPEND, loose=kernel.modules_in(made / "tree"))


def bootable() -> guest.Kernel:
    """The debug kernel, for `vm.Config`."""
    return boot_of(_entry())
