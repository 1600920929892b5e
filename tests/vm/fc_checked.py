# SPDX-License-Identifier: GPL-2.0
"""Fibre Channel under KASAN, lockdep and atomic-sleep checks: what matters is what the kernel says.

Three complaints are not about us, and only those are allowed: of the kernel's own gendisk, which does not get on with
DEBUG_KOBJECT_RELEASE; of qla24xx_do_nack_work(), in which the stock qla2xxx waits for work of the queue that this runs on, when
somebody logs in whose last session is just ending; of the initiator's scsi_device_block(), for a disk that is being given up.
After the second of them lockdep is off until the end of the boot: so each part of the faults has one of its own.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

import fc
import fc_faults
import fc_ours
from lib import Suite, check, fio, note, sh

_OTHERS = (r"ODEBUG:.*kobject_delayed_cleanup", r"lib/debugobjects\.c", "Call Trace:", "possible recursive locking",
           r"WARNING: .*scsi_device_block")


def _verified() -> None:
    fio(fc.wait_disk(0, 0), number_ios=200, size="64m")
    fio(fc.wait_disk(0, 1), rw="randwrite", bsrange="4k-1m", blockalign="4k", iodepth=16, size="8m", verify="crc32c",
        verify_fatal=1, randrepeat=0, serialize_overlap=1)


def _locks() -> None:
    log = sh("dmesg").splitlines()
    reports = [number for number, line in enumerate(log) if "possible recursive locking" in line]
    for number in reports:
        check(any("qla24xx_do_nack_work" in other for other in log[number:number + 70]), "\n".join(log[number:number + 70]))
    note(f"lockdep: {'off since ' + log[reports[0]].split(']')[0] + ']' if reports else 'on to the end'}")


def _unloads() -> None:
    fc_ours.unload()


def main(parts: Sequence[str]) -> None:
    """Run the tests of these parts of the faults."""
    suite = Suite(fc_ours.setup, fc_ours.teardown, limit_s=200)
    suite.expected = [re.compile(pattern) for pattern in _OTHERS]
    suite.test("reads and verified writes")(_verified)
    fc_faults.add(suite, parts, few=True)
    suite.test("the target module is unloaded")(_unloads)
    suite.test("locks: nothing but what qla2xxx does with its own queue")(_locks)
    suite.main()
