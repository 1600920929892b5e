#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
# lab: group=scsi timeout=120
"""packaging/ocf/scst, the OCF resource agent: each action, in each state, with the exit status that Pacemaker goes by."""

from __future__ import annotations

import os
import subprocess
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import scst
from lib import Suite, check, equal

_AGENT = Path(__file__).resolve().parents[1] / "packaging/ocf/scst"
_ACTIONS = {"start", "stop", "monitor", "promote", "demote", "notify", "validate-all", "meta-data"}
_OK, _GENERIC, _ARGS, _UNIMPLEMENTED, _INSTALLED, _CONFIGURED, _NOT_RUNNING, _PROMOTED = 0, 1, 2, 3, 5, 6, 7, 8
_ALUA = {"alua": "true", "device_group": "dg", "local_tgt_grp": "local", "remote_tgt_grp": "remote",
         "modules": "scst scst_vdisk scst_local", "targets": "scst_local/scst_local_tgt"}
_GROUPS = scst.GROUPS / "dg/target_groups"


def _agent(action: str, want: int, what: str = "", **parameters: str) -> str:
    environment = {"PATH": os.environ["PATH"], **{f"OCF_RESKEY_{name}": value for name, value in parameters.items()}}
    done = subprocess.run([_AGENT, action], env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                          timeout=60, check=False)
    equal(done.returncode, want, f"{action} {what}\n{done.stderr}")
    return done.stdout


def _states() -> tuple[str, str]:
    return scst.get(_GROUPS / "local/state"), scst.get(_GROUPS / "remote/state")


def setup() -> None:
    """No modules."""
    if scst.loaded():
        scst.clear()
    scst.unload()


def teardown() -> None:
    """Leave nothing."""
    if scst.loaded():
        scst.clear()
    scst.unload()


suite = Suite(setup, teardown)


@suite.test("meta-data is XML and names every action and every parameter")
def meta_data() -> None:
    root = ElementTree.fromstring(_agent("meta-data", _OK))
    equal({action.get("name") for action in root.iter("action")}, _ACTIONS, "actions")
    text = _AGENT.read_text()
    for parameter in root.iter("parameter"):
        check(f"OCF_RESKEY_{parameter.get('name')}" in text, f"{parameter.get('name')} is not used")
        check(all((item.text or "").strip() for item in parameter.iter("longdesc")), f"{parameter.get('name')}: no text")
    _agent("nonsense", _UNIMPLEMENTED)


@suite.test("validate-all refuses what cannot work")
def validate() -> None:
    _agent("validate-all", _OK, **_ALUA)
    _agent("validate-all", _OK, targets="scst_local/t1")
    _agent("validate-all", _CONFIGURED, "nothing to do")
    for name, value in (("device_group", ""), ("local_tgt_grp", ""), ("m_alua_state", "fast"),
                        ("s_alua_state", "transitioning"), ("s_alua_state", "active"), ("targets", "t1"),
                        ("targets", "../x/y"), ("targets", "a/b/c")):
        _agent("validate-all", _CONFIGURED, f"{name}={value}", **{**_ALUA, name: value})
    _agent("validate-all", _INSTALLED, "config", config="/tmp/no such file")
    _agent("validate-all", _INSTALLED, "scstadmin", config="/etc/passwd", scstadmin="no-such-program")


@suite.test("without modules: nothing runs, stop is done, promote fails")
def absent() -> None:
    _agent("monitor", _NOT_RUNNING, **_ALUA)
    _agent("stop", _OK, **_ALUA)
    _agent("promote", _GENERIC, **_ALUA)
    _agent("start", _GENERIC, "without a device group", **_ALUA)
    scst.unload()


