# SPDX-License-Identifier: GPL-2.0
"""Our Fibre Channel target on hba1: a LUN 0 that stores nothing, and a LUN 1 of 64 MiB."""

from __future__ import annotations

import fc
import scst
from lib import sh, wait_until

DRIVER = scst.ROOT / "targets" / "qla2x00t"
TARGET = DRIVER / fc.wwpn(1)
fabric: list[fc.Fabric] = []


def serve() -> None:
    """Load the target driver and let initiators in."""
    sh("modprobe", "qla2x00tgt")
    scst.add_lun("null", 0, TARGET / "luns")
    scst.add_lun("ram", 1, TARGET / "luns")
    scst.put(TARGET / "enabled", "1")


def setup() -> None:
    """All that there is."""
    fabric.append(fc.Fabric())
    fc.load(qlini_mode="exclusive")
    sh("modprobe", "-a", "scst", "scst_vdisk")
    scst.add_device("vdisk_nullio", "null", "size_mb=1024")
    scst.add_device("vdisk_fileio", "ram", f"filename={scst.image('/tmp/ram', 64)}")
    serve()


def unload() -> None:
    """Take the target driver out, if it is there."""
    if scst.loaded("qla2x00tgt"):
        sh("rmmod", "qla2x00tgt", timeout=120)


def teardown() -> None:
    """Take all down."""
    unload()
    for name in ("null", "ram"):
        scst.del_device(name)
    sh("modprobe", "-r", "scst_vdisk", "scst")
    fc.unload()


def count(port: str, name: str) -> int:
    """What the fabric has counted for an adapter."""
    line = next(line for line in fabric[0].do("ports").splitlines() if line.startswith(port + " "))
    return int(line.partition(f" {name}=")[2].split()[0])


def sessions() -> list[str]:
    """Names of the target's sessions."""
    return sorted(path.name for path in (TARGET / "sessions").glob("*:*"))


def wait_session() -> None:
    """Until the initiator is logged in."""
    wait_until(lambda: sessions() == [fc.wwpn(0)], 120, "the initiator has no session")
