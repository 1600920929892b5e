#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
# lab: group=srphostile timeout=240 mem=2G soak=yes
"""SRP: an initiator that breaks the rules harms nobody but itself.

While it does, a well-behaved session has a verifying load, and after each trick that load still moves and no other
session is left. What SRP says of an answer is asked of our target; of LIO's it is only noted, and what crashes it is
not tried on it: in 7.2 a descriptor of length 0 is enough (sgl_alloc_order), or data in both directions.
"""

from __future__ import annotations

import contextlib
import functools
import random
import struct
import time
from collections.abc import Callable, Sequence

import scst
import srp
import srp_raw as raw
import srp_target
from lib import Kmsg, check, equal, fio, note, scaled, sh
from slowdisk import SlowDisk
from srp import Link
from srp_target import Ours, Target
from srp_witness import NULL_LUN, SLOW_LUN, Outcomes, Witness, wait_alone

_LINK = Link(0)
_FIELD = "refused 5/24/00"
_LENGTH = "ended 8"
_CRSOLNT = 0x20
"""A login's flag: an SRP_CRED_REQ is to interrupt."""
_MOST = 64
"""Commands that a LUN takes at a time from a session."""

witness = Witness()


def disks(target: Target) -> None:
    """A file, a disk that stores nothing, and one that can be slow."""
    sh("modprobe", "-a", "ib_uverbs", "rdma_ucm")
    target.add("fileio", "file0", 0, scst.image("/tmp/file0", 64))
    target.add("nullio", "null0", 1)
    target.add("blockio", "slow0", 2, SlowDisk().device)
    target.enable(_LINK)


def setup(target: Target) -> None:
    """Disks, and somebody who uses the first."""
    disks(target)
    witness.begin()


# A process that has had a verbs context open keeps its RDMA device busy.
plan = srp_target.Plan(setup, limit_s=120, keep_links=True)


def _trick(name: str, only: Sequence[str] = ()) -> Callable[[Callable[[Target], None]], Callable[[Target], None]]:
    """A test after which the witness must be as well as before, and alone."""
    def add(function: Callable[[Target], None]) -> Callable[[Target], None]:
        @plan.test(name, only=only)
        @functools.wraps(function)
        def whole(target: Target) -> None:
            function(target)
            wait_alone(target)
            witness.check()
        return whole
    return add


@_trick("logins that ask for what is not to be had are rejected")
def logins(target: Target) -> None:
    cases = {
        "IU length 1 MiB": (raw.login_request(iu_length=1 << 20), 0x10002),
        "IU length 63": (raw.login_request(iu_length=63), 0x10000),
        "IU length 0": (raw.login_request(iu_length=0), 0x10000),
        "IU length 4 GiB - 1": (raw.login_request(iu_length=0xFFFFFFFF), 0x10002),
        "unknown buffer formats only": (raw.login_request(formats=0x8000), 0x10004),
        "another target port": (raw.login_request(target=b"somebody elses!!"), 0x10003),
        "multi-channel action 2": (raw.login_request(flags=2), 0x10005),
        "multi-channel action 3": (raw.login_request(flags=3), 0x10005),
        "the first byte": (raw.login_request(iu_length=0x1000)[:1], 0x10000),
        "no target port": (raw.login_request()[:31], 0x10003),
        "not a login": (raw.login_request(opcode=raw.CMD), None),
    }
    log = Kmsg()
    for name, (private, reason) in cases.items():
        channel = raw.Channel(_LINK)
        try:
            channel.request(private)
            channel.wait_accepted()
            note(f"{name}: accepted")
            check(target.name != "ours", f"{name}: accepted")
        except raw.Rejected as rejected:
            note(f"{name}: {rejected}")
            if target.name == "ours":
                equal(rejected.reason, reason, f"reason for: {name}")
        finally:
            channel.close(disconnect=False)
    lines = [line for line in log.lines() if "Rejected login of" in line]
    log.close()
    check(target.name != "ours" or len(lines) == len(cases) - 1, "rejections in the log:\n" + "\n".join(lines))


