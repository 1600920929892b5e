# SPDX-License-Identifier: GPL-2.0
"""The command line that the Makefile calls: `python3 -m lab COMMAND`."""

from __future__ import annotations

import argparse
import os
import signal
import sys
from collections.abc import Callable
from types import FrameType
from typing import Optional

from . import commands, progress
from .errors import LabError

_Command = Callable[[argparse.Namespace], int]


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python3 -m lab", description="The machine to try SCST on.")
    commands_ = parser.add_subparsers(dest="command", required=True)

    def add(function: _Command) -> argparse.ArgumentParser:
        name = function.__name__.replace("_", "-")
        sub = commands_.add_parser(name, help=(function.__doc__ or "").splitlines()[0])
        sub.set_defaults(function=function)
        return sub

    add(commands.setup).add_argument("--all", action="store_true", help="also the 7.3 tree and the debug kernel")
    add(commands.modules).add_argument("series", nargs="*", default=["7.2"], help="7.2, 7.3 or debug")
    add(commands.run)
    bench = add(commands.bench)
    bench.add_argument("--profile", action="store_true", help="also say where the instructions go")
    bench.add_argument("--ios", type=int, default=20000, help="4 KiB I/Os a job")
    bench.add_argument("--stack", action="append", choices=("ours", "lio", "scsi_debug", "null_blk"),
                       help="only this one (may be repeated)")
    bench.add_argument("--transport", action="append", choices=("scst_local", "tcm_loop", "srp"),
                       help="only stacks with this one (may be repeated)")
    for function in (commands.test, commands.soak):
        sub = add(function)
        sub.add_argument("part", nargs="*", help="only these parts or tests")
    shell = add(commands.shell)
    shell.add_argument("--debug", action="store_true", help="the debug kernel")
    add(commands.kunit)
    add(commands.check)
    add(commands.docs)
    add(commands.dkms)
    add(commands.pin).add_argument("series", help="kernel series, for instance 7.2")
    add(commands.prune).add_argument("--days", type=int, default=30)
    add(commands.distclean)
    return parser


def _terminated(number: int, frame: Optional[FrameType]) -> None:
    raise KeyboardInterrupt


def main() -> int:
    """Run one command; errors that a user can mend are printed without a traceback."""
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _terminated)
    arguments = _parser().parse_args()
    try:
        return int(arguments.function(arguments))
    except LabError as error:
        progress.say(f"\nlab: {error}")
        return 1
    except KeyboardInterrupt:
        progress.say("\nlab: interrupted")
        return 130
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1


if __name__ == "__main__":
    sys.exit(main())
