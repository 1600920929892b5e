# SPDX-License-Identifier: GPL-2.0
"""The Debian root that holds compilers, QEMU and file-system tools."""

from __future__ import annotations

import contextlib
import functools
import os
import platform
import re
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Optional

from . import cache, paths, pins, proc, sandbox
from .errors import LabError
from .mmdebstrap import Mmdebstrap
from .progress import step

_KERNEL_BUILD = ("make", "gcc", "gcc-14", "g++", "libc6-dev", "libelf-dev", "libssl-dev", "bc", "bison", "flex", "cpio", "kmod",
                 "xz-utils", "zstd", "dwarves", "python3", "perl", "rsync")
_RUST = ("rustc", "rust-src", "bindgen", "rustfmt", "rust-clippy", "cargo", "libclang-19-dev")
_LLVM = ("clang-19", "lld-19", "llvm-19")
_MACHINE = ("qemu-system-x86", "squashfs-tools", "busybox-static", "ca-certificates")
PACKAGES = (*_KERNEL_BUILD, *_RUST, *_LLVM, *_MACHINE)

LIBCLANG = "/usr/lib/llvm-19/lib"


def _write_kernel_suite(root: Path) -> None:
    """Add the suite that the kernels come from, on the mirror that mmdebstrap chose."""
    lists = [root / "etc/apt/sources.list", *sorted((root / "etc/apt/sources.list.d").glob("*"))]
    text = "\n".join(f.read_text() for f in lists if f.is_file())
    found = re.search(r"^deb(?:\s+\[[^]]*\])?\s+(\S+)", text, re.M) or re.search(r"^URIs:\s*(\S+)", text, re.M)
    if not found:
        raise LabError(f"no package source in {root}/etc/apt: cannot tell which mirror was used")
    line = f"deb {found[1]} {pins.load().kernel_suite} main\n"
    (root / "etc/apt/sources.list.d/lab-kernels.list").write_text(line)


def _make(partial: Path) -> None:
    root = partial / "root"
    log = paths.fresh_log("sysroot")
    tool = Mmdebstrap(paths.cache() / "tools")
    with step("setup", f"making the Debian {pins.load().release} root with compilers and QEMU", 120):
        if tool.is_root:
            proc.run(tool.command(PACKAGES, "apt", str(root)), log, "mmdebstrap", gentle=True)
        else:
            # Through a tar, so that every file is this user's own and needs no rights to use or delete.
            root.mkdir()
            unpack_tar(tool.command(PACKAGES, "apt", "-"), log, "mmdebstrap",
                       ["tar", "-x", "--no-same-owner", "--no-same-permissions", "--exclude=./dev/*",
                        "-C", str(root)], partial)
        _write_kernel_suite(root)
        for name in ("usr/src", "proc", "dev", "tmp"):
            (root / name).mkdir(exist_ok=True)
        _check_versions(root)


def unpack_tar(producer: Sequence[str], log: Path, what: str, consumer: Sequence[str], partial: Path) -> None:
    """Run PRODUCER, an mmdebstrap that makes the entry PARTIAL, | CONSUMER; LabError if either fails."""
    with contextlib.ExitStack() as end, log.open("ab") as out:
        if os.geteuid() == 0:
            place = partial / "mmdebstrap"
            place.mkdir()
            end.callback(cache.remove, place)
        else:
            # The files are other ids' there, and they must reach it.
            place = Path(os.environ.get("TMPDIR", "/var/tmp"))
        env = dict(os.environ, TMPDIR=str(place))
        with proc.spawn(producer, gentle=True, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=out, env=env) as first:
            with proc.spawn(consumer, stdin=first.stdout, stdout=out, stderr=out) as second:
                assert first.stdout is not None
                first.stdout.close()
                status = (first.wait(), second.wait())
    if status != (0, 0):
        raise LabError(f"{what}: failed with status {status[0]}/{status[1]}; log: {log}\n{proc.tail(log)}")


def _check_versions(root: Path) -> None:
    text = proc.capture(["dpkg-query", f"--admindir={root}/var/lib/dpkg", "-W", "-f", "${Package} ${Version}\\n"])
    found = dict(line.split(" ", 1) for line in text.splitlines())
    for package, wanted in pins.load().toolchain.items():
        version = found.get(package, "none")
        upstream = version.split(":")[-1].split("+")[0].split("-")[0]
        if upstream != wanted:
            raise LabError(f"the archive has {package} {version}, but lab/pins wants {wanted}.\n"
                           f"If the kernel in lab/pins was built with it, change the line '{package} = {wanted}' in "
                           "lab/pins (section [toolchain]).")


def toolchain() -> str:
    """What a kernel tree depends on of the root, for its key: the pinned compilers, not each package."""
    wanted = pins.load()
    return cache.key(wanted.release, sorted(wanted.toolchain.items()), LIBCLANG)


class Sysroot:
    """The made root; runs commands inside it."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def argv(self, command: Sequence[str], binds: Sequence[sandbox.Bind] = (), cwd: str = "/",
             env: Mapping[str, str] = {}, network: bool = False) -> list[str]:
        """The host command line for COMMAND inside the root."""
        if network:
            binds = [*sandbox.network(), *binds]
            env = {**sandbox.network_env(), **env}
        return sandbox.argv(self.root, command, binds, cwd, env)

    def run(self, command: Sequence[str], log: Path, what: str, binds: Sequence[sandbox.Bind] = (), cwd: str = "/",
            env: Mapping[str, str] = {}, network: bool = False, timeout: Optional[float] = None) -> None:
        """Run COMMAND inside the root, output to LOG; LabError if it fails."""
        proc.run(self.argv(command, binds, cwd, env, network), log, what, timeout)

    def capture(self, command: Sequence[str], binds: Sequence[sandbox.Bind] = (), cwd: str = "/",
                network: bool = False) -> str:
        """Standard output of a short COMMAND inside the root."""
        return proc.capture(self.argv(command, binds, cwd, network=network))

    @contextlib.contextmanager
    def spawn(self, command: Sequence[str], binds: Sequence[sandbox.Bind] = (), cwd: str = "/",
              **kwargs: object) -> Iterator[proc.Child]:
        """Start COMMAND inside the root; gone when the block is left."""
        with proc.spawn(self.argv(command, binds, cwd), **kwargs) as child:
            yield child


@functools.lru_cache(maxsize=None)
def get() -> Sysroot:
    """The root for the present pins and recipe, made if it is not there."""
    paths.check()
    if platform.machine() != "x86_64":
        raise LabError(f"the lab runs on x86_64 machines only; this is {platform.machine()}")
    mode = "root" if os.geteuid() == 0 else "user"
    wanted = pins.load()
    digest = cache.key(mode, PACKAGES, cache.source(_make, Mmdebstrap.command), wanted.release, wanted.kernel_suite, sorted(wanted.toolchain.items()))
    sandbox.namespace_options()
    return Sysroot(cache.entry("root", digest, _make) / "root")