@_trick("channels of one initiator port: as many as allowed, or one only", only=("ours",))
def channels(target: Target) -> None:
    assert isinstance(target, Ours)
    port = raw.port_id()
    open_ = [raw.login(_LINK, raw.login_request(initiator=port, flags=raw.MULTIPLE)) for _ in range(64)]
    try:
        raw.login(_LINK, raw.login_request(initiator=port, flags=raw.MULTIPLE))
        check(False, "a 65th channel was accepted")
    except raw.Rejected as rejected:
        equal(rejected.reason, 0x10006, "reason for no 65th channel")
    equal(len(target.sessions(_LINK)), 2, "sessions")
    with contextlib.closing(raw.login(_LINK, raw.login_request(initiator=port))) as only:
        check(all(channel.ended(10) for channel in open_), "a login of a single channel left others")
        told = [channel.logout_reason for channel in open_ if channel.logout_reason is not None]
        equal(set(told), {4}, "reasons of the SRP_T_LOGOUTs")
        # With a shared receive queue there may be no buffer to say it with.
        check(target.shared or len(told) == len(open_), f"{len(told)} SRP_T_LOGOUTs for {len(open_)} channels")
        check(only.ask(raw.command(1, raw.TEST_UNIT_READY)) is not None, "the single channel does not work")
    for channel in open_:
        channel.close()


@_trick("a channel beside those of the well-behaved session, of the same initiator port")
def beside(target: Target) -> None:
    if witness.port_id:
        for unit in (b"\xff" * 64, raw.command(1, raw.INQUIRY, in_format=raw.DIRECT)):
            with contextlib.closing(raw.login(_LINK, raw.login_request(initiator=witness.port_id,
                                                                       flags=raw.MULTIPLE))) as channel:
                channel.send(unit)
                check(channel.ended(10), "the connection stays")
    check(target.name != "ours" or witness.port_id, "the log does not tell the initiator port")


def abandon(count: int) -> None:
    """Have COUNT logins at a time that are accepted and never completed, and walk away."""
    open_: list[raw.Channel] = []
    try:
        for number in range(count):
            open_.append(raw.Channel(_LINK))
            open_[-1].request(raw.login_request(), queue_pair=number % 16 == 0)
        rejected = 0
        for channel in open_:
            try:
                channel.wait_accepted()
            except raw.Rejected:
                rejected += 1
        note(f"{rejected} of {count} rejected")
        witness.check()
    finally:
        for number, channel in enumerate(open_):
            channel.close(disconnect=number % 2 == 0)
    with contextlib.closing(raw.login(_LINK)) as channel:
        check(channel.ask(raw.command(1, raw.TEST_UNIT_READY)) is not None, "no answer after half-open logins")


@_trick("half-open logins, many at once, abandoned")
def half_open(target: Target) -> None:
    for _ in range(scaled(1, 20)):
        abandon(scaled(120, 250))


@_trick("commands before the login is complete")
def early(target: Target) -> None:
    for finish, count in ((True, 4), (True, 180), (False, 4)):
        channel = raw.login(_LINK, complete=False)
        limit = channel.credits
        for tag in range(count):
            channel.send(raw.command(tag + 1, raw.TEST_UNIT_READY))
        if finish:
            time.sleep(0.2)
            channel.complete()
            tags = []
            while len(tags) < count and (answer := channel.response(10)) is not None:
                tags.append(answer.tag)
            note(f"{count} sent with a request limit of {limit}: {len(tags)} answered")
            check(target.name != "ours" or channel.dead or len(tags) == count, f"answered: {tags}")
            check(target.name != "ours" or count > limit or not channel.dead, "the connection ended")
        channel.close(disconnect=finish)


