#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
# lab: kernel=debug group=debug mem=2G timeout=300 soak=kasan allow=ODEBUG:.*kobject_delayed_cleanup|lib/debugobjects\.c|Call\sTrace:
"""Four processes manage the same few objects at a time, with valid commands mostly, while I/O runs.

One process at a time and arbitrary bytes are sysfs_fuzz.py's. Here objects come and go under each other: a device while
its LUN is being mapped, a group while its sessions move, a target while a session logs in, ALUA states while their group
is deleted. FUZZ_SEED chooses other runs.
"""

from __future__ import annotations

import contextlib
import os
import random
import re
import signal
import time
import traceback
from pathlib import Path

import scst
from lib import Failure, Fio, Suite, check, equal, no_differences, note, scaled, sh, wait_until

_SECONDS = scaled(12, 600)
_PROCESSES = 4
_SEED = int(os.environ.get("FUZZ_SEED", "1"))
_LEAST = 5
"""Valid commands of a process."""
_STEADY = "steady_tgt"

_ATTRIBUTES = {
    "threads_num": ("0", "1", "3", "x"), "threads_pool_type": ("shared", "per_initiator", "none"), "active": ("0", "1"),
    "max_tgt_dev_commands": ("1", "64", "0"), "prod_id": ("a", "b"), "t10_dev_id": ("t1", "t2"), "block": ("0", "1"),
    "addr_method": ("FLAT", "LUN", "PERIPHERAL", "?"), "cpu_mask": ("1", "3", "0", "z"), "aen_disabled": ("0", "1"),
    "io_grouping_type": ("auto", "never", "1"), "black_hole": ("0", "1", "3", "9"), "rel_tgt_id": ("7", "8", "0"),
    "comment": ("one", ""), "preferred": ("0", "1"), "group_id": ("1", "2", "3", "70000"), "trace_level": ("all", "none"),
    "resync_size": ("1",), "sync": ("1",), "suspend": ("0", "1", "-1"), "threads": ("2", "4"), "force_close": ("1",),
    "unknown_cmd_count": ("0",), "setup_id": ("0", "1"), "cluster_mode": ("0", "1"), "expl_alua": ("0", "1"),
}
_STATES = ("active", "nonoptimized", "standby", "unavailable", "offline", "transitioning", "none")


