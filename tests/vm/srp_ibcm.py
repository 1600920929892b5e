#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
# lab: group=srp cpus=1 timeout=180 soak=yes
"""SRP: login by the InfiniBand connection manager, as on an InfiniBand fabric, from first message to last.

The stock initiator uses it only where a subnet manager tells it the path. The target's side does not need one: the
initiator here is a user-space process that sends the CM's datagrams to the target's queue pair 1 by RoCE, and speaks SRP
on a reliable connection of its own (ibcm.py, roce.py). No RDMA device helps it, so it can leave out what it likes.
"""

from __future__ import annotations

import contextlib
import functools
import itertools
import random
import struct
import threading
import time
from collections.abc import Iterator

import ibcm
import scst
import srp_raw as raw
import srp_target
from ibcm import DREP, DREQ, MRA, REJ, REP, Initiator
from lib import Kmsg, check, equal, note, scaled, wait_until
from slowdisk import SlowDisk
from srp import BareWire, Link
from srp_target import Ours, Target

LINK = BareWire(1)
_GID = "0000:0000:0000:0000:0000:ffff:c0a8:4e09"
"""That of the initiator, by which the target calls its session."""
_FILE, _SLOW = raw.wire_lun(0), raw.wire_lun(1)
_QUICK = 15
"""Patience of the target's CM that makes it give up half a second after a reply without an answer."""


def setup(target: Target) -> None:
    """A file, and a disk that can be slow."""
    target.add("fileio", "ibfile", 0, scst.image("/tmp/ibfile", 16), [LINK])
    target.add("blockio", "slow", 1, SlowDisk().device, [LINK])
    target.enable(LINK)


# The first device's GUID is the service of all. On Ethernet the target listens by one CM or the other.
plan = srp_target.Plan(setup, [Link(0), LINK], limit_s=60, rdma_cm_port=0)


@contextlib.contextmanager
def initiator() -> Iterator[Initiator]:
    """An initiator, and afterwards no session."""
    one = Initiator(LINK)
    try:
        yield one
    finally:
        one.port.close()


def _gone(target: Target, one: Initiator, left: int = 0, seconds: float = 20) -> None:
    """The target has no more sessions than are LEFT."""
    assert isinstance(target, Ours)

    def few() -> bool:
        one.poll(0.01)
        return len(target.sessions(LINK)) <= left
    wait_until(few, seconds, f"sessions: {target.sessions(LINK)}")


def _ready(channel: ibcm.Channel, lun: bytes = _FILE) -> None:
    """The channel works, and has seen the unit attentions."""
    for _ in range(4):
        answer = channel.ask(raw.command(7, raw.TEST_UNIT_READY, lun=lun))
        check(answer is not None, f"no answer; messages {[hex(kind) for kind in channel.messages]}")
        assert answer is not None
        if not answer.refused:
            return
    check(False, f"TEST UNIT READY: {answer}")


@plan.test("a login, INQUIRY, WRITE and READ, and a DREQ at the end", only=("ours",))
def life(target: Target) -> None:
    assert isinstance(target, Ours)
    log = Kmsg()
    with initiator() as one:
        channel = one.channel()
        channel.request(ibcm.login_request(tag=0x1122334455667788, initiator=b"an IB/CM port #1"))
        channel.wait_accepted()
        assert channel.reply is not None
        opcode, delta, tag, longest, ours, formats = struct.unpack(">B3xiQIIH", channel.reply.private[:26])
        equal((opcode, tag, formats), (raw.LOGIN_RSP, 0x1122334455667788, 6), "type, tag and formats of the SRP_LOGIN_RSP")
        check(delta > 1 and longest >= 996 and ours >= 64, f"limit {delta}, lengths {longest} and {ours}")
        equal(channel.reply.private[52:], bytes(196 - 52), "what follows the SRP_LOGIN_RSP")
        channel.complete()
        _ready(channel)
        equal(target.sessions(LINK), [_GID], "sessions")
        place = target.port(LINK) / "sessions" / _GID
        equal(scst.get(place / "ch_state"), "live", "ch_state")
        equal(scst.get(place / "initiator_name"), _GID, "initiator_name")
        region = channel.queue_pair.region(1 << 18)
        answer = channel.ask(raw.command(2, raw.INQUIRY, region.descriptor(0, 96), in_format=raw.DIRECT))
        check(answer is not None and not answer.refused, f"INQUIRY: {answer}")
        equal(bytes(region.memory[8:16]), b"SCST_FIO", "vendor")
        data = random.Random(1).randbytes(1 << 16)
        region.memory[:1 << 16] = data
        parts = [region.descriptor(start, 24 << 10) for start in (0, 24 << 10)] + [region.descriptor(48 << 10, 16 << 10)]
        table = raw.indirect(raw.descriptor(0, 0, 48), 1 << 16, parts)
        answer = channel.ask(raw.command(3, raw.write10(64, 128), table, out_format=raw.INDIRECT, out_count=3))
        check(answer is not None and not answer.refused, f"WRITE: {answer}")
        answer = channel.ask(raw.command(4, raw.read10(64, 128), region.descriptor(1 << 17, 1 << 16), in_format=raw.DIRECT))
        check(answer is not None and not answer.refused, f"READ: {answer}")
        check(bytes(region.memory[1 << 17:3 << 16]) == data, "what was read is not what was written")
        channel.disconnect()
        _gone(target, one)
    wanted = "Received SRP_LOGIN_REQ with i_port_id 616e:2049:422f:434d:2070:6f72:7420:2331"
    check(any(wanted in line for line in log.lines()), f"the log has no {wanted}")
    log.close()


