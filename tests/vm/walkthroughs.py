#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
# lab: group=tree timeout=240
"""What administrators do, line by line, as scstadmin writes it: a disk in memory, a node of two with ALUA, a file by hand."""

from __future__ import annotations

import os
from pathlib import Path

import config
import scst
from lib import Suite, check, equal, fio, sh, wait_until

_RAM = Path("/mnt/ramfs")
_IMAGE = _RAM / "img"


def setup() -> None:
    """An empty machine."""
    scst.unload()
    scst.load()
    _RAM.mkdir(parents=True, exist_ok=True)
    sh("mount", "-t", "ramfs", "none", str(_RAM))
    with _IMAGE.open("wb") as handle:
        handle.truncate(16 << 20)


def teardown() -> None:
    """Leave nothing."""
    scst.clear()
    scst.put(scst.ROOT / "setup_id", "0")
    scst.unload()
    sh("umount", str(_RAM))


suite = Suite(setup, teardown)


def _luns_of_session() -> str:
    return os.readlink(scst.TARGET / "sessions" / scst.SESSION / "luns")


@suite.test("a disk in memory, and an initiator that is logged in moves to the group that gets its name")
def ram() -> None:
    # scstadmin -open_dev ram -handler vdisk_fileio -attributes filename=...
    scst.put(scst.HANDLERS / "vdisk_fileio/mgmt", f"add_device ram filename={_IMAGE}")
    # scstadmin -add_group hosts, -add_lun 0 -group hosts -device ram -attributes read_only=0
    scst.put(scst.TARGET / "ini_groups/mgmt", "create hosts")
    group = scst.TARGET / "ini_groups/hosts"
    scst.put(group / "luns/mgmt", "add ram 0 read_only=0")
    equal((group / "luns/0/read_only").read_text(), "0\n", "read_only")
    equal(_luns_of_session(), "../../luns", "the session's LUNs before")
    # scstadmin -add_init
    scst.put(group / "initiators/mgmt", f"add {scst.SESSION}")
    equal(_luns_of_session(), "../../ini_groups/hosts/luns", "the session's LUNs")
    disk = scst.wait_disk(0)
    fio(disk, rw="randwrite", bs="4k", size="4m", verify="crc32c", do_verify=1)
    # scstadmin -rem_init, -close_dev
    scst.put(group / "initiators/mgmt", f"del {scst.SESSION}")
    equal(_luns_of_session(), "../../luns", "the session's LUNs after")
    scst.wait_gone(0)
    scst.put(scst.TARGET / "ini_groups/mgmt", "del hosts")
    scst.put(scst.HANDLERS / "vdisk_fileio/mgmt", "del_device ram")


@suite.test("a node of two: ALUA states that an agent sets and reads with `head -1`")
def esos() -> None:
    scst.add_device("vdisk_fileio", "disk_esos", f"filename={_IMAGE}")
    scst.add_lun("disk_esos", 0)
    disk = scst.wait_disk(0, kind="scsi_generic")
    # scstadmin -add_dgrp esos, -add_tgrp local, -add_tgrp remote: these two with `add`
    scst.put(scst.GROUPS / "mgmt", "create esos")
    groups = scst.GROUPS / "esos/target_groups"
    for name, number, target in (("local", 1, "scst_local_tgt"), ("remote", 2, "50:01:43:80:21:c7:65:40")):
        scst.put(groups / "mgmt", f"add {name}")
        scst.put(groups / name / "group_id", str(number))
        scst.put(groups / name / "mgmt", f"add {target}")
    # scstadmin -set_ttgt_attr ... rel_tgt_id=2, -add_dgrp_dev
    scst.put(groups / "remote/50:01:43:80:21:c7:65:40/rel_tgt_id", "2")
    scst.put(scst.GROUPS / "esos/devices/mgmt", "add disk_esos")
    for state in ("nonoptimized", "standby", "transitioning", "unavailable", "offline", "active"):
        scst.put(groups / "local/state", state)
        equal(sh("head", "-1", str(groups / "local/state")).strip(), state, "head -1 of state")
        if state not in ("offline", "unavailable", "transitioning"):
            # Unit attentions, of the group and of the change, come first.
            for _ in range(3):
                sh("sg_raw", disk, *["00"] * 6, status=None)
            report = sh("sg_rtpg", "-d", disk)
            check("target port group id : 0x1" in report, f"sg_rtpg in {state}:\n{report}")
    scst.put(scst.GROUPS / "esos/devices/mgmt", "del disk_esos")
    scst.put(scst.GROUPS / "mgmt", "del esos")
    scst.del_device("disk_esos")


