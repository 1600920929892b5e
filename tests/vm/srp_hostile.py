#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
# lab: group=srphostile timeout=240 mem=2G soak=yes
"""SRP: an initiator that breaks the rules harms nobody but itself.

While it does, a well-behaved session has a verifying load, and after each of its tricks that load still moves. What SRP
says of an answer is asked of our target; of LIO's it is only noted, and what crashes it is not tried on it: in 7.2 a
descriptor of length 0 is enough (sgl_alloc_order), or data in both directions.
"""

from __future__ import annotations

import contextlib
import os
import random
import struct
import time
from collections.abc import Callable, Sequence
from typing import Optional

import scst
import srp
import srp_raw as raw
import srp_target
from lib import Fio, check, equal, fio, note, scaled, sh, wait_until
from srp import Link
from srp_target import Target

_LINK = Link(0)
_ODD = 0x1234567800000000
_MARKER = 0xA11FE


class Witness:
    """The well-behaved session."""

    def __init__(self) -> None:
        self._host: Optional[srp.Host] = None
        self._load: Optional[Fio] = None

    def begin(self) -> None:
        """Log in and start the load."""
        self._host = srp.login(_LINK, ch_count=2)
        self._load = Fio(self._host.disk(0), rw="randwrite", iodepth=4, size="4m", verify="crc32c", verify_fatal=1,
                         time_based=None, runtime=3600, rate_iops="100000,400")

    def _ios(self) -> int:
        assert self._host is not None
        words = open(f"/sys/block/{os.path.basename(self._host.disk(0))}/stat", encoding="ascii").read().split()
        return int(words[0]) + int(words[4])

    def check(self) -> None:
        """The load has seen nothing, and goes on."""
        assert self._host is not None and self._load is not None
        check(self._load.running, "the load of the well-behaved session ended")
        before = self._ios()
        wait_until(lambda: self._ios() > before + 8, 20, "the well-behaved session has no I/O any more")
        equal(self._host.state(), "running", "state of its port")

    def end(self) -> None:
        """Stop and judge."""
        assert self._host is not None and self._load is not None
        self._load.stop()
        self._load.result()
        fio(self._host.disk(0), rw="randread", number_ios=200)
        self._host.logout()


witness = Witness()


def setup(target: Target) -> None:
    """A file, a disk that stores nothing, and somebody who uses the first."""
    sh("modprobe", "-a", "ib_uverbs", "rdma_ucm")
    target.add("fileio", "file0", 0, scst.image("/tmp/file0", 64))
    target.add("nullio", "null0", 1)
    target.enable(_LINK)
    witness.begin()


# A process that has had a verbs context open keeps its RDMA device busy.
plan = srp_target.Plan(setup, limit_s=120, keep_links=True)


def _trick(name: str, only: Sequence[str] = ()) -> Callable[[Callable[[Target], None]], None]:
    """A test after which the witness must be as well as before."""
    def add(function: Callable[[Target], None]) -> None:
        @plan.test(name, only=only)
        def _(target: Target) -> None:
            function(target)
            witness.check()
    return add


