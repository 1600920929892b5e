# SPDX-License-Identifier: GPL-2.0
"""docs/sysfs.md: what is below /sys/kernel/scst_tgt, from the attribute tables of the code (`make docs`)."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from . import paths
from .errors import LabError
from .progress import say

_CRATES = ("scst_core", "scst_vdisk", "scst_local", "ib_srpt", "qla2x00t_shim", "scst_disk")
DOCUMENT = paths.REPO / "docs" / "sysfs.md"

# Which directory a table is of. A table that is not here fails the check, and so does one that is not there.
_PLACES: dict[str, Sequence[tuple[str, str]]] = {
    "": (("scst_core/attrs_root.rs", "ATTRS"), ("scst_core/attrs_root.rs", "THREAD_ATTRS")),
    "sgv": (("scst_core/attrs_root.rs", "SGV_ATTRS"),),
    "sgv/sgv": (("scst_core/attrs_root.rs", "POOL_ATTRS"),),
    "handlers/HANDLER": (("scst_core/attrs_device.rs", "HANDLER"),),
    "devices/DEVICE": (("scst_core/attrs_device.rs", "DEVICE"), ("scst_core/block.rs", "ATTRS"),
                       ("scst_core/attrs_reservations.rs", "ATTRS")),
    "devices/DEVICE, of all virtual disks": (("scst_vdisk/attrs.rs", "IDENTITY"),),
    "devices/DEVICE, not of vcdrom": (("scst_vdisk/attrs.rs", "DISK"),),
    "devices/DEVICE, of vdisk_fileio, vdisk_blockio and vcdrom": (("scst_vdisk/attrs.rs", "STORED"),
                                                                  ("scst_vdisk/attrs.rs", "FIXED_SIZE")),
    "devices/DEVICE, of vdisk_fileio": (("scst_vdisk/attrs.rs", "FILEIO"),),
    "devices/DEVICE, of vdisk_nullio": (("scst_vdisk/attrs.rs", "NULLIO"),),
    "devices/DEVICE, thin provisioned": (("scst_vdisk/attrs.rs", "THIN"),),
    "devices/DEVICE, thin provisioned, of vdisk_fileio": (("scst_vdisk/thresholds.rs", "THRESHOLDS"),),
    "devices/DEVICE, with protection information": (("scst_vdisk/attrs_protection.rs", "DIF"),),
    "targets/DRIVER": (("scst_core/attrs_target.rs", "DRIVER"), ("scst_core/attrs_target.rs", "DRIVER_MGMT"),
                       ("scst_core/attrs_target.rs", "DRIVER_PROTECTION")),
    "targets/scst_local": (("scst_local/attrs.rs", "DRIVER"),),
    "targets/qla2x00t": (("qla2x00t_shim/attrs.rs", "DRIVER"),),
    "targets/copy_manager": (("scst_core/copy_manager.rs", "ATTRS"),),
    "targets/DRIVER/TARGET": (("scst_core/attrs_target.rs", "TARGET"), ("scst_core/attrs_target.rs", "ENABLED"),
                              ("scst_core/attrs_target.rs", "SUMS"), ("scst_core/protection.rs", "TARGET")),
    "targets/scst_local/TARGET": (("scst_local/attrs.rs", "TARGET"),),
    "targets/ib_srpt/TARGET": (("ib_srpt/attrs.rs", "PORT"),),
    "targets/qla2x00t/TARGET": (("qla2x00t_shim/attrs.rs", "PORT"),),
    "targets/qla2x00t/TARGET (a virtual port)": (("qla2x00t_shim/attrs.rs", "VIRTUAL"),),
    "targets/DRIVER/TARGET and its ini_groups/GROUP": (("scst_core/attrs_group.rs", "ACCESS"),),
    "targets/DRIVER/TARGET/ini_groups": (("scst_core/attrs_group.rs", "INI_GROUPS"),),
    "targets/DRIVER/TARGET/ini_groups/GROUP/initiators": (("scst_core/attrs_group.rs", "INITIATORS"),),
    "targets/DRIVER/TARGET/luns and targets/DRIVER/TARGET/ini_groups/GROUP/luns": (
        ("scst_core/attrs_group.rs", "LUNS"),),
    "…/luns/LUN": (("scst_core/attrs_group.rs", "LUN"),),
    "targets/DRIVER/TARGET/sessions/SESSION": (("scst_core/attrs_session.rs", "ATTRS"),
                                               ("scst_core/attrs_session.rs", "COUNTERS"),
                                               ("scst_core/protection.rs", "SESSION")),
    "targets/DRIVER/TARGET/sessions/SESSION, of initiators": (("scst_core/attrs_session.rs", "CLOSE"),),
    "targets/DRIVER/TARGET/sessions/SESSION/latency": (("scst_core/latency.rs", "FILES"),),
    "targets/scst_local/TARGET/sessions/SESSION": (("scst_local/attrs.rs", "SESSION"),),
    "targets/ib_srpt/TARGET/sessions/SESSION": (("ib_srpt/attrs.rs", "SESSION"),),
    "targets/DRIVER/TARGET/sessions/SESSION/lunLUN": (("scst_core/nexus.rs", "ATTRS"),),
    "targets/DRIVER/TARGET/sessions/SESSION/lunLUN, with protection information": (
        ("scst_core/protection.rs", "LUN"),),
    "device_groups": (("scst_core/attrs_device_group.rs", "ROOT"),),
    "device_groups/GROUP/devices": (("scst_core/attrs_device_group.rs", "DEVICES"),),
    "device_groups/GROUP/target_groups": (("scst_core/attrs_device_group.rs", "TARGET_GROUPS"),),
    "device_groups/GROUP/target_groups/TARGET_GROUP": (("scst_core/attrs_device_group.rs", "TARGET_GROUP"),),
    "device_groups/GROUP/target_groups/TARGET_GROUP/TARGET": (("scst_core/attrs_device_group.rs", "REMOTE"),),
}

_HEAD = """<!-- SPDX-License-Identifier: GPL-2.0 -->
<!-- Made by `make docs` from the attribute tables of the code. Do not edit. -->

