#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""One of two hosts that share a disk and fence one another: host.py NUMBER. It has two paths, and the stock multipathd.

It writes to two parts of the disk that are its own: fio verifies one; threads write to the other, whatever becomes of that.
"""

from __future__ import annotations

import errno
import hashlib
import mmap
import os
import random
import re
import sys
import threading
import time
from pathlib import Path
from typing import Optional

sys.path[:0] = ["/lab/vm", "/lab/ha_guest"]

# pylint: disable=wrong-import-position
import asked
import paths
import srp
from lib import Failure, Fio, blocked_tasks, check, equal, errno_name, ios, sh, wait_until

_PATHS = 2
_BLOCK = 4096
_KEYS = {1: "0xa1", 2: "0xb2"}
_REGISTRANTS = "5"
"""Write Exclusive - Registrants Only, as fence_mpath has it."""
_VERIFIED, _HAMMERED = 0, 16 << 20
"""Where the parts begin, in the half of each host."""
_SIZE = 1 << 20
_PIECE = 64 << 10
_THREADS = 2
_SHORT_S, _USUAL_S = 10, 30
"""Time-outs of commands: those that the other host's fence has aborted are not answered."""
_CONFIG = """defaults {
	find_multipaths no
	polling_interval 1
	max_polling_interval 1
	no_path_retry queue
	reservation_key %s
}
"""


class _Card(srp.Card):
    """Each host's cards are called the same."""

    @property
    def netdev(self) -> str:
        return f"eth{self.number % _PATHS}"


def _half(number: int) -> int:
    return (number - 1) * (32 << 20)


def _write(node: str, at: int, data: bytes) -> int:
    """One write past the page cache; the errno, or 0."""
    memory = mmap.mmap(-1, len(data))
    memory[:] = data
    fd = os.open(node, os.O_WRONLY | os.O_DIRECT)
    try:
        os.pwritev(fd, [memory], at)
        return 0
    except OSError as error:
        return error.errno or -1
    finally:
        os.close(fd)


def _digest(node: str, at: int, size: int) -> str:
    """What is there now, a piece after the other, which hurts the load less."""
    memory, digest = mmap.mmap(-1, _PIECE), hashlib.sha256()
    fd = os.open(node, os.O_RDONLY | os.O_DIRECT)
    try:
        for pos in range(at, at + size, _PIECE):
            equal(os.preadv(fd, [memory], pos), _PIECE, "bytes that were read")
            digest.update(memory)
    finally:
        os.close(fd)
    return digest.hexdigest()


