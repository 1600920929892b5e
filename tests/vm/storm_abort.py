#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
# lab: kernel=debug group=debug mem=2G timeout=300 soak=kasan allow=ODEBUG:.*kobject_delayed_cleanup|lib/debugobjects\.c|Call\sTrace:
"""Aborts, LUN resets, target resets, losses of the nexus and LUNs that come, go and change, all at random and at a time, under
four sessions' verifying load: no warning, no command unanswered, no wrong data. STORM_SEED chooses other runs.

Where the kernel can (CONFIG_FAILSLAB), allocations that may not sleep fail now and then meanwhile.

The disk under the load changes between two devices of the same file, so that its data stay.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import mmap
import os
import random
import re
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Optional

import scst
from lib import Failure, Suite, check, equal, note, scaled, wait_until

_SECONDS = scaled(4, 600)
_SESSIONS = 4
_WRITERS = 2
"""Loads of a session."""
_PAUSE = scaled(100, 5) / 1000
_BLOCK = 4096
_BLOCKS = 64
"""Of a load."""
_SEED = int(os.environ.get("STORM_SEED", "1"))
_SG_SCSI_RESET = 0x2284
_DEVICE, _HOST, _TARGET = 1, 3, 4
"""What of the initiator's is reset: the last but one ends what the nexus has, as its loss would."""
_FILE = "/tmp/storm"
_FAILSLAB = Path("/sys/kernel/debug/failslab")
# One allocation in 200, of those that may not sleep: who may is not tried by this.
_FAILING = {"task-filter": "N", "ignore-gfp-wait": "Y", "verbose": "0", "space": "0", "interval": "2", "times": "-1",
            "probability": "1"}
_NAMES = ("storm0", "storm1")


def _target(number: int) -> Path:
    return scst.LOCAL / f"storm_tgt{number}"


def setup() -> None:
    """Two devices of one file, one of them LUN 0 of four targets, with one session each."""
    scst.unload()
    scst.load()
    scst.image(_FILE, 32)
    for name in _NAMES:
        scst.add_device("vdisk_fileio", name, f"filename={_FILE}")
    scst.add_device("vdisk_nullio", "other", "size_mb=8")
    for number in range(_SESSIONS):
        target = scst.add_target(f"storm_tgt{number}", f"storm_host{number}")
        scst.add_lun(_NAMES[0], 0, target / "luns")
    for number in range(_SESSIONS):
        node = scst.wait_disk(0, _target(number))
        Path(f"/sys/block/{os.path.basename(node)}/device/timeout").write_text("3")


def teardown() -> None:
    """Leave nothing."""
    scst.clear()
    scst.unload()


suite = Suite(setup, teardown)
# The kernel's own gendisk does not get on with DEBUG_KOBJECT_RELEASE.
suite.expected.append(re.compile(r"ODEBUG: .*kobject_delayed_cleanup|lib/debugobjects\.c|Call Trace:"))


