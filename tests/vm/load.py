#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
# lab: group=tree timeout=120
"""Loading and unloading: messages, the tree, parameters, refusals."""

from __future__ import annotations

import os
import re
from pathlib import Path

import recording
import scst
from lib import Kmsg, Suite, check, equal, no_differences, sh

_LOG = (
    r"scst: Target template scst_local registered successfully",
    r"scst: Target scst_local_tgt for template scst_local registered successfully",
    r'scst: Using security group "scst_local_tgt" for initiator "scst_local_host" \(target scst_local_tgt\)',
    r"scst: Target template copy_manager registered successfully",
    r"scst: Target copy_manager_tgt for template copy_manager registered successfully",
    r'scst: Using security group "copy_manager_tgt" for initiator "copy_manager_sess" \(target copy_manager_tgt\)',
    r"scst: SCST loaded successfully",
    r"scst: SCST version: 3\.11\.0-pre",
    r"scst: Virtual device handler vdisk_fileio for type 0 registered successfully",
    r"scst: Virtual device handler vdisk_blockio for type 0 registered successfully",
    r"scst: Virtual device handler vdisk_nullio for type 0 registered successfully",
    r"scst: Virtual device handler vcdrom for type 5 registered successfully",
    r"scsi host\d+: scst_local",
)

# Name: mode, and what it reads as with two CPUs and no argument (None: depends on the machine).
_PARAMETERS = {
    "scst/alua_invariant_check": (0o644, "N"), "scst/async_lun_replace": (0o644, "N"),
    "scst/auto_cm_assignment": (0o644, "Y"), "scst/forcibly_close_sessions": (0o644, "N"),
    "scst/scst_max_cmd_mem": (0o444, None), "scst/scst_max_dev_cmd_mem": (0o444, None),
    "scst/scst_threads": (0o444, str(os.cpu_count())), "scst_vdisk/num_threads": (0o444, "8"),
    "scst_local/add_default_tgt": (0o444, "Y"),
}


def teardown() -> None:
    """Leave nothing."""
    scst.clear()
    scst.unload()


suite = Suite(scst.unload, teardown)


def _log_of_load() -> list[str]:
    log = Kmsg()
    scst.load()
    lines = log.lines()
    log.close()
    return lines


@suite.test("modprobe scst scst_vdisk scst_local says what the recording says")
def load() -> None:
    lines = _log_of_load()
    no_differences([f"no line: {want}" for want in _LOG if not any(re.search(want, line) for line in lines)])
    no_differences([line for line in lines if "ERROR" in line])


@suite.test("the tree is the recorded one after each module")
def tree() -> None:
    recorded = recording.tree("sysfs-loaded.txt")
    found: list[str] = []
    later = [str(scst.ROOT / "handlers/v"), str(scst.LOCAL)]
    scst.unload()
    for module in scst.MODULES:
        listed = recording.Differences("tree")
        sh("modprobe", module)
        live = {str(scst.ROOT): ("d", 0o755, ""), **scst.snapshot(leave_out=())}
        now = {path: entry for path, entry in recorded.items() if not path.startswith(tuple(later))}
        found += [f"with {module}: {line}" for line in recording.compare(now, live, listed)]
        later = later[1:]
    no_differences([*found, *listed.unused()], 150)


