# SPDX-License-Identifier: GPL-2.0
"""Prepared kernel trees, and our modules built against them."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from . import cache, debs, paths, pins, proc, sysroot
from .errors import LabError
from .progress import step
from .sandbox import Bind

MAKE = ("CC=x86_64-linux-gnu-gcc-14", "HOSTCC=gcc-14", f"LIBCLANG_PATH={sysroot.LIBCLANG}")
_PREPARE = paths.REPO / "packaging" / "prepare-kernel.sh"
_built: set[tuple[str, ...]] = set()
_NOTHING_TO_BUILD = "there is no Kbuild in this clone yet: nothing to build"


def jobs() -> str:
    """The -j option for this machine."""
    return f"-j{os.cpu_count() or 1}"


class Tree:
    """A kernel tree that modules are built against, seen inside the root under a name of its own."""

    def __init__(self, name: str, path: Path, release: str, options: Sequence[str]) -> None:
        self.name = name
        self.path = path
        self.release = release
        self.options = tuple(options)
        self.inside = f"/usr/src/linux-lab-{name}"

    def called(self, name: str) -> Tree:
        """The same tree for builds that are kept apart."""
        return Tree(name, self.path, self.release, self.options)

    def bind(self, writable: bool = False) -> Bind:
        """The tree, read-only unless it is being made."""
        return Bind(self.path, self.inside, writable)


def _stock_options(kernel: pins.Kernel) -> list[str]:
    return [*MAKE, f"LOCALVERSION={pins.FLAVOUR}"]


def unpack_source(kernel: pins.Kernel, into: Path, log: Path) -> None:
    """Unpack the source package of a kernel into the directory INTO."""
    root = sysroot.get()
    deb = debs.fetch(kernel, ["source"])["source"]
    script = (f"set -e; mkdir /tmp/deb; dpkg-deb -x /mnt/source.deb /tmp/deb; "
              f"xz -dcT0 /tmp/deb/usr/src/linux-source-{kernel.series}.tar.xz | tar -x -C /srv --strip-components=1")
    root.run(["sh", "-c", script], log, "unpacking the kernel source",
             [Bind(deb, "/mnt/source.deb", False), Bind(into, "/srv")])


def _prepare(kernel: pins.Kernel, partial: Path) -> None:
    log = paths.fresh_log(f"ktree-{kernel.series}")
    files = debs.fetch(kernel, ["headers", "source"])
    tree = Tree(kernel.series, partial / "tree", kernel.release, _stock_options(kernel))
    tree.path.mkdir()
    unpacked = partial / "debs"
    with step("setup", f"preparing the kernel tree {kernel.release}", 110):
        for deb in files.values():
            proc.run(["dpkg-deb", "-x", str(deb), str(unpacked)], log, f"unpacking {deb.name}")
        names = (f"linux-headers-{kernel.release}", f"linux-source-{kernel.series}.tar.xz")
        binds = [Bind(unpacked / "usr/src" / name, f"/usr/src/{name}", False) for name in names]
        sysroot.get().run(["sh", str(_PREPARE), kernel.release, tree.inside], log, "preparing the kernel tree",
                          [*binds, Bind.same(_PREPARE.parent, False), tree.bind(writable=True)])
        cache.remove(unpacked)


def stock(series: str) -> Tree:
    """The prepared tree of a pinned kernel."""
    kernel = pins.load().kernel(series)
    digest = cache.key(kernel, MAKE, cache.source(_prepare), _PREPARE.read_text(), sysroot.toolchain())
    path = cache.entry(f"ktree-{series}", digest, lambda partial: _prepare(kernel, partial)) / "tree"
    return Tree(series, path, kernel.release, _stock_options(kernel))


def have_modules() -> bool:
    """Whether this clone has modules to build."""
    return (paths.REPO / "Kbuild").exists()


def build_modules(tree: Tree, targets: Sequence[str] = ("modules",), options: Sequence[str] = (),
                  source: Path = paths.REPO) -> Path:
    """Build our modules against TREE, once in this process; the directory that holds the .ko files."""
    if not (source / "Kbuild").exists():
        raise LabError(_NOTHING_TO_BUILD)
    out = paths.BUILD / f"modules-{tree.name}"
    this = (str(tree.path), str(out), *targets, *options, str(source))
    stamp = out / ".tree"
    with cache.lock(paths.BUILD / f".lock-{tree.name}"):
        if this in _built:
            return out
        if not stamp.exists() or stamp.read_text() != str(tree.path):
            cache.remove(out)
        out.mkdir(parents=True, exist_ok=True)
        stamp.write_text(str(tree.path))
        log = paths.fresh_log(f"modules-{tree.name}")
        command = ["make", jobs(), "-C", tree.inside, *tree.options, f"M={source}", f"MO={out}", *options, *targets]
        with step("build", f"{' '.join(targets)} against {tree.release} ({tree.name})", 60):
            sysroot.get().run(command, log, f"building the modules for {tree.name}",
                              [tree.bind(), Bind.same(source), Bind.same(paths.BUILD)], str(source))
        _built.add(this)
    return out


def modules_in(build: Path) -> list[Path]:
    """The .ko files that the last build made, in their order."""
    order = build / "modules.order"
    return [build / Path(line).with_suffix(".ko") for line in order.read_text().split()] if order.exists() else []
