#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
# lab: group=tree timeout=180
"""Management writes: the recorded ones have the recorded results; a bad one changes nothing and is logged once."""

from __future__ import annotations

import errno
import os
import random
from collections.abc import Callable
from pathlib import Path
from typing import Union

import recording
import scst
from lib import Kmsg, Suite, errno_name, equal, no_differences, scaled, sh

_ERRORS = {os.strerror(number): number for number in errno.errorcode}


def setup() -> None:
    """As it was when the writes were recorded: four files (one not yet there), two RAM disks."""
    scst.unload()
    sh("modprobe", "brd", "rd_nr=2", "rd_size=65536")
    for name in "abd":
        scst.image(f"/tmp/{name}", 64)
    for name in ("c", "d.dif"):
        Path("/tmp", name).unlink(missing_ok=True)
    scst.load()


def teardown() -> None:
    """Leave nothing."""
    scst.clear()
    scst.unload()


suite = Suite(setup, teardown)


class Watch:
    """What a write leaves in the log and changes in the tree."""

    def __init__(self) -> None:
        self.log = Kmsg()
        self.tree = scst.snapshot()

    @staticmethod
    def _around(path: Path) -> list[object]:
        """The part of the tree that a write may change; the whole of it takes too long for each write."""
        places = [path.parent, scst.DEVICES, *scst.ROOT.glob("targets/*"), *scst.ROOT.glob("targets/*/*/luns")]
        names: list[object] = [sorted(os.listdir(place)) for place in places if place.is_dir()]
        if path.name != "mgmt" and os.access(path, os.R_OK) and path.stat().st_mode & 0o444:
            names.append(path.read_bytes())
        return names

    def refusal(self, path: Union[str, Path], data: Union[str, bytes], want: int) -> list[str]:
        """Write what must be refused: with the errno WANT, one log line, nothing changed."""
        path = Path(path)
        self.log.lines()
        before = self._around(path)
        got = scst.write(path, data)
        lines = [line for line in self.log.lines() if line.startswith(("scst", "dev_vdisk", "[", "***"))]
        shown = data if isinstance(data, str) else repr(data[:20])
        name = f"'{shown[:80]}' > {path.relative_to(scst.ROOT)}"
        problems = []
        if got != want:
            problems.append(f"{name}: {errno_name(got)}, want {errno_name(want)}")
        errors = [line for line in lines if "ERROR" in line]
        # /sys refuses what is not there or not writable before any of our code runs.
        if os.path.exists(path) and len(errors) != 1:
            problems.append(f"{name}: {len(errors)} error lines {lines}")
        after = self._around(path)
        if before != after:
            problems.append(f"{name}: changed something: {before} -> {after}")
        return problems

    def changed(self) -> list[str]:
        """What is different in the whole tree since the beginning."""
        return scst.changes(self.tree, scst.snapshot())


def _shown(write: recording.Write) -> list[str]:
    """What is wrong with how the attribute reads now."""
    if not write.shown or "\n\n\nUsage" in write.shown or "No such file" in write.shown:
        return []
    want = write.shown
    if " now: " in want:
        want = want.partition(" now: ")[2]
    path = Path(write.path)
    if path.name == "phys_transport_version":
        return []  # recorded together with the next one
    if path.name == "scsi_transport_version":
        want = "0x5\n[key]\n"
    got = path.read_text(errors="replace")
    if path.name == "trace_level":
        got = got.partition("\n\n\nUsage")[0]
    # The recording has one command's output after the other.
    return [] if want.startswith(got) else [f"'{write.text}' > {write.path}: reads {got!r}, recorded {want!r}"]


@suite.test("the recorded writes have the recorded errno, value and last_sysfs_mgmt_res")
def recorded() -> None:
    listed = recording.Differences("mgmt")
    watch = Watch()
    problems = []
    for write in recording.writes():
        name = f"{write.text} > {write.path}"
        want = _ERRORS[write.error] if write.error else 0
        if not os.path.exists(write.path) and listed.allow("absent", write.path):
            continue
        if "scsi_debug" in name or (want == errno.EACCES and not os.path.exists(write.path)):
            continue
        if listed.allow("errno", name):
            scst.write(write.path, write.text)
            continue
        if want:
            problems += watch.refusal(write.path, write.text, want)
            if write.text.startswith("add_device f_dif"):
                # Where it is not refused any more there was such a file.
                Path("/tmp/d.dif").touch()
            continue
        got = scst.write(write.path, write.text)
        if got:
            problems.append(f"{name}: {errno_name(got)}, recorded success")
        elif not listed.allow("content", name):
            problems += _shown(write)
    no_differences([*problems, *listed.unused()], 80)


# Numbers that depend on what was refused before, of the copy manager's LUNs and of exports.
_NUMBERED = ("/exported/*", "/sessions/*/host_no", "/sessions/*/host", "/sessions/*/lun*/*", "/scst_local/stats",
             "/*_cmd_count", "/*_count_kb")


