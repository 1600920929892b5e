# SPDX-License-Identifier: GPL-2.0
"""Instructions per I/O and fio figures of our target beside its peers."""