# The sysfs interface

All of it is below `/sys/kernel/scst_tgt`. Only root may write. A write is done when it returns; where it fails, the errno
says why and the kernel log what would be right, and `last_sysfs_mgmt_res` has the result of the last one. A value that is
not the default has `[key]` below it: that is what `scstadmin` saves. What a `mgmt` file takes it says when it is read.

Names in capitals stand for the names of what is there.
"""

_STRING = r'c?"(?:\\[\s\S]|[^"\\])*"'


class Row(NamedTuple):
    """An attribute."""

    name: str
    mode: str
    help: str
    usage: str


def _text(literal: str) -> str:
    """What a Rust string literal stands for."""
    body = literal[literal.index('"') + 1:-1]
    body = re.sub(r"\\\n\s*", "", body)
    body = re.sub(r"\\x([0-9a-f]{2})", lambda m: chr(int(m[1], 16)), body)
    return body.replace("\\n", "\n").replace('\\"', '"').replace("\\\\", "\\").replace("{{", "{").replace("}}", "}")


def _end(source: str, start: int) -> int:
    """Where the bracket at START closes; one past it."""
    depth = 0
    for found in re.finditer(_STRING + r"|'(?:\\.|[^'\\])'|//[^\n]*|[(\[{]|[)\]}]", source[start:]):
        if found[0] in "([{":
            depth += 1
        elif found[0] in ")]}":
            depth -= 1
            if not depth:
                return start + found.end()
    raise LabError(f"docs: no end of a bracket: {source[start:start + 80]!r}")


_KINDS = {"literal": f"({_STRING})", "ident": r"(\w+)", "expr": r"([^,;()]+)"}


def _expand(source: str, text: str) -> str:
    """TEXT with the macros expanded that SOURCE defines; of their rules, those of literals, identifiers and one list."""
    for macro in re.finditer(r"macro_rules! (\w+) \{", source):
        body = source[macro.end() - 1:_end(source, macro.end() - 1)]
        rule = re.match(r"\{\s*\(", body)
        if not rule or macro[1] in ("emit", "log_err"):
            continue
        pattern_end = _end(body, rule.end() - 1)
        pattern = body[rule.end():pattern_end - 1]
        block = body.index("{", pattern_end)
        result = body[block + 1:_end(body, block) - 1]
        listed = re.fullmatch(r"\s*\$\((.*?)(;?)\)\*\s*", pattern, re.S)
        words = re.split(r"\$(\w+):(\w+)", listed[1] if listed else pattern)
        names = words[1::3]
        regex = "".join(_KINDS[word] if n % 3 == 2 else "" if n % 3 else re.sub(r"\\?\s+", r"\\s*", re.escape(word))
                        for n, word in enumerate(words))
        inner = re.search(r"\$\((.*)\)\*", result, re.S) if listed else None

        def one(match: re.Match[str], template: str) -> str:
            for name, value in zip(names, match.groups()):
                template = re.sub(rf"\${name}\b", lambda _, value=value: value, template)
            return template

        def call(found: re.Match[str]) -> str:
            start = found.end() - 1
            arguments = text[start + 1:_end(text, start) - 1]
            if not inner:
                match = re.match(r"\s*" + regex, arguments)
                return one(match, result) if match else ""
            return "".join(one(match, inner[1]) + "\n" for match in re.finditer(regex, arguments))

        pieces, at = [], 0
        for found in re.finditer(rf"\b{macro[1]}! ?[(\[{{]", text):
            pieces += [text[at:found.start()], call(found)]
            at = _end(text, found.end() - 1)
        text = "".join(pieces) + text[at:]
    for name, literal in re.findall(rf"const (\w+): &str =\s*({_STRING});", source):
        text = re.sub(rf"\b{name}\b", lambda _, literal=literal: literal, text)
    return text


def _usage(source: str, entry: str) -> str:
    """What a `mgmt` says when it is read, if its text is in the code."""
    found = re.search(rf'({_STRING.replace("c?", "")})', entry[entry.find('"Usage'):]) if '"Usage' in entry else None
    if not found:
        shown = re.search(r'c"mgmt",\s*(\w+),', entry)
        body = shown and re.search(rf"fn {shown[1]}\(.*?\n}}", source, re.S)
        found = re.search(r'"Usage(?:\\[\s\S]|[^"\\])*"', body[0]) if body else None
    # What is filled in depends on the driver.
    return re.sub(r"\n?\{\}\n?", "\n", _text(found[0])).strip() if found else ""


def _rows(source: str, table: str) -> Iterator[Row]:
    for found in re.finditer(r"Attr::(ro|rw|wo)\(", table):
        entry = table[found.end():_end(table, found.end() - 1) - 1]
        literals = re.findall(_STRING, entry)
        if len(literals) < 2 or not literals[0].startswith('c"'):
            raise LabError(f"docs: an attribute without a name or a text: {entry[:80]!r}")
        name = _text(literals[0])
        mode = {"ro": "r", "rw": "rw", "wo": "w"}[found[1]]
        usage = _usage(source, entry) if name == "mgmt" else ""
        yield Row(name, mode, _text(literals[-1]).rstrip("."), usage)


def _tables() -> dict[tuple[str, str], list[Row]]:
    tables = {}
    for crate in _CRATES:
        for path in sorted((paths.REPO / crate).glob("**/*.rs")):
            source = path.read_text()
            for found in re.finditer(r"static (\w+): (?:&\[Attr<.*?>\]|\[Attr<.*?>; \d+\]) =\s*", source):
                end = source.index("\n", _end(source, source.index(source[found.end():].lstrip("&")[0], found.end())))
                rows = list(_rows(source, _expand(source, source[found.end():end])))
                tables[str(path.relative_to(paths.REPO)), found[1]] = rows
    return tables


def _parameters() -> Iterator[str]:
    yield "\n## Parameters of the modules\n"
    yield "In `/sys/module/MODULE/parameters`, and on the command line of `modprobe`.\n"
    for crate, module in (("scst_core", "scst"), ("scst_vdisk", "scst_vdisk"), ("scst_local", "scst_local"),
                          ("ib_srpt", "ib_srpt"), ("scst_disk", "scst_disk")):
        rows = []
        for path in sorted((paths.REPO / crate).glob("**/*.rs")):
            for found in re.finditer(rf'name: "(\w+)",\s*perm: 0o(\d+).*?description:\s*({_STRING})', path.read_text(),
                                     re.S):
                rows.append((found[1], "rw" if int(found[2], 8) & 0o200 else "r", _text(found[3])))
        if rows:
            yield f"\n### {module}\n\n| parameter | | what it is |\n|---|---|---|"
            yield from (f"| `{name}` | {mode} | {_cell(text)} |" for name, mode, text in sorted(rows))


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")


def document() -> str:
    """The text of docs/sysfs.md."""
    tables = _tables()
    lines = [_HEAD]
    placed = set()
    for place, names in _PLACES.items():
        rows = []
        for name in names:
            placed.add(name)
            if name not in tables:
                raise LabError(f"docs: there is no table {name[1]} in {name[0]} any more: see _PLACES in lab/reference.py")
            rows += tables[name]
        where, _, rest = place.partition(", ")
        title = f"`{where or '/sys/kernel/scst_tgt'}`" + (f", {rest}" if rest else "")
        lines.append(f"\n## {title}\n\n| attribute | | what it is |\n|---|---|---|")
        lines += [f"| `{row.name}` | {row.mode} | {_cell(row.help)} |" for row in sorted(rows)]
        lines += [f"\n```\n{row.usage}\n```" for row in rows if row.usage]
    unknown = sorted(set(tables) - placed)
    if unknown:
        raise LabError(f"docs: which directories are these tables of? {unknown}: see _PLACES in lab/reference.py")
    return "\n".join([*lines, *_parameters()]) + "\n"


def write() -> None:
    """Write docs/sysfs.md."""
    DOCUMENT.parent.mkdir(exist_ok=True)
    DOCUMENT.write_text(document())
    say(f"[docs] {DOCUMENT.relative_to(paths.REPO)}")


def current(path: Path = DOCUMENT) -> list[str]:
    """The reference is what the code says."""
    try:
        text = document()
    except LabError as error:
        return [str(error)]
    if not path.exists() or path.read_text() != text:
        return [f"{path.relative_to(paths.REPO)} is not what the code says: make docs"]
    return []
