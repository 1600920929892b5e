# SPDX-License-Identifier: GPL-2.0
"""What a long step says while it runs."""

from __future__ import annotations

import contextlib
import sys
import threading
import time
from collections.abc import Callable, Iterator
from typing import Optional

from . import proc

_HEARTBEAT_S = 30.0
_lock = threading.Lock()
_thread = threading.local()
_silent = False


def say(text: str) -> None:
    """Print one line (or more) at once, also through a pipe; after this thread's label, if it has one."""
    label = getattr(_thread, "label", "")
    with _lock:
        if not _silent or threading.current_thread() is threading.main_thread():
            sys.stdout.write("".join(f"{label}{line}\n" for line in text.split("\n")))
            sys.stdout.flush()


def label(text: str) -> None:
    """What stands before each line that this thread says from now on, where several talk at the same time."""
    _thread.label = text


def silence() -> None:
    """From now on only the main thread says anything. Takes no lock."""
    global _silent  # pylint: disable=global-statement
    _silent = True


@contextlib.contextmanager
def step(area: str, what: str, about_s: Optional[int] = None) -> Iterator[Callable[[str], None]]:
    """Announce a step, print a sign of life while it runs, and say how long it took.

    A sign of life ends with the last word that the function, which the block gets, was given.
    """
    expected = f" (about {about_s} s)" if about_s else ""
    say(f"[{area}] {what}{expected} ...")
    start, before = time.monotonic(), proc.spent()
    done = threading.Event()
    mine = getattr(_thread, "label", "")
    word = [""]

    def beat() -> None:
        label(mine)
        while not done.wait(_HEARTBEAT_S):
            say(f"[{area}] ... {what}: {time.monotonic() - start:.0f} s{word[0]}")

    def reached(text: str) -> None:
        word[0] = f", {text}"

    thread = threading.Thread(target=beat, daemon=True)
    thread.start()
    outcome = "failed after"
    try:
        yield reached
        outcome = "done in"
    except KeyboardInterrupt:
        outcome = "interrupted after"
        raise
    finally:
        done.set()
        thread.join()
        used = proc.spent() - before
        say(f"[{area}] {what}: {outcome} {time.monotonic() - start:.1f} s, {used:.0f} s of processors")
