# SPDX-License-Identifier: GPL-2.0
"""The rich configuration whose tree was recorded, but for SRP and ALUA, whose own tests compare them."""

from __future__ import annotations

import scst
from lib import sh


def make() -> None:
    """Loads the modules and makes it."""
    sh("modprobe", "null_blk", "nr_devices=1", "gb=1", "bs=512")
    # Another test's has another size.
    sh("rmmod", "brd", status=None)
    sh("modprobe", "brd", "rd_nr=1", "rd_size=131072")
    scst.load()
    for name, size in (("f0.img", 128), ("f1.img", 64)):
        scst.image(f"/tmp/{name}", size)
    for handler, name, params in (
            ("vdisk_nullio", "null0", "size_mb=1024; rotational=0"),
            ("vdisk_nullio", "null1", "size_mb=256; blocksize=4096; read_only=1"),
            ("vdisk_nullio", "dummy0", "dummy=1"),
            ("vdisk_fileio", "disk01", "filename=/tmp/f0.img"),
            ("vdisk_fileio", "disk02", "filename=/tmp/f1.img; nv_cache=1; thin_provisioned=1; removable=1; "
                                       "t10_dev_id=MyT10Id; blocksize=512"),
            ("vdisk_blockio", "blk0", "filename=/dev/nullb0; nv_cache=1"),
            ("vdisk_blockio", "blk1", "filename=/dev/ram0; write_through=1"),
            ("vcdrom", "cd0", "")):
        scst.add_device(handler, name, params)
    for name, value in (("usn", "abcd1234"), ("t10_dev_id", "T10DISK01"), ("threads_num", "4"),
                        ("threads_pool_type", "shared")):
        scst.put(scst.DEVICES / "disk01" / name, value)
    scst.add_lun("null0", 0)
    scst.add_lun("disk01", 1)
    scst.add_lun("blk0", 2, params="read_only=1")
    scst.add_lun("cd0", 3)
    scst.put(scst.TARGET / "luns/mgmt", "replace blk1 2")
    scst.put(scst.TARGET / "ini_groups/mgmt", "create lgrp")
    scst.put(scst.TARGET / "ini_groups/lgrp/initiators/mgmt", "add some_other_host")
    scst.add_lun("null1", 5, scst.TARGET / "ini_groups/lgrp/luns")
    scst.add_lun("null0", 0, scst.add_target("second_tgt", "second_host") / "luns")
    scst.put(scst.ROOT / "setup_id", "0x1234")
    scst.put(scst.ROOT / "threads", "3")


def remove() -> None:
    """Leaves nothing of it."""
    scst.clear()
    scst.unload()
    for module in ("null_blk", "brd"):
        sh("rmmod", module)
