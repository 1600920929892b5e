#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
# lab: group=disks timeout=200 soak=yes
"""Modules, targets and devices that go while I/O runs: it waits or it is refused cleanly, and all is gone after it."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import scst
from lib import Fio, Suite, check, equal, note, scaled, sh, wait_until

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


def _waiting_writer(path: Path, text: str) -> "subprocess.Popen[bytes]":
    """A process that writes, when it has to wait for that."""
    # pylint: disable-next=consider-using-with
    writer = subprocess.Popen(["sh", "-c", 'echo "$1" > "$2"', "sh", text, str(path)])
    stat = Path("/proc", str(writer.pid), "stat")
    wait_until(lambda: stat.read_text().rpartition(")")[2].split()[0] == "D", 30, f"'{text}' > {path} does not wait")
    return writer


@suite.test("while a medium is being closed, which lasts as long as its commands, its files can be read and others managed")
def closing() -> None:
    scst.load()
    sh("modprobe", "dm_mod")
    size = sh("blockdev", "--getsz", "/dev/ram0").strip()
    sh("dmsetup", "create", "held", "--noudevsync", "--table", f"0 {size} linear /dev/ram0 0")
    sh("dmsetup", "mknodes")
    disk = scst.disk("vdisk_blockio", "m_held", 0, "filename=/dev/mapper/held")
    active = scst.TARGET / "sessions" / scst.SESSION / "lun0/active_commands"
    sh("dmsetup", "suspend", "--noflush", "--nolockfs", "held")
    try:
        # pylint: disable-next=consider-using-with
        reader = subprocess.Popen(["dd", f"if={disk}", "of=/dev/null", "bs=4k", "count=1", "iflag=direct", "status=none"])
        wait_until(lambda: scst.get(active) != "0", 30, "the read has not arrived")
        closer = _waiting_writer(scst.DEVICES / "m_held/active", "0")
        equal(scst.get(scst.DEVICES / "m_held/filename"), "/dev/mapper/held", "filename")
        scst.add_device("vdisk_nullio", "m_null", "size_mb=8")
        scst.del_device("m_null")
        check(reader.poll() is None and closer.poll() is None, "the read, or who waits for it, has ended")
    finally:
        sh("dmsetup", "resume", "held")
    equal((reader.wait(timeout=60), closer.wait(timeout=60)), (0, 0), "exit statuses")
    scst.clear()
    scst.unload()
    sh("dmsetup", "remove", "--noudevsync", "held")


@suite.test("while a device is being added its handler's module stays")
def being_added() -> None:
    scst.load()
    place = Path("/mnt/slow")
    place.mkdir(exist_ok=True)
    sh("mkfs.ext4", "-q", "-F", "/dev/ram0")
    sh("mount", "/dev/ram0", str(place))
    tags = place / "late.dif"
    tags.touch()
    line = f"add_device late filename=/tmp/modules; dif_mode=dev_store; dif_type=1; dif_filename={tags}"
    # Nothing can be written there, so the device is not made before that has ended.
    sh("fsfreeze", "-f", str(place))
    try:
        writer = _waiting_writer(scst.HANDLERS / "vdisk_fileio/mgmt", line)
        sh("rmmod", "scst_local")
        text = sh("rmmod", "scst_vdisk", status=None)
        check("in use" in text, f"rmmod scst_vdisk: {text}")
    finally:
        sh("fsfreeze", "-u", str(place))
    equal(writer.wait(timeout=60), 0, "exit status of who adds the device")
    scst.del_device("late")
    scst.unload()
    sh("umount", str(place))


if __name__ == "__main__":
    suite.main()
