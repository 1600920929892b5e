#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
# lab: group=fc_lio timeout=420 fc=2
"""The Fibre Channel fabric: stock qla2xxx as initiator on one adapter, and with stock tcm_qla2xxx as target on the other."""

from __future__ import annotations

import os
from pathlib import Path

import fc
import fc_plan
from lib import Suite, sh

_LIO = Path("/sys/kernel/config/target")
_TPG = _LIO / "qla2xxx" / fc.wwpn(1) / "tpgt_1"
_BACKENDS = {"null": ("rd_mcp_0", "rd_pages=65536,rd_nullio=1"), "ram": ("rd_mcp_0", "rd_pages=16384")}
_fabric: list[fc.Fabric] = []


def setup() -> None:
    """The target on hba1: a LUN that stores nothing, and one of 64 MiB."""
    _fabric.append(fc.Fabric())
    fc.load(qlini_mode="exclusive", ql2xextended_error_logging=0)
    sh("modprobe", "tcm_qla2xxx")
    os.makedirs("/var/target/pr", exist_ok=True)
    _TPG.mkdir(parents=True)
    for lun, (name, (plugin, control)) in enumerate(_BACKENDS.items()):
        backend = _LIO / "core" / plugin / name
        backend.mkdir(parents=True)
        (backend / "control").write_text(control)
        (backend / "enable").write_text("1")
        (_TPG / "lun" / f"lun_{lun}").mkdir()
        (_TPG / "lun" / f"lun_{lun}" / name).symlink_to(backend)
    for attribute, value in {"generate_node_acls": 1, "cache_dynamic_acls": 1, "demo_mode_write_protect": 0}.items():
        (_TPG / "attrib" / attribute).write_text(str(value))
    (_TPG / "enable").write_text("1")


def teardown() -> None:
    """Take all down."""
    (_TPG / "enable").write_text("0")
    for lun, (name, (plugin, _)) in enumerate(_BACKENDS.items()):
        (_TPG / "lun" / f"lun_{lun}" / name).unlink()
        (_TPG / "lun" / f"lun_{lun}").rmdir()
        (_LIO / "core" / plugin / name).rmdir()
    _TPG.rmdir()
    _TPG.parent.rmdir()
    (_LIO / "qla2xxx").rmdir()
    sh("modprobe", "-r", "tcm_qla2xxx", timeout=120)
    fc.unload()


suite = Suite(setup, teardown, limit_s=60)

fc_plan.add(suite, _fabric)
suite.main()
