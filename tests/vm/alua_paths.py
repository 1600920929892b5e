#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
# lab: group=scsi timeout=240 soak=yes
"""ALUA as the stock initiator uses it: its handler's view, I/O through changes of states, fail-over of a disk that two nodes share."""

from __future__ import annotations

import contextlib
import errno
import os
import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import event_daemon
import scst
from lib import Fio, Kmsg, Suite, check, equal, errno_name, note, scaled, sh, wait_until

_RAM = "/dev/ram0"
_SECTORS = 32 << 11
_SECOND = scst.LOCAL / "node2_tgt"
_TUR = ("00",) * 6


def setup() -> None:
    """A RAM disk that two nodes can reach, the target of the second node, and the initiator's handler."""
    scst.clear()
    scst.unload()
    sh("modprobe", "brd", "rd_nr=1", f"rd_size={_SECTORS // 2}")
    sh("modprobe", "-a", "scsi_dh_alua", "dm_multipath", "dm_service_time")
    scst.load()
    Path("/sys/module/scst/parameters/alua_invariant_check").write_text("Y")
    scst.put(scst.TARGET / "rel_tgt_id", "1")
    scst.add_target("node2_tgt", "node2_host")
    scst.put(_SECOND / "rel_tgt_id", "2")


def teardown() -> None:
    """Leave nothing."""
    scst.clear()
    scst.unload()
    sh("rmmod", "brd")


suite = Suite(setup, teardown)


def _tgroup(group: str, name: str) -> Path:
    return scst.GROUPS / group / "target_groups" / name


@contextlib.contextmanager
def _mapped(device: str, group: str, *targets: Path, also: str = "") -> Iterator[None]:
    """A device in a group whose target groups t1, t2, .. have a target each, and `also` one of another node; mapped as LUN 0."""
    scst.add_device_group(group, (device,))
    for number, target in enumerate(targets, 1):
        scst.add_target_group(group, f"t{number}", number, "", (target.name,))
    if also:
        scst.add_target_group(group, "other", 9, "", (also,))
        scst.put(_tgroup(group, "other") / also / "rel_tgt_id", "99")
    for target in targets:
        scst.add_lun(device, 0, target / "luns")
        scst.wait_disk(0, target)
    try:
        yield
    finally:
        for target in targets:
            scst.put(target / "luns/mgmt", "clear")
            scst.wait_gone(0, target)
        scst.put(scst.GROUPS / "mgmt", f"del {group}")


_NAMES = {"active": "active/optimized", "nonoptimized": "active/non-optimized"}


def _seen(target: Path, name: str) -> str:
    return (scst.scsi_device(0, target) / name).read_text().strip()


def _wake(target: Path = scst.TARGET) -> str:
    """A command, with which the initiator learns what is new; `good`, or what the sense says."""
    text = sh("sg_raw", scst.wait_disk(0, target, "scsi_generic"), *_TUR, status=None)
    sense = re.search(r"Additional sense: (.*)", text)
    return sense[1].strip() if sense else "good"


@suite.test("the stock handler attaches, and its access_state and preferred_path follow")
def handler() -> None:
    scst.add_device("vdisk_nullio", "seen", "size_mb=16")
    with _mapped("seen", "dg", scst.TARGET, _SECOND):
        for target in (scst.TARGET, _SECOND):
            equal(_seen(target, "dh_state"), "alua", f"handler of {target.name}")
            equal(_seen(target, "access_state"), "active/optimized", f"state of {target.name}")
        for state in ("nonoptimized", "standby", "unavailable", "offline", "active"):
            scst.put(_tgroup("dg", "t1") / "state", state)
            _wake()
            wait_until(lambda: _seen(scst.TARGET, "access_state") == _NAMES.get(state, state), 30,  # pylint: disable=cell-var-from-loop
                       f"{state}: the initiator sees {_seen(scst.TARGET, 'access_state')}")
            equal(_seen(_SECOND, "access_state"), "active/optimized", f"state of the other port with {state}")
        scst.put(_tgroup("dg", "t2") / "preferred", "1")
        _wake(_SECOND)
        wait_until(lambda: _seen(_SECOND, "preferred_path") == "1", 30, "the initiator sees no preferred path")
        equal(_seen(scst.TARGET, "preferred_path"), "0", "preferred_path of the other port")
    scst.del_device("seen")


