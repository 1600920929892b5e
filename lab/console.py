# SPDX-License-Identifier: GPL-2.0
"""What must not stand in a kernel log."""

from __future__ import annotations

import re
from collections.abc import Sequence

_BAD = re.compile("|".join((
    r"\bWARNING: ", r"\bBUG: ", r"kernel BUG at", r"\bOops\b", r"Call Trace:", r"Kernel panic", r"general protection fault",
    r"unable to handle ", r"INFO: task .* blocked", r"INFO: rcu.*(stall|detected)", r"soft lockup", r"hard LOCKUP",
    r"possible (recursive locking|circular locking|irq lock inversion|deadlock)", r"inconsistent lock state",
    r"suspicious RCU usage", r"sleeping function called", r"scheduling while atomic", r"refcount_t: ",
    r"list_(add|del) corruption", r"kmemleak: \d+ new suspected", r"rust_kernel: panicked", r"UBSAN:", r"KASAN:",
    r"ODEBUG:", r"trying to register non-static key", r"lab: boot failed")))
_STAMP = re.compile(r"^(?:<\d+>)?\[\s*\d+\.\d+\]\s?")


def complaints(text: str, allowed: Sequence[str] = ()) -> list[str]:
    """The lines of a kernel log that mean a failure, except those that match an ALLOWED pattern."""
    accept = re.compile("|".join(f"(?:{p})" for p in allowed)) if allowed else None
    found = []
    for line in text.splitlines():
        clean = _STAMP.sub("", line.rstrip())
        if _BAD.search(clean) and not (accept and accept.search(clean)) and clean not in found:
            found.append(clean)
    return found
