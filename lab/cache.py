# SPDX-License-Identifier: GPL-2.0
"""The shared cache: each entry is named by a hash of what made it and appears whole or not at all."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import inspect
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Optional

from . import paths
from .progress import say


def key(*parts: object) -> str:
    """A short hash of everything that decides what an entry holds."""
    return hashlib.sha256("\0".join(str(p) for p in parts).encode()).hexdigest()[:12]


def source(*functions: Callable[..., object]) -> str:
    """The text of the functions that make an entry, for its key: a changed recipe is another entry."""
    return "\n".join(inspect.getsource(function) for function in functions)


@contextlib.contextmanager
def lock(path: Path) -> Iterator[None]:
    """Hold an exclusive lock file; say so if somebody else has it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            say(f"[lab] waiting for {path}, which another run or part holds")
            fcntl.flock(handle, fcntl.LOCK_EX)
        yield


def remove(path: Path) -> None:
    """Delete a tree, read-only directories included."""
    if path.is_symlink() or path.is_file():
        path.unlink(missing_ok=True)
        return
    if path.is_dir():
        subprocess.run(["chmod", "-R", "u+rwX", "--", str(path)], check=False, stderr=subprocess.DEVNULL)
        shutil.rmtree(path, ignore_errors=True)


def find(kind: str, digest: str) -> Optional[Path]:
    """The cache entry KIND-DIGEST, if it is there."""
    final = paths.cache() / f"{kind}-{digest}"
    if not final.is_dir():
        return None
    _touch(final)
    return final


def entry(kind: str, digest: str, make: Callable[[Path], None]) -> Path:
    """The cache entry KIND-DIGEST; MAKE fills a temporary directory that is then renamed into place."""
    final = paths.cache() / f"{kind}-{digest}"
    if find(kind, digest):
        return final
    with lock(paths.cache() / "locks" / final.name):
        if final.is_dir():
            return final
        partial = paths.cache() / "tmp" / final.name
        remove(partial)  # a run that was killed outright may have left one
        partial.mkdir(parents=True)
        try:
            make(partial)
            partial.rename(final)
        except BaseException:
            remove(partial)
            raise
    _touch(final)
    return final


def _touch(path: Path) -> None:
    with contextlib.suppress(OSError):
        (paths.cache() / f".used-{path.name}").touch()


def prune(days: int) -> None:
    """Delete entries that no run has used for DAYS days."""
    limit = time.time() - days * 86400
    for stamp in paths.cache().glob(".used-*"):
        if stamp.stat().st_mtime < limit:
            target = paths.cache() / stamp.name[len(".used-"):]
            say(f"[cache] removing {target.name}")
            with lock(paths.cache() / "locks" / target.name):
                remove(target)
            stamp.unlink(missing_ok=True)