@_trick("truncated information units", only=("ours",))
def truncated(target: Target) -> None:
    with Outcomes(target, (_LENGTH,)) as see:
        whole = raw.command(77, raw.INQUIRY)
        for length in (1, 4, 16, 47):
            see.send(f"SRP_CMD of {length}", whole[:length])
        for length in (1, 47):
            see.send(f"SRP_TSK_MGMT of {length}", raw.task_management(78, raw.ABORT_TASK)[:length])
        see.send("SRP_I_LOGOUT of 15", bytes([raw.I_LOGOUT]).ljust(15, b"\0"))
        for length in (0, 1, 15):
            table = raw.descriptor(0, 0, 96)[:length]
            see.send(f"a descriptor of {length}", raw.command(79, raw.INQUIRY, table, in_format=raw.DIRECT))
        for length in (0, 19):
            table = raw.indirect(raw.descriptor(0, 0, 16), 96)[:length]
            unit = raw.command(80, raw.INQUIRY, table, in_format=raw.INDIRECT, in_count=1)
            see.send(f"an indirect table descriptor of {length}", unit)
        see.send("an additional CDB that is not there", raw.command(81, raw.INQUIRY, additional=63))


@_trick("oversized information units")
def oversized(target: Target) -> None:
    with Outcomes(target, ("done",)) as see:
        whole = raw.command(90, raw.TEST_UNIT_READY, lun=NULL_LUN)
        longest = see.channel.longest
        for length in (64, longest - 1, longest):
            see.send(f"{length} bytes", whole.ljust(length, b"\xa5"))
        # Buffers are whole cache lines.
        for length in (longest + 64, 16384):
            see.send(f"{length} bytes", whole.ljust(length, b"\xa5"), "ended")


@_trick("descriptor counts and lengths that do not fit together", only=("ours",))
def counts(target: Target) -> None:
    with Outcomes(target, (_FIELD,)) as see:
        buffer = raw.Buffer(see.channel, 65536)
        part = buffer.descriptor(0, 4096)
        table = raw.descriptor(buffer.address + 32768, buffer.key, 16)
        full = table[:12] + struct.pack(">I", 3 * 16)

        def read(name: str, what: bytes, count: int, *expected: str) -> None:
            unit = raw.command(100, raw.read10(0, 8), what, lun=NULL_LUN, in_format=raw.INDIRECT, in_count=count)
            see.send(name, unit, *expected)

        read("a table of 17 bytes", raw.indirect(table[:12] + struct.pack(">I", 17), 4096, [part]), 1)
        read("2 in the unit, 1 in the table", raw.indirect(table, 4096, [part] * 2), 2)
        read("a table of 4 GiB", raw.indirect(table[:12] + b"\xff\xff\xff\xf0", 4096, [part]), 1)
        read("more in all than the parts", raw.indirect(table, 1 << 20, [part]), 1)
        read("4 GiB in all", raw.indirect(table, 0xFFFFFFFF, [part]), 1)
        huge = raw.descriptor(buffer.address, buffer.key, 0xFFFFFFFF)
        wraps = [huge, buffer.descriptor(0, 1), buffer.descriptor(0, 4096)]
        for where in (2**64 - 1, 2**64 - 4096):
            read(f"memory at {where:#x}", raw.indirect(table, 4097, [raw.descriptor(where, buffer.key, 4097)]), 1)
        read("parts of nothing", raw.indirect(full, 4096, [buffer.descriptor(0, 0)] * 3), 3)
        buffer.close()
        see.drop()
        # What adds up in 64 bits is a buffer, of memory that may not all be there.
        for name, what, count in (("a sum that wraps to 4096", raw.indirect(full, 4096, wraps), 3),
                                  ("a sum of 12 GiB", raw.indirect(full, 0xFFFFFFFD, [huge] * 3), 3)):
            read(name, what, count, "refused", "ended")
        read("255 of 1", raw.indirect(table[:12] + struct.pack(">I", 255 * 16), 4096, [part]), 255, _LENGTH)


