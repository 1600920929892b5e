# SPDX-License-Identifier: GPL-2.0
"""The command line that the Makefile calls: `python3 -m lab COMMAND`."""

from __future__ import annotations

import argparse
import contextlib
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Optional

from . import commands, proc, progress
from .errors import LabError

_Command = Callable[[argparse.Namespace], int]
_ENDINGS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python3 -m lab", description="The machine to try SCST on.")
    commands_ = parser.add_subparsers(dest="command", required=True)

    def add(function: _Command) -> argparse.ArgumentParser:
        name = function.__name__.replace("_", "-")
        sub = commands_.add_parser(name, help=(function.__doc__ or "").splitlines()[0])
        sub.set_defaults(function=function)
        return sub

    add(commands.setup).add_argument("--all", action="store_true", help="also the 7.3 kernel and the debug kernel")
    add(commands.modules).add_argument("series", nargs="*", default=["7.2"], help="7.2, 7.3 or debug")
    add(commands.run)
    bench = add(commands.bench)
    bench.add_argument("--profile", action="store_true", help="also say where the instructions go")
    bench.add_argument("--ios", type=int, default=20000, help="4 KiB I/Os a job")
    bench.add_argument("--stack", action="append", choices=("ours", "lio", "scsi_debug", "null_blk"),
                       help="only this one (may be repeated)")
    bench.add_argument("--transport", action="append", choices=("scst_local", "tcm_loop", "srp", "fc"),
                       help="only stacks with this one (may be repeated)")
    for function in (commands.test, commands.soak):
        sub = add(function)
        sub.add_argument("part", nargs="*", help="only these parts, jobs or tests")
        if function is commands.test:
            sub.add_argument("--fresh", action="store_true", help="run also what has passed and has not changed since")
    shell = add(commands.shell)
    shell.add_argument("--debug", action="store_true", help="the debug kernel")
    shell.add_argument("--fc", type=int, default=0, metavar="N", help="so many Fibre Channel adapters of one fabric")
    add(commands.kunit)
    add(commands.check)
    add(commands.docs)
    add(commands.dkms)
    add(commands.pin).add_argument("series", help="kernel series, for instance 7.2")
    add(commands.prune).add_argument("--days", type=int, default=30)
    add(commands.distclean)
    return parser


def _interrupted(number: int, frame: Optional[FrameType]) -> None:
    """End everything now: threads that wait for what they have started go on and end too."""
    for each in _ENDINGS:
        signal.signal(each, signal.SIG_IGN)
    progress.silence()
    proc.stop()
    raise KeyboardInterrupt


def _status(pid: int) -> dict[str, str]:
    """/proc/PID/status; OSError if there is no such process."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return {key: value.strip() for key, _, value in (line.partition(":") for line in lines)}


def _catches_interrupts(pid: int) -> bool:
    status = _status(pid)
    return not status["State"].startswith("Z") and bool(int(status["SigCgt"], 16) >> signal.SIGINT - 1 & 1)


def _make() -> int:
    """The make that has started us, itself or by a shell; 0 if none has."""
    pid = os.getppid()
    for _ in range(2):
        name = Path(f"/proc/{pid}/comm").read_text().strip()
        if "make" in name:
            return pid
        if name not in ("sh", "dash", "bash"):
            break
        pid = int(_status(pid)["PPid"])
    return 0


def _follow_make() -> None:
    """End when make is told to. It does not pass a SIGINT on: it takes its handler away and waits for us."""
    parent = os.getppid()
    try:
        make = _make()
        if not make or not _catches_interrupts(make):
            return
    except OSError:
        return

    def follow() -> None:
        with contextlib.suppress(OSError):
            while os.getppid() == parent and _catches_interrupts(make):
                time.sleep(0.3)
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=follow, daemon=True).start()


def main() -> int:
    """Run one command; errors that a user can mend are printed without a traceback."""
    arguments = _parser().parse_args()
    # Also where SIGINT is ignored, as a shell without job control has it for what it runs in the background.
    for number in _ENDINGS:
        signal.signal(number, _interrupted)
    _follow_make()
    try:
        return int(arguments.function(arguments))
    except LabError as error:
        progress.say(f"\nlab: {error}")
        return 1
    except KeyboardInterrupt:
        progress.say("\nlab: interrupted")
        # Not through the interpreter's end: a thread may wait for a lock that somebody else has.
        os._exit(130)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1


if __name__ == "__main__":
    sys.exit(main())