@plan.test("packets that are lost: data are right", only=("ours",))
def lossy(target: Target) -> None:
    with initiator() as one:
        channel = ibcm.login(one)
        _ready(channel)
        region = channel.queue_pair.region(1 << 17)
        rng = random.Random(5)
        lost = 0

        def lose() -> bool:
            nonlocal lost
            lose_it = rng.random() < 0.02
            lost += lose_it
            return lose_it
        one.port.lose = lose
        for number in range(scaled(4, 60)):
            data = rng.randbytes(1 << 16)
            region.memory[:1 << 16] = data
            for cdb, out in ((raw.write10(0, 128), raw.DIRECT), (raw.read10(0, 128), 0)):
                part = region.descriptor(0 if out else 1 << 16, 1 << 16)
                unit = raw.command(number, cdb, part, out_format=out, in_format=0 if out else raw.DIRECT)
                answer = channel.ask(unit, 30)
                check(answer is not None and not answer.refused, f"round {number}: {answer}")
            check(bytes(region.memory[1 << 16:]) == data, f"round {number}: what was read is not what was written")
        one.port.lose = lambda: False
        note(f"{lost} packets lost")
        channel.disconnect()
        _gone(target, one)


@plan.test("logins that ask for what is not to be had are rejected, each for its reason", only=("ours",))
def rejected(target: Target) -> None:
    assert isinstance(target, Ours)
    cases = {
        "IU length 1 MiB": (ibcm.login_request(iu_length=1 << 20), 0x10002),
        "IU length 63": (ibcm.login_request(iu_length=63), 0x10000),
        "unknown buffer formats only": (ibcm.login_request(formats=0x8000), 0x10004),
        "another target port": (ibcm.login_request(target=b"somebody elses!!"), 0x10003),
        "multi-channel action 2": (ibcm.login_request(flags=2), 0x10005),
        "not a login": (ibcm.login_request(opcode=raw.CMD), None),
    }
    log = Kmsg()
    with initiator() as one:
        for name, (private, reason) in cases.items():
            _refused(one, name, private, reason)
        target.disable(LINK)
        _refused(one, "a target that is disabled", ibcm.login_request(), 0x10001)
        target.enable(LINK)
        port = raw.port_id()
        open_ = [ibcm.login(one, ibcm.login_request(initiator=port, flags=raw.MULTIPLE)) for _ in range(64)]
        _refused(one, "a 65th channel", ibcm.login_request(initiator=port, flags=raw.MULTIPLE), 0x10006)
        equal(len(target.sessions(LINK)), 1, "sessions")
        for channel in open_:
            channel.disconnect()
        other = one.channel()
        other.request(ibcm.login_request(), service="0123456789abcdef")
        other.wait_for(lambda: other.reply is not None, 20, "no answer to another service")
        assert other.reply is not None
        equal((other.reply.kind, other.reply.reason), (REJ, ibcm.INVALID_SERVICE), "answer to another service")
        _gone(target, one)
    lines = [line for line in log.lines() if "Rejected login of" in line]
    log.close()
    equal(len(lines), len(cases) + 1, "rejections in the log")


