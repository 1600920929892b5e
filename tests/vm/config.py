# SPDX-License-Identifier: GPL-2.0
"""A small client of the management interface that follows scstadmin's rules: it saves what is marked [key], and restores it.

What is saved has the form of /etc/scst.conf. Nothing here knows what any attribute means: which values are saved is told
by the [key] marks, what can be given to a new object by the parameter lists in the help of `mgmt`.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path

import scst
from lib import Failure

Attributes = dict[str, list[str]]
Block = list[tuple[str, "Block"]]
"""Lines, each with the lines in the braces after it."""


def _values(path: Path) -> tuple[list[str], bool]:
    """The values of an attribute, and whether they are marked."""
    lines = path.read_text(errors="replace").split("\n")
    marked = [before for before, line in zip(lines, lines[1:]) if line == "[key]"]
    return (marked, True) if marked else (lines[:1], False)


def _attributes(place: Path, may_create: frozenset[str] = frozenset()) -> Attributes:
    """What is to be saved of an object: marked values that can be written, or given to a new object; `enabled` always."""
    found = {}
    for path in sorted(place.iterdir()):
        mode = path.lstat().st_mode & 0o666
        if path.is_symlink() or not path.is_file() or path.name == "mgmt" or not mode & 0o444:
            continue
        values, marked = _values(path)
        if path.name == "enabled" or (marked and (mode & 0o222 or path.name in may_create)):
            found[path.name] = values
    return found


def parameters(mgmt: Path, what: str = "parameters") -> frozenset[str]:
    """The names that the help of MGMT lists."""
    match = re.search(rf"(?m)^The following {what} available: (.*)$", mgmt.read_text()) if mgmt.exists() else None
    return frozenset(name.strip() for name in match[1].split(",") if name.strip()) if match else frozenset()


def _lines(attributes: Attributes) -> Block:
    return [(f"{name} {value}", []) for name, values in sorted(attributes.items()) for value in sorted(values)]


def _directories(place: Path) -> list[Path]:
    return sorted(path for path in place.iterdir() if path.is_dir() and not path.is_symlink())


def _luns(place: Path) -> Block:
    may = parameters(place / "mgmt")
    numbered = sorted(_directories(place), key=lambda path: int(path.name))
    return [(f"LUN {path.name} {(path / 'device').resolve().name}", _lines(_attributes(path, may))) for path in numbered]


def _group(place: Path) -> Block:
    initiators = sorted(path.name for path in (place / "initiators").iterdir() if path.name != "mgmt")
    return [*_lines(_attributes(place)), *_luns(place / "luns"), *((f"INITIATOR {name}", []) for name in initiators)]


def _target(place: Path, may: frozenset[str]) -> Block:
    groups: Block = [(f"GROUP {path.name}", _group(path)) for path in _directories(place / "ini_groups")]
    attributes = _attributes(place, may)
    if "session_name" in may:
        attributes["session_name"] = [path.name for path in _directories(place / "sessions")]
    return [*_lines(attributes), *_luns(place / "luns"), *groups]


def _target_group(place: Path) -> Block:
    members: Block = []
    for path in sorted(place.iterdir()):
        if path.is_symlink():
            members.append((f"TARGET {path.name}", []))
        elif path.is_dir():
            members.append((f"TARGET {path.name}", _lines(_attributes(path))))
    return [*_lines(_attributes(place)), *members]


def _device_group(place: Path) -> Block:
    devices = sorted(path.name for path in (place / "devices").iterdir() if path.name != "mgmt")
    groups: Block = [(f"TARGET_GROUP {path.name}", _target_group(path)) for path in _directories(place / "target_groups")]
    return [*_lines(_attributes(place)), *((f"DEVICE {name}", []) for name in devices), *groups]


def _handler(place: Path) -> Block:
    may = parameters(place / "mgmt")
    devices = sorted(path for path in place.iterdir() if path.is_symlink() and path.name != "module")
    found: Block = [(f"DEVICE {path.name}", _lines(_attributes(path.resolve(), may))) for path in devices]
    return [*_lines(_attributes(place)), *found]


def _all() -> Block:
    found = _lines(_attributes(scst.ROOT))
    for path in _directories(scst.HANDLERS):
        found.append((f"HANDLER {path.name}", _handler(path)))
    for path in _directories(scst.ROOT / "targets"):
        may = parameters(path / "mgmt")
        targets: Block = [(f"TARGET {target.name}", _target(target, may)) for target in _directories(path)]
        found.append((f"TARGET_DRIVER {path.name}", [*_lines(_attributes(path)), *targets]))
    found += [(f"DEVICE_GROUP {path.name}", _device_group(path)) for path in _directories(scst.GROUPS)]
    return found


def _text(block: Block, indent: str) -> Iterator[str]:
    for line, inner in block:
        if inner:
            yield f"{indent}{line} {{"
            yield from _text(inner, indent + "\t")
            yield f"{indent}}}"
        else:
            yield f"{indent}{line}"


def save() -> str:
    """The configuration as it is."""
    return "\n".join(_text(_all(), "")) + "\n"


def parse(text: str) -> Block:
    """Reads what save wrote."""
    top: Block = []
    stack = [top]
    for line in filter(None, (line.partition("#")[0].strip() for line in text.splitlines())):
        if line == "HW_TARGET":
            continue
        if line == "}":
            stack.pop()
            continue
        inner: Block = []
        stack[-1].append((line.removesuffix("{").strip(), inner))
        if line.endswith("{"):
            stack.append(inner)
    if len(stack) != 1:
        raise Failure("a brace of the configuration is not closed")
    return top


def _split(block: Block, *kinds: str) -> tuple[Block, Attributes]:
    """The objects among the lines, and the attributes."""
    objects, attributes = [], Attributes()
    for line, inner in block:
        word, _, rest = line.partition(" ")
        if word in kinds:
            objects.append((line, inner))
        else:
            attributes.setdefault(word, []).append(rest)
    return objects, attributes


def _new(attributes: Attributes, may: frozenset[str]) -> str:
    return "; ".join(f"{name}={values[0]}" for name, values in sorted(attributes.items()) if name in may)


def _set(place: Path, attributes: Attributes, but: frozenset[str] = frozenset()) -> None:
    """Gives an object the values that it does not have."""
    for name, values in attributes.items():
        if name not in but and _values(place / name)[0] != values:
            scst.put(place / name, values[0])


def _restore_luns(place: Path, objects: Block) -> None:
    may = parameters(place / "mgmt")
    for line, inner in objects:
        word, number, device, *_ = [*line.split(" "), "", ""]
        # A copy manager's LUN may be there already: devices become its LUNs by themselves.
        if word == "LUN" and not (place / number).exists():
            scst.put(place / "mgmt", f"add {device} {number} {_new(_split(inner)[1], may)}".strip())


def _restore_target(place: Path, block: Block, but: frozenset[str]) -> None:
    objects, attributes = _split(block, "LUN", "GROUP")
    _set(place, attributes, but | {"enabled"})
    _restore_luns(place / "luns", objects)
    for line, inner in objects:
        word, _, name = line.partition(" ")
        if word != "GROUP":
            continue
        if not (place / "ini_groups" / name).exists():
            scst.put(place / "ini_groups/mgmt", f"create {name}")
        group = place / "ini_groups" / name
        members, group_attributes = _split(inner, "LUN", "INITIATOR")
        _set(group, group_attributes)
        _restore_luns(group / "luns", members)
        for member in (line.partition(" ")[2] for line, _ in members if line.startswith("INITIATOR ")):
            scst.put(group / "initiators/mgmt", f"add {member}")


def _restore_driver(place: Path, block: Block) -> None:
    targets, attributes = _split(block, "TARGET")
    _set(place, attributes)
    may = parameters(place / "mgmt")
    for line, inner in targets:
        target = place / line.partition(" ")[2]
        if not target.exists():
            given = _new(_split(inner, "LUN", "GROUP")[1], may)
            scst.put(place / "mgmt", f"add_target {target.name} {given}".strip())
        _restore_target(target, inner, may)


def _restore_handler(place: Path, block: Block) -> None:
    devices, attributes = _split(block, "DEVICE")
    _set(place, attributes)
    may = parameters(place / "mgmt")
    for line, inner in devices:
        name, given = line.partition(" ")[2], _split(inner)[1]
        if not (scst.DEVICES / name).exists():
            scst.put(place / "mgmt", f"add_device {name} {_new(given, may)}".strip())
        _set(scst.DEVICES / name, given, may)


def _restore_device_group(name: str, block: Block) -> None:
    place = scst.add_device_group(name)
    objects, attributes = _split(block, "DEVICE", "TARGET_GROUP")
    _set(place, attributes)
    for line, inner in objects:
        word, _, what = line.partition(" ")
        if word == "DEVICE":
            scst.put(place / "devices/mgmt", f"add {what}")
            continue
        scst.put(place / "target_groups/mgmt", f"create {what}")
        group = place / "target_groups" / what
        targets, group_attributes = _split(inner, "TARGET")
        for target, its in targets:
            member = target.partition(" ")[2]
            scst.put(group / "mgmt", f"add {member}")
            _set(group / member, _split(its)[1])
        _set(group, group_attributes)


def restore(text: str) -> None:
    """Makes what save wrote, as far as it is not there."""
    objects, attributes = _split(parse(text), "HANDLER", "TARGET_DRIVER", "DEVICE_GROUP")
    # Before the devices, whose identities may depend on it.
    _set(scst.ROOT, attributes)
    for line, inner in objects:
        word, _, name = line.partition(" ")
        if word == "HANDLER":
            _restore_handler(scst.HANDLERS / name, inner)
        elif word == "TARGET_DRIVER":
            _restore_driver(scst.ROOT / "targets" / name, inner)
        else:
            _restore_device_group(name, inner)
    for line, inner in objects:
        for target, its in inner if line.startswith("TARGET_DRIVER ") else []:
            place = scst.ROOT / "targets" / line.partition(" ")[2] / target.partition(" ")[2]
            _set(place, {name: values for name, values in _split(its)[1].items() if name == "enabled"})


def clear() -> None:
    """Removes everything, in scstadmin's order."""
    for group in _directories(scst.GROUPS):
        for target_group in _directories(group / "target_groups"):
            scst.put(group / "target_groups/mgmt", f"del {target_group.name}")
        for device in (path.name for path in (group / "devices").iterdir() if path.is_symlink()):
            scst.put(group / "devices/mgmt", f"del {device}")
        scst.put(scst.GROUPS / "mgmt", f"del {group.name}")
    for driver in _directories(scst.ROOT / "targets"):
        for target in _directories(driver):
            for group in _directories(target / "ini_groups"):
                scst.put(group / "initiators/mgmt", "clear")
                scst.put(group / "luns/mgmt", "clear")
                scst.put(target / "ini_groups/mgmt", f"del {group.name}")
            scst.put(target / "luns/mgmt", "clear")
            if os.access(driver / "mgmt", os.F_OK):
                scst.put(driver / "mgmt", f"del_target {target.name}")
            elif (target / "enabled").exists():
                scst.put(target / "enabled", "0")
    for handler in _directories(scst.HANDLERS):
        for device in (path.name for path in handler.iterdir() if path.is_symlink() and path.name != "module"):
            scst.put(handler / "mgmt", f"del_device {device}")
