#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
# lab: group=tree timeout=240
"""What a client saves by the rules of scstadmin, clears and restores is the same when it is saved again."""

from __future__ import annotations

import difflib

import config
import recording
import rich
import scst
from lib import Suite, check, equal, no_differences

_COPY = scst.ROOT / "targets/copy_manager/copy_manager_tgt"


def setup() -> None:
    """A configuration with something of everything that is saved."""
    scst.unload()
    rich.make()
    scst.add_device_group("dg1", ("disk01", "null0"))
    scst.add_target_group("dg1", "tgA", 101, "active", ("scst_local_tgt", "second_tgt"))
    scst.add_target_group("dg1", "tgB", 102, "nonoptimized", ("remote_node_tgt",))
    groups = scst.GROUPS / "dg1/target_groups"
    for path, value in (
            (groups / "tgA/preferred", "1"), (groups / "tgB/remote_node_tgt/rel_tgt_id", "77"),
            (scst.TARGET / "addr_method", "FLAT"), (scst.TARGET / "io_grouping_type", "never"),
            (scst.TARGET / "comment", "kept with its spaces"), (scst.TARGET / "rel_tgt_id", "9"),
            (scst.TARGET / "ini_groups/lgrp/cpu_mask", "1"), (scst.TARGET / "ini_groups/lgrp/addr_method", "LUN"),
            (scst.DEVICES / "blk0/max_tgt_dev_commands", "32"), (scst.DEVICES / "null0/prod_id", "Some product"),
            (scst.DEVICES / "cd0/t10_dev_id", "a-cd"), (scst.HANDLERS / "vdisk_fileio/trace_level", "add scsi"),
            (scst.ROOT / "max_tasklet_cmd", "20"), (scst.ROOT / "poll_us", "5")):
        scst.put(path, value)
    scst.put(scst.TARGET / "ini_groups/lgrp/initiators/mgmt", "add 192.168.*")


def teardown() -> None:
    """Leave nothing."""
    for name, value in (("setup_id", "0"), ("poll_us", "0"), ("max_tasklet_cmd", "10")):
        scst.put(scst.ROOT / name, value)
    rich.remove()


suite = Suite(setup, teardown)


def _same(got: str, want: str) -> None:
    no_differences([line for line in difflib.unified_diff(want.splitlines(), got.splitlines(), "saved", "again", n=1,
                                                          lineterm="")])


@suite.test("the rich configuration has what the real scstadmin has saved of it")
def saved() -> None:
    text = config.save()
    for line in ("setup_id 0x1234", "threads 3", "LUN 1 null1 {", "session_name second_host", "LUN 0 null0",
                 "group_id 101", "state nonoptimized", "rel_tgt_id 77", "filename /tmp/f0.img", "t10_dev_id MyT10Id",
                 "threads_pool_type shared", "usn abcd1234", "size 1073741824", "dummy 1", "INITIATOR some_other_host"):
        check(any(line == got.strip() for got in text.splitlines()), f"'{line}' was not saved:\n{text}")


@suite.test("saved, cleared, restored, saved again: no difference, with read-only devices and the copy manager's LUNs")
def round_trip() -> None:
    first = config.save()
    config.clear()
    equal(sorted(path.name for path in scst.DEVICES.iterdir()), [], "devices after it was cleared")
    equal(sorted(path.name for path in (_COPY / "luns").iterdir()), ["mgmt"], "LUNs of the copy manager")
    config.restore(first)
    _same(config.save(), first)


@suite.test("what is restored over itself changes nothing")
def again() -> None:
    before, tree = config.save(), scst.snapshot()
    objects = config.parse(before)
    config.restore("\n".join(line for line in before.splitlines()[:3]))
    for line, _ in objects:
        word, _, name = line.partition(" ")
        if word == "HANDLER":
            check((scst.HANDLERS / name).is_dir(), f"{name} went")
    no_differences(scst.changes(tree, scst.snapshot()))
    _same(config.save(), before)


@suite.test("cleared, the tree is as after loading")
def cleared() -> None:
    config.clear()
    listed = recording.Differences("tree")
    live = {path: entry for path, entry in scst.snapshot(leave_out=()).items()
            if path.startswith((str(scst.DEVICES), str(scst.HANDLERS), str(scst.GROUPS), str(_COPY / "luns")))
            and not path.endswith("/trace_level")}
    recorded = {path: entry for path, entry in recording.tree("sysfs-loaded.txt").items()
                if path.startswith((str(scst.DEVICES), str(scst.HANDLERS), str(scst.GROUPS), str(_COPY / "luns")))
                and not path.endswith("/trace_level")}
    no_differences(list(recording.compare(recorded, live, listed)))


if __name__ == "__main__":
    suite.main()
