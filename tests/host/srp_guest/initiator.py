#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""The initiator's machine: logs in when told to `go`, says `verified` after fio and `loaded` when it has I/O to die with.

It then has two sessions, of which one is idle: no target can tell that its initiator is dead.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

sys.path.insert(0, "/lab/vm")

# pylint: disable=wrong-import-position
import srp
from lib import Fio, fio, wait_until


def main() -> int:
    """Log in, verify, and keep up a load until killed."""
    srp.load_initiator()
    link = srp.Card(initiator=True)
    link.up()
    wait_until(Path("/lab/share/go").exists, 400, "nobody said go")
    with srp.logged_in(link, ch_count=4) as host:
        record = fio(host.disk(0), rw="randwrite", bsrange="4k-256k", iodepth=32, size="8m", verify="crc32c",
                     verify_fatal=1)
        print(f"verified {record['write']['io_bytes']}", flush=True)
    srp.login(link, ch_count=2, initiator_ext="1")
    # rxe takes the usual count of 7 for infinite.
    loaded = srp.login(link, ch_count=1, tl_retry_count=3)
    Fio(loaded.disk(1), rw="randrw", bs="64k", iodepth=64, time_based=None, runtime=3600)
    print("loaded", flush=True)
    time.sleep(100)
    return 1


if __name__ == "__main__":
    sys.exit(main())
