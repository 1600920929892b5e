#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""The README's chapter on the SRP target, typed on two machines."""

from __future__ import annotations

import re
import sys

from bench import figures
from lab import apart, guest, kernel


def main() -> int:
    """KTAP."""
    modules = kernel.build_modules(kernel.stock("7.2")) if kernel.have_modules() else None
    print("KTAP version 1\n1..1", flush=True)
    if modules is None or not figures.have_ours(modules, "ib_srpt"):
        print("ok 1 - the README's SRP chapter on two machines # SKIP no ib_srpt in this clone's build", flush=True)
        return 0
    guest.stock()
    report = apart.run(modules)
    told = [line for name, line in report.lines if name == "target" and line.startswith("id_ext=")]
    given = [line.partition("=")[2] for _, line in report.lines if line.startswith("$ login=")]
    target = [line for name, line in report.lines if name == "target"]
    missing = [what for what, found in (
        ("the target tells what the initiator has to say", told == given and len(told) == 1),
        ("a disk of the initiator", any(re.search(r"disk +SCST_FIO disk01 .*/dev/sd", line) for _, line in report.lines)),
        ("fio's figure", any(re.search(r"read: IOPS=[1-9]", line) for _, line in report.lines)),
        ("a session called by the initiator's address", "192.168.5.2" in target and "live" in target)) if not found]
    print("# " + report.text().replace("\n", "\n# "), flush=True)
    for line in [*report.problem.splitlines(), *(f"missing: {what}" for what in missing)]:
        print(f"# {line}", flush=True)
    good = not report.problem and not missing
    print(f"{'ok' if good else 'not ok'} 1 - the README's SRP chapter on two machines", flush=True)
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
