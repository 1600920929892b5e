# SPDX-License-Identifier: GPL-2.0
"""Results that need not be found again: those of parts whose every input is a file, where all of them are the same.

Only what has passed is kept, in build/kept, so in this clone and until `make clean`. `make test FRESH=1` asks for none.
"""

from __future__ import annotations

import dataclasses
import json
import platform
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Optional

from . import cache, paths, sysroot
from .ktap import Counts
from .progress import say

_PLACE = paths.BUILD / "kept"


def key(files: Iterable[Path], *others: object) -> str:
    """A hash of the names, modes and contents of FILES, of OTHERS, of the root with all compilers and of this Python."""
    root = sysroot.get().root
    made = (root / "var/lib/dpkg/status").read_bytes()
    inputs = [(path, path.stat().st_mode, cache.key(path.read_bytes())) for path in sorted(files)]
    return cache.key(inputs, *others, root, cache.key(made), platform.python_version())


def found(name: str, digest: str) -> Optional[Counts]:
    """What NAME gave when its inputs were what they are now, if it passed then."""
    try:
        record = json.loads((_PLACE / name).read_text())
        counts = Counts(**record["counts"])
    except (OSError, ValueError, KeyError, TypeError):
        return None
    if record.get("key") != digest or counts.failed:
        return None
    say(f"    kept from {record['when']}: nothing that this depends on has changed since (FRESH=1 runs it)")
    return counts


def keep(name: str, digest: str, counts: Counts) -> None:
    """Remember what NAME gave; forget it if that is no pass."""
    path = _PLACE / name
    path.unlink(missing_ok=True)
    if counts.failed or not counts.passed:
        return
    _PLACE.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".new")
    partial.write_text(json.dumps({"key": digest, "when": time.strftime("%Y-%m-%d %H:%M:%S"),
                                   "counts": dataclasses.asdict(counts)}) + "\n")
    partial.rename(path)


def run(name: str, inputs: Callable[[], str], work: Callable[[], Counts], fresh: bool) -> Counts:
    """Do the WORK called NAME, unless it has passed with the same INPUTS and nobody wants it FRESH."""
    before = inputs()
    counts = None if fresh else found(name, before)
    if counts is None:
        counts = work()
        if inputs() == before:
            keep(name, before, counts)
    return counts
