#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
# lab: timed=no kept=yes
"""A broken module makes the tests fail: scst.ko is spoilt in two ways, and `load` must not pass with it."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable
from pathlib import Path

from lab import kernel, paths, vmtests


def _cut(module: bytes) -> bytes:
    """As after a full disk."""
    return module[:len(module) // 2]


def _other_kernel(module: bytes) -> bytes:
    """As if built for another kernel."""
    return module.replace(b"vermagic=7.", b"vermagic=6.")


def _failures(spoil: Callable[[bytes], bytes], built: Path) -> list[str]:
    """The tests of `load` that fail with a spoilt scst.ko."""
    place = paths.BUILD / "broken"
    shutil.rmtree(place, ignore_errors=True)
    place.mkdir(parents=True)
    for module in kernel.modules_in(built):
        shutil.copy2(module, place / module.name)
    (place / "modules.order").write_text("scst.o\nscst_vdisk.o\nscst_local.o\n")
    target = place / "scst.ko"
    target.write_bytes(spoil(target.read_bytes()))
    tests = [test for test in vmtests.find() if test.path.stem == "load"]
    return vmtests.run_group(vmtests.Boot.of(tests[0], False), tests, False, place, "broken").failures


def main() -> int:
    """KTAP; what the runner prints of the failures is indented, so that nobody takes it for this test's."""
    ways: list[tuple[str, Callable[[bytes], bytes]]] = [
        ("cut off in the middle", _cut), ("built for another kernel", _other_kernel)]
    print(f"KTAP version 1\n1..{len(ways)}", flush=True)
    if not kernel.have_modules():
        for number, (name, _) in enumerate(ways, 1):
            print(f"ok {number} - {name} # SKIP no modules in this clone")
        return 0
    built = kernel.build_modules(kernel.stock("7.2"))
    bad = 0
    for number, (name, spoil) in enumerate(ways, 1):
        failures = _failures(spoil, built)
        # A machine that does not come so far is another matter.
        failed = any(failure.startswith("load.py: modprobe ") for failure in failures)
        bad += not failed
        print(f"{'ok' if failed else 'not ok'} {number} - scst.ko {name}: {len(failures)} failures", flush=True)
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
