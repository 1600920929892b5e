#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""Run the tests named one after the other, and print where each begins and how it ends.

One in Python runs in a fork of this process, which has loaded what all of them import: to start an interpreter for it would take
an emulated processor a second.
"""

from __future__ import annotations

import importlib.machinery
import os
import subprocess
import sys
import types
from pathlib import Path

sys.path[0] = os.getcwd()
import lib  # noqa: E402,F401 pylint: disable=wrong-import-position,unused-import
import scst  # noqa: E402,F401 pylint: disable=wrong-import-position,unused-import


def _become(path: str) -> None:
    """What an interpreter does that is given the script PATH."""
    loader = importlib.machinery.SourceFileLoader("__main__", path)
    main = types.ModuleType("__main__")
    main.__file__, main.__loader__ = path, loader
    sys.modules["__main__"], sys.argv = main, [path]
    exec(loader.get_code("__main__"), main.__dict__)  # pylint: disable=exec-used


def run() -> None:
    """All of them; in a child, its test."""
    for test in sys.argv[1:]:
        print(f"##lab begin {test}", flush=True)
        Path("/dev/kmsg").write_text(f"lab: begin {test}\n")
        path = os.path.join(os.getcwd(), test)
        if test.endswith(".py"):
            child = os.fork()
            if not child:
                _become(path)
                return
            status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        else:
            status = subprocess.run([path], check=False).returncode
        print(f"##lab end {test} {status}", flush=True)


if __name__ == "__main__":
    run()
