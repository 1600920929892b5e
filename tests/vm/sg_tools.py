#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
# lab: group=scsi timeout=240
"""sg3_utils, one by one, on a disk of two initiators: data/sg3-utils.txt."""

from __future__ import annotations

import re
import shlex

import scst
import sg
from lib import DATA, Suite, check, no_differences, sh, wait_until


def setup() -> None:
    """A thin file in a device group, seen by an initiator of each of two targets."""
    scst.unload()
    sh("modprobe", "sg")
    scst.load()
    scst.add_device("vdisk_fileio", "tools", f"filename={scst.image('/tmp/tools', 64)}; thin_provisioned=1")
    second = scst.add_target("second", "second_host")
    scst.add_device_group("dg", ("tools",))
    scst.add_target_group("dg", "here", 5, "active", ("scst_local_tgt", "second"))
    scst.add_lun("tools", 0)
    scst.add_lun("tools", 0, second / "luns")


def teardown() -> None:
    """Leave nothing."""
    scst.clear()
    scst.unload()


suite = Suite(setup, teardown)


def _node(*where: object) -> str:
    """The /dev/sgN of an initiator, with no unit attention left."""
    node = scst.wait_disk(0, *where, kind="scsi_generic")  # type: ignore[arg-type]
    wait_until(lambda: sg.command(node, "00 00 00 00 00 00").words() == "good", 20, f"{node} is not ready")
    return node


@suite.test("each tool of sg3_utils does what its manual says")
def tools() -> None:
    nodes = {"DEV": _node(), "OTHER": _node(scst.LOCAL / "second")}
    problems, count = [], 0
    for line in (DATA / "sg3-utils.txt").read_text().splitlines():
        if not line.strip() or line.startswith("#"):
            continue
        command, separator, said = line.partition("  :")
        check(separator, f"sg3-utils.txt: '{line}'")
        status, words = 0, shlex.split(command)
        if words[0].isdigit():
            status = int(words.pop(0))
        words = [re.sub("OTHER|DEV", lambda name: nodes[name[0]], word) for word in words]
        # Who is told of what another did is told once; it is not every command's subject.
        if words[0] not in ("sg_requests", "sg_turs"):
            sg.command(words[-1] if words[-1].startswith("/dev/sg") else nodes["DEV"], "00 00 00 00 00 00")
        output, ended = sh("sh", "-c", shlex.join(words) + "; echo status $?", timeout=60).rsplit("status ", 1)
        count += 1
        if int(ended) != status or not re.search(said.strip(), output):
            problems.append(f"{command}: exit status {ended.strip()}, {said.strip()!r} is not in\n{output.strip()}")
    check(count > 55, f"sg3-utils.txt has only {count} commands")
    no_differences(problems)


if __name__ == "__main__":
    suite.main()
