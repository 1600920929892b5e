# SPDX-License-Identifier: GPL-2.0
"""One function a command; each says in its docstring's first line what it is for."""

from __future__ import annotations

import argparse
import dataclasses
import shutil
from pathlib import Path
from typing import Optional

from bench import figures

from . import cache, debs, debug_kernel, fc, guest, kernel, paths, pins, reference, suite, sysroot, vm
from .progress import say


def _tree(name: str) -> kernel.Tree:
    return debug_kernel.tree() if name == "debug" else kernel.stock(name)


def _build() -> Optional[Path]:
    """Our modules for the stock kernel, or None in a clone that has none."""
    return kernel.build_modules(kernel.stock("7.2")) if kernel.have_modules() else None


def setup(arguments: argparse.Namespace) -> int:
    """make or fetch all that the other commands need"""
    sysroot.get()
    guest.userland()
    for series in pins.load().kernels if arguments.all else ("7.2",):
        kernel.stock(series)
        guest.stock(series)
    if arguments.all:
        debug_kernel.bootable()
    say(f"[setup] ready; kept in {paths.cache()}")
    return 0


def modules(arguments: argparse.Namespace) -> int:
    """build the modules"""
    for name in arguments.series:
        for module in kernel.modules_in(kernel.build_modules(_tree(name))):
            say(f"[build] {module.relative_to(paths.REPO)}")
    return 0


def run(arguments: argparse.Namespace) -> int:
    """boot, make disks of every kind, check data through them, measure them beside the peers"""
    from . import demo
    return demo.run(_build())


def bench(arguments: argparse.Namespace) -> int:
    """measure instructions per I/O beside the peers"""
    built = _build()
    ours = figures.present(built)
    stacks = [*ours, *figures.PEERS, *figures.SRP_PEERS, *figures.FC_PEERS]
    for transport in ("scst_local", "srp", "fc"):
        if not any(stack.transport == transport for stack in ours):
            say(f"[bench] our modules for {transport} are not in this clone's build: peers only")
    if arguments.stack:
        stacks = [stack for stack in stacks if stack.stack in arguments.stack]
    if arguments.transport:
        stacks = [stack for stack in stacks if stack.transport in arguments.transport]
    jobs = figures.loads(arguments.ios, max(arguments.ios // 20, 100))
    records = figures.measure(stacks, jobs, built)
    say("\n" + figures.table(records))
    say(f"\nrecords: {figures.save(records, 'bench.json')}")
    if arguments.profile:
        found = figures.profiles(stacks, [job for job in jobs if job.rw == "randread"], built)
        text = "\n".join(one.text() for one in found)
        (paths.BUILD / "profile.txt").write_text(text)
        say("\n" + text)
    return 0


def test(arguments: argparse.Namespace) -> int:
    """run every test part; ends with the line N passed, N failed, N skipped"""
    return suite.run(arguments.part, long=False, fresh=arguments.fresh)


def soak(arguments: argparse.Namespace) -> int:
    """run the soaks, storms and power cuts at full length"""
    return suite.run(arguments.part, long=True)


def shell(arguments: argparse.Namespace) -> int:
    """a shell in the machine, our modules ready for modprobe (leave with exit, or Ctrl-A x)"""
    config = vm.Config(modules=kernel.build_modules(_tree("debug" if arguments.debug else "7.2"))
                       if kernel.have_modules() else None,
                       kernel=debug_kernel.bootable() if arguments.debug else None,
                       extra=[paths.REPO / "bench" / "guest"])
    with fc.attached("shell", arguments.fc) as slots:
        return vm.Machine("shell", "", dataclasses.replace(config, fc=slots)).shell()


def kunit(arguments: argparse.Namespace) -> int:
    """run the KUnit suites on the debug kernel"""
    return suite.run(["kunit"], long=False)


def check(arguments: argparse.Namespace) -> int:
    """format, lints, unsafe rooms, licences, file lengths"""
    return suite.run(["check"], long=False)


def docs(arguments: argparse.Namespace) -> int:
    """write docs/sysfs.md from the attribute tables of the code"""
    reference.write()
    return 0


def dkms(arguments: argparse.Namespace) -> int:
    """try the DKMS package against Debian's own packages"""
    return suite.run(["dkms"], long=True)


def pin(arguments: argparse.Namespace) -> int:
    """print the lab/pins entry for the newest kernel of a series that the archive has"""
    say(debs.newest_entry(arguments.series))
    return 0


def prune(arguments: argparse.Namespace) -> int:
    """delete what the cache holds and no run has used for a while"""
    cache.prune(arguments.days)
    return 0


def distclean(arguments: argparse.Namespace) -> int:
    """delete build/ and everything that the lab keeps in its cache"""
    shutil.rmtree(paths.BUILD, ignore_errors=True)
    for pattern in ("root-*", "ktree-*", "guest-*", "kernel-*", "debug-*", "debugboot-*", "dkms-*", "crates-*", "qemu-*",
                    "fabric-*", "fio-*", "over-*", "tests-*", ".used-*", "debs", "debs.lock",
                    "tools", "cargo", "tmp", "locks"):
        for path in paths.cache().glob(pattern):
            say(f"[clean] {path}")
            cache.remove(path)
    return 0