class Outcomes:
    """What became of one request after the other; a channel that ended is replaced."""

    def __init__(self, target: Target, expected: Sequence[str]) -> None:
        """EXPECTED of our target: refused (a response that says no), done (one that does not), ended, silent."""
        self._target, self._expected = target, expected
        self._channel: Optional[raw.Channel] = None
        self._counts: dict[str, list[str]] = {}

    @property
    def channel(self) -> raw.Channel:
        """A channel that is logged in."""
        if self._channel is None:
            self._channel = raw.login(_LINK)
        return self._channel

    def drop(self) -> None:
        """Have another channel for the next."""
        if self._channel is not None:
            self._channel.close()
            self._channel = None

    def send(self, name: str, unit: bytes, expected: Sequence[str] = ()) -> None:
        """Send and see; a request behind it shows whether the channel still works."""
        answer = marker = None
        try:
            self.channel.send(unit)
            self.channel.send(raw.command(_MARKER, raw.TEST_UNIT_READY, lun=raw.wire_lun(1)))
            while marker is None or answer is None:
                found = self.channel.response(5 if marker is None else 0.2)
                if found is None:
                    break
                if found.tag == _MARKER:
                    marker = found
                else:
                    answer = found
        except Exception as error:  # pylint: disable=broad-except
            if not self.channel.dead:
                self.record(name, f"error {error}", expected)
                return
        if answer is not None:
            self.record(name, "refused" if answer.refused else "done", expected, str(answer))
        elif self.channel.ended(0.05 if marker else 3):
            self.record(name, "ended", expected)
        else:
            self.record(name, "silent", expected)
        if marker is None:
            self.drop()

    def record(self, name: str, outcome: str, expected: Sequence[str] = (), detail: str = "") -> None:
        """Note an outcome, and judge it if it is our target's."""
        self._counts.setdefault(outcome, []).append(name)
        if outcome == "ended":
            self.drop()
        if self._target.name == "ours":
            wanted = expected or self._expected
            check(outcome in wanted, f"{name}: {outcome} {detail}, want {' or '.join(wanted)}")

    def __enter__(self) -> "Outcomes":
        return self

    def __exit__(self, *_: object) -> None:
        self.drop()
        for outcome, names in self._counts.items():
            note(f"{outcome}: {', '.join(names[:12])}{' ...' * (len(names) > 12)}")


@_trick("logins that ask for what is not to be had are rejected")
def logins(target: Target) -> None:
    cases = {
        "IU length 1 MiB": (raw.login_request(iu_length=1 << 20), 0x10002),
        "IU length 63": (raw.login_request(iu_length=63), None),
        "IU length 0": (raw.login_request(iu_length=0), None),
        "IU length 4 GiB - 1": (raw.login_request(iu_length=0xFFFFFFFF), 0x10002),
        "unknown buffer formats only": (raw.login_request(formats=0x8000), 0x10004),
        "another target port": (raw.login_request(target=b"somebody elses!!"), None),
        "not a login": (raw.login_request(opcode=raw.CMD), None),
        "one byte": (b"\0", None),
        "55 bytes": (raw.login_request()[:55], None),
    }
    for name, (private, reason) in cases.items():
        channel = raw.Channel(_LINK)
        try:
            channel.request(private)
            channel.wait_accepted()
            note(f"{name}: accepted")
            check(target.name != "ours", f"{name}: accepted")
        except raw.Rejected as rejected:
            note(f"{name}: {rejected}")
            if reason is not None and target.name == "ours":
                equal(rejected.reason, reason, f"reason for: {name}")
        finally:
            channel.close(disconnect=False)


@_trick("half-open logins, many at once, abandoned")
def half_open(target: Target) -> None:
    for _ in range(scaled(1, 40)):
        channels = []
        rejected = 0
        for number in range(scaled(40, 100)):
            channel = raw.Channel(_LINK)
            channels.append(channel)
            channel.request(raw.login_request(), queue_pair=number % 8 == 0)
        for channel in channels:
            try:
                channel.wait_accepted()
            except raw.Rejected:
                rejected += 1
        witness.check()
        for channel in channels:
            channel.close(disconnect=False)
    note(f"{rejected} of the last {len(channels)} rejected")
    with contextlib.closing(raw.login(_LINK)) as channel:
        answer = channel.ask(raw.command(1, raw.TEST_UNIT_READY))
        check(answer is not None, "no answer after half-open logins")


@_trick("commands before the login is complete")
def early(target: Target) -> None:
    for finish in (True, False):
        channel = raw.login(_LINK, complete=False)
        for tag in range(4):
            channel.send(raw.command(tag + 1, raw.TEST_UNIT_READY))
        if finish:
            time.sleep(0.2)
            channel.complete()
            tags = sorted(answer.tag for answer in (channel.response(3) for _ in range(4)) if answer)
            note(f"answered: {tags}")
            check(target.name != "ours" or tags == [1, 2, 3, 4], f"answered: {tags}")
        channel.close(disconnect=finish)


