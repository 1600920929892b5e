#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
# lab: group=scsi timeout=240
"""/dev/scst_event as the daemons use it: filters, reading, waiting, answers, and SET TARGET PORT GROUPS by a daemon."""

from __future__ import annotations

import errno
import fcntl
import os
import stat
import struct
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import scst
from event_daemon import (ALLOW, HEADER, LUN_NOT_FOUND, NEXT, NODE, REGISTERED, STPG, TM_RECEIVED, Daemon, asked,
                          text)
from lib import Failure, Suite, check, equal, errno_name, sh


def setup() -> None:
    """A disk in a device group, its port in a target group."""
    scst.unload()
    scst.load()
    scst.image("/tmp/d", 8)
    scst.disk("vdisk_fileio", "d", 0, "filename=/tmp/d")
    scst.put(scst.DEVICES / "d/expl_alua", "1")
    scst.add_device_group("dg", ("d",))
    scst.add_target_group("dg", "tg", 1, "", ("scst_local_tgt",))
    scst.add_target_group("dg", "other", 2, "standby", ("remote",))


def teardown() -> None:
    """Leave nothing, also after a failure: an open file keeps the module."""
    for daemon in list(Daemon.living):
        daemon.close()
    scst.clear()
    scst.unload()


suite = Suite(setup, teardown)


@suite.test("the node is there, for root alone, and keeps the module")
def node() -> None:
    mode = os.stat(NODE).st_mode
    equal((stat.S_ISCHR(mode), stat.S_IMODE(mode)), (True, 0o600), "type and mode")
    before = int(Path("/sys/module/scst/refcnt").read_text())
    daemon = Daemon()
    equal(int(Path("/sys/module/scst/refcnt").read_text()), before + 1, "references of scst")
    daemon.close()


@suite.test("filters: wildcards, those that are there already, those that are not, wrong ones")
def filters() -> None:
    daemon = Daemon()
    equal(daemon.allow(STPG), 0, "ALLOW")
    equal(daemon.allow(STPG), errno.EEXIST, "ALLOW again")
    equal(daemon.allow(0, b"*"), errno.EEXIST, "ALLOW of what includes it")
    equal(daemon.allow(TM_RECEIVED, b"*", b"abc"), 0, "ALLOW of a payload")
    equal(daemon.allow(TM_RECEIVED, length=4000), errno.EINVAL, "ALLOW of a payload that is too large")
    equal(daemon.allow(TM_RECEIVED, length=-1), errno.EINVAL, "ALLOW of a negative length")
    equal(daemon.disallow(99), errno.ENOENT, "DISALLOW of what is not there")
    equal(daemon.disallow(0, b"*"), 0, "DISALLOW of all")
    equal(daemon.disallow(0, b"*"), errno.ENOENT, "DISALLOW of all again")
    equal(daemon.done(1, 0), errno.ENOENT, "NOTIFY_DONE of nothing")
    for command in (0, 0x40407505):
        try:
            fcntl.ioctl(daemon.fd, command, bytearray(100))
            check(False, f"ioctl {command:#x} is known")
        except OSError as error:
            equal(error.errno, errno.EINVAL, f"ioctl {command:#x}")
    daemon.close()


@suite.test("an event is read whole or not at all, and only by who wants it")
def reading() -> None:
    daemon, deaf = Daemon((REGISTERED,), os.O_NONBLOCK), Daemon((STPG,), os.O_NONBLOCK)
    equal(daemon.next()[0], errno.EAGAIN, "GET_NEXT_EVENT without an event")
    scst.add_device("vdisk_nullio", "fresh", "size_mb=1")
    check(daemon.readable(30), "poll() does not see the event")
    result, needed = daemon.next(100)
    equal((result, struct.unpack("=i", needed)[0]), (errno.ENOSPC, 64 + 60), "GET_NEXT_EVENT with little room")
    number, payload = daemon.event(REGISTERED)
    equal((number, text(payload)), (0, "fresh"), "number and device")
    equal(daemon.next()[0], errno.EAGAIN, "GET_NEXT_EVENT after the last one")
    equal(deaf.next()[0], errno.EAGAIN, "GET_NEXT_EVENT of another one")
    scst.del_device("fresh")
    daemon.close()
    deaf.close()


@suite.test("GET_NEXT_EVENT waits, and a signal ends the wait")
def waiting() -> None:
    script = ("import fcntl,os,struct,sys\nfd=os.open('/dev/scst_event',os.O_RDWR)\n"
              f"fcntl.ioctl(fd,{ALLOW},bytearray(struct.pack('{HEADER}',0,{REGISTERED},0,b'*')+bytes(2)))\n"
              "print('ready',flush=True)\ndata=bytearray(4096)\ndata[:4]=struct.pack('=i',4000)\n"
              f"fcntl.ioctl(fd,{NEXT},data)\nprint(data[66:].partition(bytes(1))[0].decode(),flush=True)\n")
    for name in ("one", ""):
        with subprocess.Popen(["python3", "-c", script], stdout=subprocess.PIPE, text=True) as reader:
            assert reader.stdout
            equal(reader.stdout.readline(), "ready\n", "the reader")
            time.sleep(0.3)
            equal(reader.poll(), None, "the reader that has nothing to read")
            if name:
                scst.add_device("vdisk_nullio", name, "size_mb=1")
                equal(reader.stdout.readline(), f"{name}\n", "what it read")
                scst.del_device(name)
            else:
                reader.terminate()
            reader.wait(60)