class _Load(threading.Thread):
    """Writes blocks of its own and reads them again: what was written last is there."""

    def __init__(self, session: int, number: int) -> None:
        super().__init__()
        self._first = (session * _WRITERS + number) * _BLOCKS
        self._chance = random.Random(_SEED << 8 | self._first)
        node = scst.wait_disk(0, _target(session))
        self._disk = Path("/sys/block", os.path.basename(node))
        self._fd = os.open(node, os.O_RDWR | os.O_DIRECT)
        self._memory = mmap.mmap(-1, _BLOCK)
        self._ended = threading.Event()
        self._written: dict[int, bytes] = {}
        self.error: Optional[BaseException] = None
        self.count = 0

    def _write(self, block: int) -> None:
        text = f"load {self._first} block {block} number {self.count} ".encode()
        data = (text * (_BLOCK // len(text) + 1))[:_BLOCK]
        self._memory[:] = data
        # Until it is done either may be there.
        self._written.pop(block, None)
        equal(os.pwritev(self._fd, [self._memory], (self._first + block) * _BLOCK), _BLOCK, "bytes written")
        self._written[block] = data

    def _read(self, block: int) -> None:
        equal(os.preadv(self._fd, [self._memory], (self._first + block) * _BLOCK), _BLOCK, "bytes read")
        data = self._memory[:]
        check(data == self._written[block], f"block {self._first}+{block} is {data[:60]!r}, not {self._written[block][:60]!r}")

    def _forgotten(self) -> bool:
        """Whether sd has lost the disk's size, as it does when its own READ CAPACITY is not answered; it is to ask again."""
        if int((self._disk / "size").read_text()):
            return False
        (self._disk / "device/rescan").write_text("1")
        return True

    def _do(self, step: Callable[[int], None], block: int) -> None:
        while True:
            try:
                return step(block)
            except (OSError, Failure):
                if not self._forgotten():
                    raise

    def run(self) -> None:
        try:
            while not self._ended.wait(_PAUSE):
                self.count += 1
                if self._written and self._chance.random() < 0.5:
                    self._do(self._read, self._chance.choice(list(self._written)))
                else:
                    self._do(self._write, self._chance.randrange(_BLOCKS))
            for block in self._written:
                self._do(self._read, block)
        except BaseException as error:  # pylint: disable=broad-except
            self.error = error
        finally:
            os.close(self._fd)

    def end(self) -> None:
        """Stop, when all of it has been read once more."""
        self._ended.set()
        self.join(120)
        check(not self.is_alive(), f"load {self._first} hangs")


class _Storm:
    """What is done to the sessions, by a thread for each kind of thing, and how often."""

    def __init__(self) -> None:
        self.done = {"resets": 0, "holes": 0, "remaps": 0}
        self._end = time.monotonic() + _SECONDS
        self._errors: list[BaseException] = []
        kinds = (("resets", self._reset), ("resets", self._reset), ("holes", self._hole), ("remaps", self._remap))
        self._threads = [threading.Thread(target=self._run, args=(name, one, _SEED * len(kinds) + number))
                         for number, (name, one) in enumerate(kinds)]

    def _run(self, name: str, one: Callable[[random.Random], None], seed: int) -> None:
        chance = random.Random(seed)
        try:
            while time.monotonic() < self._end or not self.done[name]:
                one(chance)
                self.done[name] += 1
        except BaseException as error:  # pylint: disable=broad-except
            self._errors.append(error)
            self._end = 0

    @staticmethod
    def _reset(chance: random.Random) -> None:
        node = scst.wait_disk(0, _target(chance.randrange(_SESSIONS)), "scsi_generic")
        try:
            handle = os.open(node, os.O_RDWR)
        except OSError as error:
            if error.errno == errno.ENOMEM and _FAILSLAB.is_dir():
                return  # sg has no memory for another that opens it
            raise
        try:
            how = chance.choice((_DEVICE, _DEVICE, _TARGET, _HOST))
            fcntl.ioctl(handle, _SG_SCSI_RESET, how.to_bytes(4, "little"))
        finally:
            os.close(handle)
        time.sleep(chance.uniform(0.1, 0.5))

    @staticmethod
    def _hole(chance: random.Random) -> None:
        """Commands vanish until their time is over and the initiator aborts them."""
        place = _target(chance.randrange(_SESSIONS)) / "black_hole"
        scst.put(place, "4")
        time.sleep(chance.uniform(0.1, 4))
        scst.put(place, "0")
        time.sleep(chance.uniform(0.5, 1))

    @staticmethod
    def _remap(chance: random.Random) -> None:
        luns = _target(chance.randrange(_SESSIONS)) / "luns"
        if chance.random() < 0.5:
            scst.put(luns / "mgmt", f"replace_no_ua {chance.choice(_NAMES)} 0")
        elif (luns / "1").exists():
            scst.put(luns / "mgmt", "del 1")
        else:
            scst.put(luns / "mgmt", "add other 1")
        time.sleep(chance.uniform(0.05, 0.3))

    def run(self) -> None:
        """All of it; whoever fails fails this."""
        for thread in self._threads:
            thread.start()
        for thread in self._threads:
            thread.join()
        for error in self._errors:
            raise error


@contextlib.contextmanager
def _failing_allocations() -> Iterator[None]:
    """Allocations fail until this ends; a note where the kernel cannot have them fail."""
    if not _FAILSLAB.is_dir():
        note("this kernel has no failslab: no allocation fails")
        yield
        return
    try:
        for name, value in _FAILING.items():
            (_FAILSLAB / name).write_text(value)
        note("failslab: one allocation in 200 of those that may not sleep fails")
        yield
    finally:
        (_FAILSLAB / "probability").write_text("0")


@suite.test(f"{_SESSIONS} sessions with verifying loads, {_SECONDS} s of all that may happen to their commands",
            _SECONDS + 200)
def storm() -> None:
    loads = [_Load(session, number) for session in range(_SESSIONS) for number in range(_WRITERS)]
    for load in loads:
        load.start()
    try:
        wait_until(lambda: all(load.count for load in loads), 60, "the loads do not begin")
        happened = _Storm()
        with _failing_allocations():
            happened.run()
    finally:
        for load in loads:
            load.end()
    note(f"seed {_SEED}: {happened.done}, {sum(load.count for load in loads)} reads and writes")
    for load in loads:
        if load.error:
            raise load.error


@suite.test("nothing is outstanding, and all sessions are there")
def afterwards() -> None:
    for number in range(_SESSIONS):
        target = _target(number)
        session = next((target / "sessions").glob("*"))
        for path in session.glob("lun*/active_commands"):
            wait_until(lambda path=path: scst.get(path) == "0", 30, f"{path}: {scst.get(path)}")
        state = (scst.scsi_device(0, target) / "state").read_text().strip()
        equal(state, "running", "state of the initiator's device")


if __name__ == "__main__":
    suite.main()