@_trick("truncated information units", only=("ours",))
def truncated(target: Target) -> None:
    with Outcomes(target, ("refused", "ended", "silent")) as see:
        whole = raw.command(77, raw.INQUIRY)
        for length in (1, 4, 8, 15, 16, 24, 47):
            see.send(f"SRP_CMD of {length}", whole[:length])
        for length in (1, 16, 47):
            see.send(f"SRP_TSK_MGMT of {length}", raw.task_management(78, raw.ABORT_TASK)[:length])
        for length in (0, 1, 8, 15):
            table = raw.descriptor(0, 0, 96)[:length]
            see.send(f"a descriptor of {length}", raw.command(79, raw.INQUIRY, table, in_format=raw.DIRECT),
                     ("refused", "ended"))
        for length in (0, 16, 19):
            table = raw.indirect(raw.descriptor(0, 0, 16), 96)[:length]
            unit = raw.command(80, raw.INQUIRY, table, in_format=raw.INDIRECT, in_count=1)
            see.send(f"an indirect table descriptor of {length}", unit, ("refused", "ended"))
        see.send("an additional CDB that is not there", raw.command(81, raw.INQUIRY, additional=63), ("refused", "ended"))


@_trick("oversized information units")
def oversized(target: Target) -> None:
    with Outcomes(target, ("refused", "done", "ended")) as see:
        whole = raw.command(90, raw.TEST_UNIT_READY)
        for length in (64, 4096, 4097, 8192, 16384):
            see.send(f"{length} bytes", whole.ljust(length, b"\xa5"))
            see.drop()


@_trick("descriptor counts and lengths that do not fit together", only=("ours",))
def counts(target: Target) -> None:
    with Outcomes(target, ("refused", "ended")) as see:
        buffer = raw.Buffer(see.channel, 65536)
        part = buffer.descriptor(0, 4096)
        table = raw.descriptor(buffer.address + 32768, buffer.key, 16)

        def read(name: str, what: bytes, count: int, form: int = raw.INDIRECT) -> None:
            see.send(name, raw.command(100, raw.read10(0, 8), what, in_format=form, in_count=count))

        read("255 of 1", raw.indirect(table, 4096, [part]), 255)
        read("0 of a table of 255", raw.indirect(table[:12] + struct.pack(">I", 255 * 16), 4096), 0)
        read("a table of 17 bytes", raw.indirect(table[:12] + struct.pack(">I", 17), 4096, [part]), 1)
        read("a table of 4 GiB", raw.indirect(table[:12] + b"\xff\xff\xff\xf0", 4096, [part]), 1)
        read("more in all than the parts", raw.indirect(table, 1 << 20, [part]), 1)
        read("4 GiB in all", raw.indirect(table, 0xFFFFFFFF, [part]), 1)
        huge = buffer.descriptor(0, 0xFFFFFFFF)
        full = table[:12] + struct.pack(">I", 3 * 16)
        read("a sum that wraps to 4096", raw.indirect(full, 4096, [huge, buffer.descriptor(0, 1), buffer.descriptor(0, 4096)]), 3)
        read("a sum of 12 GiB", raw.indirect(full, 0xFFFFFFFD, [huge] * 3), 3)
        read("parts of nothing", raw.indirect(full, 4096, [buffer.descriptor(0, 0)] * 3), 3)
        see.drop()


@_trick("the buffer may be larger than the transfer: the rest is a residual")
def residuals(target: Target) -> None:
    with contextlib.closing(raw.login(_LINK)) as channel:
        buffer = raw.Buffer(channel, 65536)
        answer = channel.ask(raw.command(1, raw.INQUIRY, buffer.descriptor(0, 4096), in_format=raw.DIRECT))
        check(answer is not None and not answer.refused, f"INQUIRY into 4096 bytes: {answer}")
        assert answer is not None
        note(f"INQUIRY of 96 bytes into 4096: in residual {answer.in_residual}, flags {answer.flags:#x}")
        check(target.name != "ours" or answer.in_residual >= 4000, f"residual {answer.in_residual}")
        buffer.close()


