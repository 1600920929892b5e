#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
# lab: group=srp timeout=60
"""SRP: the README's chapter, typed as it stands there, target and initiator in one machine."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import scst
from lib import Suite, check, equal, note, sh

_CHAPTER = "### An SRP target"


def setup() -> None:
    """The network card that the chapter has."""
    sh("modprobe", "dummy")
    sh("ip", "link", "add", "eth0", "address", "52:54:00:00:00:01", "type", "dummy")
    sh("ip", "addr", "add", "192.168.5.1/24", "dev", "eth0")
    sh("ip", "link", "set", "eth0", "up")


def teardown() -> None:
    """Leave nothing."""
    sh("rdma", "link", "delete", "rxe0")
    sh("rmmod", "ib_srp")
    sh("ip", "link", "delete", "eth0")


suite = Suite(setup, teardown)


def _commands() -> list[str]:
    """All that the chapter says to type, a line each."""
    chapter = Path("/lab/README.md").read_text().partition(_CHAPTER)[2].partition("\n## ")[0]
    blocks = re.findall(r"^```sh\n(.*?)^```$", chapter, re.M | re.S)
    return [line for block in blocks for line in block.splitlines() if line.strip() and not line.startswith("#")]


@suite.test("each command works, and a disk comes and goes")
def typed() -> None:
    commands = _commands()
    check(len(commands) > 20, f"the chapter has only {commands}")
    script = ["set -e"]
    for command in commands:
        # A person takes a moment between commands.
        script += ["echo " + shlex.quote(f"$ {command}"), command, "sleep 0.7"]
    Path("/tmp/readme").write_text("\n".join(script) + "\n")
    Path("/srv").mkdir(exist_ok=True)
    text = sh("bash", "/tmp/readme", timeout=50)
    note(text)
    told = re.search(r"^id_ext=.*", text, re.M)
    written = re.search(r"^\$ login=(.*)", text, re.M)
    check(told and written and told[0] == written[1].strip(), f"told {told and told[0]}, written {written and written[1]}")
    check(re.search(r"^\[\d+:0:0:0\]\s+disk\s+SCST_FIO\s+disk01\s", text, re.M), "lsscsi has no disk01")
    check(re.search(r"^\s+read: IOPS=[1-9]", text, re.M), "fio read nothing")
    check("\n192.168.5.1\n" in text and "\nlive\n" in text, "no session of 192.168.5.1 that is live")
    equal(scst.loaded("ib_srpt") or scst.loaded("scst"), False, "modules are left")
    equal(list(Path("/sys/class/srp_remote_ports").glob("*")), [], "logins that are left")


if __name__ == "__main__":
    suite.main()