@_trick("descriptor tables in the initiator's memory", only=("ours",))
def tables(target: Target) -> None:
    with Outcomes(target, (_FIELD, "refused")) as see:
        def read(name: str, entries: Sequence[tuple[int, int]], total: int, *expected: str, count: int = 0) -> None:
            """A READ of 4096 bytes with a table of (offset, length)."""
            buffer = raw.Buffer(see.channel, 1 << 18)
            pieces = [buffer.descriptor(8192 + offset, length) for offset, length in entries]
            buffer.write(b"".join(pieces), 1 << 17)
            buffer.write(b"\x5a" * 16384)
            where = raw.descriptor(buffer.address + (1 << 17), buffer.key, 16 * len(entries))
            unit = raw.command(105, raw.read10(0, 8), raw.indirect(where, total, pieces[:count]), lun=NULL_LUN,
                               in_format=raw.INDIRECT, in_count=count)
            see.send(name, unit, *expected)
            if expected == ("done",):
                check(buffer.read(8192) == b"\x5a" * 8192, f"{name}: memory before the buffer was written")
                check(buffer.read(16, 8192) == bytes(16), f"{name}: there is no data")
            buffer.close()

        read("one", [(0, 4096)], 4096, "done")
        read("all but one", [(0, 1024), (1024, 1024), (2048, 2048)], 4096, "done", count=2)
        read("of eights", [(offset, 8) for offset in range(0, 4096, 8)], 4096, "done")
        read("one more than the target takes", [(0, 1)] * 4097, 4096, _FIELD)
        read("shorter than they say", [(0, 1024)] * 3, 4096)
        read("of nothing", [(0, 0)] * 32, 4096)
        read("longer than needed", [(0, 4096)] * 8, 32768, "done")
        see.drop()
        gone = raw.descriptor(0x1000, 0xDEAD00, 64)
        see.send("that is not there", raw.command(106, raw.read10(0, 8), raw.indirect(gone, 4096), lun=NULL_LUN,
                                                  in_format=raw.INDIRECT), "refused", "ended")


@_trick("buffers that are longer or shorter than the transfer: residuals")
def residuals(target: Target) -> None:
    cases = (("INQUIRY, 96 into 4096", raw.INQUIRY, 4096, 0x20), ("READ, 4096 into 4096", raw.read10(0, 8), 4096, 0),
             ("READ, 4096 into 8192", raw.read10(0, 8), 8192, 0x20), ("READ, 4096 into 512", raw.read10(0, 8), 512, 0x10),
             ("READ, 4096 into 1", raw.read10(0, 8), 1, 0x10), ("READ, 0 into 512", raw.read10(0, 0), 512, 0x20))
    with Outcomes(target, ("done",)) as see:
        for name, cdb, length, flags in cases:
            buffer = raw.Buffer(see.channel, 65536)
            buffer.write(b"\xa5" * 65536)
            unit = raw.command(1, cdb, buffer.descriptor(0, length), lun=NULL_LUN, in_format=raw.DIRECT)
            # A transfer that the buffer cuts short may be refused as a whole (SPC-6, overflow).
            answer = see.send(name, unit, "done", *(("refused",) if flags & 0x10 else ()))
            if answer is not None and target.name == "ours":
                equal(answer.flags & 0x3C, 0 if answer.refused else flags, f"{name}: residual flags")
                check(buffer.read(64, length) == b"\xa5" * 64, f"{name}: memory behind the buffer was written")
            buffer.close()


@_trick("immediate data that are not there, or not where the login said", only=("ours",))
def immediate(target: Target) -> None:
    for offset, granted in ((0, False), (51, False), (52, True), (4000, True), (4096, False), (65535, False)):
        request = raw.login_request(flags=raw.WITH_IMMEDIATE, immediate_offset=offset)
        with contextlib.closing(raw.login(_LINK, request)) as channel:
            equal(bool(channel.login_flags & raw.WITH_IMMEDIATE), granted, f"immediate data at {offset}")

    def write(length: int, data: bytes, at: int = 80, blocks: int = 1, additional: int = 0) -> bytes:
        unit = raw.command(1, raw.write10(0, blocks), bytes(4 * additional) + struct.pack(">I", length), lun=NULL_LUN,
                           out_format=raw.IMMEDIATE, out_count=1, additional=additional)
        return unit.ljust(at, b"\0") + data

    for name, unit, wanted in (
            ("whole", write(512, bytes(512)), ("done",)), ("one byte is missing", write(512, bytes(511)), (_LENGTH,)),
            ("4 GiB", write(0xFFFFFFFF, bytes(512)), (_LENGTH,)), ("none at all", write(512, b"", at=52), (_LENGTH,)),
            ("nothing", write(0, b""), ("refused", "done")), ("less than the CDB says", write(512, bytes(512), blocks=8),
                                                              ("refused", "done")),
            ("more than the CDB says", write(4096, bytes(4096)), ("refused", "done")),
            ("under the additional CDB", write(512, bytes(512), at=96, additional=8), (_FIELD, _LENGTH)),
            ("to be read", raw.command(2, raw.read10(0, 1), bytes(64), lun=NULL_LUN, in_format=raw.IMMEDIATE), ("ended 7",))):
        with contextlib.closing(raw.login(_LINK, raw.login_request(flags=raw.WITH_IMMEDIATE,
                                                                   immediate_offset=80))) as channel:
            channel.ask(raw.command(9, raw.TEST_UNIT_READY, lun=NULL_LUN))
            answer = channel.ask(unit)
            if answer is None:
                channel.ended(10)
            outcome = f"ended {channel.logout_reason}" if answer is None else f"refused {answer}" if answer.refused else "done"
            note(f"{name}: {outcome}")
            check(outcome.startswith(tuple(wanted)), f"{name}: {outcome}, want {' or '.join(wanted)}")