def _refused(one: Initiator, name: str, private: bytes, reason: object) -> None:
    try:
        ibcm.login(one, private)
        check(False, f"{name}: accepted")
    except raw.Rejected as refusal:
        note(f"{name}: {refusal}")
        equal(refusal.reason, reason, f"reason for: {name}")
        check(f"REJ {ibcm.CONSUMER}," in str(refusal), f"{name}: {refusal}")


@plan.test("a REQ that comes again makes no second channel", only=("ours",))
def repeated(target: Target) -> None:
    assert isinstance(target, Ours)
    log = Kmsg()
    with initiator() as one:
        channel = one.channel()
        channel.request(ibcm.login_request())
        for _ in range(3):
            channel.repeat()
        channel.wait_accepted()
        channel.repeat()
        channel.complete()
        _ready(channel)
        channel.repeat()
        one.wait(0.3)
        _ready(channel)
        equal(set(channel.messages), {REP}, "kinds of messages that came")
        equal(target.sessions(LINK), [_GID], "sessions")
        channel.disconnect()
        _gone(target, one)
    equal(sum("Received SRP_LOGIN_REQ" in line for line in log.lines()), 1, "logins in the log")
    log.close()


@plan.test("an RTU that is lost: the first command stands for it", only=("ours",))
def lost_rtu(target: Target) -> None:
    with initiator() as one:
        # A REP a second, four in all.
        channel = ibcm.login(one, complete=False)
        channel.wait_for(lambda: channel.messages.count(REP) >= 2, 20, "the REP does not come again")
        _ready(channel)
        # One may have been on its way when the command came.
        one.wait(0.3)
        count = channel.messages.count(REP)
        one.wait(2)
        equal(channel.messages.count(REP), count, "REPs after the first command")
        _ready(channel)
        channel.disconnect()
        _gone(target, one)


@plan.test("an MRA instead of an RTU: the target waits for as long as it says", only=("ours",))
def delayed(target: Target) -> None:
    with initiator() as one:
        # Without the MRA it would wait for two seconds.
        channel = ibcm.login(one, complete=False, patience=17)
        channel.answer(MRA, bytes([1 << 6, 20 << 3]))
        one.wait(3)
        check(not channel.dead, "the target did not wait")
        channel.complete()
        _ready(channel)
        channel.disconnect()
        _gone(target, one)


@plan.test("half-open logins, many at once, given up by the target; a session beside them is none the worse", only=("ours",))
def half_open(target: Target) -> None:
    assert isinstance(target, Ours)
    with initiator() as one:
        good = ibcm.login(one)
        _ready(good)
        for _ in range(scaled(1, 40)):
            open_ = []
            start = time.monotonic()
            for number in range(scaled(40, 100)):
                channel = one.channel(_QUICK)
                channel.request(ibcm.login_request())
                if number % 4 == 0:
                    channel.forget()
                else:
                    open_.append(channel)
                one.poll()
            for channel in open_:
                channel.wait_accepted(20)
            most = len(target.sessions(LINK))
            _gone(target, one, left=1)
            note(f"{len(open_)} accepted, {most} sessions at a time, gone {time.monotonic() - start:.1f} s after the first")
            for channel in open_:
                equal(channel.messages[0], REP, "the first message")
                check(set(channel.messages) <= {REP, REJ, DREQ}, f"messages {channel.messages}")
                channel.forget()
            _ready(good)
        good.disconnect()
        _gone(target, one)


@plan.test("an initiator that rejects the reply, and one that logs in again with a queue pair that is in use", only=("ours",))
def second_thoughts(target: Target) -> None:
    with initiator() as one:
        channel = ibcm.login(one, complete=False)
        channel.answer(REJ, struct.pack(">BBH", 1 << 6, 0, ibcm.CONSUMER))
        _gone(target, one)
        channel.forget()
        old = ibcm.login(one)
        _ready(old)
        new = one.channel()
        new.request(ibcm.login_request(), old.queue_pair.number)
        new.wait_for(lambda: new.reply is not None, 20, "no answer to a queue pair in use")
        assert new.reply is not None
        equal((new.reply.kind, new.reply.reason), (REJ, ibcm.STALE), "answer to a queue pair in use")
        _gone(target, one)
        check(DREQ in old.messages, "the old connection was not ended")
        old.forget()
        again = ibcm.login(one)
        _ready(again)
        again.disconnect()
        _gone(target, one)