def _during(command: list[str], act: Callable[[], None]) -> tuple[int, str]:
    """Run COMMAND, and ACT while it runs; its status and output."""
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
        try:
            act()
        except Failure as failure:
            raise Failure(f"{failure}; {command[0]}: {process.communicate(timeout=90)[0].strip()}") from None
        output = process.communicate(timeout=60)[0]
        return process.returncode, output


def _refused(status: int, output: str) -> bool:
    """Whether sg_stpg was refused; it may say so and end with 0."""
    return status != 0 or "Set target port groups command failed" in output


def _quiet() -> None:
    """Take the unit attentions that are due for what was configured."""
    node = scst.wait_disk(0, kind="scsi_generic")
    for _ in range(20):
        if "Good" in sh("sg_raw", node, *("00",) * 6, status=None):
            return
    raise Failure("unit attentions without end")


def _stpg(state: str) -> list[str]:
    return ["sg_stpg", "--tp=1", f"--state={state}", scst.wait_disk(0, kind="scsi_generic")]


@suite.test("SET TARGET PORT GROUPS: a daemon changes the state, and its status is the command's")
def stpg() -> None:
    path = scst.GROUPS / "dg/target_groups/tg/state"
    for status, state in ((0, "nonoptimized"), (5, "active")):
        daemon = Daemon((STPG,))

        def serve(daemon: Daemon = daemon, status: int = status, state: str = state) -> None:
            number, payload = daemon.event(STPG)
            check(number > 0, "it has no number")
            was = scst.get(path).split()[0]
            equal(asked(payload), ("d", [(1, was, state, "dg", "tg")]), "device, and the change")
            if not status:
                scst.put(path, state)
            equal(daemon.done(number, status), 0, "NOTIFY_DONE")
            equal(daemon.done(number, status), errno.ENOENT, "NOTIFY_DONE again")

        _quiet()
        before, failed = scst.get(path), scst.failed(0)
        result, output = _during(_stpg({"nonoptimized": "1", "active": "0"}[state]), serve)
        equal(_refused(result, output), bool(status), f"sg_stpg with status {status}: {output.strip()}")
        equal(scst.get(path), state if not status else before, "the state afterwards")
        # Who asked for it is not told of it.
        sh("dd", f"if={scst.wait_disk(0)}", "of=/dev/null", "bs=4096", "count=1", "iflag=direct", "status=none")
        equal(scst.failed(0) - failed, int(bool(status)), "commands of the asking initiator that failed")
        daemon.close()


@suite.test("a daemon that ends without an answer fails the command; without one the core changes the state")
def alone() -> None:
    path = scst.GROUPS / "dg/target_groups/tg/state"
    scst.put(path, "active")
    _quiet()
    daemon = Daemon((STPG,))

    def die() -> None:
        daemon.event(STPG)
        daemon.close()

    result, output = _during(_stpg("1"), die)
    check(_refused(result, output), f"sg_stpg succeeded: {output}")
    equal(scst.get(path), "active", "the state")
    sh(*_stpg("1"))
    equal(scst.get(path), "nonoptimized", "the state that the core set")
    scst.put(path, "active")


@suite.test("commands to a LUN that is not there, and task management, are told")
def told() -> None:
    daemon = Daemon((LUN_NOT_FOUND, TM_RECEIVED))
    sh("sg_reset", "--device", scst.wait_disk(0))
    _, payload = daemon.event(TM_RECEIVED)
    function, _, lun = struct.unpack_from("=IIQ", payload)
    equal((function, lun), (4, 0), "function and LUN")
    equal([text(payload[at:at + 256]) for at in (16, 272, 528, 784)],
          ["d", scst.SESSION, "scst_local_tgt", scst.SESSION], "names")
    Path(f"/sys/class/scsi_host/host{scst.host_of()}/scan").write_text("0 0 7")
    _, payload = daemon.event(LUN_NOT_FOUND)
    equal(struct.unpack_from("=Q", payload)[0], 7, "LUN")
    equal([text(payload[at:at + 256]) for at in (8, 264)], [scst.SESSION, "scst_local_tgt"], "names")
    daemon.close()


@suite.test("a daemon that is killed leaves nothing")
def killed() -> None:
    script = f"import os,time\nfd=os.open('{NODE}',os.O_RDWR)\nprint('ready',flush=True)\ntime.sleep(60)\n"
    with subprocess.Popen(["python3", "-c", script], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        process.stdout.readline()
        process.kill()
    scst.add_device("vdisk_nullio", "late", "size_mb=1")
    scst.del_device("late")


if __name__ == "__main__":
    suite.main()
