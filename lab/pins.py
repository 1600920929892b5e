# SPDX-License-Identifier: GPL-2.0
"""The pinned versions and hashes (`lab/pins`)."""

from __future__ import annotations

import configparser
import dataclasses
import functools
import re

from . import paths
from .errors import LabError

FLAVOUR = "+deb13-amd64"


@dataclasses.dataclass(frozen=True)
class Kernel:
    """One pinned Debian kernel."""

    series: str
    """`7.2`"""
    package: str
    """Debian's package version, `7.2.12-1~bpo13+1`."""
    sha256: dict[str, str]
    """Which packages of it we take (`binary`, `modules`, `headers`, `source`), and the hash of each."""

    @property
    def release(self) -> str:
        """What `uname -r` says: `7.2.12+deb13-amd64`."""
        return self.package.split("-")[0] + FLAVOUR

    def deb_name(self, part: str) -> str:
        """The Debian package that PART is."""
        return f"linux-source-{self.series}" if part == "source" else f"linux-{part}-{self.release}"


@dataclasses.dataclass(frozen=True)
class Pins:
    """The whole file."""

    release: str
    kernel_suite: str
    toolchain: dict[str, str]
    qemu: dict[str, tuple[str, str]]
    """Version and hash of the packages of the QEMU that takes devices of other processes."""
    kernels: dict[str, Kernel]

    def kernel(self, series: str) -> Kernel:
        """The kernel of a series, or an error that names those that there are."""
        if series not in self.kernels:
            raise LabError(f"no kernel {series} in lab/pins (there are: {', '.join(self.kernels)})")
        return self.kernels[series]


@functools.lru_cache(maxsize=None)
def load() -> Pins:
    """Read and check `lab/pins`."""
    path = paths.LAB / "pins"
    parser = configparser.ConfigParser(interpolation=None, delimiters=("=",))
    parser.optionxform = str  # type: ignore[assignment,method-assign]
    try:
        parser.read_string(path.read_text())
        kernels = {series: _kernel(series, text) for series, text in parser["kernels"].items()}
        qemu = {package: _package(package, text) for package, text in parser["qemu"].items()}
        return Pins(parser["suite"]["release"], parser["suite"]["kernels"], dict(parser["toolchain"]), qemu, kernels)
    except (OSError, KeyError, configparser.Error) as error:
        raise LabError(f"{path}: {error}") from None


def _package(name: str, text: str) -> tuple[str, str]:
    version, _, digest = text.partition(" ")
    if not re.fullmatch(r"[0-9a-f]{64}", digest):
        raise LabError(f"lab/pins: package {name}: '{text}' is not VERSION SHA256")
    return version, digest


def _kernel(series: str, text: str) -> Kernel:
    package, *hashes = text.split()
    sha256 = {}
    for item in hashes:
        part, _, digest = item.partition("=")
        if not re.fullmatch(r"[0-9a-f]{64}", digest):
            raise LabError(f"lab/pins: kernel {series}: '{item}' is not PART=SHA256")
        sha256[part] = digest
    return Kernel(series, package, sha256)


def render(series: str, package: str, sha256: dict[str, str]) -> str:
    """The `lab/pins` entry for a kernel, ready to paste."""
    return "\n".join([f"{series} = {package}", *(f"    {part}={digest}" for part, digest in sha256.items())])
