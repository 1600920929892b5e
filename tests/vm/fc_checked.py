# SPDX-License-Identifier: GPL-2.0
"""Fibre Channel under KASAN, lockdep and atomic-sleep checks: what matters is what the kernel says.

What the kernel complains of by itself is allowed by name, and nothing else is: its own gendisk, which does not get on with
DEBUG_KOBJECT_RELEASE; the initiator's scsi_device_block(), for a disk that is being given up; and of the stock qla2xxx

- qla2x00_async_login(), in which it reads what it has sent after the answer to it has freed that,
- qla25xx_fw_dump(), which copies the queue of ATIOs behind a header that nobody counted when the dump's memory was allocated,
- requests of its own that it forgets when an adapter is taken away (`qla2xxx_srbs`), also where no target driver was ever loaded; no
  module of ours takes from that cache, or has one that the kernel could say this of,
- qla24xx_do_nack_work(), in which it waits for work of the queue that this runs on, when somebody logs in whose last session is just
  ending.

KASAN goes on after a report (kasan_multi_shot); lockdep is off after its first one, so each part of the faults has a boot of its own.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

import fc
import fc_faults
import fc_ours
from lib import Suite, check, fio, note, sh

_OTHERS = (r"ODEBUG:.*kobject_delayed_cleanup", r"lib/debugobjects\.c", "Call Trace:", "possible recursive locking",
           r"WARNING: .*scsi_device_block", "KASAN: slab-use-after-free in qla2x00_async_login",
           "KASAN: vmalloc-out-of-bounds in qla25xx_fw_dump", r"WARNING: .* at (__kmem_cache_shutdown|kmem_cache_destroy)")


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


def main(parts: Sequence[str]) -> None:
    """Run the tests of these parts of the faults."""
    suite = Suite(fc_ours.setup, fc_ours.teardown, limit_s=200)
    suite.expected = [re.compile(pattern) for pattern in _OTHERS]
    suite.test("reads and verified writes")(_verified)
    fc_faults.add(suite, parts, few=True)
    suite.test("the target module is unloaded")(fc_ours.unload)
    suite.test("locks: nothing but what qla2xxx does with its own queue")(_locks)
    suite.main()
