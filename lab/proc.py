# SPDX-License-Identifier: GPL-2.0
"""Child processes that never outlive us, and the processor time that they took."""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import IO, Optional, Union

from .errors import LabError

_PR_SET_PDEATHSIG = 1
_GENTLE_S = 5.0
_TICK = os.sysconf("SC_CLK_TCK")
_libc = ctypes.CDLL(None, use_errno=True)
_thread = threading.local()
_children: set["Child"] = set()
_stopped = False

Stream = Union[int, IO[bytes], None]


class Child(subprocess.Popen):  # type: ignore[type-arg]
    """A process that counts what it used, and what it ran and waited for."""

    seconds = 0.0
    """Of processor time; known once it has been waited for."""
    _ending = False
    gentle = False
    """Whether it has something to put in order when it is told to end."""

    def ended(self) -> bool:
        """Whether it has ended; it need not have been waited for."""
        return self.returncode is not None or os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOWAIT | os.WNOHANG) is not None

    def so_far(self) -> float:
        """Processor seconds that the programs under it have taken, which have not ended."""
        return sum(map(_used, _leaves(self.pid)))

    def wait(self, timeout: Optional[float] = None) -> int:
        """As Popen.wait."""
        if self.returncode is None:
            if timeout is None:
                os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOWAIT)
            elif not _until(self.ended, timeout):
                raise subprocess.TimeoutExpired(self.args, timeout)
            self.seconds = _used(self.pid)
            charge(self.seconds)
            if _stopped or self._ending:
                self._kill_group()
        return super().wait()

    def end(self) -> None:
        """End it and all that it has started, if it has not been waited for."""
        if self.returncode is not None:
            return
        if self.gentle and not self.ended():
            os.killpg(self.pid, signal.SIGINT)
            _until(self.ended, _GENTLE_S)
        elif not self.ended():
            # What is killed together with its parent is counted nowhere.
            for pid in _leaves(self.pid):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            _until(self.ended, 1)
        if not self.ended():
            self.kill()
        self._ending = True
        self.wait()

    def _kill_group(self) -> None:
        """What it has left, for instance because it ignores a SIGINT; the group has this number until it is waited for."""
        if os.getpgid(self.pid) == self.pid:
            os.killpg(self.pid, signal.SIGKILL)


def _until(true: Callable[[], bool], seconds: float) -> bool:
    """Wait until something is true, SECONDS at most."""
    end = time.monotonic() + seconds
    while not true():
        if time.monotonic() >= end:
            return False
        time.sleep(0.02)
    return True


def _used(pid: int) -> float:
    """Processor seconds of a process and of its children that it has waited for, in user and kernel mode."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0.0
    return sum(map(int, fields[11:15])) / _TICK


def _leaves(pid: int) -> list[int]:
    """The processes below PID that have none below them; PID itself is none."""
    below: list[int] = []
    with contextlib.suppress(OSError):
        for task in Path(f"/proc/{pid}/task").iterdir():
            below += map(int, (task / "children").read_text().split())
    return [leaf for child in below for leaf in _leaves(child) or [child]]


def yield_processor() -> None:
    """What this thread starts from now on runs when nothing else wants the processor."""
    _thread.nice = 19


def spent() -> float:
    """Processor seconds of what this thread has started and seen end."""
    return getattr(_thread, "spent", 0.0)


def charge(seconds: float) -> None:
    """Count processor time for this thread that another has spent for it."""
    _thread.spent = spent() + seconds


@contextlib.contextmanager
def spawn(argv: Sequence[str], gentle: bool = False, foreground: bool = False, **kwargs: object) -> Iterator[Child]:
    """Start ARGV; when the block is left, however that happens, the process is gone.

    A GENTLE one gets a moment to delete what it has made. Unless it is the FOREGROUND, a Ctrl-C does not reach it: this
    process does, and ends it.
    """
    us = os.getpid()
    nice = getattr(_thread, "nice", 0)

    def before_exec() -> None:
        _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        if os.getppid() != us:
            os._exit(1)
        if not foreground:
            os.setpgid(0, 0)
        os.nice(nice)

    if _stopped:
        raise LabError("interrupted")
    child = Child(argv, preexec_fn=before_exec, **kwargs)  # type: ignore[call-overload]
    child.gentle = gentle
    _children.add(child)
    try:
        if _stopped:
            raise LabError("interrupted")
        yield child
    finally:
        try:
            child.end()
        finally:
            child.kill()
            _children.discard(child)


def stop() -> None:
    """End what all threads have started, and let them start nothing more: they unwind. Takes no lock."""
    global _stopped  # pylint: disable=global-statement
    _stopped = True
    for child in list(_children):
        if child.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                if child.gentle:
                    os.killpg(child.pid, signal.SIGINT)
                else:
                    os.kill(child.pid, signal.SIGKILL)


@contextlib.contextmanager
def ending_all() -> Iterator[None]:
    """If the block fails or is interrupted, end what other threads have started, as somebody will wait for them."""
    try:
        yield
    except BaseException:
        stop()
        raise


def stopped() -> bool:
    """Whether nothing is to be started any more."""
    return _stopped


def tail(path: Path, lines: int = 25) -> str:
    """The last LINES of a log, for an error message."""
    try:
        text = path.read_text(errors="replace")
    except OSError:
        return ""
    return "\n".join("    | " + line for line in text.splitlines()[-lines:])


def run(argv: Sequence[str], log: Path, what: str, timeout: Optional[float] = None,
        cwd: Optional[Path] = None, gentle: bool = False) -> None:
    """Run ARGV with everything that it prints appended to LOG; LabError with the log's end if it fails."""
    with log.open("ab") as out, spawn(argv, gentle, stdin=subprocess.DEVNULL, stdout=out, stderr=out, cwd=cwd) as child:
        try:
            status = child.wait(timeout)
        except subprocess.TimeoutExpired:
            raise LabError(f"{what}: no end after {timeout:.0f} s; log: {log}\n{tail(log)}") from None
    if status != 0:
        raise LabError(f"{what}: failed with status {status}; log: {log}\n{tail(log)}")


def capture(argv: Sequence[str]) -> str:
    """Standard output of a short command; LabError with its standard error if it fails."""
    with spawn(argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as child:
        output, errors = (text.decode(errors="replace") for text in child.communicate())
        status = child.wait()
    if status != 0:
        raise LabError(f"{' '.join(argv[:6])} ...: status {status}\n{errors.strip()}")
    return output