@suite.test("a single path in transition: I/O waits, and no error")
def transition() -> None:
    scst.image("/tmp/waits", 16)
    scst.add_device("vdisk_fileio", "waits", "filename=/tmp/waits")
    with _mapped("waits", "dg", scst.TARGET):
        load = Fio(scst.wait_disk(0), rw="randwrite", loops=100000, size="2m", iodepth=4, verify="crc32c", verify_fatal=1)
        try:
            for seconds in (0.0, 0.1, 1.5) * scaled(1, 20):
                scst.put(_tgroup("dg", "t1") / "state", "transitioning")
                time.sleep(seconds)
                scst.put(_tgroup("dg", "t1") / "state", "nonoptimized")
                time.sleep(0.2)
                scst.put(_tgroup("dg", "t1") / "state", "active")
            check(load.running, "the load ended")
        finally:
            load.stop()
        load.result()
    scst.del_device("waits")


def _claim() -> int:
    """The errno of an exclusive open of the RAM disk: 0, it is free."""
    try:
        os.close(os.open(_RAM, os.O_RDWR | os.O_EXCL))
    except OSError as error:
        return error.errno or -1
    return 0


def _medium(device: str, opened: bool, when: str) -> None:
    equal((scst.DEVICES / device / "active").read_text(), "1\n" if opened else "0\n[key]\n", f"active {when}")
    equal(errno_name(_claim()), errno_name(errno.EBUSY if opened else 0), f"an exclusive open of the medium {when}")


@suite.test("bind_alua_state: the medium is open while a port of this node serves I/O, and no longer")
def media() -> None:
    scst.add_device("vdisk_blockio", "bound", f"filename={_RAM}")
    with _mapped("bound", "dg", scst.TARGET, _SECOND, also="node3_tgt"):
        first, second = (_tgroup("dg", name) / "state" for name in ("t1", "t2"))
        for path, state, opened in (
                (first, "standby", True), (second, "nonoptimized", True), (second, "transitioning", False),
                (first, "unavailable", False), (first, "nonoptimized", True), (second, "active", True),
                (first, "offline", True), (second, "offline", False), (_tgroup("dg", "other") / "state", "standby", False),
                (second, "standby", False), (second, "active", True), (second, "standby", False), (second, "active", True)):
            scst.put(path, state)
            _medium("bound", opened, f"after {path.parent.name} {state}")
        # The size is told while the medium is closed: the initiator may look at the disk at any time.
        scst.put(second, "standby")
        _wake(_SECOND)
        text = sh("sg_readcap", "-l", scst.wait_disk(0, _SECOND, "scsi_generic"))
        check(f"Number of logical blocks={_SECTORS}" in text, text)
        # By hand it goes too, and a medium that is closed by hand has no size.
        scst.put(scst.DEVICES / "bound/active", "1")
        _medium("bound", True, "by hand")
        scst.put(scst.DEVICES / "bound/active", "0")
        scst.put(second, "active")
        _medium("bound", True, "opened by the state after it was closed by hand")
        scst.put(scst.DEVICES / "bound/bind_alua_state", "0")
        scst.put(second, "standby")
        _medium("bound", True, "without bind_alua_state")
        equal((scst.DEVICES / "bound/bind_alua_state").read_text(), "0\n[key]\n", "bind_alua_state")
    scst.del_device("bound")


@suite.test("a medium that cannot be opened: the state changes all the same, the disk is not ready, the log says why")
def not_opened() -> None:
    log = Kmsg()
    scst.add_device("vdisk_blockio", "bound", f"filename={_RAM}")
    with _mapped("bound", "dg", scst.TARGET):
        state = _tgroup("dg", "t1") / "state"
        scst.put(state, "standby")
        held = os.open(_RAM, os.O_RDWR | os.O_EXCL)
        try:
            log.lines()
            scst.put(state, "active")
            check(any("not opened for its ALUA state" in line for line in log.lines()), "no line in the log")
            equal(scst.get(state), "active", "state")
            equal(scst.get(scst.DEVICES / "bound/active"), "0", "active")
            _wake()
            check("not ready" in _wake(), f"TEST UNIT READY: {_wake()}")
        finally:
            os.close(held)
        scst.put(scst.DEVICES / "bound/active", "1")
        equal(_wake(), "good", "TEST UNIT READY after active=1")
    scst.del_device("bound")


