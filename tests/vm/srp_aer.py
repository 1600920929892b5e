#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
# lab: group=srphostile timeout=240
"""SRP: what a target tells its initiators by itself: SRP_AER_REQ beside unit attentions, and the request limit."""

from __future__ import annotations

import contextlib
import functools
import struct
from collections.abc import Iterator
from pathlib import Path

import scst
import srp
import srp_raw
import srp_target
from events import Trace
from lib import Fio, Kmsg, check, equal, fio, note, scaled, sh, wait_until
from srp import Link
from srp_raw import Channel
from srp_target import Ours, Target

_LINK = Link(0)
_AESOLNT = 0x40
_TASK_SET_FULL = 0x28
_DEFAULT_LIMIT = 64


def setup(target: Target) -> None:
    """A disk that initiators see, two more to come and go."""
    sh("modprobe", "-a", "ib_uverbs", "rdma_ucm")
    target.add("nullio", "null0", 0)
    scst.add_device("vdisk_nullio", "null1", "size_mb=64")
    scst.add_device("vdisk_nullio", "null2", "size_mb=64")
    target.enable(_LINK)


# A process that has had a verbs context open keeps its RDMA device busy.
plan = srp_target.Plan(setup, limit_s=60, keep_links=True)


def _port(target: Target) -> Path:
    assert isinstance(target, Ours)
    return target.port(_LINK)


@contextlib.contextmanager
def _channel(**request: int) -> Iterator[Channel]:
    """A raw login whose unit attentions are read."""
    channel = srp_raw.login(_LINK, srp_raw.login_request(**request))
    try:
        for tag in range(4):
            answer = channel.ask(srp_raw.command(tag, srp_raw.TEST_UNIT_READY))
            if answer and not answer.refused:
                break
        yield channel
    finally:
        channel.close()


def _event(channel: Channel, lun: int, code: tuple[int, int], solicited: bool = False) -> bytes:
    """Wait for an SRP_AER_REQ and look at it; its tag."""
    unit = channel.receive(20)
    check(unit is not None, "no SRP_AER_REQ came")
    assert unit is not None
    kind, solnt, delta, tag, field, length = struct.unpack(">BB2xi8s4x8sI4x", unit[:36])
    equal(kind, srp_raw.AER_REQ, "information unit type")
    equal(bool(solnt & 1), solicited, "SOLNT")
    check(delta >= 0, f"REQUEST LIMIT DELTA {delta}")
    equal(field, srp_raw.wire_lun(lun), "LUN")
    sense = unit[36:]
    equal(length, len(sense), "SENSE DATA LIST LENGTH")
    equal((sense[0], sense[2] & 15, (sense[12], sense[13])), (0x70, 6, code), "sense data")
    return bytes(tag)


def _answer(channel: Channel, tag: bytes) -> None:
    channel.send(struct.pack(">B7x8s", srp_raw.AER_RSP, tag))
    channel.credits += 1


def _attention(channel: Channel, code: tuple[int, int]) -> None:
    """The next command to LUN 0 is refused with a unit attention, the one after it is not."""
    answer = channel.ask(srp_raw.command(100, srp_raw.TEST_UNIT_READY))
    check(answer is not None and answer.status == 2 and answer.sense[2] & 15 == 6 and
          (answer.sense[12], answer.sense[13]) == code, f"no unit attention: {answer}")
    answer = channel.ask(srp_raw.command(101, srp_raw.TEST_UNIT_READY))
    check(answer is not None and not answer.refused, f"after the unit attention: {answer}")


_LUNS_CHANGED, _INQUIRY_CHANGED = (0x3F, 0x0E), (0x3F, 0x03)


@plan.test("LUNs that come and go: SRP_AER_REQ, and a unit attention as well", only=("ours",))
def changes(target: Target) -> None:
    luns = _port(target) / "luns"
    with _channel() as channel:
        scst.add_lun("null1", 1, luns)
        _answer(channel, _event(channel, 0, _LUNS_CHANGED))
        _attention(channel, _LUNS_CHANGED)
        scst.put(luns / "mgmt", "del 1")
        _answer(channel, _event(channel, 0, _LUNS_CHANGED))
        _attention(channel, _LUNS_CHANGED)


@plan.test("one at a time: what happens before the answer is only a unit attention", only=("ours",))
def one_at_a_time(target: Target) -> None:
    luns = _port(target) / "luns"
    with _channel(flags=_AESOLNT) as channel:
        scst.add_lun("null1", 1, luns)
        tag = _event(channel, 0, _LUNS_CHANGED, solicited=True)
        _attention(channel, _LUNS_CHANGED)
        scst.put(luns / "mgmt", "del 1")
        equal(channel.receive(1), None, "a second SRP_AER_REQ")
        _attention(channel, _LUNS_CHANGED)
        _answer(channel, tag)
        answer = channel.ask(srp_raw.command(1, srp_raw.TEST_UNIT_READY))
        check(answer is not None and not answer.refused, f"after the answer: {answer}")
        scst.add_lun("null1", 1, luns)
        _answer(channel, _event(channel, 0, _LUNS_CHANGED, solicited=True))
        scst.put(luns / "mgmt", "del 1")


@plan.test("another device at a LUN: the event names the LUN; replace_no_ua tells nobody", only=("ours",))
def replaced(target: Target) -> None:
    luns = _port(target) / "luns"
    scst.add_lun("null1", 1, luns)
    with _channel() as channel:
        scst.put(luns / "mgmt", "replace null2 1")
        _answer(channel, _event(channel, 1, _INQUIRY_CHANGED))
        scst.put(luns / "mgmt", "replace_no_ua null1 1")
        equal(channel.receive(1), None, "an SRP_AER_REQ")
    scst.put(luns / "mgmt", "del 1")


