# SPDX-License-Identifier: GPL-2.0
"""What a long step says while it runs."""

from __future__ import annotations

import contextlib
import sys
import threading
import time
from collections.abc import Iterator
from typing import Optional

_HEARTBEAT_S = 30.0


def say(text: str) -> None:
    """Print one line at once, also through a pipe."""
    print(text, flush=True)


@contextlib.contextmanager
def step(area: str, what: str, about_s: Optional[int] = None) -> Iterator[None]:
    """Announce a step, print a sign of life while it runs, and say how long it took."""
    expected = f" (about {about_s} s)" if about_s else ""
    say(f"[{area}] {what}{expected} ...")
    start = time.monotonic()
    done = threading.Event()

    def beat() -> None:
        while not done.wait(_HEARTBEAT_S):
            say(f"[{area}] ... {what}: {time.monotonic() - start:.0f} s")

    thread = threading.Thread(target=beat, daemon=True)
    thread.start()
    outcome = "failed after"
    try:
        yield
        outcome = "done in"
    except KeyboardInterrupt:
        outcome = "interrupted after"
        raise
    finally:
        done.set()
        thread.join()
        stream = sys.stdout
        print(f"[{area}] {what}: {outcome} {time.monotonic() - start:.1f} s", file=stream, flush=True)