_BY_HAND = f"""
# Made by hand.
setup_id 0x9

HANDLER vdisk_fileio {{
        DEVICE disk01 {{
                filename {_IMAGE}
                nv_cache 1
                threads_num 2
        }}
        DEVICE ro01 {{
                filename {_IMAGE}
                read_only 1
        }}
}}

TARGET_DRIVER scst_local {{
        TARGET scst_local_tgt {{
                HW_TARGET

                rel_tgt_id 4
                LUN 0 disk01
                GROUP esx {{
                        LUN 0 disk01
                        LUN 1 ro01
                        INITIATOR 192.168.77.*
                        INITIATOR second_*
                }}
        }}
        TARGET second_tgt {{
                session_name second_host
                LUN 0 ro01
        }}
}}

DEVICE_GROUP dg {{
        DEVICE disk01
        TARGET_GROUP a {{
                group_id 1
                preferred 1
                state active
                TARGET scst_local_tgt
        }}
        TARGET_GROUP b {{
                group_id 2
                state standby
                TARGET far {{
                        rel_tgt_id 6
                }}
        }}
}}
"""


@suite.test("a file with HANDLER, DEVICE, TARGET_DRIVER, TARGET, GROUP, INITIATOR and DEVICE_GROUP sections")
def by_hand() -> None:
    config.restore(_BY_HAND)
    group = scst.TARGET / "ini_groups/esx"
    for path, text in (
            (scst.ROOT / "setup_id", "0x9\n[key]\n"), (scst.DEVICES / "disk01/nv_cache", "1\n[key]\n"),
            (scst.DEVICES / "disk01/threads_num", "2\n[key]\n"), (scst.DEVICES / "ro01/read_only", "1\n[key]\n"),
            (scst.TARGET / "rel_tgt_id", "4\n[key]\n"), (group / "luns/1/read_only", "1\n[key]\n"),
            (group / "initiators/192.168.77.*", "192.168.77.*\n"),
            (scst.GROUPS / "dg/target_groups/a/preferred", "1\n[key]\n"),
            (scst.GROUPS / "dg/target_groups/b/state", "standby\n[key]\n"),
            (scst.GROUPS / "dg/target_groups/b/far/rel_tgt_id", "6\n[key]\n")):
        equal(path.read_text(), text, str(path))
    check(scst.get(scst.DEVICES / "disk01/usn").startswith("9"), "setup_id is not in the identity of a device")
    check((scst.LOCAL / "second_tgt/sessions/second_host").is_dir(), "session_name of second_tgt")
    saved = config.save()
    with _IMAGE.open("r+b") as handle:
        handle.truncate(24 << 20)
    # scstadmin -resync_dev
    scst.put(scst.DEVICES / "disk01/resync_size", "1")
    equal(scst.get(scst.DEVICES / "disk01/size_mb"), "24", "size after resync_size")
    node = os.path.basename(scst.wait_disk(0))
    wait_until(lambda: int(Path("/sys/class/block", node, "size").read_text()) >= 16 << 11, 20, "no disk")
    config.clear()
    config.restore(saved)
    equal(config.save(), saved, "what is saved of what was restored")


if __name__ == "__main__":
    suite.main()
