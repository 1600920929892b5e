#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
# lab: group=disks timeout=240 soak=yes
"""Random and mutated writes to every writable attribute while I/O runs."""

from __future__ import annotations

import contextlib
import os
import random
import re
import stat
from pathlib import Path

import scst
from lib import Fio, Kmsg, Suite, check, equal, no_differences, note, scaled, sh

_WRITES = scaled(500, 12000)
_SEED = int(os.environ.get("FUZZ_SEED", "2"))
# What the load needs; everything else may go.
_KEEP = re.compile(r"steady")

_WORDS = """add del create move clear replace replace_no_ua add_device del_device add_target del_target
add_target_attribute del_target_attribute add_attribute del_attribute session_name read_only=1 read_only=0 read_only
filename=/tmp/fuzz0 filename=/tmp/fuzz1 filename=/tmp/nosuch filename=/tmp filename=/dev/ram1 filename=/dev/null
filename=/dev/full filename=/proc/version filename=/dev/ram0 filename= /tmp/fuzz0 /dev/ram1 size_mb=8 size_mb=0 size=512
size=9223372036854775808 size_mb=18446744073709551615 blocksize=512 blocksize=4096 blocksize=1 blocksize=0
blocksize=2147483648 dummy=1 removable=1 rotational=0 tst=0 tst=1 tst=9 t10_dev_id=abc nv_cache=1 o_direct=1 async=1
write_through=1 thin_provisioned=1 thin_provisioned=0 active=0 active=1 numa_node_id=0 numa_node_id=-1 numa_node_id=77
dif_mode=tgt dif_type=1 cluster_mode=1 bind_alua_state=0 g1 g2 g3 f0 f1 f2 f3 n0 n1 t1 t2 fuzz_tgt host1 h?st* !neg * ?
active nonoptimized standby unavailable offline transitioning steady_tgt scst_local_tgt remote_tgt
FLAT LUN PERIPHERAL auto never this_group_only shared per_initiator all none default value scsi 0x1 0 1 2 3 -1 7 8 16 255
256 300 16383 16384 65535 65536 4294967295 4294967296 18446744073709551615 99999999999999999999 0x 0xffffffff 08 1.5 ffff
a/b .. . ; ;; = == ,""".split()


