# SPDX-License-Identifier: GPL-2.0
"""Run jobs, several at the same time, without making those late that have deadlines.

TIMED jobs are machines whose clock is the host's. Two of them run at a time, the longest first: each is asleep or waits
for itself for a good part of its time. Beside them the others - builds, cargo, machines that count instructions or are
killed - run one after the other on what processor time is left, as nothing that they find depends on how fast they are.
When there are none of those any more, a third timed job takes their place.
"""

from __future__ import annotations

import dataclasses
import os
import queue
import threading
import time
from collections.abc import Callable, Sequence
from typing import Optional, Union

from . import proc, progress
from .errors import LabError
from .ktap import Counts
from .progress import say

# What is told to end deletes what it has made.
_UNWIND_S = 15.0

_Ends = queue.SimpleQueue[Union[Counts, BaseException, None]]


@dataclasses.dataclass(frozen=True)
class Job:
    """Something to run."""

    name: str
    what: str
    function: Callable[[], Counts]
    timed: bool = False
    about_s: int = 0
    """Of timed jobs, those for which this is largest start first."""


def _one(job: Job) -> Counts:
    say(f"=== {job.name}: {job.what}")
    start, before = time.monotonic(), proc.spent()
    try:
        counts = job.function()
    except LabError as error:
        counts = Counts()
        counts.fail(f"{job.name}: {str(error).splitlines()[0]}")
        say(f"    FAIL {error}")
    say(f"=== {job.name}: {counts} ({time.monotonic() - start:.0f} s, {proc.spent() - before:.0f} s of processors)")
    return counts


def _lane(sources: Sequence["queue.SimpleQueue[Job]"], nice: bool, ends: _Ends, after: Optional[threading.Event] = None,
          done: Optional[threading.Event] = None) -> None:
    """A thread: do jobs until there are none, those of the first source first; begin AFTER something, and say when it is DONE."""
    try:
        if after:
            after.wait()
        if nice:
            proc.yield_processor()
        for source in sources:
            while not proc.stopped():
                try:
                    job = source.get_nowait()
                except queue.Empty:
                    break
                progress.label(f"{job.name:16} | ")
                ends.put(_one(job))
        ends.put(None)
    except BaseException as error:  # pylint: disable=broad-except
        ends.put(error)
    finally:
        if done:
            done.set()


def _queue(jobs: Sequence[Job]) -> "queue.SimpleQueue[Job]":
    found: "queue.SimpleQueue[Job]" = queue.SimpleQueue()
    for job in jobs:
        found.put(job)
    return found


def run(jobs: Sequence[Job]) -> Counts:
    """Run all jobs; their results together."""
    total = Counts()
    timed = sorted((job for job in jobs if job.timed), key=lambda job: -job.about_s)
    if not timed or len(jobs) == 1:
        for job in jobs:
            say("")
            total.add(_one(job))
        return total
    first, rest = _queue(timed), _queue([job for job in jobs if not job.timed])
    ends: _Ends = queue.SimpleQueue()
    several, idle = (os.cpu_count() or 1) > 1, threading.Event()
    # When there are no more timed jobs, their lanes help with the others.
    threads = [threading.Thread(target=_lane, args=((first, rest), False, ends), daemon=True) for _ in range(2 if several else 1)]
    threads.append(threading.Thread(target=_lane, args=((rest,), True, ends, None, idle), daemon=True))
    if several:
        # A thread of its own: one that has yielded the processor cannot take that back.
        threads.append(threading.Thread(target=_lane, args=((first,), False, ends, idle), daemon=True))
    try:
        for thread in threads:
            thread.start()
        running = len(threads)
        while running:
            end = ends.get()
            if isinstance(end, BaseException):
                raise end
            if end is None:
                running -= 1
            else:
                total.add(end)
    except BaseException:
        progress.silence()
        proc.stop()
        end = time.monotonic() + _UNWIND_S
        for thread in threads:
            thread.join(max(end - time.monotonic(), 0))
        raise
    return total
