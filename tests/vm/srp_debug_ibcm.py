#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
# lab: kernel=debug group=debug mem=2G timeout=200 soak=yes allow=ODEBUG:.*kobject_delayed_cleanup|lib/debugobjects\.c|Call\sTrace:
"""SRP logins by the InfiniBand CM under lockdep, slab poisoning, atomic-sleep checks and kmemleak."""

from __future__ import annotations

import srp_debug
import srp_ibcm as ibcm
import srp_target
from lib import LONG
from srp import Link

plan = srp_target.Plan(ibcm.setup, [Link(0), ibcm.LINK], limit_s=100, rdma_cm_port=0)
plan.suite.expected = srp_debug.EXPECTED

# What has a life of its own in the CM; the rest is for the soak.
_ALWAYS = (ibcm.life, ibcm.lost_rtu, ibcm.half_open, ibcm.second_thoughts)
_LONG = (ibcm.rejected, ibcm.repeated, ibcm.delayed, ibcm.channels, ibcm.disabled, ibcm.outstanding, ibcm.mutated)

for _test in (*_ALWAYS, *(_LONG if LONG else ())):
    plan.test(f"logins by IB/CM: {_test.__name__}", only=("ours",))(_test)


if __name__ == "__main__":
    plan.main()
