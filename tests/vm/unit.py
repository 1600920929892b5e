#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
# lab: group=tree timeout=240
"""packaging/scst.service, line by line as systemd carries it out; `config.py` stands in for scstadmin."""

from __future__ import annotations

import os
import shlex
import string
from pathlib import Path

import config
import scst
from lib import Failure, Suite, check, equal, fio, sh

_PACKAGING = Path("/lab/packaging")
_UNIT = _PACKAGING / "scst.service"
_FILE = Path("/etc/scst.conf")
_KEYS = {"Unit": {"Description", "Documentation", "After", "Wants", "ConditionPathExists"},
         "Service": {"Type", "RemainAfterExit", "EnvironmentFile", "StateDirectory", "ExecStart", "ExecReload", "ExecStop",
                     "TimeoutStartSec", "TimeoutStopSec"},
         "Install": {"WantedBy"}}


def _lines() -> list[tuple[str, str, str]]:
    """Section, key and value of each line (systemd.syntax(7))."""
    section, found = "", []
    for line in _UNIT.read_text().splitlines():
        if line.startswith("["):
            section = line.strip("[]")
        elif line and not line.startswith("#"):
            key, equals, value = line.partition("=")
            check(equals and key in _KEYS.get(section, ()), f"[{section}] {line}: no such key, as far as this test knows")
            found.append((section, key, value))
    return found


def _values(key: str) -> list[str]:
    return [value for _, name, value in _lines() if name == key]


def _environment() -> dict[str, str]:
    """What /etc/default/scst sets, but of target drivers the one that needs no hardware."""
    found = dict(line.partition("=")[::2] for line in (_PACKAGING / "scst.default").read_text().splitlines() if line[:1] != "#")
    check({"SCST_MODULES", "SCSTADMIN_OPTIONS"} == set(found), f"scst.default sets {sorted(found)}")
    return {**{name: shlex.split(value)[0] for name, value in found.items()}, "SCST_MODULES": "scst_local"}


def _scstadmin(arguments: list[str]) -> None:
    if arguments[:2] == ["-config", str(_FILE)]:
        config.restore(_FILE.read_text())
    elif arguments == ["-clear_config", "-force", "-noprompt"]:
        config.clear()
    else:
        raise Failure(f"scstadmin {arguments}: not a form that this test knows")


def _carry_out(key: str) -> None:
    environment = _environment()
    for value in _values(key):
        may_fail = value.startswith("-")
        # A word that is one variable becomes as many as that has (systemd.service(5)).
        words = [word for part in value.removeprefix("-").split() for word in
                 (string.Template(part).substitute(environment).split() if part.startswith("$") else [part])]
        check(os.path.isabs(words[0]), f"{key}={value}: not an absolute path")
        if os.path.basename(words[0]) == "scstadmin":
            _scstadmin(words[1:])
        else:
            sh(*words, status=None if may_fail else 0)


def setup() -> None:
    """A file as administrators have it, and no modules."""
    scst.unload()
    _FILE.write_text(f"""# by hand
HANDLER vdisk_fileio {{
    DEVICE disk01 {{
        filename {scst.image("/tmp/unit.img", 16)}
    }}
}}

TARGET_DRIVER scst_local {{
    TARGET scst_local_tgt {{
        LUN 0 disk01
    }}
}}
""")


def teardown() -> None:
    """Leave nothing."""
    if scst.loaded():
        scst.clear()
    scst.unload()
    _FILE.unlink()


suite = Suite(setup, teardown)


@suite.test("start loads the modules and applies the file, and changes nothing in that")
def started() -> None:
    before = _FILE.read_text()
    equal(_values("ConditionPathExists"), [str(_FILE)], "ConditionPathExists")
    equal(_values("EnvironmentFile"), ["-/etc/default/scst"], "EnvironmentFile")
    _carry_out("ExecStart")
    check(all(map(scst.loaded, scst.MODULES)), "modules are missing")
    fio(scst.wait_disk(0), rw="randwrite", bs="4k", size="4m", verify="crc32c", do_verify=1)
    equal(_FILE.read_text(), before, "the file")


@suite.test("reload applies the file again, over what is there, and takes nothing away")
def reloaded() -> None:
    scst.add_device("vdisk_nullio", "byhand", "size_mb=16")
    _carry_out("ExecReload")
    equal(sorted(path.name for path in scst.DEVICES.iterdir()), ["byhand", "disk01"], "devices")
    fio(scst.wait_disk(0), number_ios=50, size="4m")


@suite.test("stop takes everything down, also what was added by hand, and leaves no module")
def stopped() -> None:
    before = _FILE.read_text()
    _carry_out("ExecStop")
    check(not any(map(scst.loaded, scst.MODULES)), "modules are left")
    equal(_FILE.read_text(), before, "the file")


@suite.test("the unit makes the directories below /var/lib where the modules keep what outlives a restart")
def state() -> None:
    equal(_values("StateDirectory"), ["scst/pr scst/dif_tags"], "StateDirectory")


suite.main()
