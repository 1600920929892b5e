#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""Power cuts: the machine is killed during synced writes, and no acknowledged write may be lost.

Each round boots, checks what the round before left, and writes until it is killed at a moment of its own. The first
path is a plain disk of the machine: it shows that the test itself can be trusted.
"""

from __future__ import annotations

import dataclasses
import os
import random
import sys
from pathlib import Path

from bench import figures
from lab import guest, kernel, paths, vm

_HERE = Path(__file__).resolve().parent
_ROUNDS = 100 if os.environ.get("LAB_LENGTH") == "long" else 2
_CONFIG = vm.Config(cpus=1, mem="512M", extra=[_HERE / "powercut_guest", paths.REPO / "bench" / "guest"], timeout=120)

_SETUP = {
    "disk": "disk=/dev/disk/lab/data",
    "blockio": 'scst_load && scst_add cut0 vdisk_blockio "filename=$(readlink -f /dev/disk/lab/data)"',
    "fileio": "mkdir -p /srv/data; blkid /dev/disk/lab/data > /dev/null || mkfs.ext4 -q /dev/disk/lab/data; "
              "mount /dev/disk/lab/data /srv/data && "
              "{ [ -e /srv/data/cut0 ] || { dd if=/dev/zero of=/srv/data/cut0 bs=1M count=32 status=none; sync; }; } && "
              'scst_load && scst_add cut0 vdisk_fileio "filename=/srv/data/cut0"',
}


class Round:
    """Watches one boot's output and says when to cut the power."""

    def __init__(self, cut_after: int) -> None:
        self.cut_after = cut_after
        self.acknowledged = -1
        self.verified = False
        self.lost = ""

    def line(self, text: str) -> bool:
        """True where the machine is to be killed."""
        word, _, number = text.partition(" ")
        if word == "stable":
            self.acknowledged = int(number)
        elif word == "verified":
            self.verified = True
        elif word == "lost":
            self.lost = number
        return self.acknowledged >= self.cut_after


def cut_power(path: str, modules: Path | None) -> str:
    """All rounds on one path; empty, or what went wrong."""
    disk = vm.Drive("data", paths.BUILD / "disks" / f"powercut-{path}.img", 64)
    disk.image.unlink(missing_ok=True)
    config = dataclasses.replace(_CONFIG, drives=[disk], modules=modules)
    acknowledged = 0
    for number in range(_ROUNDS + 1):
        this = Round(random.randint(5, 400))
        job = (f"#!/bin/bash\n. /lab/guest/stacks.sh\n{_SETUP[path]} || exit 9\n"
               f'exec python3 /lab/powercut_guest/powercut.py "$disk" {number} {acknowledged}\n')
        result = vm.run(f"powercut-{path}", job, config, this.line)
        if this.lost:
            return f"round {number - 1}: acknowledged record {this.lost} of {acknowledged} was lost"
        if not result.killed:
            return f"round {number}: {result.problem()}"
        if number > 0 and not this.verified:
            return f"round {number}: nothing verified"
        if result.complaints:
            return f"round {number}: {result.problem()}"
        acknowledged = this.acknowledged
    return ""


def main() -> int:
    """KTAP, a line a path."""
    modules = kernel.build_modules(kernel.stock("7.2")) if kernel.have_modules() else None
    guest.stock()
    print(f"KTAP version 1\n1..{len(_SETUP)}", flush=True)
    failed = 0
    for number, path in enumerate(_SETUP, 1):
        name = f"{number} - {path}: {_ROUNDS} power cuts lose no acknowledged write"
        if path != "disk" and not figures.have_ours(modules):
            print(f"ok {name} # SKIP our modules are not in this clone's build", flush=True)
            continue
        problem = cut_power(path, modules)
        failed += bool(problem)
        print(f"{'not ok' if problem else 'ok'} {name}", flush=True)
        if problem:
            print("# " + problem.replace("\n", "\n# "), flush=True)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