@_trick("a target's requests, replies and nonsense as opcodes")
def opcodes(target: Target) -> None:
    known = (raw.TSK_MGMT, raw.CMD, raw.I_LOGOUT, raw.CRED_RSP, raw.AER_RSP)
    rng = random.Random(3)
    unknown = [raw.T_LOGOUT, raw.CRED_REQ, raw.AER_REQ, raw.RSP, raw.LOGIN_RSP, raw.LOGIN_REJ, 0x00, 0xFF]
    unknown += [opcode for opcode in rng.sample(range(256), scaled(4, 256)) if opcode not in (*known, *unknown)]
    with Outcomes(target) as see:
        for opcode in unknown:
            see.send(f"{opcode:#04x}", bytes([opcode]) + raw.command(110, raw.TEST_UNIT_READY)[1:], "ended 2")
        see.send("SRP_CRED_RSP that nobody asked for", struct.pack(">B7xQ", raw.CRED_RSP, 1), "ended 3")
        see.send("SRP_AER_RSP that nobody asked for", struct.pack(">B7xQ", raw.AER_RSP, 2), "ended 3")


@_trick("buffer formats that there are not, and data in both directions", only=("ours",))
def formats(target: Target) -> None:
    with Outcomes(target) as see:
        place = raw.descriptor(0, 0, 4096)
        buffer = raw.Buffer(see.channel, 4096)
        buffer.write(b"\xa5" * 4096)
        for name, cdb, out, in_ in (("a READ with a data-out buffer", raw.read10(0, 8), raw.DIRECT, 0),
                                    ("a WRITE with a data-in buffer", raw.write10(0, 8), 0, raw.DIRECT)):
            see.send(name, raw.command(124, cdb, buffer.descriptor(), lun=NULL_LUN, out_format=out, in_format=in_),
                     "refused 5/49/00")
        check(buffer.read(4096) == b"\xa5" * 4096, "a data-out buffer was written")
        buffer.close()
        for form in (3, 7, 8, 15):
            see.send(f"in {form}", raw.command(120, raw.read10(0, 8), place, in_format=form, in_count=1), "ended 7")
            see.send(f"out {form}", raw.command(121, raw.write10(0, 8), place, out_format=form, out_count=1), "ended 6")
        both = raw.command(122, raw.read10(0, 8), place * 2, out_format=raw.DIRECT, in_format=raw.DIRECT)
        see.send("both directions", both, _FIELD)


@_trick("memory that the target may not touch")
def wrong_memory(target: Target) -> None:
    with Outcomes(target, ("refused", "ended")) as see:
        for name, cdb, out in (("read", raw.read10(0, 8), 0), ("write", raw.write10(0, 8), raw.DIRECT)):
            for number in range(scaled(2, 50)):
                unit = raw.command(130 + number, cdb, raw.descriptor(0x1000, 0xDEAD0000 + number, 4096), lun=NULL_LUN,
                                   out_format=out, in_format=0 if out else raw.DIRECT)
                see.send(f"{name} {number}", unit)
                see.drop()


