#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
# lab: timed=no
"""Power cuts: the machine is killed during synced writes and changes of a reservation, and nothing that was acknowledged
may be lost.

Each round boots, checks what the round before left on every path, and writes on all of them until it is killed, at a
moment that one of them chooses. The first path is a plain disk of the machine: it shows that the test itself can be
trusted.
"""

from __future__ import annotations

import os
import random
import sys
from collections.abc import Sequence
from pathlib import Path

from bench import figures
from lab import guest, kernel, paths, vm, vmtests

_HERE = Path(__file__).resolve().parent
_ROUNDS = 100 if os.environ.get("LAB_LENGTH") == "long" else 2

# What leaves the path's device node in $disk.
_SETUP = {
    "disk": "disk=/dev/disk/lab/disk",
    "blockio": 'scst_add cut0 vdisk_blockio "filename=$(readlink -f /dev/disk/lab/blockio)" 0',
    "fileio": "mkdir -p /srv/data; blkid /dev/disk/lab/fileio > /dev/null || mkfs.ext4 -q /dev/disk/lab/fileio; "
              "mount /dev/disk/lab/fileio /srv/data && "
              "{ [ -e /srv/data/cut1 ] || { dd if=/dev/zero of=/srv/data/cut1 bs=1M count=32 status=none; sync; }; } && "
              'scst_add cut1 vdisk_fileio "filename=/srv/data/cut1" 1',
    "aptpl": "mkdir -p /var/lib/scst/pr; blkid /dev/disk/lab/aptpl > /dev/null || mkfs.ext4 -q /dev/disk/lab/aptpl; "
             "mount /dev/disk/lab/aptpl /var/lib/scst/pr && "
             'scst_add cut2 vdisk_nullio "size_mb=16" 2',
}

# What each path promises.
_PROMISES = {way: "lose no acknowledged write" for way in ("disk", "blockio", "fileio")} | {
    "aptpl": "leave the reservation as it was acknowledged last, or as the change that was under way has it"}


class Lost(Exception):
    """A path has lost what it had acknowledged."""

    def __init__(self, path: str, what: str) -> None:
        super().__init__(what)
        self.path = path


class Round:
    """Watches one boot's output and says when to cut the power."""

    def __init__(self, ways: Sequence[str]) -> None:
        self.acknowledged = dict.fromkeys(ways, -1)
        self.verified: set[str] = set()
        self.lost: dict[str, str] = {}
        self._chosen = random.choice(ways)
        self._cut_after = random.randint(5, 400)

    def line(self, text: str) -> bool:
        """True where the machine is to be killed."""
        path, word, number, *_ = [*text.split(), "", "", ""]
        if path not in self.acknowledged:
            return False
        if word == "stable":
            self.acknowledged[path] = int(number)
        elif word == "verified":
            self.verified.add(path)
        elif word == "lost":
            self.lost[path] = number
        return bool(self.lost) or (self.acknowledged[self._chosen] >= self._cut_after
                                   and min(self.acknowledged.values()) >= 0)


def _job(ways: Sequence[str], number: int, acknowledged: dict[str, int]) -> str:
    lines = ["#!/bin/bash", ". /lab/guest/stacks.sh", "disks=()"]
    if len(ways) > 1:
        lines.append("scst_load || exit 9")
    for path in ways:
        lines += [f"{{ {_SETUP[path]}; }} || exit 9", 'disks+=("$disk")']
    lines += [f'python3 /lab/powercut_guest/powercut.py {path} "${{disks[{index}]}}" {number} {acknowledged[path]} &'
              for index, path in enumerate(ways)]
    return "\n".join([*lines, "wait", ""])


def cut_power(ways: Sequence[str], modules: Path | None) -> str:
    """All rounds on all paths; empty, or what went wrong."""
    disks = [vm.Drive(path, paths.BUILD / "disks" / f"powercut-{path}.img", 64) for path in ways]
    for disk in disks:
        disk.image.unlink(missing_ok=True)
    extra = [_HERE / "powercut_guest", paths.REPO / "bench" / "guest", vmtests.scripts()]
    config = vm.Config(cpus=1, mem="512M", extra=extra, timeout=900, drives=disks, modules=modules)
    acknowledged = dict.fromkeys(ways, 0)
    for number in range(_ROUNDS + 1):
        if number and number % 10 == 0:
            print(f"# round {number} of {_ROUNDS}", flush=True)
        this = Round(ways)
        result = vm.run("powercut", _job(ways, number, acknowledged), config, this.line)
        for path, record in this.lost.items():
            raise Lost(path, f"round {number - 1}: acknowledged record {record} of {acknowledged[path]} was lost")
        if not result.killed:
            return f"round {number}: {result.problem()}"
        if number > 0 and this.verified != set(ways):
            return f"round {number}: verified only {' '.join(this.verified)}"
        if result.complaints:
            return f"round {number}: {result.problem()}"
        acknowledged = this.acknowledged
    return ""


def main() -> int:
    """KTAP, a line a path."""
    modules = kernel.build_modules(kernel.stock("7.2")) if kernel.have_modules() else None
    guest.stock()
    print(f"KTAP version 1\n1..{len(_SETUP)}", flush=True)
    ways = list(_SETUP) if figures.have_ours(modules) else ["disk"]
    loser = ""
    try:
        problem = cut_power(ways, modules)
    except Lost as lost:
        loser, problem = lost.path, str(lost)
    for number, path in enumerate(_SETUP, 1):
        failed = problem and loser in ("", path)
        skip = ""
        if path not in ways:
            skip = " # SKIP our modules are not in this clone's build"
        elif loser not in ("", path):
            skip = f" # SKIP the rounds ended when {loser} had failed"
        print(f"{'not ok' if failed else 'ok'} {number} - {path}: {_ROUNDS} power cuts {_PROMISES[path]}{skip}", flush=True)
    if problem:
        print("# " + problem.replace("\n", "\n# "), flush=True)
    return 1 if problem else 0


if __name__ == "__main__":
    sys.exit(main())
