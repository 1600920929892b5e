# SPDX-License-Identifier: GPL-2.0
"""What a hostile initiator's tricks are judged by: the well-behaved session beside it, and what became of each trick."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from typing import Optional

import srp
import srp_raw as raw
from lib import Fio, Kmsg, check, equal, fio, note, scaled, wait_until
from srp import Link
from srp_target import Ours, Target

_LINK = Link(0)
_MARKER = 0xA11FE
NULL_LUN, SLOW_LUN = raw.wire_lun(1), raw.wire_lun(2)
"""LUNs for tricks; LUN 0 is the witness's."""


class Witness:
    """The well-behaved session: it has a verifying load."""

    def __init__(self) -> None:
        self.port_id = b""
        """Its initiator port, as the target says."""
        self._host: Optional[srp.Host] = None
        self._load: Optional[Fio] = None

    def begin(self, rate: int = scaled(50, 400)) -> None:
        """Log in and start the load, of RATE writes a second, which are read again in a quarter of the time."""
        log = Kmsg()
        self._host = srp.login(_LINK, ch_count=2)
        found = re.search(r"i_port_id ([0-9a-f:]+)", "\n".join(log.lines()))
        log.close()
        self.port_id = bytes.fromhex(found[1].replace(":", "").replace("0x", "")) if found else b""
        self._load = Fio(self._host.disk(0), rw="randwrite", iodepth=4, size="4m", verify="crc32c", verify_fatal=1,
                         time_based=None, runtime=86400, rate_iops=f"{4 * rate},{rate}")

    def _ios(self) -> int:
        assert self._host is not None
        words = open(f"/sys/block/{os.path.basename(self._host.disk(0))}/stat", encoding="ascii").read().split()
        return int(words[0]) + int(words[4])

    def check(self) -> None:
        """The load has seen nothing, and goes on."""
        assert self._host is not None and self._load is not None
        check(self._load.running, "the load of the well-behaved session ended")
        before = self._ios()
        wait_until(lambda: self._ios() > before + 8, 60, "the well-behaved session has no I/O any more")
        equal(self._host.state(), "running", "state of its port")

    def end(self) -> None:
        """Stop and judge."""
        assert self._host is not None and self._load is not None
        self._load.stop()
        self._load.result()
        fio(self._host.disk(0), rw="randread", number_ios=200)
        self._host.logout()


def wait_alone(target: Target, seconds: float = 30) -> None:
    """Nothing is left of the hostile sessions."""
    if isinstance(target, Ours):
        wait_until(lambda: len(target.sessions(_LINK)) == 1, seconds, f"sessions: {target.sessions(_LINK)}")


class Outcomes:
    """What became of one request after the other; a channel that ended is replaced.

    An outcome is `done`, `refused` and how (sense key/ASC/ASCQ, or `code` and the response code), `silent`, or `ended`
    and the reason of the SRP_T_LOGOUT before it if there was one. What is expected of ours is the beginning of that.
    """

    def __init__(self, target: Target, expected: Sequence[str] = ()) -> None:
        self._ours, self._expected = target.name == "ours", expected
        self._channel: Optional[raw.Channel] = None
        self._counts: dict[str, list[str]] = {}
        self._told = 0
        self._log = Kmsg()

    @property
    def channel(self) -> raw.Channel:
        """A channel that is logged in, and has seen the unit attentions."""
        if self._channel is None:
            self._channel = raw.login(_LINK)
            for lun in (bytes(8), NULL_LUN, SLOW_LUN):
                self._channel.ask(raw.command(_MARKER, raw.TEST_UNIT_READY, lun=lun))
        return self._channel

    def drop(self) -> None:
        """Have another channel for the next."""
        if self._channel is not None:
            self._channel.close()
            self._channel = None

    def send(self, name: str, unit: bytes, *expected: str) -> Optional[raw.Response]:
        """Send and see; a request behind it shows whether the channel still works."""
        answer = marker = None
        channel = self.channel
        limit = channel.credits
        channel.send(unit)
        channel.send(raw.command(_MARKER, raw.TEST_UNIT_READY, lun=NULL_LUN))
        while marker is None or answer is None:
            found = channel.response(10 if marker is None else 3)
            if found is None:
                break
            if found.tag == _MARKER:
                marker = found
            else:
                answer = found
        if answer is not None:
            self.record(name, f"refused {answer}" if answer.refused else "done", *expected)
        elif channel.ended(0.05 if marker else 10):
            self.record(name, "ended" if channel.logout_reason is None else f"ended {channel.logout_reason}", *expected)
        else:
            self.record(name, "silent", *expected)
        if marker is None:
            self.drop()
        elif answer is not None:
            check(not self._ours or channel.credits == limit, f"{name}: request limit {limit} -> {channel.credits}")
        return answer

    def record(self, name: str, outcome: str, *expected: str) -> None:
        """Note an outcome, and judge it if it is our target's."""
        self._counts.setdefault(outcome, []).append(name)
        self._told += outcome.startswith("ended ")
        wanted = expected or self._expected
        check(not self._ours or outcome.startswith(tuple(wanted)), f"{name}: {outcome}, want {' or '.join(wanted)}")

    def __enter__(self) -> "Outcomes":
        return self

    def __exit__(self, *_: object) -> None:
        self.drop()
        for outcome, names in self._counts.items():
            note(f"{outcome}: {', '.join(names[:8])}{' ...' * (len(names) > 8)}")
        lines = [line for line in self._log.lines() if "Closing a channel of" in line]
        self._log.close()
        check(not self._ours or len(lines) == self._told,
              f"{self._told} channels were told why they end, the log has:\n" + "\n".join(lines))