class Manager:
    """What one process writes and reads."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)
        self.results = {"valid": 0, "refused": 0, "reads": 0}

    def _name(self, kind: str, count: int = 3) -> str:
        return f"{kind}{self._random.randrange(count)}"

    def _target(self) -> Path:
        return scst.LOCAL / self._random.choice(("scst_local_tgt", "ft0", "ft1"))

    def _group(self) -> Path:
        """A target, or a group of one: where `luns` is."""
        target = self._target()
        return target if self._random.random() < 0.5 else target / "ini_groups" / self._name("g")

    def _device(self) -> tuple[Path, str]:
        name = self._name("d", 4)
        handler, params = self._random.choice((
            ("vdisk_nullio", "size_mb=8"), ("vdisk_fileio", f"filename=/tmp/{self._name('f')}; threads_num=2"),
            ("vdisk_blockio", "filename=/dev/ram0"), ("vcdrom", ""), ("vdisk_fileio", "filename=/tmp/nosuch")))
        verb = f"add_device {name} {params}" if self._random.random() < 0.6 else f"del_device {name}"
        return scst.HANDLERS / handler / "mgmt", verb

    def _lun(self) -> tuple[Path, str]:
        lun, device = self._random.randrange(4), self._name("d", 4)
        read_only = self._random.choice(("", " read_only=1"))
        return self._group() / "luns/mgmt", self._random.choice((
            f"add {device} {lun}{read_only}", f"add {device} {lun}{read_only}", f"replace {device} {lun}", f"del {lun}",
            f"replace_no_ua {device} {lun}", "clear"))

    def _port(self) -> tuple[Path, str]:
        target, session = self._name("ft", 2), self._name("s")
        return scst.LOCAL / "mgmt", self._random.choice((
            f"add_target {target} session_name={target}_{session}", f"add_target {target}", f"del_target {target}",
            f"add_session {target} {target}_{session}", f"del_session {target} {target}_{session}",
            f"add_session scst_local_tgt {session}", f"del_session scst_local_tgt {session}"))

    def _member(self) -> tuple[Path, str]:
        target, group, pattern = self._target(), self._name("g"), self._random.choice(("s0", "*s1", "*s2", "?s?", "!s0"))
        if self._random.random() < 0.4:
            verb = self._random.choice(("create", "create", "del"))
            return target / "ini_groups/mgmt", f"{verb} {group}"
        return target / "ini_groups" / group / "initiators/mgmt", self._random.choice((
            f"add {pattern}", f"add {pattern}", f"del {pattern}", f"move {pattern} {self._name('g')}", "clear"))

    def _alua(self) -> tuple[Path, str]:
        group = scst.GROUPS / self._name("dg", 2)
        target_group = group / "target_groups" / self._name("tg", 2)
        target = self._random.choice(("scst_local_tgt", "ft0", "ft1", "far"))
        verb = self._random.choice(("create", "create", "del"))
        add = self._random.choice(("add", "add", "del"))
        return self._random.choice((
            (scst.GROUPS / "mgmt", f"{verb} {group.name}"),
            (group / "devices/mgmt", f"{add} {self._name('d', 4)}"),
            (group / "target_groups/mgmt", f"{verb} {target_group.name}"),
            (target_group / "mgmt", f"{add} {target}"),
            (target_group / "state", self._random.choice(_STATES)),
            (target_group / "state", self._random.choice(_STATES[:3])),
            (target_group / "group_id", str(self._random.randrange(4)))))

    def _attribute(self) -> tuple[Path, str]:
        name = self._random.choice(list(_ATTRIBUTES))
        places = [*scst.DEVICES.glob(f"d?/{name}"), *scst.LOCAL.glob(f"[!{_STEADY[0]}]*/{name}"),
                  *scst.LOCAL.glob(f"*/ini_groups/g?/{name}"), *scst.LOCAL.glob(f"f*/sessions/*/{name}"),
                  *scst.GROUPS.glob(f"dg?/target_groups/*/{name}"), *scst.LOCAL.glob(f"scst_local_tgt/sessions/s*/{name}"),
                  *scst.GROUPS.glob(f"dg?/target_groups/*/*/{name}"), scst.ROOT / name]
        return self._random.choice(places), self._random.choice(_ATTRIBUTES[name])

    def write(self) -> None:
        """One management command."""
        path, text = self._random.choice(
            (self._device, self._lun, self._lun, self._lun, self._port, self._member, self._alua, self._attribute))()
        self.results["refused" if scst.write(path, text) else "valid"] += 1

    def read(self) -> None:
        """Read a part of the tree while others change it."""
        for where, _, files in os.walk(self._random.choice((scst.DEVICES, scst.LOCAL, scst.GROUPS))):
            for name in files:
                with contextlib.suppress(OSError):
                    Path(where, name).read_bytes()
                    self.results["reads"] += 1
                if self._random.random() < 0.01:
                    return


def _manage(seed: int, seconds: float) -> None:
    manager = Manager(seed)
    end = time.monotonic() + seconds
    # One whose first commands wait for a blocked device has its turn when that is unblocked.
    while time.monotonic() < end or manager.results["valid"] <= _LEAST:
        if manager.results["valid"] % 20 == 19:
            manager.read()
        manager.write()
    note(f"process {seed}: {manager.results}")


def _start(seed: int) -> int:
    child = os.fork()
    if child:
        return child
    try:
        signal.alarm(0)
        _manage(seed, _SECONDS)
    except BaseException:  # pylint: disable=broad-except
        note(traceback.format_exc())
        os._exit(1)
    os._exit(0)


def _ends(children: list[int]) -> list[int]:
    """The statuses that the processes end with. Who closes a session of a blocked device waits until that is unblocked."""
    late, found = time.monotonic() + _SECONDS + 5, []
    for child in children:
        while True:
            ended, status = os.waitpid(child, os.WNOHANG)
            if ended:
                break
            time.sleep(0.2)
            if time.monotonic() > late:
                with contextlib.suppress(OSError, Failure):
                    scst.unblock()
        found.append(status)
    return found


def setup() -> None:
    """A disk for the load on a target of its own, and files."""
    scst.unload()
    scst.load()
    with contextlib.suppress(Failure):
        sh("modprobe", "brd", "rd_nr=1", "rd_size=8192")
    for number in range(3):
        scst.image(f"/tmp/f{number}", 8)
    target = scst.add_target(_STEADY, "steady")
    scst.add_device("vdisk_nullio", "steady", "size_mb=64")
    scst.add_lun("steady", 0, target / "luns")
    Path("/sys/module/scst/parameters/alua_invariant_check").write_text("Y")


def teardown() -> None:
    """Leave nothing."""
    scst.clear()
    scst.unload()


suite = Suite(setup, teardown)
# The kernel's own gendisk does not get on with DEBUG_KOBJECT_RELEASE.
suite.expected.append(re.compile(r"ODEBUG: .*kobject_delayed_cleanup|lib/debugobjects\.c|Call Trace:"))


@suite.test(f"{_PROCESSES} processes manage for {_SECONDS} s beside I/O", _SECONDS + 200)
def storm() -> None:
    load = Fio(scst.wait_disk(0, scst.LOCAL / _STEADY), iodepth=4, rate_iops=200, time_based=None, runtime=36000)
    try:
        children = [_start(_SEED * _PROCESSES + number) for number in range(_PROCESSES)]
        equal(_ends(children), [0] * _PROCESSES, "how the processes ended")
        check(load.running, "the load ended")
    finally:
        load.stop()
    load.result()


def _luns_of(directory: Path, prefix: str) -> list[int]:
    return sorted(int(path.name[len(prefix):]) for path in directory.glob(f"{prefix}[0-9]*"))


@suite.test("the tree is consistent afterwards")
def consistent() -> None:
    found = [f"{path} leads nowhere: {text}" for path, (kind, _, text) in scst.snapshot(leave_out=()).items()
             if kind == "l" and not os.path.exists(path)]
    for session in scst.LOCAL.glob("*/sessions/*"):
        shown, mapped = _luns_of(session, "lun"), _luns_of((session / "luns").resolve(), "")
        if shown != mapped:
            found.append(f"{session} has {shown}, its group {mapped}")
    for device in scst.DEVICES.glob("*/"):
        if not (device / "handler" / device.name).exists():
            found.append(f"{device} is not at its handler")
        for link in (device / "exported").iterdir():
            if (link / "device").resolve() != device:
                found.append(f"{link} is not of {device.name}")
    for lun in [*scst.LOCAL.glob("*/luns/[0-9]*"), *scst.LOCAL.glob("*/ini_groups/*/luns/[0-9]*")]:
        device = (lun / "device").resolve()
        if not any(link.resolve() == lun for link in (device / "exported").iterdir()):
            found.append(f"{lun} is not in {device}/exported")
    no_differences(found)


@suite.test("what is configured then still serves I/O")
def serves() -> None:
    scst.clear()
    # A target of its own: the session of the other one may have been closed.
    target = scst.add_target("after_tgt", "after_host")
    scst.add_device("vdisk_fileio", "after", "filename=/tmp/f0")
    scst.add_lun("after", 0, target / "luns")
    sh("dd", f"if={scst.wait_disk(0, target)}", "of=/dev/null", "bs=64k", "count=8", "iflag=direct", "status=none")


@suite.test("all of it can be removed, and the modules unload")
def removed() -> None:
    scst.clear()
    equal([path.name for path in scst.DEVICES.iterdir()], [], "devices that are left")
    for session in (scst.TARGET / "sessions").iterdir():
        if session.name != scst.SESSION:
            scst.put(scst.LOCAL / "mgmt", f"del_session scst_local_tgt {session.name}")
    scst.unload()
    wait_until(lambda: not scst.loaded(), 10, "scst is still loaded")


if __name__ == "__main__":
    suite.main()