@plan.test("channels of one initiator port end one by one; a single-channel login ends all", only=("ours",))
def channels(target: Target) -> None:
    assert isinstance(target, Ours)
    port = raw.port_id()
    with initiator() as one:
        first, second = (ibcm.login(one, ibcm.login_request(initiator=port, flags=raw.MULTIPLE)) for _ in range(2))
        _ready(first)
        _ready(second)
        equal(target.sessions(LINK), [_GID], "sessions")
        first.disconnect()
        one.wait(0.5)
        _ready(second)
        equal(target.sessions(LINK), [_GID], "sessions after one channel has ended")
        only = ibcm.login(one, ibcm.login_request(initiator=port))
        check(second.ended(), "a login of a single channel left the other")
        equal(second.logout_reason, 4, "reason of the SRP_T_LOGOUT")
        _ready(only)
        only.disconnect()
        _gone(target, one)


@plan.test("the target is disabled: an initiator that answers the DREQ, and one that answers nothing", only=("ours",))
def disabled(target: Target) -> None:
    assert isinstance(target, Ours)
    with initiator() as one:
        for agrees, most in ((True, 20), (False, 40)):
            channel = ibcm.login(one, patience=16)
            _ready(channel)
            channel.agrees = agrees
            # It waits for the end of the sessions, and the initiator's part in that is played here.
            disable = threading.Thread(target=target.disable, args=(LINK,))
            start = time.monotonic()
            disable.start()
            check(channel.ended(), "no DREQ")
            _gone(target, one, seconds=most)
            disable.join(most)
            check(not disable.is_alive(), "the target is still not disabled")
            note(f"{'answered' if agrees else 'not answered'}: gone after {time.monotonic() - start:.1f} s")
            target.enable(LINK)


@plan.test("a DREQ with commands outstanding, and an initiator that falls silent instead", only=("ours",))
def outstanding(target: Target) -> None:
    slow = SlowDisk()
    with initiator() as one:
        for polite in (True, False):
            channel = ibcm.login(one)
            _ready(channel, _SLOW)
            region = channel.queue_pair.region(1 << 16)
            with slow.slow(500):
                for tag in range(16):
                    unit = raw.command(tag, raw.read10(0, 8), region.descriptor(tag * 4096, 4096), lun=_SLOW,
                                       in_format=raw.DIRECT)
                    channel.send(unit)
                one.wait(0.2)
                start = time.monotonic()
                if polite:
                    channel.disconnect()
                else:
                    channel.forget()
                _gone(target, one, seconds=20 if polite else 60)
            note(f"{'DREQ' if polite else 'silent'}: gone after {time.monotonic() - start:.1f} s")


# How long the target's CM waits for the initiator, which may be hours.
_TIMES = (43, 47)


def _mutate(rng: random.Random, data: bytearray) -> None:
    for _ in range(rng.choice((0, 0, 1, 3))):
        place = rng.randrange(len(data))
        if place not in _TIMES:
            data[place] = rng.choice((0, 1, 0x7F, 0x80, 0xFF, rng.randrange(256)))


@plan.test("mutated requests and messages of the CM", only=("ours",))
def mutated(target: Target) -> None:
    seed = random.randrange(1 << 32)
    rng = random.Random(seed)
    answers: dict[str, int] = {}
    with initiator() as one:
        # A request for its queue pair, or of its port, would end it, and rightly so: both are out of a mutation's reach.
        numbers, one.port.numbers = one.port.numbers, itertools.count(0x5A6B7C)
        good = ibcm.login(one, ibcm.login_request(initiator=b"the one beside!!"))
        one.port.numbers = numbers
        _ready(good)
        for number in range(scaled(60, 5000)):
            channel = one.channel(_QUICK, 1)
            private = bytearray(ibcm.login_request())
            _mutate(rng, private)
            channel.request(bytes(private[:rng.choice((64, 64, rng.randrange(65)))]),
                            change=functools.partial(_mutate, rng) if number % 2 else None)
            end = time.monotonic() + 0.3
            while channel.reply is None and time.monotonic() < end:
                one.poll(0.05)
            kind = {None: "none", REP: "REP", REJ: "REJ"}[channel.reply.kind if channel.reply else None]
            answers[kind] = answers.get(kind, 0) + 1
            if kind == "REP":
                channel.answer(rng.choice((REJ, REP, DREQ, DREP, 0x17, 0x19)), rng.randbytes(rng.randrange(200)))
            channel.forget()
            if number % 20 == 19:
                _ready(good)
        note(f"seed {seed}: answers {answers}")
        _gone(target, one, left=1, seconds=40)
        _ready(good)
        good.disconnect()
        _gone(target, one)


if __name__ == "__main__":
    plan.main()
