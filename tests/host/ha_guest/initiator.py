#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""The initiator of two nodes, with the stock multipathd as a distribution sets it up: udev, and what the README says."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Optional

sys.path.insert(0, "/lab/vm")

# pylint: disable=wrong-import-position
import asked
import srp
from lib import Failure, Fio, check, sh, wait_until

_DEFAULTS = """defaults {
	find_multipaths no
	polling_interval 1
	max_polling_interval 1
}
"""


def _section() -> str:
    """What the README tells administrators to have."""
    chapter = Path("/lab/README.md").read_text().partition("### One disk, two nodes: ALUA")[2]
    return "devices {" + chapter.partition("```\ndevices {")[2].partition("```")[0]


# What the daemon's checker and prioritizer make of a state; the priority of a path that is down is an old one.
_VIEWS = {"active": ("ready", "50"), "nonoptimized": ("ready", "10"), "standby": ("ghost", "1"),
          "unavailable": ("faulty", ""), "offline": ("faulty", ""), "dead": ("faulty", "")}


def _view() -> str:
    """What the daemon sees and said, for a failure's text."""
    said = Path("/tmp/multipathd.log").read_text(errors="replace").splitlines()[-12:]
    return sh("multipathd", "show", "topology", status=None) + "\n".join(said)


def _wait(true: Callable[[], object], seconds: float, what: str) -> None:
    try:
        wait_until(true, seconds, what)
    except Failure as failure:
        raise Failure(f"{failure}\n{_view()}") from None


class Initiator:
    """What it has, and what it can be asked."""

    def __init__(self) -> None:
        self._links = [srp.Card(initiator=True, number=number) for number in (0, 1)]
        self._disks: list[str] = []
        self._map = ""
        self._load: Optional[Fio] = None

    def start(self) -> None:
        """Bring up the cards, udev and the daemon."""
        os.makedirs("/run/udev", exist_ok=True)
        sh("/usr/lib/systemd/systemd-udevd", "--daemon")
        srp.load_initiator()
        sh("modprobe", "-a", "scsi_dh_alua", "dm_multipath", "dm_service_time")
        for link in self._links:
            link.up()
        os.makedirs("/etc/multipath", exist_ok=True)
        Path("/etc/multipath.conf").write_text(_DEFAULTS + _section())
        with open("/tmp/multipathd.log", "wb") as log:
            subprocess.Popen(["multipathd", "-d", "-v2"], stdout=log, stderr=log)  # pylint: disable=consider-using-with

    def login(self, *guids: str) -> str:
        """Log in to both nodes; the disk that the daemon makes of them."""
        for link, guid in zip(self._links, guids):
            host = srp.login(link, ch_count=1, id_ext=guid, ioc_guid=guid, tl_retry_count=3)
            host.set_timeouts(fast_io_fail=3, dev_loss=60, reconnect=10)
            self._disks.append(os.path.basename(host.disk(0)))

        def found() -> bool:
            maps = re.findall(r"^(dm-\d+) ", sh("multipathd", "show", "maps", "format", "%d %w"), re.M)
            self._map = maps[0] if len(maps) == 1 else ""
            slaves = Path(f"/sys/block/{self._map}/slaves")
            return bool(self._map) and sorted(os.listdir(slaves)) == sorted(self._disks)
        _wait(found, 60, f"no multipath device of {self._disks}")
        return f"{self._map} of {' and '.join(self._disks)}"

    def follow(self, *states: str) -> str:
        """Wait until the daemon sees each node in the state that it is in; how long that took."""
        start = time.monotonic()
        _wait(lambda: self._sees(states), 40, f"{' and '.join(states)} are not seen")
        return f"{time.monotonic() - start:.1f} s"

    def _sees(self, states: tuple[str, ...]) -> bool:
        text = sh("multipathd", "show", "paths", "format", "%d|%T|%p", status=None)
        rows = {row[0]: row[1:] for row in ([cell.strip() for cell in line.split("|")] for line in text.splitlines())
                if len(row) == 3}
        views = [rows.get(disk, ["", ""]) for disk in self._disks]
        return all(view[0] == _VIEWS[state][0] and _VIEWS[state][1] in ("", view[1])
                   for view, state in zip(views, states))

    def load(self) -> None:
        """Begin I/O that is verified; nothing of it may fail."""
        self._load = Fio(f"/dev/{self._map}", rw="randwrite", bsrange="4k-32k", iodepth=8, size="4m", loops=100000,
                         verify="crc32c", verify_fatal=1, verify_backlog=32, serialize_overlap=1)

    def _ios(self, node: int) -> int:
        words = Path(f"/sys/block/{self._disks[node - 1]}/stat").read_text().split()
        return int(words[0]) + int(words[4])

    def through(self, which: str) -> str:
        """Wait until I/O goes through this node, and through no other; how long the I/O stood still."""
        node, start = int(which), time.monotonic()
        load = self._load
        if load is None:
            raise Failure("no load")

        def more() -> None:
            before = self._ios(node)
            _wait(lambda: self._ios(node) > before + 20 or not load.running, 120, f"no I/O through node {node}")
            check(load.running, "the load ended")

        def alone() -> bool:
            before = self._ios(3 - node)
            more()
            return self._ios(3 - node) == before

        more()
        took = time.monotonic() - start
        # What the other one has refused is counted there too.
        _wait(alone, 60, f"I/O through node {3 - node} too")
        return f"{took:.1f} s"

    def finish(self) -> str:
        """End the load; what it did."""
        load = self._load
        if load is None:
            raise Failure("no load")
        load.stop()
        record = load.result(200)
        written, read = (record[which]["io_bytes"] >> 10 for which in ("write", "read"))
        check(read * 2 > written, f"{written} KiB written, but only {read} KiB read back")
        return f"{written} KiB written, {read} KiB read back and compared"

    def leave(self) -> None:
        """Take everything down."""
        sh("multipathd", "shutdown", status=None)
        wait_until(lambda: "no" in sh("multipath", "-F", status=None) or not os.path.exists(f"/sys/block/{self._map}"),
                   30, "the multipath device stays")


def main() -> int:
    """Be asked."""
    initiator = Initiator()
    initiator.start()
    can = ("login", "follow", "load", "through", "finish", "leave")
    asked.serve({name: getattr(initiator, name) for name in can}, 900)
    return 0


if __name__ == "__main__":
    sys.exit(main())