@_trick("a target's requests, replies and nonsense as opcodes")
def opcodes(target: Target) -> None:
    known = (raw.TSK_MGMT, raw.CMD, raw.I_LOGOUT, raw.CRED_RSP, raw.AER_RSP)
    rng = random.Random(3)
    unknown = [raw.T_LOGOUT, raw.CRED_REQ, raw.AER_REQ, raw.RSP, raw.LOGIN_RSP, raw.LOGIN_REJ, 0x00, 0xFF]
    unknown += [opcode for opcode in rng.sample(range(256), scaled(6, 256)) if opcode not in (*known, *unknown)]
    with Outcomes(target, ("refused", "ended", "silent")) as see:
        for opcode in unknown:
            see.send(f"{opcode:#04x}", bytes([opcode]) + raw.command(110, raw.TEST_UNIT_READY)[1:])
        see.send("SRP_CRED_RSP that nobody asked for", struct.pack(">B7xQ", raw.CRED_RSP, 1))
        see.send("SRP_AER_RSP that nobody asked for", struct.pack(">B7xQ", raw.AER_RSP, 2))


@_trick("buffer formats that there are not, and data in both directions", only=("ours",))
def formats(target: Target) -> None:
    with Outcomes(target, ("refused", "ended")) as see:
        buffer = raw.Buffer(see.channel, 8192)
        for form in (3, 7, 8, 15):
            see.send(f"in {form}", raw.command(120, raw.read10(0, 8), buffer.descriptor(), in_format=form, in_count=1))
            see.send(f"out {form}", raw.command(121, raw.write10(0, 8), buffer.descriptor(), out_format=form, out_count=1))
        both = raw.command(122, raw.read10(0, 8), buffer.descriptor(0, 4096) + buffer.descriptor(4096, 4096),
                           out_format=raw.DIRECT, in_format=raw.DIRECT)
        see.send("both directions", both)
        see.send("a direction that is not the CDB's", raw.command(123, raw.read10(0, 8), buffer.descriptor(0, 4096),
                                                                  out_format=raw.DIRECT), ("refused", "ended", "done"))
        see.drop()


@_trick("memory that the target may not touch")
def wrong_memory(target: Target) -> None:
    with Outcomes(target, ("refused", "ended")) as see:
        for name, cdb, out in (("read", raw.read10(0, 8), 0), ("write", raw.write10(0, 8), raw.DIRECT)):
            for number in range(scaled(2, 50)):
                unit = raw.command(130 + number, cdb, raw.descriptor(0x1000, 0xDEAD0000 + number, 4096),
                                   out_format=out, in_format=0 if out else raw.DIRECT)
                see.send(f"{name} {number}", unit)
                see.drop()


