# SPDX-License-Identifier: GPL-2.0
"""Read KTAP, the kernel's test output: count results, keep the names of what failed."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterable

_RESULT = re.compile(r"^(?P<indent>\s*)(?P<bad>not )?ok\s+(?P<number>\d+)\s*(?:-\s*)?(?P<name>[^#]*?)\s*"
                     r"(?:#\s*(?P<directive>.*))?$")
_PLAN = re.compile(r"^(?P<indent>\s*)1\.\.(?P<count>\d+)\s*$")
_STAMP = re.compile(r"^(?:<\d+>)?\[\s*\d+\.\d+\](?:\[[^]]*\])?\s?")


@dataclasses.dataclass
class Counts:
    """How many tests passed, failed and were skipped, and what is to say of them."""

    passed: int = 0
    failed: int = 0
    skipped: int = 0
    failures: list[str] = dataclasses.field(default_factory=list)
    skips: list[str] = dataclasses.field(default_factory=list)

    def add(self, other: "Counts") -> None:
        """Add another suite's counts."""
        self.passed += other.passed
        self.failed += other.failed
        self.skipped += other.skipped
        self.failures += other.failures
        self.skips += other.skips

    def fail(self, what: str) -> None:
        """Count a failure that no test line reported."""
        self.failed += 1
        self.failures.append(what)

    @property
    def total(self) -> int:
        """Number of results."""
        return self.passed + self.failed + self.skipped

    def __str__(self) -> str:
        return f"{self.passed} passed, {self.failed} failed, {self.skipped} skipped"


def parse(lines: Iterable[str], suite: str = "") -> Counts:
    """Count the results of a KTAP stream.

    Only leaves count: a result line after deeper-indented results is their summary. A top-level plan that is not
    met is a failure of its own, so that a script which dies half-way is not taken for a short one.
    """
    counts = Counts()
    plan = None
    top_level = 0
    deepest_since_top = 0
    prefix = f"{suite}: " if suite else ""
    for raw in lines:
        line = _STAMP.sub("", raw.rstrip())
        found = _PLAN.match(line)
        if found and not found["indent"]:
            plan = int(found["count"])
            continue
        found = _RESULT.match(line)
        if not found:
            continue
        indent = len(found["indent"].expandtabs(8))
        if indent == 0:
            top_level += 1
        is_summary = indent < deepest_since_top
        deepest_since_top = 0 if indent == 0 else indent
        name = prefix + (found["name"] or f"test {found['number']}")
        directive = (found["directive"] or "").strip()
        if is_summary:
            continue
        if directive.upper().startswith("SKIP"):
            counts.skipped += 1
            counts.skips.append(f"{name} ({directive[4:].strip(' :')})")
        elif found["bad"] and not directive.upper().startswith("TODO"):
            counts.fail(name)
        elif not found["bad"]:
            counts.passed += 1
    if plan is not None and top_level != plan:
        counts.fail(f"{prefix}{top_level} results of {plan} planned")
    return counts
