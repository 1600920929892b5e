# SPDX-License-Identifier: GPL-2.0
"""Fibre Channel without hardware: the fabric of `lab/fabric`, and machines with adapters of it."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import re
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Optional

from . import cache, debs, paths, pins, proc, sysroot
from .errors import LabError
from .ktap import Counts
from .progress import say, step
from .sandbox import Bind

_SOURCE = paths.LAB / "fabric"
_FIRST_WWPN = 0x2100_0000_FC00_0001
# QEMU waits five seconds by itself, after which an adapter reads as ones for ever.
_ANSWER_MS = 60000


@dataclasses.dataclass(frozen=True)
class Adapter:
    """An emulated adapter."""

    name: str
    wwpn: int
    socket: Path
    switch: str = "fabric"

    def argument(self) -> str:
        """What the fabric is told of it."""
        return f"{self.name},{self.wwpn:016x},{self.socket},{self.switch}"


@dataclasses.dataclass(frozen=True)
class Slots:
    """The adapters that are in one machine, and a port to the fabric's command language."""

    adapters: Sequence[Adapter]
    control: Path
    program: str

    def options(self, mem: str) -> list[str]:
        """QEMU's options: memory that the fabric can map, the adapters, and a serial port called `fabric`."""
        options = ["-object", f"memory-backend-memfd,id=shared,size={mem},share=on", "-machine", "memory-backend=shared"]
        for adapter in self.adapters:
            socket = {"type": "unix", "path": str(adapter.socket)}
            options += ["-device", json.dumps({"driver": "vfio-user-pci", "socket": socket, "id": adapter.name,
                                               "x-msg-timeout": _ANSWER_MS})]
        return [*options, "-chardev", f"socket,id=fabric,path={self.control}", "-device", "virtio-serial-pci",
                "-device", "virtserialport,chardev=fabric,name=fabric"]


def _unpack_qemu(partial: Path) -> None:
    log = paths.fresh_log("qemu")
    for deb in debs.fetch_packages("qemu", pins.load().qemu):
        proc.run(["dpkg-deb", "-x", str(deb), str(partial)], log, f"unpacking {deb.name}")


def qemu() -> str:
    """A QEMU that takes devices of other processes; it finds its own files by where it is."""
    digest = cache.key(sorted(pins.load().qemu.items()), cache.source(_unpack_qemu))
    return str(cache.entry("qemu", digest, _unpack_qemu) / "usr/bin/qemu-system-x86_64")


def _cargo(arguments: Sequence[str], log: Path) -> None:
    home = paths.cache() / "cargo"
    home.mkdir(parents=True, exist_ok=True)
    env = {"CARGO_HOME": str(home), "CARGO_TARGET_DIR": str(paths.BUILD / "fabric")}
    sysroot.get().run(["cargo", *arguments], log, f"cargo {' '.join(arguments)}", [Bind.same(paths.REPO), Bind.same(home)],
                      str(_SOURCE), env, network=True)


def _build(partial: Path) -> None:
    with step("build", "the Fibre Channel fabric", 60):
        _cargo(["build", "--release", "--locked"], paths.fresh_log("fabric"))
    shutil.copy2(paths.BUILD / "fabric" / "release" / "fabric", partial)


def program() -> Path:
    """The fabric, built if its sources are new."""
    sources = [_SOURCE / "Cargo.toml", _SOURCE / "Cargo.lock", *sorted(_SOURCE.glob("src/**/*.rs"))]
    digest = cache.key(sysroot.toolchain(), cache.source(_build), *(path.read_text() for path in sources))
    return cache.entry("fabric", digest, _build) / "fabric"


class Fabric:
    """A fabric that runs, with the adapters that machines may take."""

    def __init__(self, place: Path, adapters: Sequence[Adapter], control: Path) -> None:
        self.place = place
        self.adapters = adapters
        self._control = control

    def slots(self, *names: str) -> Slots:
        """A machine's adapters: those of these names, or all."""
        taken = [adapter for adapter in self.adapters if not names or adapter.name in names]
        return Slots(taken, self._control, qemu())


@contextlib.contextmanager
def fabric(name: str, adapters: Sequence[tuple[str, str]]) -> Iterator[Fabric]:
    """Run a fabric called NAME; the adapters are given by their names and switches. What it says is in build/fc/NAME/log."""
    place = paths.BUILD / "fc" / name
    cache.remove(place)
    place.mkdir(parents=True)
    control = place / "control"
    made = [Adapter(adapter, _FIRST_WWPN + number, place / f"{number}.sock", switch)
            for number, (adapter, switch) in enumerate(adapters)]
    command = [str(program()), "--verbose", "--control", str(control),
               *(f"--hba={adapter.argument()}" for adapter in made)]
    binds = [Bind.same(paths.cache(), False), Bind.same(paths.BUILD)]
    with (place / "log").open("wb") as errors, sysroot.get().spawn(
            command, binds, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=errors) as child:
        assert child.stdout is not None
        if child.stdout.readline() != b"ready\n":
            raise LabError(f"the fabric did not start: {(place / 'log').read_text().strip()}")
        yield Fabric(place, made, control)


@contextlib.contextmanager
def attached(name: str, count: int) -> Iterator[Optional[Slots]]:
    """COUNT adapters called hba0, hba1, ... of one switch for one machine; None if it needs none."""
    if not count:
        yield None
        return
    with fabric(name, [(f"hba{number}", "fabric") for number in range(count)]) as running:
        yield running.slots()


def tests() -> Counts:
    """The fabric's own tests and lints."""
    counts = Counts()
    for name, arguments in (("test", ["test", "--locked"]),
                            ("clippy", ["clippy", "--locked", "--all-targets", "--", "-D", "warnings"])):
        log = paths.fresh_log(f"fabric-{name}")
        try:
            _cargo(arguments, log)
        except LabError as error:
            counts.fail(f"fabric: {name}")
            say(f"    FAIL cargo {name}: {error}")
            continue
        passed = sum(int(found) for found in re.findall(r"^test result: ok\. (\d+) passed", log.read_text(), re.M))
        counts.passed += passed if name == "test" else 1
        say(f"    ok   cargo {name}")
    return counts