@_trick("more requests than credits")
def credits(target: Target) -> None:
    for more in (1, 100):
        channel = raw.login(_LINK)
        channel.ask(raw.command(999, raw.TEST_UNIT_READY, lun=SLOW_LUN))
        buffer = raw.Buffer(channel, 4096)
        limit = channel.credits
        with SlowDisk().slow(20000):
            # A LUN takes so many commands at a time and no more: what else is outstanding are aborts, that wait for them.
            for tag in range(_MOST):
                channel.send(raw.command(tag, raw.read10(0, 8), buffer.descriptor(), lun=SLOW_LUN, in_format=raw.DIRECT))
            for tag in range(limit - _MOST):
                channel.send(raw.task_management(tag + 1000, raw.ABORT_TASK, SLOW_LUN, task=tag % _MOST))
            before = channel.ended(0.5)
            for tag in range(more):
                with contextlib.suppress(Exception):
                    channel.send(raw.command(tag + 2000, raw.TEST_UNIT_READY, lun=NULL_LUN))
            ended = channel.ended(10 if target.name == "ours" else 1)
        note(f"{more} more than {limit}: the connection {'ended' if ended else 'stays'}")
        check(target.name != "ours" or not before, f"the connection ended with {limit} requests for {limit} credits")
        check(target.name != "ours" or ended, f"{limit + more} requests at a time with {limit} credits")
        buffer.close()
        channel.close()


@_trick("one tag for many commands at a time, aborted")
def duplicates(target: Target) -> None:
    channel = raw.login(_LINK)
    channel.ask(raw.command(999, raw.TEST_UNIT_READY, lun=SLOW_LUN))
    buffer = raw.Buffer(channel, 1 << 20)
    limit, answers = channel.credits, []
    with SlowDisk().slow(500):
        for number in range(16):
            channel.send(raw.command(7, raw.read10(0, 8), buffer.descriptor(), lun=SLOW_LUN, in_format=raw.DIRECT))
            if number % 4 == 3:
                channel.send(raw.task_management(8 + number, raw.ABORT_TASK, SLOW_LUN, task=7))
        while channel.credits < limit and (answer := channel.response(20)) is not None:
            answers.append(answer)
    done = [answer for answer in answers if answer.tag == 7 and not answer.refused]
    note(f"{len(done)} of 16 commands done, {sum(answer.tag == 7 for answer in answers) - len(done)} refused, "
         f"{sum(answer.tag != 7 for answer in answers)} of 4 aborts answered")
    if target.name == "ours":
        equal(sorted(answer.tag for answer in answers if answer.tag != 7), [11, 15, 19, 23], "answered aborts")
        equal(channel.credits, limit, "request limit")
        check(channel.ask(raw.command(1, raw.TEST_UNIT_READY, lun=NULL_LUN)) is not None, "the channel does not work")
    buffer.close()
    channel.close()


@_trick("aborted commands, which are not answered: an initiator without credits gets them back by SRP_CRED_REQ", only=("ours",))
def credit_requests(target: Target) -> None:
    for solicited in (False, True):
        request = raw.login_request(flags=_CRSOLNT if solicited else 0)
        with contextlib.closing(raw.login(_LINK, request)) as channel:
            channel.ask(raw.command(999, raw.TEST_UNIT_READY, lun=SLOW_LUN))
            buffer = raw.Buffer(channel, 4096)
            limit, granted, answered = channel.credits, [], []
            with SlowDisk().slow(500):
                for tag in range(limit - 1):
                    channel.send(raw.command(tag, raw.read10(0, 8), buffer.descriptor(), lun=SLOW_LUN, in_format=raw.DIRECT))
                channel.send(raw.task_management(1000, raw.ABORT_TASK_SET, SLOW_LUN))
                equal(channel.credits, 0, "credits left")
                while channel.credits < limit and (unit := channel.receive(20)) is not None:
                    kind, solnt, delta, tag = struct.unpack(">BB2xiQ", unit[:16])
                    if kind == raw.CRED_REQ:
                        equal(solnt & 1, solicited, "SOLNT of the SRP_CRED_REQ")
                        granted.append(delta)
                        channel.send(struct.pack(">B7xQ", raw.CRED_RSP, tag))
                    else:
                        answered.append(tag)
            note(f"{limit - 1} commands aborted: SRP_CRED_REQ of {granted}, answers to {answered}")
            check(granted and min(granted) > 0, f"SRP_CRED_REQs {granted}")
            check(1000 in answered, "the abort was not answered")
            equal(channel.credits, limit, "request limit")
            check(channel.ask(raw.command(1, raw.TEST_UNIT_READY, lun=NULL_LUN)) is not None, "the channel does not work")
            buffer.close()