@_trick("more requests than credits")
def credits(target: Target) -> None:
    channel = raw.login(_LINK)
    count = 2 * channel.credits
    for tag in range(count):
        with contextlib.suppress(Exception):
            channel.send(raw.command(tag, raw.TEST_UNIT_READY))
    answered = 0
    while channel.response(2) is not None:
        answered += 1
    note(f"{answered} of {count} answered, the connection {'ended' if channel.ended(0.2) else 'stays'}")
    check(target.name != "ours" or answered >= count // 2 or channel.dead, f"{answered} of {count} answered")
    channel.close()


@_trick("one tag for many commands at a time, aborted")
def duplicates(target: Target) -> None:
    channel = raw.login(_LINK)
    buffer = raw.Buffer(channel, 1 << 20)
    for number in range(16):
        channel.send(raw.command(7, raw.read10(0, 2048), buffer.descriptor(), in_format=raw.DIRECT))
        if number % 4 == 3:
            channel.send(raw.task_management(8, raw.ABORT_TASK, task=7))
    answered = 0
    while channel.response(2) is not None:
        answered += 1
    note(f"{answered} of 20 answered, the connection {'ended' if channel.ended(0.2) else 'stays'}")
    buffer.close()
    channel.close()


@_trick("task management for what is not there")
def tasks(target: Target) -> None:
    nowhere = raw.wire_lun(200)
    with Outcomes(target, ("refused", "ended")) as see:
        see.send("abort a tag that is not there", raw.task_management(140, raw.ABORT_TASK, task=_ODD), ("done", "refused"))
        for function in (raw.ABORT_TASK_SET, raw.CLEAR_TASK_SET, raw.LUN_RESET):
            see.send(f"{function:#x} of LUN 200", raw.task_management(141, function, nowhere))
        for function in (0, 0x03, 0x10, 0x80, 0xFF):
            see.send(f"function {function:#x}", raw.task_management(142, function))
        see.send("LUN of all ones", raw.task_management(143, raw.LUN_RESET, b"\xff" * 8))
        see.send("command to a LUN of all ones", raw.command(144, raw.TEST_UNIT_READY, lun=b"\xff" * 8))
        see.send("CLEAR ACA without one", raw.task_management(145, raw.CLEAR_ACA), ("done", "refused"))


@_trick("SRP_I_LOGOUT ends the connection, with commands outstanding")
def logout(target: Target) -> None:
    channel = raw.login(_LINK)
    buffer = raw.Buffer(channel, 1 << 20)
    for tag in range(8):
        channel.send(raw.command(tag, raw.read10(0, 2048), buffer.descriptor(), in_format=raw.DIRECT))
    channel.send(struct.pack(">B7xQ", raw.I_LOGOUT, 99))
    ended = channel.ended(10)
    note(f"the connection {'ended' if ended else 'stays'}")
    check(ended or target.name != "ours", "the connection is still there 10 s after SRP_I_LOGOUT")
    buffer.close()
    channel.close()


@_trick("an initiator that is gone in the middle of its I/O")
def vanished(target: Target) -> None:
    for number in range(scaled(6, 300)):
        channel = raw.login(_LINK)
        buffer = raw.Buffer(channel, 1 << 20)
        for tag in range(32):
            write = tag % 2
            channel.send(raw.command(tag, raw.write10(65536, 2048) if write else raw.read10(0, 2048), buffer.descriptor(),
                                     out_format=raw.DIRECT * write, in_format=raw.DIRECT * (1 - write), lun=raw.wire_lun(1)))
        if number % 3 == 0:
            buffer.close()
        elif number % 3 == 1:
            channel.response(1)
        channel.close(disconnect=number % 2 == 0)


@_trick("mutated requests", only=("ours",))
def mutated(target: Target) -> None:
    rng = random.Random(1 if scaled(0, 1) == 0 else None)
    ended = 0
    channel = raw.login(_LINK)
    for number in range(scaled(150, 20000)):
        unit = bytearray(rng.choice((
            raw.command(number, raw.read10(0, 8), raw.descriptor(0, 0, 4096), in_format=1, lun=raw.wire_lun(1)),
            raw.command(number, raw.write10(65536, 8), raw.indirect(raw.descriptor(0, 0, 16), 4096,
                                                                    [raw.descriptor(0, 0, 4096)]),
                        out_format=2, out_count=1, lun=raw.wire_lun(1)),
            raw.task_management(number, raw.ABORT_TASK, raw.wire_lun(1), number - 1))))
        for _ in range(rng.randint(1, 6)):
            unit[rng.randrange(len(unit))] = rng.choice((0, 1, 2, 0x7F, 0x80, 0xFF, rng.randrange(256)))
        unit[24:32] = raw.wire_lun(1)  # the disk that stores nothing: the witness's data is not what is tried
        del unit[rng.choice((len(unit),) * 3 + (rng.randrange(1, len(unit)),)):]
        if unit[0] == raw.I_LOGOUT:
            continue
        with contextlib.suppress(Exception):
            channel.send(bytes(unit))
        while channel.receive(0) is not None:
            pass
        if channel.ended(0.01) or channel.credits < -200:
            ended += 1
            channel.close()
            channel = raw.login(_LINK)
    channel.close()
    note(f"the connection ended {ended} times")


@plan.test("after all that, sessions come and go as ever")
def afterwards(target: Target) -> None:
    for _ in range(3):
        with srp.logged_in(_LINK, initiator_ext="77") as host:
            fio(host.disk(1), number_ios=100)
    witness.check()
    witness.end()
    target.wait_idle()


if __name__ == "__main__":
    plan.main()
