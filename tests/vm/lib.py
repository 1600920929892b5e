# SPDX-License-Identifier: GPL-2.0
"""What every suite of the virtual machine needs: KTAP, commands, kernel messages, background I/O."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import FrameType
from typing import Any, Optional

# From linux/netlink.h and asm/socket.h; the group in which the kernel speaks, not udev.
_NETLINK_KOBJECT_UEVENT = 15
_SO_RCVBUFFORCE = 33
_FROM_THE_KERNEL = 1
# How much longer than a test takes at most on a quiet machine it may take beside others, or on a slower one.
_SLACK = 4
# Where time is instructions (no word of tsc on the command line) it flies while somebody waits for the host's disk.
_FLIES = 1 if "tsc=reliable" in Path("/proc/cmdline").read_text() else 60
LONG = os.environ.get("LAB_LENGTH") == "long" or os.environ.get("SOAK") == "1"
DATA = Path(__file__).resolve().parent / "data"

_BAD_KERNEL_LINE = re.compile(
    r"\bWARNING: |\bBUG: |kernel BUG at|\bOops\b|Call Trace:|Kernel panic|general protection fault|unable to handle |"
    r"INFO: task .* blocked|rcu.*(stall|detected)|soft lockup|possible (recursive|circular|irq lock|deadlock)|"
    r"inconsistent lock state|suspicious RCU|sleeping function called|scheduling while atomic|refcount_t: |"
    r"corruption|rust_kernel: panicked|UBSAN:|KASAN:|ODEBUG:")


class Failure(Exception):
    """A test found what must not be; the text says what."""


class Skip(Exception):
    """A test cannot be made here; the text says why."""


def scaled(short: int, long: int) -> int:
    """SHORT in `make test`, LONG in `make soak`."""
    return long if LONG else short


def check(condition: object, what: str) -> None:
    """Fail with WHAT unless the condition holds."""
    if not condition:
        raise Failure(what)


def equal(got: object, want: object, what: str) -> None:
    """Fail unless both are equal."""
    if got != want:
        raise Failure(f"{what}: got {got!r}, want {want!r}")


def no_differences(differences: Sequence[str], most: int = 40) -> None:
    """Fail with the list of differences, if there are any."""
    if differences:
        shown = list(differences[:most])
        if len(differences) > most:
            shown.append(f"... and {len(differences) - most} more")
        raise Failure(f"{len(differences)} differences\n" + "\n".join(shown))


def note(text: str) -> None:
    """A diagnostic line in the KTAP stream."""
    for line in text.splitlines():
        print(f"# {line}", flush=True)


def wait_until(true: Callable[[], object], seconds: float, what: str) -> None:
    """Poll until TRUE holds; fail after SECONDS."""
    end = time.monotonic() + seconds * _FLIES
    while not true():
        if time.monotonic() > end:
            raise Failure(f"after {seconds * _FLIES:g} s: {what}")
        time.sleep(0.05)


def errno_name(number: int) -> str:
    """`EINVAL` for 22, `success` for 0."""
    return errno.errorcode.get(number, str(number)) if number else "success"


def sh(*command: str, timeout: float = 60, status: Optional[int] = 0, stdin: str = "") -> str:
    """Run a command and give its output, both streams; fail unless it ends with STATUS (None: any)."""
    try:
        done = subprocess.run(command, input=stdin, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                              errors="replace", timeout=timeout * _FLIES, check=False)
    except subprocess.TimeoutExpired:
        raise Failure(f"{' '.join(command)}: no end after {timeout:g} s") from None
    if status is not None and done.returncode != status:
        raise Failure(f"{' '.join(command)}: exit status {done.returncode}\n{done.stdout.strip()}")
    return done.stdout


class Kmsg:
    """The kernel log from now on."""

    def __init__(self) -> None:
        self._fd = os.open("/dev/kmsg", os.O_RDONLY | os.O_NONBLOCK)
        os.lseek(self._fd, 0, os.SEEK_END)

    def lines(self) -> list[str]:
        """The lines that came since the last call."""
        found: list[str] = []
        while True:
            try:
                record = os.read(self._fd, 8192).decode(errors="replace")
            except BlockingIOError:
                return found
            except OSError as error:
                if error.errno == errno.EPIPE:  # some were overwritten
                    continue
                raise
            head, _, text = record.partition(";")
            if int(head.split(",")[0]) >> 3 == 0:  # from the kernel, not from a process
                found.append(text.split("\n")[0])

    def close(self) -> None:
        """Stop listening."""
        os.close(self._fd)


class Uevents:
    """What the kernel tells of its devices from now on."""

    def __init__(self) -> None:
        self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_DGRAM, _NETLINK_KOBJECT_UEVENT)
        self._socket.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, 1 << 20)
        self._socket.bind((0, _FROM_THE_KERNEL))

    def wait(self, device: Path, text: str, seconds: float = 20) -> None:
        """Until the kernel has told TEXT (`NAME=value`) of DEVICE (its directory in sysfs); earlier events are passed over."""
        want = (f"DEVPATH={device.resolve().as_posix().removeprefix('/sys')}", text)
        end = time.monotonic() + seconds
        while True:
            self._socket.settimeout(max(0.01, end - time.monotonic()))
            try:
                fields = self._socket.recv(16384).decode(errors="replace").split("\0")
            except TimeoutError:
                raise Failure(f"after {seconds:g} s: no event {' '.join(want)}") from None
            if all(field in fields for field in want):
                return

    def close(self) -> None:
        """Stop listening."""
        self._socket.close()


_Test = Callable[[], None]


class Suite:
    """The tests of one file: `@suite.test("name")` on each, then `suite.main()`."""

    def __init__(self, setup: Optional[_Test] = None, teardown: Optional[_Test] = None, limit_s: int = 240) -> None:
        self._setup, self._teardown, self._limit = setup, teardown, limit_s
        self._tests: list[tuple[str, _Test, int]] = []
        self.expected: list[re.Pattern[str]] = []
        """Kernel lines that look bad and are not."""

    def test(self, name: str, limit_s: int = 0) -> Callable[[_Test], _Test]:
        """Add a test; it fails when it takes longer than LIMIT_S."""
        def add(function: _Test) -> _Test:
            self._tests.append((name, function, limit_s or self._limit))
            return function
        return add

    def _bad_lines(self, log: Kmsg) -> list[str]:
        return [line for line in log.lines() if _BAD_KERNEL_LINE.search(line)
                and not any(pattern.search(line) for pattern in self.expected)]

    def _one(self, function: _Test, limit_s: int) -> str:
        """Run one test; the empty string, or `SKIP why`, or what went wrong."""
        log = Kmsg()
        try:
            with _limit(limit_s * _SLACK * _FLIES * (20 if LONG else 1)):
                function()
            problem = ""
        except Skip as skip:
            return f"SKIP {skip}"
        except Failure as failure:
            problem = str(failure)
        except Exception:  # pylint: disable=broad-except
            problem = traceback.format_exc()
        bad = self._bad_lines(log)
        log.close()
        if bad:
            problem = "\n".join([problem, "the kernel complained:", *bad[:10]]).strip()
        return problem

    def main(self) -> None:
        """Run the tests and end the process."""
        print(f"KTAP version 1\n1..{len(self._tests)}", flush=True)
        failed = False
        before = self._one(self._setup, self._limit) if self._setup else ""
        for number, (name, function, limit_s) in enumerate(self._tests, 1):
            start = time.monotonic()
            result = before or self._one(function, limit_s)
            if result.startswith("SKIP "):
                print(f"ok {number} - {name} # {result}", flush=True)
                continue
            if result:
                failed = True
                note(("setup: " if before else "") + result)
            print(f"{'not ok' if result else 'ok'} {number} - {name}", flush=True)
            note(f"{time.monotonic() - start:.1f} s")
        if self._teardown:
            result = self._one(self._teardown, self._limit)
            if result and not before:
                failed = True
                note(f"teardown: {result}")
        sys.stdout.flush()
        # Threads and children that hang must not keep the suite from ending.
        os._exit(1 if failed else 0)


@contextlib.contextmanager
def _limit(seconds: int) -> Iterator[None]:
    def ring(number: int, frame: Optional[FrameType]) -> None:
        raise Failure(f"no end after {seconds} s; blocked tasks:\n{blocked_tasks()}")

    old = signal.signal(signal.SIGALRM, ring)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, old)


def blocked_tasks() -> str:
    """Kernel stacks of the tasks that cannot be killed, to see what hangs."""
    found = []
    for task in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if "\nState:\tD" in (task / "status").read_text():
                found.append((task / "comm").read_text().strip() + f" [{task.name}]\n" + (task / "stack").read_text())
    return "\n".join(found) or "none"


class Fio:
    """A fio job that runs in the background; it does I/O when the constructor returns."""

    _count = 0

    def __init__(self, filename: str, sections: Sequence[dict[str, object]] = (), realtime: bool = False,
                 **options: object) -> None:
        """One job with OPTIONS, or SECTIONS one after the other, each with OPTIONS and its own.

        REALTIME keeps what else wants the processor out of its latencies.
        """
        if not Fio._count:
            # Where time is instructions what is measured is not to begin with reading the program.
            sh("fio", "--version")
        Fio._count += 1
        self._out = Path(f"/tmp/fio-{os.getpid()}-{Fio._count}.json")
        job = self._out.with_suffix(".job")
        chosen: dict[str, object] = {
            "filename": filename, "ioengine": "libaio", "direct": 1, "bs": "4k", "rw": "randread", "iodepth": 8,
            "thread": 1, "randseed": 1, "stonewall": None, **options}
        lines = ["[global]", *map(_option, chosen.items())]
        for number, section in enumerate(sections or [{}]):
            lines += [f"[load{number}]", *map(_option, section.items())]
        job.write_text("\n".join(lines) + "\n")
        before = ios(filename)
        self._stopped = False
        self._process = subprocess.Popen([*(("chrt", "-f", "50") if realtime else ()), "fio",
                                          "--output-format=json", f"--output={self._out}", str(job)],
                                         stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                                         start_new_session=True)
        # It takes seconds to start here, and a signal before that kills it.
        with contextlib.suppress(Failure):
            wait_until(lambda: not self.running or ios(filename) > before + 4, 120, "")

    @property
    def running(self) -> bool:
        """It has not ended yet."""
        return self._process.poll() is None

    def stop(self) -> None:
        """Ask it to end; `result` then says what it did."""
        if self.running:
            self._stopped = True
            self._process.send_signal(signal.SIGINT)

    def kill(self) -> None:
        """End it without a result."""
        if self.running:
            self._process.kill()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(10)

    def _output(self, timeout: float) -> str:
        """What it printed, when it has ended. One that is still starting may lose a signal: it gets it again."""
        early = min(timeout, 45)
        try:
            return str(self._process.communicate(timeout=early)[0])
        except subprocess.TimeoutExpired:
            if timeout <= early:
                raise
        if self._stopped and self.running:
            self._process.send_signal(signal.SIGINT)
        return str(self._process.communicate(timeout=timeout - early)[0])

    def result(self, timeout: float = 120, errors: bool = False) -> dict[str, Any]:
        """Wait for the end and give the first job's record; I/O errors fail unless ERRORS are expected.

        With those expected the record may be empty: fio did not get to the end of writing it.
        """
        try:
            output = self._output(timeout)
        except subprocess.TimeoutExpired:
            stacks = blocked_tasks()
            self._process.kill()
            raise Failure(f"fio did not end in {timeout:g} s; blocked tasks:\n{stacks}") from None
        text = self._out.read_text(errors="replace") if self._out.exists() else ""
        start = text.find("{")
        if start < 0:
            if errors:
                return {}
            raise Failure(f"fio left no result (status {self._process.returncode}): {output.strip()}\n{text}")
        # What follows: a second signal makes it print a second time, and a device that has gone leaves remarks.
        try:
            records: list[dict[str, Any]] = json.JSONDecoder().raw_decode(text, start)[0]["jobs"]
        except ValueError:
            # A second signal, or the loss of its devices, ended it while it wrote.
            if errors:
                return {}
            raise Failure(f"fio's result is cut off (status {self._process.returncode}): {output.strip()}\n{text}") from None
        self._out.unlink()
        wrong = [record["error"] for record in records if record["error"]]
        if not errors and (wrong or self._process.returncode not in (0, 128 if self._stopped else 0)):
            raise Failure(f"fio: error {[errno_name(error) for error in wrong]} status {self._process.returncode}\n"
                          f"{text[:start]}{output}")
        return records[0]


def _option(item: tuple[str, object]) -> str:
    return item[0] if item[1] is None else f"{item[0]}={item[1]}"


def ios(node: str) -> int:
    """Reads and writes that a block device has completed or has now: a slow one may complete none for long."""
    try:
        words = Path("/sys/class/block", os.path.basename(os.path.realpath(node)), "stat").read_text().split()
    except OSError:
        return 0
    return int(words[0]) + int(words[4]) + int(words[8])


def fio(filename: str, sections: Sequence[dict[str, object]] = (), timeout: float = 120,
        **options: object) -> dict[str, Any]:
    """Run fio to its end."""
    return Fio(filename, sections, False, **options).result(timeout)


def p99_us(record: dict[str, Any], direction: str = "read") -> float:
    """99th percentile of the latency from submission to completion, in microseconds, of a job with lat_percentiles=1."""
    return float(record[direction]["lat_ns"]["percentile"]["99.000000"]) / 1000