@suite.test("devices and LUNs have the recorded attributes")
def devices() -> None:
    sh("modprobe", "brd", "rd_nr=2", "rd_size=65536")
    for name in "ab":
        scst.image(f"/tmp/{name}", 64)
    scst.add_device("vdisk_nullio", "n_size", "size=10485760")
    scst.add_device("vdisk_fileio", "f_async", "filename=/tmp/b; async=1; o_direct=1; numa_node_id=0")
    scst.add_device("vdisk_fileio", "f_wt", "filename=/tmp/a; write_through=1")
    scst.add_device("vdisk_blockio", "b_inact", "filename=/dev/ram0; active=0; bind_alua_state=0")
    listed = recording.Differences("devices")
    live = {str(scst.DEVICES): ("d", 0o755, ""), **scst.snapshot(scst.DEVICES)}
    names = ("n_size", "f_async", "f_wt", "b_inact")
    recorded = recording.part(recording.tree("sysfs-writes.txt"), *(f"{scst.DEVICES}/{name}" for name in names))
    recorded[str(scst.DEVICES)] = "d", 0o755, ""
    # What else it was exported as there is another test's.
    recorded = {path: entry for path, entry in recorded.items() if "/exported/" not in path}
    live = {path: entry for path, entry in live.items() if "/exported/" not in path}
    found = [*recording.compare(recorded, live, listed), *listed.unused()]
    scst.add_lun("n_size", 3, params="read_only=1")
    lun = scst.TARGET / "luns/3"
    equal(os.readlink(lun / "device"), "../../../../../devices/n_size", "link luns/3/device")
    equal((lun / "read_only").read_text(), "1\n[key]\n", "luns/3/read_only")
    exported = [os.readlink(path) for path in (scst.DEVICES / "n_size/exported").iterdir()]
    check("../../../targets/scst_local/scst_local_tgt/luns/3" in exported, f"exported: {exported}")
    nexus = scst.TARGET / "sessions" / scst.SESSION / "lun3"
    missing = [name for name in ("active_commands", "thread_index", "thread_pid") if not (nexus / name).exists()]
    no_differences(found + [f"absent {nexus}/{name}" for name in missing], 150)


@suite.test("module parameters and versions are under /sys/module")
def parameters() -> None:
    found = []
    for name, (mode, value) in _PARAMETERS.items():
        path = Path("/sys/module", name.replace("/", "/parameters/"))
        if not path.exists():
            found.append(f"absent {path}")
            continue
        if path.stat().st_mode & 0o777 != mode:
            found.append(f"mode {path}: {path.stat().st_mode & 0o777:04o}, recorded {mode:04o}")
        text = path.read_text().strip()
        if value is not None and text != value:
            found.append(f"content {path}: {text!r}, want {value!r}")
    found += [f"no version: {name}" for name in scst.MODULES
              if not Path("/sys/module", name, "version").exists()]
    no_differences(found)


@suite.test("a parameter that is given to modprobe takes effect, a bad one is refused")
def arguments() -> None:
    scst.clear()
    scst.unload()
    sh("modprobe", "scst", "scst_threads=3")
    equal(scst.get(scst.ROOT / "threads"), "3", "threads")
    equal(Path("/sys/module/scst/parameters/scst_threads").read_text().strip(), "3", "scst_threads")
    sh("rmmod", "scst")
    sh("modprobe", "scst", "scst_threads=x", status=1)
    check(not scst.loaded(), "scst is loaded with scst_threads=x")
    sh("modprobe", "scst_local", "add_default_tgt=0")
    check(not scst.TARGET.exists(), "the default target is there with add_default_tgt=0")
    check(scst.LOCAL.exists(), "no scst_local in targets")
    scst.unload()


@suite.test("rmmod is refused while a module is used")
def refused() -> None:
    scst.load()
    scst.image("/tmp/a", 16)
    scst.add_device("vdisk_fileio", "used", "filename=/tmp/a")
    scst.add_lun("used", 0)
    scst.wait_disk(0)
    sh("rmmod", "scst", status=1)
    equal([name for name in scst.MODULES if not scst.loaded(name)], [], "unloaded modules")
    equal(scst.get(scst.TARGET / "luns/0/device/filename"), "/tmp/a", "the device after refused rmmod")


@suite.test("rmmod in order takes everything down")
def unload() -> None:
    check(scst.loaded(), "scst is not loaded")
    log = Kmsg()
    scst.unload()
    check(not scst.ROOT.exists(), f"{scst.ROOT} is still there")
    equal([name for name in scst.MODULES if scst.loaded(name)], [], "modules")
    no_differences([line for line in log.lines() if "ERROR" in line])


if __name__ == "__main__":
    suite.main()
