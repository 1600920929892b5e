# SPDX-License-Identifier: GPL-2.0
"""iscsi-test-cu of libiscsi on a disk of this machine: a test passes, or data/iscsi-test-cu.txt says why not."""

from __future__ import annotations

import fnmatch
import re
import subprocess

from lib import DATA, Failure, check, no_differences, note, sh


def _tests() -> list[str]:
    """Those that a device which is not iSCSI can have."""
    names = re.findall(r"(?m)^SCSI\.\w+\.\w+$", sh("iscsi-test-cu", "--list"))
    check(len(names) > 150, f"iscsi-test-cu --list names only {len(names)} tests")
    return [name[len("SCSI."):] for name in names if not name.startswith("SCSI.iSCSI")]


def _listed(kind: str) -> dict[str, str]:
    """The results that are not `pass`: pattern of test names, and result."""
    found = {}
    for line in (DATA / "iscsi-test-cu.txt").read_text().splitlines():
        if not line.strip() or line.startswith("#"):
            continue
        head, separator, why = line.partition("  : ")
        if not separator or not why.strip():
            raise Failure(f"iscsi-test-cu.txt: no reason in '{line}'")
        where, result, pattern = head.split()
        if fnmatch.fnmatchcase(kind, where):
            found[pattern] = result
    return found


def _run(test: str, node: str) -> tuple[str, str]:
    """Run one test in a process of its own, as they disturb one another; the result, and what the tool said."""
    try:
        done = subprocess.run(["iscsi-test-cu", "--dataloss", "-V", "-t", f"SCSI.{test}", node],
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=120, check=False)
    except subprocess.TimeoutExpired:
        return "hang", ""
    # What comes before is the tool looking around.
    text = done.stdout.decode(errors="replace").partition("Suite:")[2]
    summary = re.search(r"tests\s+\d+\s+(\d+)\s+(\d+)\s+(\d+)", text)
    said = "\n".join(line.strip() for line in text.splitlines() if re.search(r"FAILED|SKIPPED|CU_", line))
    if done.returncode < 0 or not summary:
        return "crash", said
    if "[SKIPPED]" in text and summary[3] == "0":
        return "skip", said
    return ("pass" if (summary[2], summary[3]) == ("1", "0") else "fail"), said


def family(kind: str, node: str, which: str = "*") -> None:
    """Run the tests whose names fit WHICH on /dev/sgN, a disk of this KIND."""
    listed, used, problems = _listed(kind), set(), []
    counts: dict[str, int] = {}
    # One of ReceiveCopyResults wants to be the first to use its list identifier.
    for test in sorted(fnmatch.filter(_tests(), which), key=lambda name: not name.startswith("ReceiveCopyResults.")):
        wanted, pattern = "pass", ""
        for pattern, result in listed.items():
            if fnmatch.fnmatchcase(test, pattern):
                wanted = result
                used.add(pattern)
                break
        result, said = _run(test, node)
        counts[result] = counts.get(result, 0) + 1
        if result != wanted:
            problems.append(f"{test}: {result}, not {wanted}\n{said}".strip())
    note(f"{kind}: " + ", ".join(f"{count} {result}" for result, count in sorted(counts.items())))
    if which == "*":
        problems += [f"listed, but there is no such test: {pattern}" for pattern in listed if pattern not in used]
    no_differences(problems, 250)
