# SPDX-License-Identifier: GPL-2.0
"""Where things are: this clone, its build products, and the cache that clones share."""

from __future__ import annotations

import os
from pathlib import Path

from .errors import LabError

REPO = Path(__file__).resolve().parent.parent
LAB = REPO / "lab"
BUILD = REPO / "build"
LOGS = BUILD / "log"


def cache() -> Path:
    """The directory that outlives clones: SCST_LAB_CACHE, else the XDG cache directory."""
    named = os.environ.get("SCST_LAB_CACHE")
    if named:
        return Path(named).resolve()
    base = os.environ.get("XDG_CACHE_HOME") or os.path.join(os.path.expanduser("~"), ".cache")
    return (Path(base) / "scst-lab").resolve()


def check() -> None:
    """Refuse places that make or the kernel's build cannot name."""
    for what, path in (("clone", REPO), ("cache directory", cache())):
        if any(c in str(path) for c in " \t:,'\"$#%"):
            raise LabError(f"the {what} is at '{path}': kbuild and QEMU need a path without spaces, colons, "
                           "commas or quotes; move it" + (" or set SCST_LAB_CACHE" if path != REPO else ""))


def fresh_log(name: str) -> Path:
    """Path of the log file NAME under build/log, with the directory made and an older file removed."""
    LOGS.mkdir(parents=True, exist_ok=True)
    path = LOGS / f"{name}.log"
    path.unlink(missing_ok=True)
    return path
