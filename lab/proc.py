# SPDX-License-Identifier: GPL-2.0
"""Child processes that never outlive us."""

from __future__ import annotations

import contextlib
import ctypes
import signal
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO, Optional, Union

from .errors import LabError

_PR_SET_PDEATHSIG = 1
_libc = ctypes.CDLL(None, use_errno=True)

Stream = Union[int, IO[bytes], None]


def _die_with_parent() -> None:
    _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)


@contextlib.contextmanager
def spawn(argv: Sequence[str], **kwargs: object) -> Iterator["subprocess.Popen[bytes]"]:
    """Start ARGV; when the block is left, however that happens, the process is gone."""
    child = subprocess.Popen(argv, preexec_fn=_die_with_parent, **kwargs)  # type: ignore[call-overload]
    try:
        yield child
    finally:
        if child.poll() is None:
            child.kill()
        child.wait()


def tail(path: Path, lines: int = 25) -> str:
    """The last LINES of a log, for an error message."""
    try:
        text = path.read_text(errors="replace")
    except OSError:
        return ""
    return "\n".join("    | " + line for line in text.splitlines()[-lines:])


def run(argv: Sequence[str], log: Path, what: str, timeout: Optional[float] = None,
        cwd: Optional[Path] = None) -> None:
    """Run ARGV with everything that it prints appended to LOG; LabError with the log's end if it fails."""
    with log.open("ab") as out, spawn(argv, stdin=subprocess.DEVNULL, stdout=out, stderr=out, cwd=cwd) as child:
        try:
            status = child.wait(timeout)
        except subprocess.TimeoutExpired:
            raise LabError(f"{what}: no end after {timeout:.0f} s; log: {log}\n{tail(log)}") from None
    if status != 0:
        raise LabError(f"{what}: failed with status {status}; log: {log}\n{tail(log)}")


def capture(argv: Sequence[str]) -> str:
    """Standard output of a short command; LabError with its standard error if it fails."""
    done = subprocess.run(argv, stdin=subprocess.DEVNULL, capture_output=True, text=True, errors="replace",
                          check=False)
    if done.returncode != 0:
        raise LabError(f"{' '.join(argv[:6])} ...: status {done.returncode}\n{done.stderr.strip()}")
    return done.stdout
