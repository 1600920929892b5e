#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
# lab: kernel=kasan group=fc_debug_drivers fc=2 mem=3G timeout=600 soak=only append=kasan_multi_shot allow=ODEBUG:.*kobject_delayed_cleanup|lib/debugobjects\.c|Call\sTrace:|possible\srecursive\slocking|WARNING:\s.*scsi_device_block|KASAN:\sslab-use-after-free\sin\sqla2x00_async_login|WARNING:\s.*\sat\s(__kmem_cache_shutdown|kmem_cache_destroy)
"""Fibre Channel on the kernel with KASAN and lockdep: targets and drivers that come and go (`fc_checked.py`)."""

from __future__ import annotations

import fc_checked

fc_checked.main(["drivers"])
