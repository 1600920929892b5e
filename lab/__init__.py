# SPDX-License-Identifier: GPL-2.0
"""The machine to try SCST on: fetch and pin, build, boot, share, collect.

Everything that runs on the host is standard-library Python 3.9 or later. Compilers, QEMU and file-system
tools run inside one Debian root (`sysroot`), so the host's distribution does not matter.
"""
