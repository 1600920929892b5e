# SPDX-License-Identifier: GPL-2.0
"""The image that lies over the guest's own: our modules with an index that knows them, and a fio that starts at once.

All that can be done here is: the index, taking out the debug information (20 MB of 23; a module that strip does not understand stays
as it is). What the guest reads of a disk it keeps, and of a share it does not.
"""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Sequence
from pathlib import Path

from . import cache, fio, guest, paths, sysroot
from .sandbox import Bind

_FIO = '#!/bin/sh\nLD_LIBRARY_PATH=/usr/local/lib/fio exec /usr/bin/fio "$@"\n'
_INDEX = """set -e
for ko in {updates}/*.ko; do strip --strip-debug $ko || :; done
mkdir -p /tmp/out{where}
depmod -b / -o /tmp/out {release}
cp /tmp/out{where}/modules.*.bin /tmp/out{where}/modules.softdep {updates}/..
"""


def _make(kernel: guest.Kernel, modules: Sequence[Path], partial: Path) -> None:
    where, top = f"/lib/modules/{kernel.release}", partial / "image"
    local, updates = top / "usr/local", top / "usr" / where[1:] / "updates"
    shutil.copytree(fio.libraries(), local / "lib/fio")
    (local / "bin").mkdir()
    (local / "bin/fio").write_text(_FIO)
    (local / "bin/fio").chmod(0o755)
    updates.mkdir(parents=True)
    script, binds = "", [Bind.same(partial)]
    if modules:
        for module in modules:
            shutil.copy2(module, updates / module.name)
        script = _INDEX.format(updates=updates, where=where, release=kernel.release)
        binds += [Bind(kernel.modules / "usr/lib/modules" / kernel.release, where, False), Bind(updates, f"{where}/updates", False)]
    sysroot.get().run(["sh", "-c", script + guest.packing(top)], paths.fresh_log("over"), "what lies over the guest's image", binds)
    cache.remove(top)


def image(kernel: guest.Kernel, modules: Sequence[Path]) -> Path:
    """The image for a KERNEL, with our MODULES."""
    digest = cache.key(kernel.modules, fio.libraries(), [(module.name, hashlib.sha256(module.read_bytes()).digest()) for module in modules],
                       _FIO, _INDEX, cache.source(_make, guest.packing))
    return cache.entry("over", digest, lambda partial: _make(kernel, modules, partial)) / "image.squashfs"
