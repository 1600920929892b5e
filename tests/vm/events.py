# SPDX-License-Identifier: GPL-2.0
"""The target's tracepoints: what became of each command, in the order in which it happened."""

from __future__ import annotations

import re
from pathlib import Path
from types import TracebackType
from typing import NamedTuple, Optional

from lib import Failure, check

_TRACING = Path("/sys/kernel/tracing")
_LINE = re.compile(r" scst_(?P<name>\w+): (?:tag=(?P<tag>\d+) )?(?:lun=\d+ len=\d+ cdb=.*|function=\d+ result=(?P<result>\d+)|(?P<arg>\d+))$")


class Event(NamedTuple):
    """One line of the trace: `cmd_done`, the command's tag, the number that comes with it."""

    name: str
    tag: int
    number: int


class Trace:
    """Records the events of commands and of task management while it is entered."""

    def __init__(self, buffer_kb: int = 16384) -> None:
        self._buffer_kb = buffer_kb
        self.events: list[Event] = []

    def __enter__(self) -> Trace:
        (_TRACING / "tracing_on").write_text("0")
        (_TRACING / "buffer_size_kb").write_text(str(self._buffer_kb))
        # One order for all processors, which no clock gives.
        (_TRACING / "trace_clock").write_text("counter")
        (_TRACING / "trace").write_text("\n")
        (_TRACING / "events/scst/enable").write_text("1")
        (_TRACING / "tracing_on").write_text("1")
        return self

    def __exit__(self, kind: Optional[type[BaseException]], value: Optional[BaseException],
                 where: Optional[TracebackType]) -> None:
        (_TRACING / "tracing_on").write_text("0")
        (_TRACING / "events/scst/enable").write_text("0")
        if kind is None:
            self._read()
        (_TRACING / "trace").write_text("\n")
        (_TRACING / "buffer_size_kb").write_text("1408")

    def _read(self) -> None:
        lost = sum(int(number) for stats in _TRACING.glob("per_cpu/cpu*/stats")
                   for number in re.findall(r"(?:overrun|dropped events): (\d+)", stats.read_text()))
        check(not lost, f"the trace has lost {lost} events")
        with (_TRACING / "trace").open() as lines:
            for line in lines:
                found = _LINE.search(line.rstrip("\n"))
                if found:
                    self.events.append(Event(found["name"], int(found["tag"] or 0),
                                             int(found["arg"] or found["result"] or 0)))

    def count(self, name: str, number: Optional[int] = None) -> int:
        """How many events NAME there are, with NUMBER if it is given."""
        return sum(event.name == name and number in (None, event.number) for event in self.events)

    def check_answers(self) -> int:
        """Fail unless each command was answered once and ended once, and each task management function was answered
        when none of the commands that it had marked was left. How many commands there were.

        No command may be outstanding when the trace begins or ends.
        """
        answers: dict[int, int] = {}
        marked: set[int] = set()
        commands = 0
        for place, event in enumerate(self.events):
            wrong = ""
            if event.name == "cmd_received":
                wrong = "received while it was there" if event.tag in answers else ""
                answers[event.tag] = 0
                commands += 1
            elif event.name == "cmd_responded":
                answers[event.tag] = answers.get(event.tag, 1) + 1
                wrong = "answered twice, or when it was over" if answers[event.tag] != 1 else ""
            elif event.name == "cmd_done":
                wrong = "ended without an answer, or twice" if answers.pop(event.tag, 0) != 1 else ""
                marked.discard(event.tag)
            elif event.name == "cmd_aborted" and event.tag in answers:
                marked.add(event.tag)
            elif event.name == "tmf" and event.number and marked:
                wrong = f"task management was answered, and {sorted(marked)} were not over"
            if wrong:
                around = "\n".join(map(str, self.events[max(0, place - 20):place + 5]))
                raise Failure(f"tag {event.tag}: {wrong}\n{around}")
        check(not answers, f"not ended: tags {sorted(answers)}")
        check(commands, "the trace has no command")
        return commands