@suite.test("after the recorded writes the tree is as it was then")
def tree() -> None:
    listed = recording.Differences("after writes")
    recorded = recording.tree("sysfs-writes.txt")
    scst.wait_quiet()
    live = {path: entry for path, entry in scst.snapshot(leave_out=()).items()
            if path.startswith(tuple(f"{scst.ROOT}/{name}" for name in ("devices", "handlers", "targets/scst_local")))}
    outside = [path for path in recorded if any(Path(path).match("*" + name) for name in _NUMBERED)]
    for path in outside:
        recorded.pop(path)
        live.pop(path, None)
    no_differences([*recording.compare(recorded, live, listed), *listed.unused()], 150)


@suite.test("last_sysfs_mgmt_res has the last command's result")
def last_result() -> None:
    handler = scst.HANDLERS / "vdisk_nullio/mgmt"
    scst.write(handler, "del_device nosuch")
    equal(scst.get(scst.ROOT / "last_sysfs_mgmt_res"), str(-errno.EINVAL), "after an error")
    scst.put(handler, "add_device result size_mb=1")
    equal(scst.get(scst.ROOT / "last_sysfs_mgmt_res"), "0", "after a success")


_LONG = "x" * 300
_BAD = [
    ("handlers/vdisk_nullio/mgmt", "add_device b1 bogus=1", errno.EINVAL),
    ("handlers/vdisk_nullio/mgmt", "add_device b1 size_mb=", errno.EINVAL),
    ("handlers/vdisk_nullio/mgmt", "add_device b1 size_mb", errno.EINVAL),
    ("handlers/vdisk_nullio/mgmt", "add_device b1 size_mb=-1", errno.EINVAL),
    ("handlers/vdisk_nullio/mgmt", "add_device b1 size_mb=99999999999999999999999", errno.EINVAL),
    ("handlers/vdisk_nullio/mgmt", "add_device b1 size=1000", errno.EINVAL),
    ("handlers/vdisk_nullio/mgmt", "add_device b1 blocksize=0", errno.EINVAL),
    ("handlers/vdisk_nullio/mgmt", "add_device b1 blocksize=1000000", errno.EINVAL),
    ("handlers/vdisk_nullio/mgmt", "add_device b1 filename=/tmp/a", errno.EINVAL),
    ("handlers/vdisk_nullio/mgmt", "add_device b1 read_only=2", errno.EINVAL),
    ("handlers/vdisk_nullio/mgmt", "add_device .. size_mb=1", errno.EINVAL),
    ("handlers/vdisk_nullio/mgmt", "add_device a/../../b size_mb=1", errno.EINVAL),
    ("handlers/vdisk_nullio/mgmt", f"add_device {_LONG} size_mb=1", errno.EINVAL),
    ("handlers/vdisk_nullio/mgmt", "add_device result size_mb=1", errno.EEXIST),
    ("handlers/vdisk_fileio/mgmt", "add_device b1", errno.EINVAL),
    ("handlers/vdisk_fileio/mgmt", "add_device b1 filename=", errno.EINVAL),
    ("handlers/vdisk_fileio/mgmt", "add_device b1 filename=relative", errno.EINVAL),
    ("handlers/vdisk_fileio/mgmt", "add_device b1 filename=/tmp/nosuch", errno.ENOENT),
    ("handlers/vdisk_fileio/mgmt", "add_device b1 filename=/tmp", errno.EISDIR),
    ("handlers/vdisk_fileio/mgmt", f"add_device b1 filename=/tmp/{_LONG}", errno.ENAMETOOLONG),
    ("handlers/vdisk_blockio/mgmt", "add_device b1 filename=/dev/nosuch", errno.ENOENT),
    ("handlers/vdisk_blockio/mgmt", "add_device b1 filename=/tmp/a", errno.ENOTBLK),
    ("handlers/vdisk_blockio/mgmt", "add_device b1 filename=/dev/ram1; blocksize=513", errno.EINVAL),
    ("handlers/vdisk_nullio/mgmt", "", errno.EINVAL),
    ("handlers/vdisk_nullio/mgmt", "add_device", errno.EINVAL),
    ("handlers/vdisk_fileio/mgmt", "del_device nosuch", errno.EINVAL),
    ("targets/scst_local/mgmt", "add_target", errno.EINVAL),
    ("targets/scst_local/mgmt", "add_target a/b", errno.EINVAL),
    ("targets/scst_local/mgmt", "add_target t9 bogus=1", errno.EINVAL),
    ("targets/scst_local/mgmt", f"add_target {_LONG}", errno.EINVAL),
    ("targets/scst_local/scst_local_tgt/luns/mgmt", "add", errno.EINVAL),
    ("targets/scst_local/scst_local_tgt/luns/mgmt", "add result x", errno.EINVAL),
    ("targets/scst_local/scst_local_tgt/luns/mgmt", "add result 5 read_only=maybe", errno.EINVAL),
    ("targets/scst_local/scst_local_tgt/luns/mgmt", "del", errno.EINVAL),
    ("targets/scst_local/scst_local_tgt/luns/mgmt", "del -1", errno.EINVAL),
    ("targets/scst_local/scst_local_tgt/luns/mgmt", "replace result 77", None),
    ("targets/scst_local/scst_local_tgt/ini_groups/mgmt", "create a/b", errno.EINVAL),
    ("targets/scst_local/scst_local_tgt/ini_groups/mgmt", "create", errno.EINVAL),
    ("targets/scst_local/scst_local_tgt/ini_groups/mgmt", f"create {_LONG}", errno.EINVAL),
    ("setup_id", "x", errno.EINVAL),
    ("threads", "0", errno.EINVAL),
    ("threads", "many", errno.EINVAL),
    ("suspend", "-7", errno.EINVAL),
    ("suspend", "x", errno.EINVAL),
    ("measure_latency", "2", errno.EINVAL),
    ("trace_level", "add bogus", errno.EINVAL),
    ("devices/result/threads_num", "1000000", errno.EINVAL),
    ("devices/result/threads_pool_type", "bogus", errno.EINVAL),
    ("devices/result/size", "1000", errno.EINVAL),
    ("devices/result/usn", "y" * 100, errno.EINVAL),
    ("devices/result/naa_id", "0x12", errno.EINVAL),
    ("devices/result/pr_file_name", "relative", errno.EINVAL),
    ("devices/result/pr_file_name", "/tmp/a\n[key]\n/tmp/b", errno.EINVAL),
    ("handlers/vdisk_fileio/mgmt", "add_device b1 filename='/tmp/a\nb'", errno.EINVAL),
    ("targets/scst_local/scst_local_tgt/comment", "one\ntwo", errno.EINVAL),
    ("cluster_name", "a\tb", errno.EINVAL),
]