@suite.test("ALUA: start, promote, demote, stop and what monitor says of each")
def alua() -> None:
    scst.load()
    scst.disk("vdisk_nullio", "d", 0, "size_mb=8")
    scst.add_device_group("dg", ("d",))
    scst.add_target_group("dg", "local", 1, "", ("scst_local_tgt",))
    scst.add_target_group("dg", "remote", 2, "", ("far",))
    _agent("monitor", _PROMOTED, "of a group that is active", **_ALUA)
    _agent("start", _OK, **_ALUA)
    equal(_states(), ("nonoptimized", "active"), "states after start")
    _agent("monitor", _OK, **_ALUA)
    _agent("start", _OK, "again", **_ALUA)
    for turn in ("", "again"):
        _agent("promote", _OK, turn, **_ALUA)
        equal(_states(), ("active", "nonoptimized"), f"states after promote {turn}")
        _agent("monitor", _PROMOTED, **_ALUA)
    for turn in ("", "again"):
        _agent("demote", _OK, turn, **_ALUA)
        equal(_states()[0], "nonoptimized", f"state after demote {turn}")
        _agent("monitor", _OK, **_ALUA)
    _agent("promote", _OK, "through transitioning", **{**_ALUA, "use_trans_state": "yes", "s_alua_state": "standby"})
    equal(_states(), ("active", "standby"), "states with s_alua_state=standby")
    _agent("stop", _OK, **_ALUA)
    equal(_states()[0], "nonoptimized", "state after stop")
    _agent("stop", _OK, "again", **_ALUA)
    _agent("promote", _CONFIGURED, "without alua", targets="scst_local/scst_local_tgt")


@suite.test("notify: the remote group follows the other node, not this one")
def notify() -> None:
    me = os.uname().nodename

    def tell(when: str, operation: str, node: str) -> None:
        meta = {"CRM_meta_notify_type": when, "CRM_meta_notify_operation": operation,
                f"CRM_meta_notify_{operation}_uname": node}
        _agent("notify", _OK, f"{when}-{operation} {node}", **{**_ALUA, **meta})

    scst.put(_GROUPS / "remote/state", "nonoptimized")
    for when, operation, node, remote in (("post", "promote", me, "nonoptimized"), ("pre", "promote", "far", "nonoptimized"),
                                          ("post", "promote", "far", "active"), ("post", "demote", "far", "nonoptimized"),
                                          ("post", "promote", f"{me}x", "active"), ("post", "stop", "far", "nonoptimized"),
                                          ("post", "start", "far", "nonoptimized")):
        tell(when, operation, node)
        equal(_states()[1], remote, f"remote state after {when}-{operation} of {node}")


@suite.test("one node: targets with and without the switch, and a configuration applied and cleared")
def single() -> None:
    scst.clear()
    target = {"targets": "scst_local/scst_local_tgt", "modules": "scst scst_vdisk scst_local"}
    _agent("monitor", _OK, **target)
    _agent("monitor", _NOT_RUNNING, "of a target that is not there", targets="scst_local/nosuch")
    _agent("monitor", _GENERIC, "of one of two", targets="scst_local/nosuch scst_local/scst_local_tgt")
    _agent("stop", _OK, **target)
    scst.unload()
    log, admin = Path("/tmp/scstadmin.log"), Path("/tmp/scstadmin")
    # Stands in for the program: what it is called with, and what it would do.
    admin.write_text("#!/bin/sh\necho \"$@\" >> /tmp/scstadmin.log\n"
                     "[ $1 = -clear_config ] || echo 'add_target t1' > /sys/kernel/scst_tgt/targets/scst_local/mgmt\n")
    admin.chmod(0o755)
    Path("/tmp/scst.conf").write_text("")
    single_node = {**target, "config": "/tmp/scst.conf", "scstadmin": str(admin), "targets": "scst_local/t1"}
    _agent("start", _OK, **single_node)
    _agent("monitor", _OK, **single_node)
    _agent("stop", _OK, **single_node)
    equal(log.read_text().splitlines(), ["-config /tmp/scst.conf -force -noprompt", "-clear_config -force -noprompt"],
          "calls of scstadmin")
    check(not scst.loaded(), "scst is loaded after stop")
    _agent("monitor", _NOT_RUNNING, **single_node)


if __name__ == "__main__":
    suite.main()