@suite.test("fileio has it when it is asked to, and a medium that has grown meanwhile is seen in its new size")
def grown() -> None:
    scst.image("/tmp/grows", 16)
    scst.add_device("vdisk_fileio", "grows", "filename=/tmp/grows")
    with _mapped("grows", "dg", scst.TARGET):
        state = _tgroup("dg", "t1") / "state"
        scst.put(state, "standby")
        equal(scst.get(scst.DEVICES / "grows/active"), "1", "active without bind_alua_state")
        scst.put(state, "active")
        scst.put(scst.DEVICES / "grows/bind_alua_state", "1")
        scst.put(state, "standby")
        equal(scst.get(scst.DEVICES / "grows/active"), "0", "active with bind_alua_state")
        os.truncate("/tmp/grows", 24 << 20)
        scst.put(state, "active")
        equal(scst.get(scst.DEVICES / "grows/size"), str(24 << 20), "size")
        _wake()
        (scst.scsi_device(0) / "rescan").write_text("1")
        node = os.path.basename(scst.wait_disk(0))
        wait_until(lambda: Path(f"/sys/block/{node}/size").read_text().strip() == str(24 << 11), 30, "not the new size")
    scst.del_device("grows")


@suite.test("a medium is closed under load: commands end, those that follow are refused for the state")
def closed_under_load() -> None:
    scst.add_device("vdisk_blockio", "bound", f"filename={_RAM}")
    with _mapped("bound", "dg", scst.TARGET):
        state = _tgroup("dg", "t1") / "state"
        for _ in range(scaled(3, 60)):
            load = Fio(scst.wait_disk(0), rw="randrw", iodepth=32, time_based=None, runtime=600, size="16m")
            start = time.monotonic()
            scst.put(state, "standby")
            took = time.monotonic() - start
            equal(_claim(), 0, "the medium is closed when the write has returned")
            load.result(60, errors=True)
            check(took < 5, f"standby took {took:.1f} s")
            scst.put(state, "active")
            equal(_wake(), "good", "TEST UNIT READY")
    scst.del_device("bound")


def _device_number(target: Path) -> str:
    number = os.stat(scst.wait_disk(0, target)).st_rdev
    return f"{os.major(number)}:{os.minor(number)}"


class Multipath:
    """A multipath device over LUN 0 of both targets, whose paths come back as with multipathd."""

    def __init__(self) -> None:
        self._paths = [_device_number(target) for target in (scst.TARGET, _SECOND)]
        self._best = 1
        groups = " ".join(f"service-time 0 1 0 {path}" for path in self._paths)
        sh("dmsetup", "create", "mp", "--noudevsync", "--table",
           f"0 {_SECTORS} multipath 1 queue_if_no_path 1 alua 2 1 {groups}")
        self.node = "/dev/dm-" + sh("dmsetup", "info", "-c", "--noheadings", "-o", "minor", "mp").strip()

    def message(self, text: str) -> None:
        """Tell the device something."""
        sh("dmsetup", "message", "mp", "0", text)

    def use(self, number: int) -> None:
        """The path has come back, and is the best one."""
        self._best = number
        self.message(f"reinstate_path {self._paths[number - 1]}")
        self.message(f"switch_group {number}")

    def wait_until(self, true: Callable[[], object], what: str) -> None:
        """Wait as multipathd does, which looks again every few seconds.

        A command that has waited in the initiator since the last change may fail the path that has just come back, and dm-mpath
        forgets a switch_group that meets a command whose path is being chosen on the other processor.
        """
        again = time.monotonic() + 5

        def holds() -> object:
            nonlocal again
            if time.monotonic() > again:
                self.use(self._best)
                again += 5
            return true()
        wait_until(holds, 60, what)

    def remove(self) -> None:
        """Take it away."""
        self.message("fail_if_no_path")
        sh("dmsetup", "remove", "--retry", "mp")

    @contextlib.contextmanager
    def load(self, **options: object) -> Iterator[Fio]:
        """I/O that is verified; nothing of it may fail."""
        load = Fio(self.node, rw="randwrite", loops=100000, verify="crc32c", verify_fatal=1, **options)
        try:
            yield load
            check(load.running, "the load ended")
            load.stop()
            self.wait_until(lambda: not load.running, "the load does not end")
            load.result()
        finally:
            load.kill()