@_trick("task management for what is not there")
def tasks(target: Target) -> None:
    nowhere, ones = raw.wire_lun(200), b"\xff" * 8
    with Outcomes(target, ("refused code 2",)) as see:
        see.send("abort a tag that is not there", raw.task_management(140, raw.ABORT_TASK, task=1 << 60), "done")
        for function in (raw.ABORT_TASK_SET, raw.CLEAR_TASK_SET, raw.LUN_RESET):
            see.send(f"{function:#x} of LUN 200", raw.task_management(141, function, nowhere))
        see.send("LUN of all ones", raw.task_management(143, raw.LUN_RESET, ones))
        for function in (0, 0x03, 0x10, 0x80, 0xFF):
            see.send(f"function {function:#x}", raw.task_management(142, function), "refused code 4")
        see.send("CLEAR ACA without one", raw.task_management(145, raw.CLEAR_ACA), "done", "refused code 4")
        see.send("command to LUN 200", raw.command(146, raw.TEST_UNIT_READY, lun=nowhere), "refused 5/25/00")
        see.send("command to a LUN of all ones", raw.command(144, raw.TEST_UNIT_READY, lun=ones), "refused 5/25/00")


@_trick("SRP_I_LOGOUT ends the connection, with commands outstanding")
def logout(target: Target) -> None:
    channel = raw.login(_LINK)
    channel.ask(raw.command(999, raw.TEST_UNIT_READY, lun=SLOW_LUN))
    buffer = raw.Buffer(channel, 1 << 20)
    with SlowDisk().slow(300):
        for tag in range(8):
            channel.send(raw.command(tag, raw.read10(0, 8), buffer.descriptor(), lun=SLOW_LUN, in_format=raw.DIRECT))
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
                                     out_format=raw.DIRECT * write, in_format=raw.DIRECT * (1 - write), lun=NULL_LUN))
        if number % 3 == 0:
            buffer.close()
        elif number % 3 == 1:
            channel.response(1)
        channel.close(disconnect=number % 2 == 0)


@_trick("mutated requests", only=("ours",))
def mutated(target: Target) -> None:
    seed = random.randrange(1 << 32)
    rng, ended, number = random.Random(seed), 0, 0
    channel = raw.login(_LINK)
    # Half of them end the connection, and logging in takes longer than anything else: it is the time that is given.
    end = time.monotonic() + scaled(3600, 600)
    while number < scaled(100, 20000) and time.monotonic() < end:
        number += 1
        unit = bytearray(rng.choice((
            raw.command(number, raw.read10(0, 8), raw.descriptor(0, 0, 4096), in_format=raw.DIRECT),
            raw.command(number, raw.write10(65536, 8), raw.indirect(raw.descriptor(0, 0, 16), 4096,
                                                                    [raw.descriptor(0, 0, 4096)]),
                        out_format=raw.INDIRECT, out_count=1),
            raw.task_management(number, raw.ABORT_TASK, task=max(0, number - 1)))))
        for _ in range(rng.randint(1, 6)):
            unit[rng.randrange(len(unit))] = rng.choice((0, 1, 2, 0x7F, 0x80, 0xFF, rng.randrange(256)))
        unit[20:28] = NULL_LUN  # the witness's data are not what is tried
        del unit[rng.choice((len(unit),) * 3 + (rng.randrange(1, len(unit)),)):]
        if unit[0] == raw.I_LOGOUT:
            continue
        with contextlib.suppress(Exception):
            channel.send(bytes(unit))
        channel.response(0.02)
        if channel.dead:
            ended += 1
            channel.close()
            channel = raw.login(_LINK)
    channel.close()
    note(f"seed {seed}: {number} requests, the connection ended {ended} times")
    check(number >= 100, f"only {number} requests")


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
