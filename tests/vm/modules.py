#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
# lab: group=disks timeout=200 soak=yes
"""Modules, targets and devices that go while I/O runs: it waits or it is refused cleanly, and all is gone after it."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable

import scst
from lib import Fio, Suite, check, equal, note, scaled, sh

_ROUNDS = scaled(3, 100)


def setup() -> None:
    """Begin without the modules."""
    scst.clear()
    scst.unload()
    sh("modprobe", "brd", "rd_nr=2", "rd_size=65536")
    scst.image("/tmp/modules", 16)


suite = Suite(setup)


def _disks() -> list[str]:
    return [scst.disk("vdisk_nullio", "m_null", 0, "size_mb=64"),
            scst.disk("vdisk_fileio", "m_file", 1, "filename=/tmp/modules"),
            scst.disk("vdisk_blockio", "m_blk", 2, "filename=/dev/ram0")]


def _rmmod(module: str) -> bool:
    """Try to unload: true if it went; refused is good as well, but only because the module is in use."""
    text = sh("rmmod", module, timeout=120, status=None)
    check(not text or "in use" in text or "busy" in text or "temporarily unavailable" in text.lower(),
          f"rmmod {module}: {text}")
    return not text


def _unload_driver(loads: list[Fio]) -> bool:
    return _rmmod("scst_local")


def _unload_handlers(loads: list[Fio]) -> bool:
    return _rmmod("scst_vdisk")


def _delete_devices(loads: list[Fio]) -> bool:
    for name in ("m_null", "m_file", "m_blk"):
        scst.del_device(name)
    return True


def _delete_target(loads: list[Fio]) -> bool:
    scst.put(scst.LOCAL / "mgmt", f"del_target {scst.TARGET.name}")
    return True


def _kill_and_unload(loads: list[Fio]) -> bool:
    for load in loads:
        load.kill()
    return _rmmod("scst_local")


_WAYS: list[tuple[str, Callable[[list[Fio]], bool]]] = [
    ("rmmod scst_local", _unload_driver), ("rmmod scst_vdisk", _unload_handlers), ("del_device", _delete_devices),
    ("del_target", _delete_target), ("kill fio, rmmod scst_local at once", _kill_and_unload)]


def _round(number: int) -> str:
    name, way = _WAYS[number % len(_WAYS)]
    scst.load()
    loads = [Fio(node, rw="randrw", iodepth=8, time_based=None, runtime=3600, size="8m") for node in _disks()]
    time.sleep(0.7)
    start = time.monotonic()
    gone = way(loads)
    took = time.monotonic() - start
    if not gone:
        check(all(load.running for load in loads), f"{name} was refused, but the load ended")
    for load in loads:
        load.stop()
    for load in loads:
        if way is not _kill_and_unload:
            load.result(errors=gone)
    scst.clear()
    scst.unload()
    equal([module for module in scst.MODULES if scst.loaded(module)], [], "modules after the round")
    check(not scst.ROOT.exists(), f"{scst.ROOT} after the round")
    return f"{name}: {'done' if gone else 'refused'} after {took:.1f} s"


@suite.test(f"{_ROUNDS} rounds of loading, I/O and unloading under I/O", 200)
def rounds() -> None:
    for number in range(_ROUNDS):
        note(_round(number))


@suite.test("loading and unloading at the same time from two processes")
def race() -> None:
    script = "for i in $(seq {n}); do modprobe -a scst scst_vdisk scst_local; done"
    out = "for i in $(seq {n}); do rmmod scst_local scst_vdisk scst; done"
    count = scaled(3, 100)
    children = [subprocess.Popen(["sh", "-c", text.format(n=count)], stdout=subprocess.DEVNULL,
                                 stderr=subprocess.DEVNULL) for text in (script, out)]
    for child in children:
        child.wait(timeout=180)
    scst.load()
    scst.clear()
    scst.unload()


@suite.test("sysfs files that are open when the modules go do not keep or break them")
def open_files() -> None:
    scst.load()
    scst.add_device("vdisk_nullio", "m_null", "size_mb=8")
    files = [open(path, encoding="utf-8") for path in  # pylint: disable=consider-using-with
             (scst.DEVICES / "m_null/size", scst.TARGET / "luns/mgmt", scst.ROOT / "version")]
    scst.clear()
    scst.unload()
    for handle in files:
        try:
            handle.read()
            note(f"{handle.name} can still be read")
        except OSError as error:
            equal(error.strerror, "No such device", f"read of {handle.name}")
        handle.close()


if __name__ == "__main__":
    suite.main()