def _ios() -> int:
    """Commands that LUN 0 has had through both targets."""
    return sum(int(line.split()[1]) for path in scst.LOCAL.glob("*/sessions/*/lun0/stats")
               for line in path.read_text().splitlines()[1:])


def _goes_on(load: Fio, when: str, multipath: Multipath) -> None:
    """Wait for I/O."""
    before = _ios()
    multipath.wait_until(lambda: _ios() > before + 20 or not load.running, f"no I/O {when}")
    check(load.running, f"the load ended {when}")


_FAIL_OVERS = scaled(20, 200)


@suite.test(f"a disk of two nodes fails over {_FAIL_OVERS} times under a verifying load, each node opening it in its turn")
def fail_over() -> None:
    # The nodes share a RAM disk that only one of them can have open, and each knows the other's port as a remote one.
    with _two_nodes() as multipath:
        slowest, start = 0.0, time.monotonic()
        with multipath.load(iodepth=8, size="2m") as load:
            for number in range(_FAIL_OVERS):
                slowest = max(slowest, _take_over(1 + number % 2, 2 - number % 2, multipath))
                _goes_on(load, f"after fail-over {number}", multipath)
        note(f"{_FAIL_OVERS} fail-overs in {time.monotonic() - start:.1f} s, the slowest change of states {slowest * 1000:.0f} ms")


_NODES = {1: "one", 2: "two"}


@contextlib.contextmanager
def _two_nodes(explicit_alua: bool = False) -> Iterator[Multipath]:
    """A disk of two nodes, the first of which serves it, as the initiator has it."""
    with contextlib.ExitStack() as stack:
        for number in (2, 1):
            name = _NODES[number]
            scst.add_device("vdisk_blockio", name, f"filename={_RAM}; t10_dev_id=shared")
            scst.put(scst.DEVICES / name / "usn", "shared")
            scst.put(scst.DEVICES / name / "expl_alua", str(int(explicit_alua)))
            stack.callback(scst.del_device, name)
            stack.enter_context(_mapped_node(name, number))
        multipath = Multipath()
        stack.callback(multipath.remove)
        yield multipath


@contextlib.contextmanager
def _mapped_node(device: str, number: int) -> Iterator[None]:
    """What one node knows: its own port in group NUMBER, the other node's in the other group. Node 2 is the standby."""
    group, other, target = f"dg{number}", 3 - number, (scst.TARGET, _SECOND)[number - 1]
    scst.add_device_group(group, (device,))
    for which, name in ((number, target.name), (other, f"other_{other}")):
        scst.add_target_group(group, f"t{which}", which, "active" if which == 1 else "standby", (name,))
    scst.put(_tgroup(group, f"t{other}") / f"other_{other}/rel_tgt_id", str(other))
    scst.add_lun(device, 0, target / "luns")
    scst.wait_disk(0, target)
    try:
        yield
    finally:
        scst.put(target / "luns/mgmt", "clear")
        scst.wait_gone(0, target)
        scst.put(scst.GROUPS / "mgmt", f"del {group}")


def _change_roles(old: int, new: int) -> None:
    """Demote the one, promote the other, tell both of it."""
    for state in ("transitioning", "standby"):
        for group in (old, new):
            scst.put(_tgroup(f"dg{group}", f"t{old}") / "state", state)
    equal(scst.get(scst.DEVICES / _NODES[old] / "active"), "0", "active of the node that was demoted")
    for group in (new, old):
        scst.put(_tgroup(f"dg{group}", f"t{new}") / "state", "active")
    equal(scst.get(scst.DEVICES / _NODES[new] / "active"), "1", "active of the node that was promoted")


