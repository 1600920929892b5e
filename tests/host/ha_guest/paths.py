# SPDX-License-Identifier: GPL-2.0
"""The initiator of two nodes that serve a disk, whatever transport: the stock multipathd as a distribution sets it up, and a load."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Optional

sys.path.insert(0, "/lab/vm")

# pylint: disable=wrong-import-position
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


def wait(true: Callable[[], object], seconds: float, what: str) -> None:
    """As `wait_until`; a failure says what the daemon sees."""
    try:
        wait_until(true, seconds, what)
    except Failure as failure:
        raise Failure(f"{failure}\n{_view()}") from None


class Initiator:
    """What it has, and what it can be asked."""

    def __init__(self) -> None:
        self.disks: list[list[str]] = []
        """Of each node, its paths: sda, ..."""
        self._map = ""
        self._load: Optional[Fio] = None

    @property
    def node(self) -> str:
        """The device of the daemon's map."""
        return f"/dev/{self._map}"

    def prepare(self) -> None:
        """Bring up what the transport needs; udev is there, the daemon not yet."""

    def configuration(self) -> str:
        """What stands in multipath.conf."""
        return _DEFAULTS + _section()

    def start(self) -> None:
        """Bring up udev, the transport and the daemon."""
        os.makedirs("/run/udev", exist_ok=True)
        sh("/usr/lib/systemd/systemd-udevd", "--daemon")
        sh("modprobe", "-a", "scsi_dh_alua", "dm_multipath", "dm_service_time")
        self.prepare()
        os.makedirs("/etc/multipath", exist_ok=True)
        Path("/etc/multipath.conf").write_text(self.configuration())
        with open("/tmp/multipathd.log", "wb") as log:
            subprocess.Popen(["multipathd", "-d", "-v2"], stdout=log, stderr=log)  # pylint: disable=consider-using-with

    def find(self, disks: Sequence[Sequence[str]]) -> str:
        """Wait for the disk that the daemon makes of each node's paths."""
        self.disks = [list(names) for names in disks]
        together = sorted(name for names in disks for name in names)

        def found() -> bool:
            maps = re.findall(r"^(dm-\d+) ", sh("multipathd", "show", "maps", "format", "%d %w", status=None), re.M)
            self._map = maps[0] if len(maps) == 1 else ""
            slaves = Path(f"/sys/block/{self._map}/slaves")
            return bool(self._map) and sorted(os.listdir(slaves)) == together
        # Each is another reload of the map.
        wait(found, 90 + 20 * len(together), f"no multipath device of {together}")
        return f"{self._map} of {' and '.join(' '.join(names) for names in disks)}"

    def follow(self, *states: str) -> str:
        """Wait until the daemon sees all paths to each node in the state that it is in; how long that took."""
        start = time.monotonic()
        wait(lambda: self._sees(states), 120, f"{' and '.join(states)} are not seen")
        return f"{time.monotonic() - start:.1f} s"

    def _sees(self, states: tuple[str, ...]) -> bool:
        text = sh("multipathd", "show", "paths", "format", "%d|%T|%p", status=None)
        rows = {row[0]: row[1:] for row in ([cell.strip() for cell in line.split("|")] for line in text.splitlines())
                if len(row) == 3}

        def seen(name: str, state: str) -> bool:
            # A path may have gone altogether.
            view = rows.get(name, ["faulty" if state == "dead" else "", ""])
            return view[0] == _VIEWS[state][0] and _VIEWS[state][1] in ("", view[1])
        return all(seen(name, state) for names, state in zip(self.disks, states) for name in names)

    def load(self) -> None:
        """Begin I/O that is verified; nothing of it may fail."""
        self._load = Fio(self.node, rw="randwrite", bsrange="4k-32k", iodepth=8, size="4m", loops=100000,
                         verify="crc32c", verify_fatal=1, verify_backlog=32, serialize_overlap=1)

    def _ios(self, node: int) -> int:
        count = 0
        for name in self.disks[node - 1]:
            stat = Path(f"/sys/block/{name}/stat")
            words = stat.read_text().split() if stat.exists() else ["0"] * 5
            count += int(words[0]) + int(words[4])
        return count

    def through(self, which: str) -> str:
        """Wait until I/O goes through this node, and through no other; how long the I/O stood still."""
        node, start = int(which), time.monotonic()
        load = self._load
        if load is None:
            raise Failure("no load")

        def more() -> None:
            before = self._ios(node)
            wait(lambda: self._ios(node) > before + 20 or not load.running, 120, f"no I/O through node {node}")
            check(load.running, "the load ended")

        def alone() -> bool:
            before = self._ios(3 - node)
            more()
            return self._ios(3 - node) == before

        more()
        took = time.monotonic() - start
        # What the other one has refused is counted there too.
        wait(alone, 120, f"I/O through node {3 - node} too")
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
        # Nobody brings back a path that is lost from here on.
        sh("multipathd", "disablequeueing", "maps", status=None)
        sh("multipathd", "shutdown", status=None)
        wait_until(lambda: "no" in sh("multipath", "-F", status=None) or not os.path.exists(f"/sys/block/{self._map}"),
                   30, "the multipath device stays")