@plan.test("aen_disabled: unit attentions only", only=("ours",))
def disabled(target: Target) -> None:
    port = _port(target)
    scst.put(port / "aen_disabled", "1")
    try:
        with _channel() as channel:
            scst.add_lun("null1", 1, port / "luns")
            equal(channel.receive(1), None, "an SRP_AER_REQ")
            _attention(channel, _LUNS_CHANGED)
            scst.put(port / "luns/mgmt", "del 1")
    finally:
        scst.put(port / "aen_disabled", "0")


@plan.test("an SRP_AER_RSP that nothing was asked for ends the channel, and no other", only=("ours",))
def unexpected(target: Target) -> None:
    with _channel() as other, _channel() as channel:
        _answer(channel, bytes(8))
        check(channel.ended(), "the channel goes on")
        answer = other.ask(srp_raw.command(1, srp_raw.TEST_UNIT_READY))
        check(answer is not None and not answer.refused, f"the other channel: {answer}")


@plan.test("the stock initiator answers, and learns of it by the unit attention", only=("ours",))
def stock(target: Target) -> None:
    luns = _port(target) / "luns"
    with srp.logged_in(_LINK, ch_count=2) as host:
        load = Fio(host.disk(), rw="randread", time_based=None, runtime=3600)
        log, lines = Kmsg(), list[str]()
        rounds = scaled(5, 200)

        def said(what: str) -> int:
            lines.extend(log.lines())
            return sum(what in line for line in lines)

        try:
            for number in range(rounds):
                scst.add_lun("null1", 1, luns)
                scst.put(luns / "mgmt", "del 1")
                wait_until(lambda: said("ignoring AER for LUN 0") > number, 20,  # pylint: disable=cell-var-from-loop
                           f"no SRP_AER_REQ in round {number}")
                sh("sleep", "0.2")
            wait_until(lambda: said("LUN assignments on this target have changed"), 20, "no unit attention")
        finally:
            load.stop()
        load.result()
        note(f"{rounds} rounds: {said('ignoring AER for LUN 0')} times SRP_AER_REQ")
        fio(host.disk(), number_ios=100)


def _limits(target: Target, most: int) -> None:
    scst.put(scst.DEVICES / "null0/max_tgt_dev_commands", str(most))


@plan.test("the request limit is what the LUNs take (max_tgt_dev_commands), from 2 to 128", only=("ours",))
def request_limit(target: Target) -> None:
    for most, credits in ((_DEFAULT_LIMIT, _DEFAULT_LIMIT), (16, 16), (128, 128), (1000, 128), (1, 2)):
        _limits(target, most)
        channel = srp_raw.login(_LINK)
        equal(channel.credits, credits, f"request limit with max_tgt_dev_commands {most}")
        channel.close()
    _limits(target, 16)
    # With two LUNs it is the larger that counts.
    scst.add_lun("null1", 1, _port(target) / "luns")
    channel = srp_raw.login(_LINK)
    equal(channel.credits, _DEFAULT_LIMIT, "request limit with 16 and the default")
    channel.close()
    scst.put(_port(target) / "luns/mgmt", "del 1")
    _limits(target, _DEFAULT_LIMIT)


def _held(target: Target, want: int, **login: object) -> tuple[int, int]:
    """How many commands the target has of an initiator that would send 128, and how often it said TASK SET FULL. As many as
    one may WANT may take a while to come."""
    port = _port(target)

    def active() -> int:
        return sum(int(scst.get(path)) for path in port.glob("sessions/*/lun0/active_commands"))
    seen = [0]

    def settled() -> bool:
        seen.append(active())
        return len(seen) > 20 and len(set(seen[-20:])) == 1 and seen[-1] >= want
    with srp.logged_in(_LINK, queue_size=192, max_cmd_per_lun=128, **login) as host:
        node, sg = host.disk(), host.disk(kind="scsi_generic")
        # ib_srp takes a command that a reset ended for lost when its time is over.
        host.set_command_timeout(0, 8)
        scst.put(port / "black_hole", "4")
        with Trace() as trace:
            load = Fio(node, iodepth=128, number_ios=512, size="32m")
            wait_until(settled, 60, f"the number of commands does not settle at {want} or more: {seen[-20:]}")
            scst.put(port / "black_hole", "0")
            sh("sg_reset", "-d", sg)
            load.result()
            wait_until(lambda: active() == 0, 30, "commands are left")
        return seen[-1], trace.count("cmd_responded", _TASK_SET_FULL)


def _bounded(target: Target, most: int) -> None:
    _limits(target, most)
    held, full = _held(target, most - 1, ch_count=1)
    _limits(target, _DEFAULT_LIMIT)
    note(f"{held} commands of one channel")
    # The initiator keeps one of its requests for task management.
    equal((held, full), (most - 1, 0), "commands held, TASK SET FULL")


for _most in (8, _DEFAULT_LIMIT, 128):
    plan.test(f"one channel sends {_most - 1} commands to a LUN that takes {_most}: never TASK SET FULL",
              only=("ours",))(functools.partial(_bounded, most=_most))


@plan.test("a limit that falls while an initiator is logged in: TASK SET FULL keeps it, I/O goes on", only=("ours",))
def falling(target: Target) -> None:
    with srp.logged_in(_LINK, queue_size=192, max_cmd_per_lun=128, ch_count=2) as host:
        load = Fio(host.disk(), iodepth=128, time_based=None, runtime=3600)
        try:
            for most in (4, 64, 1, 128, 64):
                _limits(target, most)
                sh("sleep", "0.3")
            check(load.running, "the load ended")
        finally:
            load.stop()
        load.result()
    target.wait_idle()


if __name__ == "__main__":
    plan.main()