def _take_over(old: int, new: int, multipath: Multipath) -> float:
    """What a resource agent does; how long the change of states took."""
    start = time.monotonic()
    _change_roles(old, new)
    took = time.monotonic() - start
    multipath.use(new)
    return took


@suite.test("explicit ALUA: the stock initiator makes the group active that it switches to")
def explicit() -> None:
    scst.add_device("vdisk_blockio", "both", f"filename={_RAM}")
    scst.put(scst.DEVICES / "both/expl_alua", "1")
    with _mapped("both", "dg", scst.TARGET, _SECOND):
        scst.put(_tgroup("dg", "t2") / "state", "standby")
        multipath = Multipath()
        try:
            with multipath.load(iodepth=4, size="1m") as load:
                for number in range(scaled(4, 100)):
                    new, old = 2 - number % 2, 1 + number % 2
                    scst.put(_tgroup("dg", f"t{old}") / "state", "standby")
                    multipath.use(new)
                    state = _tgroup("dg", f"t{new}") / "state"
                    multipath.wait_until(lambda: scst.get(state) == "active",  # pylint: disable=cell-var-from-loop
                                         f"group {new} is not active")
                    _goes_on(load, f"after switch {number}", multipath)
                text = sh("sg_rtpg", "-d", scst.wait_disk(0, scst.TARGET, "scsi_generic"))
                check("status code : 0x01" in text, text)
        finally:
            multipath.remove()
    scst.del_device("both")


@suite.test("explicit ALUA of two nodes: a daemon does what the initiator asks for, on both")
def explicit_nodes() -> None:
    def change(wanted: list[event_daemon.Change]) -> None:
        for number, _, state, _, _ in wanted:
            equal(state, "active", f"what the initiator wants of group {number}")
            _change_roles(3 - number, number)

    def states() -> list[str]:
        return [scst.get(_tgroup(f"dg{node}", f"t{group}") / "state") for node in (1, 2) for group in (1, 2)]

    with _two_nodes(explicit_alua=True) as multipath, event_daemon.serving(change) as wrong:
        with multipath.load(iodepth=4, size="1m") as load:
            for number in range(scaled(4, 100)):
                multipath.use(2 - number % 2)
                want = [["standby", "active"], ["active", "standby"]][number % 2] * 2
                multipath.wait_until(lambda: states() == want or wrong,  # pylint: disable=cell-var-from-loop
                                     f"the states are not {want}")
                equal(wrong, [], "what the daemon met")
                _goes_on(load, f"after switch {number}", multipath)


@suite.test("the README's chapter, typed as it stands there")
def readme() -> None:
    chapter = Path("/lab/README.md").read_text().partition("### One disk, two nodes: ALUA")[2]
    commands = chapter.partition("```sh\n")[2].partition("```")[0].replace("/dev/vdb", _RAM).splitlines()
    # Which disk of this machine it is, the chapter cannot know.
    found = "for try in $(seq 50); do set -- $(lsscsi | grep shared); [ -b \"${!#}\" ] && break; sleep 0.1; done"
    script = ["set -e"]
    for command in commands:
        if "/dev/sda" in command:
            script.append(found)
        script.append(command.replace("/dev/sda", "${!#}"))
    text = sh("bash", "-c", "\n".join(script), timeout=120)
    for line in ("target port group id : 0x1 ", "target port group id : 0x2 ", "state : 0x02 (standby)",
                 "Relative target port: 0x1", "Target port group: 0x1"):
        check(line in text, f"no '{line}' in\n{text}")
    equal(text.splitlines()[-1], "standby", "the last line")
    equal(scst.get(scst.DEVICES / "shared/active"), "0", "active, in standby")
    scst.put(scst.TARGET / "luns/mgmt", "clear")
    scst.wait_gone(0)


if __name__ == "__main__":
    suite.main()
