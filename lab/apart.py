# SPDX-License-Identifier: GPL-2.0
"""The README's chapter on the SRP target, typed as it stands there: target and initiator in a machine each."""

from __future__ import annotations

import dataclasses
import re
import shlex
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Optional

from . import pair, paths, vm

_CHAPTER = "### An SRP target"
_TARGET, _INITIATOR = 0, 1
_NAMES = ("target", "initiator")
# Where the chapter's blocks are typed, in their order.
_PLACES = ((_TARGET, _INITIATOR), (_TARGET,), (_INITIATOR,), (_TARGET,), (_INITIATOR,), (_TARGET,))

# What fio prints besides.
_DETAIL = re.compile(r" (?! *read: )|Jobs: |Starting |Run status|Disk stats|srp: |fio-|$")

# The network card that the chapter speaks of.
_CARD = """modprobe virtio_net
until [ -e /sys/class/net/eth0 ]; do sleep 0.1; done
ip link set eth0 address 52:54:00:00:00:0%(number)d
ip addr add 192.168.5.%(number)d/24 dev eth0
ip link set eth0 up
mkdir -p /srv
"""


def blocks() -> list[list[str]]:
    """The commands of the chapter, by block."""
    after = (paths.REPO / "README.md").read_text().partition(_CHAPTER)[2]
    chapter = re.split(r"(?m)^##", after, maxsplit=1)[0]
    return [[line for line in block.splitlines() if line.strip() and not line.startswith("#")]
            for block in re.findall(r"^```sh\n(.*?)^```$", chapter, re.M | re.S)]


# Between two commands: the kernel makes a disk, and takes a remote port away, a little after it was told to. Type 0 is a disk.
_MOMENT = """moment() {
	local device
	sleep 0.5
	for device in /sys/class/scsi_device/*/device; do
		while [ "$(cat "$device/type" 2> /dev/null)" = 0 ] && [ ! -e "$device/block" ]; do sleep 0.1; done
	done
}
"""
# A login waits for the target's address for a second only, which need not be enough for two machines on a busy host.
_REACHED = "for try in $(seq 100); do busybox ping -c 1 -W 1 192.168.5.1 > /dev/null && break; done"
_GONE = "while [ -n \"$(ls /sys/class/srp_remote_ports)\" ]; do sleep 0.1; done"


def _job(side: int, then: str) -> str:
    """What a machine does: each of its blocks when it is told to, a moment between commands; THEN whatever else."""
    script = ["#!/bin/bash", "set -e", _CARD % {"number": side + 1}, _MOMENT]
    for number, (block, places) in enumerate(zip(blocks(), _PLACES)):
        if side in places:
            script.append(f"until [ -e /lab/share/go-{number} ]; do sleep 0.1; done")
            if (side, number) == (_INITIATOR, 2):
                script.append(_REACHED)
            for command in block:
                script += [f"echo {shlex.quote('$ ' + command)}", command, "moment"]
                if "/delete" in command:
                    script.append(_GONE)
            script.append(f"echo '##lab done {number}'")
    return "\n".join([*script, then]) + "\n"


@dataclasses.dataclass(frozen=True)
class Report:
    """What both machines printed, a line each in the order in which they came, and what went wrong, if anything."""

    lines: list[tuple[str, str]]
    problem: str

    def text(self) -> str:
        """For a person; of fio's report the rate."""
        return "\n".join(f"  {name + ':':11}{line}" for name, line in self.lines if not _DETAIL.match(line))


class Story:
    """Tells the machines when it is their turn."""

    def __init__(self, modules: Path, then: Sequence[str] = ("", ""), extra: Sequence[Path] = ()) -> None:
        """THEN is what each does when it has typed its last block, in shell; EXTRA is for that."""
        cable = pair.Cable("apart")
        self.machines = [vm.Machine(f"apart-{name}", _job(side, then[side]),
                                    vm.Config(cpus=1, modules=modules if side == _TARGET else None, extra=extra,
                                              qemu=cable.end(side), timeout=900))
                         for side, name in enumerate(_NAMES)]
        self.lines: list[tuple[str, str]] = []
        """What both have printed of the chapter: which machine, and what."""
        self.typed = False
        """The chapter is typed to its end."""
        self._lock = threading.Lock()
        self._done: list[tuple[int, int]] = []
        self._start(0)

    def _start(self, number: int) -> None:
        self.typed = number == len(_PLACES)
        if not self.typed:
            for side in _PLACES[number]:
                pair.tell(self.machines[side], f"go-{number}")

    def line(self, side: int, line: str) -> bool:
        """A line that a machine has printed; whether it is to be killed."""
        with self._lock:
            if self.typed:
                return self.further(side, line)
            if not line.startswith("##lab done "):
                self.lines.append((_NAMES[side], line))
                return False
            number = int(line.split()[2])
            self._done.append((number, side))
            if all((number, each) in self._done for each in _PLACES[number]):
                self._start(number + 1)
        return False

    def further(self, side: int, line: str) -> bool:
        """As `line`, of what comes after the chapter: nothing here."""
        del side, line
        return False

    def ended(self, side: int) -> None:
        """A machine has ended."""

    def run(self) -> list[vm.Result]:
        """Run both machines to their end."""
        return pair.run([(machine, lambda line, side=side: self.line(side, line))
                         for side, machine in enumerate(self.machines)], self.ended)

    def report(self, results: Sequence[Optional[vm.Result]]) -> Report:
        """On the chapter; RESULTS are those of the machines, None where one says nothing of the chapter."""
        problems = [f"{name}: {result.problem()}" for name, result in zip(_NAMES, results) if result and not result.ok]
        if not self.typed:
            problems.append(f"the chapter was typed up to {self._done}")
        return Report(self.lines, "\n".join(problems))


def wrong_form() -> str:
    """What is wrong with the chapter's form, if anything."""
    return "" if len(blocks()) == len(_PLACES) else f"the README's chapter has {len(blocks())} blocks, not {len(_PLACES)}"


def run(modules: Path) -> Report:
    """Type the chapter."""
    if wrong_form():
        return Report([], wrong_form())
    story = Story(modules)
    return story.report(story.run())
