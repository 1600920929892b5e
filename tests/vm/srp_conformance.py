#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
# lab: group=srp cpus=1 timeout=120 soak=yes
"""SRP: iscsi-test-cu on each kind of disk, in the soak; one family of it otherwise, to see that it can."""

from __future__ import annotations

import functools
from pathlib import Path

import iscsi_cu
import scst
import srp
import srp_target
from lib import LONG, sh
from srp import Link
from srp_target import Ours, Target

_LINK = Link(0)
# The tool reads up to 8 MiB at once, for which /dev/sg wants more pieces of memory than ib_srp takes by default.
_LARGE = {"allow_ext_sg": 1, "sg_tablesize": 512, "max_sect": 16384, "queue_size": 16, "max_cmd_per_lun": 16}
_KINDS = {"fileio": ("fileio", "filename=/tmp/thin; thin_provisioned=1; blocksize=4096"), "blockio": ("blockio", "filename=/dev/ram0"),
          "nullio": ("nullio", "size_mb=128"), "thick": ("fileio", "filename=/tmp/thick"),
          "thickblock": ("blockio", "filename=/dev/ram1; thin_provisioned=0")}


def setup(target: Target) -> None:
    """A disk of each kind, as conformance.py has them."""
    assert isinstance(target, Ours)
    sh("modprobe", "sg")
    if not Path("/dev/ram1").exists():
        sh("modprobe", "brd", "rd_nr=2", "rd_size=131072")
    for lun, (kind, (handler, params)) in enumerate(_KINDS.items()):
        if handler == "fileio":
            scst.image("/tmp/" + params.partition("/tmp/")[2].partition(";")[0], 128)
        device = scst.add_device(f"vdisk_{handler}", kind, params)
        if handler != "nullio":
            scst.put(device / "lb_per_pb_exp", "0")
        scst.add_lun(kind, lun, target.port(_LINK) / "luns")
    target.enable(_LINK)


plan = srp_target.Plan(setup, shared=False)


def _family(kind: str, lun: int, _: Target) -> None:
    with srp.logged_in(_LINK, **_LARGE) as host:
        iscsi_cu.family(kind, host.disk(lun, "scsi_generic"), "*" if LONG else "CompareAndWrite.*")


for _lun, _kind in enumerate(_KINDS if LONG else ("fileio",)):
    plan.test(f"iscsi-test-cu on {_kind}", only=("ours",))(functools.partial(_family, _kind, _lun))


if __name__ == "__main__":
    plan.main()
