# SPDX-License-Identifier: GPL-2.0
import sys
from lab import sysroot, kernel, guest, vm
r = vm.run("try", "#!/bin/bash\nuname -a; ls /dev/vd*; cat /proc/uptime; lsmod | head -30; modprobe -v null_blk; ls /dev/nullb0; fio --version; cat /proc/uptime; exit 3\n")
print(r.status, r.output, r.complaints, r.seconds, r.console[-1500:])