class Hammer:
    """Threads that write to a part of the disk, and go on when that is refused."""

    def __init__(self, node: str, at: int) -> None:
        self._node, self._at = node, at
        self._lock = threading.Lock()
        self._stopped = False
        self.done, self.refused = 0, 0
        self.last_begun = 0.0
        """When the last write that was executed had begun."""
        self.others: set[str] = set()
        """Errors that are no conflict."""
        self._threads = [threading.Thread(target=self._run, args=(number,)) for number in range(_THREADS)]
        for thread in self._threads:
            thread.start()

    def _run(self, seed: int) -> None:
        where = random.Random(seed)
        while not self._stopped:
            begun = time.monotonic()
            result = _write(self._node, self._at + where.randrange(_SIZE // _BLOCK) * _BLOCK, os.urandom(_BLOCK))
            with self._lock:
                if not result:
                    self.done += 1
                    self.last_begun = max(self.last_begun, begun)
                elif result == errno.EBADE:
                    self.refused += 1
                else:
                    self.others.add(errno_name(result))
            time.sleep(0.2 if result else 0.02)

    def stop(self) -> None:
        """End the threads."""
        self._stopped = True
        for thread in self._threads:
            thread.join(100)
            check(not thread.is_alive(), "a write does not end")


class Host(paths.Initiator):
    """What it can be asked."""

    def __init__(self, number: int) -> None:
        super().__init__()
        self._number = number
        self._links = [_Card(initiator=True, number=(number - 1) * _PATHS + path) for path in range(_PATHS)]
        self._logins: list[srp.Host] = []
        self._hammer: Optional[Hammer] = None
        self._seen = ""

    @property
    def _other(self) -> int:
        return 3 - self._number

    def prepare(self) -> None:
        """Bring up the cards."""
        srp.load_initiator()
        for link in self._links:
            link.up()

    def configuration(self) -> str:
        return _CONFIG % _KEYS[self._number]

    def login(self) -> str:
        """Log in by both; the disk that the daemon makes of them."""
        for link in self._links:
            host = srp.login(link, ch_count=1)
            # A path fails before the first attempt to bring it back, which nothing else goes on beside.
            host.set_timeouts(fast_io_fail=3, dev_loss=60, reconnect=10)
            self._logins.append(host)
        names = [os.path.basename(host.disk(0)) for host in self._logins]
        for name in names:
            # A path whose commands are kept is not taken for a broken disk.
            (limit,) = Path(f"/sys/block/{name}/device/scsi_disk").glob("*/max_medium_access_timeouts")
            limit.write_text("1000")
        return self.find([names])

    def _persist(self, *options: str) -> str:
        return sh("mpathpersist", *options, self.node)

    def register(self) -> None:
        """Register both paths with this host's key."""
        self._persist("--out", "--register-ignore", f"--param-sark={_KEYS[self._number]}")

    def reserve(self) -> None:
        """Hold the reservation."""
        self._persist("--out", "--reserve", f"--param-rk={_KEYS[self._number]}", f"--prout-type={_REGISTRANTS}")

    def keys(self, *hosts: str) -> str:
        """The registered keys are those of these HOSTS, one for each path."""
        found = sorted(re.findall(r"(?m)^\s+(0x[0-9a-f]+)\s*$", self._persist("--in", "-k")))
        equal(found, sorted(_KEYS[int(host)] for host in hosts), "keys")
        return " ".join(found)

    def begin(self) -> None:
        """Write to both parts."""
        for host in self._logins:
            host.set_command_timeout(0, _USUAL_S)
        self._hammer = Hammer(self.node, _half(self._number) + _HAMMERED)
        # Data of this size are sent with the command. What the target has to fetch Soft-RoCE may be asked for a second time when
        # the command has ended, on a machine that is late, and then it gives the connection up.
        self._load = Fio(self.node, rw="randwrite", bs="4k", iodepth=4, offset=_half(self._number) + _VERIFIED, size=_SIZE,
                         loops=100000, verify="crc32c", verify_fatal=1, verify_backlog=32, serialize_overlap=1)
        wait_until(lambda: self._mine.done > 50, 100, "the threads do not write")

    @property
    def _mine(self) -> Hammer:
        if self._hammer is None:
            raise Failure("nobody writes")
        return self._hammer

    def _theirs(self) -> str:
        """What the other host's parts have in them."""
        half, found = _half(self._other), list[str]()

        def look() -> None:
            found.extend(_digest(self.node, half + part, _SIZE) for part in (_VERIFIED, _HAMMERED))
        reader = threading.Thread(target=look, daemon=True)
        reader.start()
        reader.join(80)
        check(len(found) == 2, f"the disk is not read: {self._about()}")
        return " ".join(found)

    def _about(self) -> str:
        """What the kernel says of the paths, for a failure's text."""
        ports = [f"host{host.number} {host.state()}" for host in self._logins]
        said = sh("dmesg", status=None).splitlines()
        return "\n".join([*ports, *[line for line in said if "reservation conflict" not in line][-30:], blocked_tasks()])

    def fence(self) -> str:
        """Shut the other host out, and look at once what it has written; how long the fence took."""
        before = time.monotonic()
        self._persist("--out", "--preempt-abort", f"--param-rk={_KEYS[self._number]}", f"--param-sark={_KEYS[self._other]}",
                      f"--prout-type={_REGISTRANTS}")
        took = time.monotonic() - before
        self._seen = self._theirs()
        check(f"Key = {_KEYS[self._number]}" in self._persist("--in", "-r"), "this host does not hold the reservation")
        return f"{took:.2f} s"

    def unchanged(self) -> None:
        """The other host has written nothing since the fence."""
        equal(self._theirs(), self._seen, "digests of the other host's parts")

    def refused(self) -> None:
        """This host is fenced: from now on its writes conflict by either path; wait for more of them."""
        now, before = time.monotonic(), self._mine.refused
        for host in self._logins:
            host.set_command_timeout(0, _SHORT_S)
        for name in self.disks[0]:
            equal(errno_name(_write(f"/dev/{name}", _half(self._number) + _HAMMERED, b"\xff" * _BLOCK)), "EBADE", f"a write by {name}")
        paths.wait(lambda: self._mine.refused > before + 10 * _THREADS, 100, f"conflicts: {self._mine.refused - before}")
        check(self._mine.last_begun < now, "a write that began after the fence was executed")

    def goes_on(self) -> None:
        """Who has fenced works as before."""
        before, done, load = ios(self.node), self._mine.done, self._load
        if load is None:
            raise Failure("no load")

        def more() -> bool:
            return ios(self.node) > before + 100 and self._mine.done > done + 50
        paths.wait(lambda: more() or not load.running, 100, "the load stands still")
        check(load.running, "the load ended")
        equal(self._mine.refused, 0, "conflicts of the holder")

    def ended(self) -> str:
        """The load of who was fenced ends with a conflict, and not with wrong data."""
        load = self._load
        if load is None:
            raise Failure("no load")
        wait_until(lambda: not load.running, 150, "the load goes on")
        record = load.result(errors=True)
        equal(errno_name(int(record.get("error", 0))), "EBADE", "how the load of who was fenced ended")
        self._load = None
        return f"{self._mine.done} writes of the other before it, {self._mine.refused} refused since"

    def paths_return(self) -> None:
        """The daemon takes a path out and back, which it registers again only if the others still are."""
        name = self.disks[0][0]
        sh("multipathd", "fail", "path", name)
        sh("multipathd", "reinstate", "path", name)

        def states() -> list[str]:
            return sh("multipathd", "show", "paths", "format", "%T").split()[1:]
        paths.wait(lambda: states() == ["ready"] * _PATHS, 60, "paths that are not ready")

    def stop(self) -> None:
        """End the threads; nothing but conflicts has happened to their writes."""
        self._mine.stop()
        equal(self._mine.others, set(), "errors of the threads")

    def finish(self) -> str:
        self.stop()
        return super().finish()


def main() -> int:
    """Be asked."""
    host = Host(int(sys.argv[1]))
    host.start()
    can = ("login", "register", "reserve", "keys", "begin", "fence", "unchanged", "refused", "goes_on", "ended", "paths_return", "stop",
           "finish", "leave")
    asked.serve({name: getattr(host, name) for name in can}, 900)
    return 0


if __name__ == "__main__":
    sys.exit(main())
