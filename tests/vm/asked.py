# SPDX-License-Identifier: GPL-2.0
"""The machine's side of `lab.pair.Asked`: do what the host asks, one thing after the other, and say how it went."""

from __future__ import annotations

import time
import traceback
from collections.abc import Callable, Mapping
from pathlib import Path

from lib import Failure

_SHARE = Path("/lab/share")


def serve(can: Mapping[str, Callable[..., object]], seconds: float) -> None:
    """Answer until asked to `end`; questions are a name of CAN with words. Give up after SECONDS without any."""
    number = 1
    while True:
        question = _SHARE / f"ask.{number}"
        end = time.monotonic() + seconds
        while not question.exists():
            if time.monotonic() > end:
                raise Failure(f"nothing was asked for {seconds:g} s")
            time.sleep(0.05)
        name, *words = question.read_text().split()
        if name == "die":
            print(f"{number} kill me", flush=True)
            time.sleep(seconds)
        print(f"{number} {_answer(can[name], words) if name != 'end' else 'ok'}", flush=True)
        if name == "end":
            return
        number += 1


def _answer(function: Callable[..., object], words: list[str]) -> str:
    try:
        result = function(*words)
        return f"ok {result or ''}".strip()
    except Failure as failure:
        return "failed " + " / ".join(str(failure).splitlines())
    except Exception:  # pylint: disable=broad-except
        return "failed " + " / ".join(traceback.format_exc().splitlines())
