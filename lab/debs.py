# SPDX-License-Identifier: GPL-2.0
"""Fetch the pinned kernel packages and check their hashes."""

from __future__ import annotations

import contextlib
import hashlib
import re
from collections.abc import Sequence
from pathlib import Path

from . import cache, paths, pins, sysroot
from .errors import LabError
from .progress import step
from .sandbox import Bind

_APT = ("-o", "APT::Sandbox::User=root", "-o", "Acquire::Retries=3", "-q")


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as handle:
        for block in iter(lambda: handle.read(1 << 20), b""):
            digest.update(block)
    return digest.hexdigest()


def _update(log: Path) -> None:
    sysroot.get().run(["apt-get", *_APT, "update"], log, "apt-get update", network=True)


def available(series: str) -> list[str]:
    """Debian package versions of a kernel series that the archive has now, newest first."""
    text = sysroot.get().capture(["apt-cache", "madison", f"linux-source-{series}"])
    return [line.split("|")[1].strip() for line in text.splitlines() if "|" in line]


def entry_for(series: str, package: str, parts: Sequence[str]) -> str:
    """The `lab/pins` entry for another version of a kernel, hashes from the archive's signed index."""
    kernel = pins.Kernel(series, package, {})
    sha256 = {}
    for part in parts:
        text = sysroot.get().capture(["apt-cache", "show", f"{kernel.deb_name(part)}={package}"])
        found = re.search(r"^SHA256: ([0-9a-f]{64})$", text, re.M)
        if not found:
            raise LabError(f"the archive has no {kernel.deb_name(part)} {package}")
        sha256[part] = found[1]
    return pins.render(series, package, sha256)


def newest_entry(series: str) -> str:
    """The `lab/pins` entry for the newest version of SERIES that the archive has."""
    _update(paths.fresh_log("apt"))
    versions = available(series)
    if not versions:
        raise LabError(f"the archive has no linux-source-{series} at all")
    return entry_for(series, versions[0], list(pins.load().kernel(series).sha256))


def _gone(kernel: pins.Kernel) -> LabError:
    versions = available(kernel.series)
    if not versions:
        return LabError(f"the archive has no kernel {kernel.series} any more; lab/pins needs another series "
                        "(section [kernels])")
    entry = entry_for(kernel.series, versions[0], list(kernel.sha256))
    return LabError(f"the archive no longer has kernel {kernel.package}, which lab/pins names.\n"
                    f"It has: {', '.join(versions)}.\n"
                    "Replace this entry of lab/pins (section [kernels]) and run make again:\n\n" + entry)


def fetch(kernel: pins.Kernel, parts: Sequence[str]) -> dict[str, Path]:
    """Local files of the packages PARTS of a kernel, downloaded where they are not in the cache."""
    place = paths.cache() / "debs"
    place.mkdir(parents=True, exist_ok=True)
    files = {part: place / f"{kernel.deb_name(part)}_{kernel.package}.deb" for part in parts}
    with cache.lock(paths.cache() / "debs.lock"):
        missing = [part for part in parts if not files[part].exists()]
        if missing:
            _download(kernel, missing, files)
    return files


def _download(kernel: pins.Kernel, parts: Sequence[str], files: dict[str, Path]) -> None:
    log = paths.fresh_log(f"debs-{kernel.series}")
    partial = paths.cache() / "debs" / "partial"
    cache.remove(partial)
    partial.mkdir()
    root = sysroot.get()
    with contextlib.ExitStack() as end, step("setup", f"downloading kernel {kernel.package}: {', '.join(parts)}", 30):
        end.callback(cache.remove, partial)
        _update(log)
        if kernel.package not in available(kernel.series):
            raise _gone(kernel)
        names = [f"{kernel.deb_name(part)}={kernel.package}" for part in parts]
        root.run(["apt-get", *_APT, "download", *names], log, "apt-get download",
                 [Bind(partial, "/mnt")], "/mnt", network=True)
        for part in parts:
            (deb,) = partial.glob(f"{kernel.deb_name(part)}_*.deb")
            digest = _sha256(deb)
            if digest != kernel.sha256[part]:
                raise LabError(f"{deb.name}: SHA-256 is {digest},\nbut lab/pins says {kernel.sha256[part]}.\n"
                               "Do not use this file: find out whether the archive or lab/pins is wrong.")
            deb.rename(files[part])


def _replacement(wanted: dict[str, tuple[str, str]]) -> str:
    lines = []
    for name in wanted:
        text = sysroot.get().capture(["apt-cache", "show", f"{name}/{pins.load().kernel_suite}"])
        version = re.search(r"^Version: (\S+)$", text, re.M)
        digest = re.search(r"^SHA256: ([0-9a-f]{64})$", text, re.M)
        if version and digest:
            lines.append(f"{name} = {version[1]} {digest[1]}")
    return "\n".join(lines)


def fetch_packages(section: str, wanted: dict[str, tuple[str, str]]) -> list[Path]:
    """Local files of packages of the kernels' suite, given as version and hash; SECTION of `lab/pins` names them."""
    place = paths.cache() / "debs"
    place.mkdir(parents=True, exist_ok=True)
    files = {name: place / f"{name}_{version.replace(':', '%3a')}.deb" for name, (version, _) in wanted.items()}
    with cache.lock(paths.cache() / "debs.lock"):
        missing = [name for name in wanted if not files[name].exists()]
        if missing:
            log = paths.fresh_log(f"debs-{section}")
            partial = place / "partial"
            cache.remove(partial)
            partial.mkdir()
            with contextlib.ExitStack() as end, step("setup", f"downloading {', '.join(missing)}", 20):
                end.callback(cache.remove, partial)
                _update(log)
                try:
                    sysroot.get().run(["apt-get", *_APT, "download", *(f"{name}={wanted[name][0]}" for name in missing)],
                                      log, "apt-get download", [Bind(partial, "/mnt")], "/mnt", network=True)
                except LabError as error:
                    raise LabError(f"{error}\nIf the archive has other versions by now, lab/pins (section [{section}]) "
                                   f"becomes:\n\n{_replacement(wanted)}") from None
                for name in missing:
                    (deb,) = partial.glob(f"{name}_*.deb")
                    digest = _sha256(deb)
                    if digest != wanted[name][1]:
                        raise LabError(f"{deb.name}: SHA-256 is {digest},\nbut lab/pins says {wanted[name][1]}.")
                    deb.rename(files[name])
    return list(files.values())
