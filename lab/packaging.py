# SPDX-License-Identifier: GPL-2.0
"""Try what a user of a Debian machine does: DKMS with Debian's own headers and source packages."""

from __future__ import annotations

import re
from pathlib import Path

from . import cache, check, kernel, paths, pins, proc, sandbox, sysroot
from .errors import LabError
from .ktap import Counts
from .mmdebstrap import Mmdebstrap
from .progress import say, step
from .sandbox import Bind

TOOLCHAIN = ("dkms", "gcc-14", "make", "rustc", "rust-src", "bindgen", "libclang-19-dev", "libelf-dev", "libssl-dev",
             "bc", "bison", "flex", "cpio", "kmod", "xz-utils", "dwarves", "perl", "python3")

_MODULES = ("ib_srpt", "qla2x00tgt", "scst", "scst_disk", "scst_local", "scst_vdisk")


def _sources() -> list[str]:
    """The package sources of the lab's root, as mmdebstrap takes them."""
    etc = sysroot.get().root / "etc/apt"
    text = (etc / "sources.list").read_text() + (etc / "sources.list.d/lab-kernels.list").read_text()
    return [line for line in text.splitlines() if line.startswith("deb ")]


def _make(kernel_pin: pins.Kernel, partial: Path) -> None:
    packages = [*TOOLCHAIN, kernel_pin.deb_name("headers"), f"{kernel_pin.deb_name('source')}/{pins.load().kernel_suite}"]
    log = paths.fresh_log("dkms-root")
    tool = Mmdebstrap(paths.cache() / "tools")
    with step("dkms", "making a plain Debian with the packages that README.md names", 90):
        (partial / "root").mkdir()
        sysroot.unpack_tar([*tool.command(packages, "apt", "-"), *_sources()], log, "mmdebstrap",
                           ["tar", "-x", "--no-same-owner", "--exclude=./dev/*", "-C", str(partial / "root")], partial)


def _copy_sources(target: Path) -> None:
    cache.remove(target)
    for path in check.tracked():
        (target / path).parent.mkdir(parents=True, exist_ok=True)
        (target / path).write_bytes((paths.REPO / path).read_bytes())


def try_dkms() -> Counts:
    """Add, build and install with dkms in a plain Debian; the modules must carry the stock kernel's name."""
    if not kernel.have_modules():
        say("    skip DKMS: no Kbuild in this clone")
        return Counts(skipped=1, skips=["DKMS (no Kbuild in this clone)"])
    pin = pins.load().kernel("7.2")
    conf = (paths.REPO / "dkms.conf").read_text()
    name, version = (re.search(rf'^{key}="(.*)"$', conf, re.M)[1]  # type: ignore[index]
                     for key in ("PACKAGE_NAME", "PACKAGE_VERSION"))
    root = cache.entry("dkms", cache.key(pin, TOOLCHAIN, cache.source(_make), sysroot.toolchain()),
                       lambda partial: _make(pin, partial)) / "root"
    place = paths.BUILD / "dkms"
    _copy_sources(place / "source")
    binds = [Bind(place / "source", f"/usr/src/{name}-{version}", False)]
    # All that dkms writes goes here; of it only the prepared kernel tree serves the next try.
    for directory in ("/var/lib/dkms", f"/lib/modules/{pin.release}/updates", "/var/cache/scst"):
        where = place / directory.strip("/").replace("/", "-")
        if directory != "/var/cache/scst":
            cache.remove(where)
        where.mkdir(parents=True, exist_ok=True)
        binds.append(Bind(where, directory))
    script = (f"set -e; dkms add {name}/{version}; dkms build {name}/{version} -k {pin.release}; "
              f"dkms install {name}/{version} -k {pin.release}; modinfo /lib/modules/{pin.release}/updates/dkms/*.ko*; "
              f"dkms remove {name}/{version} --all")
    log = paths.fresh_log("dkms")
    try:
        with step("dkms", "dkms add, build and install", 150):
            proc.run(sandbox.argv(root, ["sh", "-c", script], binds), log, "dkms")
    except LabError as error:
        logs = "\n".join(proc.tail(path) for path in (place / "var-lib-dkms").rglob("make.log"))
        say(f"    FAIL {error}\n{logs}")
        return Counts(failed=1, failures=["DKMS"])
    found = sorted(re.findall(r"^filename: .*/(\w+)\.ko", log.read_text(), re.M))
    fitting = log.read_text().count(f"vermagic:       {pin.release} ")
    if found != sorted(_MODULES) or fitting != len(_MODULES):
        say(f"    FAIL DKMS: installed {' '.join(found)}, {fitting} of them for {pin.release}; log: {log}")
        return Counts(failed=1, failures=["DKMS: modules"])
    say(f"    ok   DKMS: {' '.join(found)} built, installed and removed")
    return Counts(passed=1)
