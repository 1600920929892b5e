# SPDX-License-Identifier: GPL-2.0
import sys
from lab import sysroot, kernel, guest
print(sysroot.get().root)
print(guest.userland())
print(guest.stock())
