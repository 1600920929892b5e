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
    root = sysroot.get()
    headers = debs.fetch(kernel, ["headers", "source"])["headers"]
    tree = Tree(kernel.series, partial / "tree", kernel.release, _stock_options(kernel))
    tree.path.mkdir()
    make = ["make", jobs(), *tree.options]
    with step("setup", f"preparing the kernel tree {kernel.release}", 110):
        unpack_source(kernel, tree.path, log)
        unpacked = partial / "headers"
        proc.run(["dpkg-deb", "-x", str(headers), str(unpacked)], log, "unpacking the headers package")
        for name in (".config", "Module.symvers"):
            source = unpacked / f"usr/src/linux-headers-{kernel.release}" / name
            (tree.path / name).write_bytes(source.read_bytes())
        cache.remove(unpacked)
        for target in ("olddefconfig", "modules_prepare"):
            root.run([*make, target], log, f"make {target}", [tree.bind(writable=True)], tree.inside)
    release = (tree.path / "include/config/kernel.release").read_text().strip()
    if release != kernel.release:
        raise LabError(f"the prepared tree calls itself {release}, not {kernel.release}; log: {log}")
    if "CONFIG_RUST=y" not in (tree.path / ".config").read_text().splitlines():
        raise LabError(f"CONFIG_RUST is off in the prepared tree of {kernel.release}: the toolchain does not fit; "
                       f"log: {log}")


def stock(series: str) -> Tree:
    """The prepared tree of a pinned kernel."""
    kernel = pins.load().kernel(series)
    digest = cache.key(kernel, MAKE, cache.source(_prepare, unpack_source), sysroot.get().root.parent.name)
    path = cache.entry(f"ktree-{series}", digest, lambda partial: _prepare(kernel, partial)) / "tree"
    return Tree(series, path, kernel.release, _stock_options(kernel))


def have_modules() -> bool:
    """Whether this clone has modules to build."""
    return (paths.REPO / "Kbuild").exists()


def build_modules(tree: Tree, targets: Sequence[str] = ("modules",), options: Sequence[str] = (),
                  source: Path = paths.REPO) -> Path:
    """Build our modules against TREE; the directory that holds the .ko files."""
    if not (source / "Kbuild").exists():
        raise LabError(_NOTHING_TO_BUILD)
    out = paths.BUILD / f"modules-{tree.name}"
    stamp = out / ".tree"
    with cache.lock(paths.BUILD / f".lock-{tree.name}"):
        if not stamp.exists() or stamp.read_text() != str(tree.path):
            cache.remove(out)
        out.mkdir(parents=True, exist_ok=True)
        stamp.write_text(str(tree.path))
        log = paths.fresh_log(f"modules-{tree.name}")
        command = ["make", jobs(), "-C", tree.inside, *tree.options, f"M={source}", f"MO={out}", *options, *targets]
        with step("build", f"{' '.join(targets)} against {tree.release} ({tree.name})", 60):
            sysroot.get().run(command, log, f"building the modules for {tree.name}",
                              [tree.bind(), Bind.same(source), Bind.same(paths.BUILD)], str(source))
    return out


def modules_in(build: Path) -> list[Path]:
    """The .ko files that the last build made, in their order."""
    order = build / "modules.order"
    return [build / Path(line).with_suffix(".ko") for line in order.read_text().split()] if order.exists() else []
