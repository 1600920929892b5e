#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""The target's machine: target.py NAME. Says `ready`, waits for `killed`, and says when what was left is gone."""

from __future__ import annotations

import sys
import time
from pathlib import Path

sys.path.insert(0, "/lab/vm")

# pylint: disable=wrong-import-position
import scst
import srp
import srp_target
from lib import equal, sh, wait_until


def main() -> int:
    """Serve until told that the initiator is dead, then take everything down."""
    target = next(each for each in (srp_target.Ours(), srp_target.Lio()) if each.name == sys.argv[1])
    sh("modprobe", "-a", "rdma_rxe")
    link = srp.Card(initiator=False)
    link.up()
    target.load()
    target.add("fileio", "file0", 0, scst.image("/tmp/file0", 64), [link])
    target.add("nullio", "null0", 1, "", [link])
    target.enable(link)
    print("ready", flush=True)
    wait_until(Path("/lab/share/killed").exists, 600, "nobody told that the initiator was killed")
    start = time.monotonic()
    if isinstance(target, srp_target.Ours):
        wait_until(lambda: len(target.sessions(link)) <= 1, 60, f"sessions: {target.sessions(link)}")
        print(f"session gone after {time.monotonic() - start:.1f} s, left: {target.sessions(link)}", flush=True)
        start = time.monotonic()
        target.disable(link)
        equal(target.sessions(link), [], "sessions of a disabled target")
    target.unload()
    print(f"unloaded after {time.monotonic() - start:.1f} s more", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
