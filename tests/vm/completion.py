#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
# lab: group=tree timeout=60
"""packaging/completion/scstadmin: what bash offers of the tree, typed as far as it is typed."""

from __future__ import annotations

from pathlib import Path

import scst
from lib import Suite, equal, sh

_SCRIPT = Path(__file__).resolve().parents[1] / "packaging/completion/scstadmin"
_BASH = """
source "$0"
while IFS= read -r COMP_LINE; do
	COMP_POINT=${#COMP_LINE}
	_scstadmin
	echo "${COMPREPLY[@]}"
done
"""


def setup() -> None:
    """Two devices, a target whose name has colons, a group, a device group."""
    scst.unload()
    scst.load()
    scst.add_device("vdisk_nullio", "disk01", "size_mb=1")
    scst.add_device("vdisk_nullio", "disk02", "size_mb=1")
    target = scst.add_target("naa:01", "second_host")
    scst.add_lun("disk01", 4, target / "luns")
    scst.put(target / "ini_groups/mgmt", "create hosts")
    scst.add_lun("disk02", 7, target / "ini_groups/hosts/luns")
    scst.put(target / "ini_groups/hosts/initiators/mgmt", "add 192.168.*")
    scst.add_device_group("dg", ("disk02",))
    scst.add_target_group("dg", "far", 1, "active", ("remote",))


def teardown() -> None:
    """Leave nothing."""
    scst.clear()
    scst.unload()


suite = Suite(setup, teardown)

_OF_IT = "-driver scst_local -target naa:01"
_OFFERED = {
    "-set_dgrp": "-set_dgrp_attr",
    "-handler v": "vcdrom vdisk_blockio vdisk_fileio vdisk_nullio",
    "-open_dev new -handler vdisk_nullio -attributes dif_m": "dif_mode=",
    "-open_dev new -handler vdisk_nullio -attributes dif_type=1,size_": "1,size_mb=",
    "-list_device disk": "disk01 disk02",
    "-handler vdisk_fileio -close_dev ": "",
    "-handler vdisk_nullio -close_dev ": "disk01 disk02",
    "-set_dev_attr disk01 -attributes threads_": "threads_num= threads_pool_type=",
    "-set_scst_attr -attributes poll": "poll_us=",
    "-driver scst_local -target na": "naa:01",
    "-driver scst_local -target naa:": "01",
    f"{_OF_IT} -rem_lun ": "4",
    f"{_OF_IT} -group h": "hosts",
    f"{_OF_IT} -group hosts -replace_lun ": "7",
    f"{_OF_IT} -group hosts -rem_init ": "192.168.*",
    f"{_OF_IT} -group hosts -add_init ": "second_host",
    f"{_OF_IT} -device disk01 -add_lun 5 -attributes ": "read_only=",
    "-rem_dgrp_dev -dev_group ": "dg",
    "-dev_group dg -rem_dgrp_dev ": "disk02",
    "-dev_group dg -tgt_group far -rem_tgrp_tgt ": "remote",
    "-dev_group dg -set_tgrp_attr far -attributes pre": "preferred=",
}


@suite.test("options, objects, and attributes of what the line is about are offered, and nothing else")
def offered() -> None:
    lines = sh("bash", "-c", _BASH, str(_SCRIPT), stdin="".join(f"scstadmin {line}\n" for line in _OFFERED)).split("\n")
    equal({line: " ".join(sorted(got.split())) for line, got in zip(_OFFERED, lines)}, _OFFERED, "offered")


if __name__ == "__main__":
    suite.main()
