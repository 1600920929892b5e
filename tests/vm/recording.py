# SPDX-License-Identifier: GPL-2.0
"""Read what was recorded of C SCST, and compare the live tree with it."""

from __future__ import annotations

import dataclasses
import fnmatch
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from lib import DATA, Failure

Entry = tuple[str, int, str]
"""Type, mode, contents, as scst.snapshot gives them."""

_LINE = re.compile(r"^([dfl]) (\d{4}) (\S+)(?: -> (\S+)| \(\d+ bytes\))?(?: !(\w+))?$")
_QUOTED = re.compile(r'"([^"\n]*)"')


def tree(name: str) -> dict[str, Entry]:
    """A recorded tree."""
    found: dict[str, Entry] = {}
    path, mode, lines = "", 0, list[str]()

    def finish() -> None:
        if path:
            text = "".join(line + "\n" for line in lines)
            if text.endswith("\\no-newline\n"):
                text = text[:-len("\n\\no-newline\n")]
            if path.endswith("/transport_id"):
                text = re.sub(r"\\x(..)|\\0", lambda byte: chr(int(byte[1] or "0", 16)), text)
            found[path] = "f", mode, text

    for line in (DATA / name).read_text().splitlines():
        match = _LINE.match(line)
        if not match:
            lines.append(line.removeprefix("    "))
            continue
        finish()
        path, lines = "", []
        kind, octal, where, target, _ = match.groups()
        if kind == "f":
            path, mode = where, int(octal, 8)
        else:
            found[where] = kind, int(octal, 8), target or ""
    finish()
    for path in [path for path in found if path.endswith("/latency") and found[path][0] == "d"]:
        # Recorded as well, and left out of the data as all of them are the same.
        for kind in "bnrw":
            for size in range(9, 20):
                found[f"{path}/{kind}{1 << size}"] = "f", 0o644, "state count min max avg stddev\n"
    return found


def part(recorded: dict[str, Entry], *places: str) -> dict[str, Entry]:
    """What is at PLACES of a recorded tree, and below."""
    return {path: entry for path, entry in recorded.items()
            if any(path == place or path.startswith(f"{place}/") for place in places)}


def blank(tree_of: dict[str, Entry], leave_out: Sequence[str]) -> dict[str, Entry]:
    """A tree without the contents of the files that LEAVE_OUT names."""
    return {path: (kind, mode, "" if kind == "f" and any(Path(path).match("*" + name) for name in leave_out) else text)
            for path, (kind, mode, text) in tree_of.items()}


@dataclasses.dataclass
class Difference:
    """A listed difference: what, where (a pattern), why."""

    kind: str
    pattern: str
    why: str
    used: bool = False


class Differences:
    """The differences that a section of abi-differences.txt gives reasons for."""

    def __init__(self, section: str) -> None:
        self.listed: list[Difference] = []
        here = False
        for line in (DATA / "abi-differences.txt").read_text().splitlines():
            if line.startswith("["):
                here = line.strip() == f"[{section}]"
            elif here and line.strip() and not line.startswith("#"):
                head, separator, why = line.partition("  : ")
                kind, _, pattern = head.strip().partition(" ")
                if not separator or not why.strip():
                    raise Failure(f"abi-differences.txt: no reason in '{line}'")
                self.listed.append(Difference(kind, pattern.strip(), why.strip()))

    def allow(self, kind: str, what: str) -> bool:
        """Whether a difference is listed; it counts as used."""
        for item in self.listed:
            if item.kind == kind and fnmatch.fnmatchcase(what, item.pattern):
                item.used = True
                return True
        return False

    def unused(self) -> list[str]:
        """Listed differences that there are not: the list has to become shorter."""
        return [f"listed but not so any more: {item.kind} {item.pattern}" for item in self.listed if not item.used]


def _interface(path: str, text: str) -> str:
    """Of a help text, what is interface: the commands and the lines that clients parse."""
    if Path(path).name not in ("mgmt", "trace_level") or "Usage:" not in text:
        return text
    commands = "\n".join(sorted(_QUOTED.findall(text)))
    parsed = "\n".join(line for line in text.splitlines() if re.match("The following|where TOKEN", line))
    return "\n".join([text.partition("Usage:")[0].strip(), commands, parsed])


def compare(recorded: dict[str, Entry], live: dict[str, Entry], listed: Differences) -> Iterator[str]:
    """The differences that are not listed."""
    gone = ""
    for path, (kind, mode, text) in sorted(recorded.items()):
        if path not in live:
            # Of a directory that is not there, not every file is news.
            if not listed.allow("absent", path) and not (gone and path.startswith(gone)):
                gone = f"{path}/"
                yield f"absent {path}"
            continue
        kind_now, mode_now, text_now = live[path]
        if kind_now != kind:
            yield f"type {path}: {kind_now}, recorded {kind}"
            continue
        if mode_now != mode and not listed.allow("mode", path):
            yield f"mode {path}: {mode_now:04o}, recorded {mode:04o}"
        if _interface(path, text_now) != _interface(path, text) and not listed.allow("content", path):
            yield f"content {path}: {text_now!r}, recorded {text!r}"
    for path in sorted(live):
        if path not in recorded and not listed.allow("extra", path):
            yield f"extra {path}"


@dataclasses.dataclass(frozen=True)
class Write:
    """A recorded management write."""

    text: str
    path: str
    error: str
    """What the shell said after `write error: `, or nothing."""
    shown: str
    """What the attribute read as afterwards; for root attributes after `NAME now: `."""


def writes() -> list[Write]:
    """The recorded management writes, in their order."""
    found = []
    for record in re.split(r"(?m)^(?=\$ )", (DATA / "mgmt-writes.txt").read_text()):
        head, _, rest = record.partition("\n")
        match = re.match(r"\$ echo '(.*)' > (\S+)$", head)
        if not match:
            continue
        error = re.search(r"(?m)^\S+: (?:write error: )?(.*)$", rest.partition("[rc ")[0])
        shown = rest.partition("[rc ")[2].partition("\n")[2]
        found.append(Write(match[1], match[2], error[1] if error else "", shown))
    return found


def commands(name: str) -> list[tuple[str, str, int]]:
    """The recorded sg3_utils commands of a disk: command line (DEV for the device), output, exit status."""
    found = []
    for record in re.split(r"(?m)^(?=\$ )", (DATA / f"sg-{name}.txt").read_text()):
        match = re.match(r"\$ (.*)\n((?:.*\n)*?)\[exit (\d+)\]", record)
        if match:
            found.append((match[1], match[2], int(match[3])))
    return found