class Source:
    """What is written: commands, mutations of them, noise."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)

    def pick(self, paths: list[Path]) -> Path:
        """An attribute; management files are picked more often than their share."""
        if self._random.random() < 0.5:
            paths = [path for path in paths if path.name == "mgmt"] or paths
        return self._random.choice(paths)

    def _command(self) -> str:
        """Something that may well be valid."""
        pick, words = self._random.choice, self._random.randrange
        device, lun = pick(("f0", "f1", "f2", "n0", "n1", "n2")), words(6)
        return pick((
            f"add_device {device} filename=/tmp/fuzz{words(2)}", f"add_device {device} size_mb={words(64)}",
            f"add_device {device} filename=/dev/ram{words(2)}", f"add_device {device}", f"del_device {device}",
            f"add_device {device} filename=/tmp/fuzz0; {pick(_WORDS)}; {pick(_WORDS)}", f"add {device} {lun}",
            f"replace {device} {lun}", f"del {lun}", "clear", f"create g{words(4)}", f"del g{words(4)}",
            f"add host{words(4)}*", f"add *{words(4)}", f"del host{words(4)}*", f"move host{words(4)}* g{words(4)}",
            f"add_target t{words(3)}", f"add_target t{words(3)} session_name=s{words(3)}", f"del_target t{words(3)}",
            f"add_target_attribute t{words(3)} session_name s{words(3)}",
            f"del_target_attribute t{words(3)} session_name s{words(3)}", f"add {device}", f"del {device}",
            f"add {pick(('scst_local_tgt', 't1', 'remote_tgt'))}", f"del {pick(('scst_local_tgt', 't1', 'remote_tgt'))}",
            pick(("active", "standby", "offline", "transitioning")), str(words(20)), f"{words(1 << 40)}"))

    def data(self) -> bytes:
        """The next write."""
        chance = self._random.random()
        if chance < 0.5:
            text = self._command().encode()
        elif chance < 0.75:
            text = " ".join(self._random.choice(_WORDS) for _ in range(self._random.randrange(1, 6))).encode()
        elif chance < 0.85:
            return self._random.randbytes(self._random.choice((1, 2, 16, 255, 4095, 4096)))
        elif chance < 0.9:
            return self._random.choice((b"\n", b"\0", b" ", b"\n\n", b"x" * 4096, b"1" * 300, b"0x" + b"f" * 200,
                                        b"%s%n%p", "häß".encode(), b"\xff\xfe\n", b"a=b;" * 1000, b"[key]\n"))
        else:
            text = self._command().encode()
        if self._random.random() < 0.2:
            text = self._mutate(text)
        return text + (b"\n" if self._random.random() < 0.9 else b"")

    def _mutate(self, text: bytes) -> bytes:
        changed = bytearray(text)
        for _ in range(self._random.randrange(1, 4)):
            where = self._random.randrange(len(changed) + 1)
            if self._random.random() < 0.5 and changed:
                changed[min(where, len(changed) - 1)] = self._random.randrange(256)
            elif self._random.random() < 0.5:
                changed[where:where] = self._random.randbytes(self._random.randrange(1, 5))
            else:
                del changed[where:where + 3]
        return bytes(changed)


def setup() -> None:
    """A target and a device for the load, and material for everything else."""
    scst.clear()
    scst.unload()
    sh("modprobe", "brd", "rd_nr=2", "rd_size=65536")
    for number in range(2):
        scst.image(f"/tmp/fuzz{number}", 16)
    scst.load()
    target = scst.add_target("steady_tgt", "steady")
    scst.add_device("vdisk_nullio", "steady", "size_mb=64")
    scst.add_lun("steady", 0, target / "luns")
    # The load's device is in a device group, its port in no target group.
    scst.add_device_group("fuzzed", ("steady",))
    scst.add_target_group("fuzzed", "tgf", 1, "", ("scst_local_tgt", "remote_tgt"))
    Path("/sys/module/scst/parameters/alua_invariant_check").write_text("Y")


def teardown() -> None:
    """Leave nothing."""
    scst.clear()
    scst.unload()


suite = Suite(setup, teardown)


def _writable(keep: bool) -> list[Path]:
    found = []
    for where, _, files in os.walk(scst.ROOT):
        for name in files:
            path = Path(where, name)
            with contextlib.suppress(OSError):
                if stat.S_IMODE(path.stat().st_mode) & 0o222 and not (keep and _KEEP.search(str(path))):
                    found.append(path)
    return sorted(found)


def _fuzz(source: Source, count: int, keep: bool) -> dict[str, int]:
    results: dict[str, int] = {"success": 0, "errors": 0}
    paths: list[Path] = []
    for number in range(count):
        if number % 25 == 0:
            paths = _writable(keep)
        path, data = source.pick(paths), source.data()
        if keep and _KEEP.search(data.decode("latin-1")):
            continue
        # The last word before a crash is on the console.
        Path("/dev/kmsg").write_text(f"<7>fuzz {number}: {str(path)[22:]} {data[:60]!r}\n", encoding="utf-8")
        results["errors" if scst.write(path, data) else "success"] += 1
    return results


def _readable() -> list[str]:
    """Everything can be read, every link leads somewhere."""
    problems = []
    for path, (kind, _, text) in scst.snapshot(leave_out=()).items():
        if kind == "f" and text.startswith("!"):
            problems.append(f"{path}: {text}")
        elif kind == "l" and not os.path.exists(path):
            problems.append(f"{path} leads nowhere: {text}")
    for lun in scst.ROOT.glob("targets/*/*/luns/[0-9]*"):
        if not (lun / "device").is_dir():
            problems.append(f"{lun} has no device")
    return problems


@suite.test(f"{_WRITES} writes under load on another target: no warning, the load goes on", 240)
def beside() -> None:
    load = Fio(scst.wait_disk(0, scst.LOCAL / "steady_tgt"), iodepth=8, rate_iops=200, time_based=None, runtime=36000)
    try:
        note(str(_fuzz(Source(_SEED), _WRITES, True)))
        check(load.running, "the load ended")
    finally:
        load.stop()
    load.result()


@suite.test("the tree is consistent afterwards")
def consistent() -> None:
    no_differences(_readable())
    log = Kmsg()
    scst.put(scst.GROUPS / "mgmt", "create last")
    scst.put(scst.GROUPS / "mgmt", "del last")  # alua_invariant_check looks at every nexus
    no_differences([line for line in log.lines() if "ALUA: LUN" in line])


@suite.test(f"{_WRITES // 4} writes to everything, the load's own target and device too", 120)
def within() -> None:
    load = Fio(scst.wait_disk(0, scst.LOCAL / "steady_tgt"), iodepth=8, rate_iops=200, time_based=None, runtime=36000)
    note(str(_fuzz(Source(_SEED + 1), _WRITES // 4, False)))
    scst.write(scst.LOCAL / "steady_tgt/black_hole", "0")
    scst.unblock()
    load.stop()
    load.result(errors=True)
    no_differences(_readable())


@suite.test("all of it can be removed and the modules unload")
def removed() -> None:
    for path in scst.LOCAL.glob("**/black_hole"):
        scst.write(path, "0")
    scst.clear()
    equal(sorted(path.name for path in scst.DEVICES.iterdir() if ":" not in path.name), [], "devices")
    scst.unload()


if __name__ == "__main__":
    suite.main()