@suite.test("bad input is refused with the right errno and one log line, and changes nothing")
def bad() -> None:
    watch = Watch()
    problems = []
    for path, data, want in _BAD:
        if want is not None:
            problems += watch.refusal(scst.ROOT / path, data, want)
    no_differences([*problems, *watch.changed()], 80)


@suite.test("4 KiB of noise to every management file changes nothing")
def noise() -> None:
    source = random.Random(2)
    watch = Watch()
    problems = []
    paths = [path for path in scst.ROOT.rglob("mgmt") if "copy_manager" not in str(path)]
    for path in paths:
        for _ in range(scaled(2, 50)):
            problems += watch.refusal(path, source.randbytes(4096), errno.EINVAL)
    no_differences([*problems, *watch.changed()])


@suite.test("moving an initiator to a group that has it is refused, and says so once")
def move() -> None:
    groups = scst.TARGET / "ini_groups"
    for name in ("from", "to"):
        scst.put(groups / "mgmt", f"create {name}")
        scst.put(groups / name / "initiators/mgmt", "add host")
    no_differences(Watch().refusal(groups / "from/initiators/mgmt", "move host to", errno.EEXIST))


def _together(*loops: Callable[[], None]) -> None:
    """Run each in a process of its own."""
    children = []
    for loop in loops:
        child = os.fork()
        if not child:
            try:
                loop()
            except BaseException:  # pylint: disable=broad-except
                os._exit(1)
            os._exit(0)
        children.append(child)
    equal([os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children], [0] * len(loops), "exit statuses")


def _writes(path: Path, *texts: str, rounds: int) -> Callable[[], None]:
    def loop() -> None:
        for _ in range(rounds):
            for text in texts:
                scst.put(path, text)

    return loop


@suite.test("of what two write at the same time nothing is lost")
def two() -> None:
    level, suspend, rounds = scst.ROOT / "trace_level", scst.ROOT / "suspend", scaled(300, 3000)
    depth = scst.get(suspend)
    _together(*2 * [_writes(suspend, "1", "-1", rounds=rounds)])
    equal(scst.get(suspend), depth, "suspend, taken back as often as it was set")
    scst.put(level, "none")
    _together(*(_writes(level, f"del {token}", f"add {token}", rounds=rounds) for token in ("pid", "line")))
    equal(level.read_text().partition("\n")[0], "pid | line", "trace_level")
    scst.put(level, "default")
    scst.add_device("vdisk_nullio", "together", "size_mb=1")
    device = scst.DEVICES / "together"
    _together(_writes(device / "threads_num", "1", "2", "7", rounds=scaled(3, 30)),
              _writes(device / "threads_pool_type", "shared", "per_initiator", "shared", rounds=scaled(3, 30)))
    equal(scst.get(device / "threads_num"), "7", "threads_num")
    equal(scst.get(device / "threads_pool_type"), "shared", "threads_pool_type")


@suite.test("all of it can be removed again")
def removed() -> None:
    scst.clear()
    equal(sorted(path.name for path in scst.DEVICES.iterdir()), [], "devices")
    equal([path.name for path in scst.LOCAL.glob("*/luns")], ["luns"], "targets")
    scst.unload()


if __name__ == "__main__":
    suite.main()
