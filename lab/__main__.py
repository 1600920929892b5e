# SPDX-License-Identifier: GPL-2.0
import sys
from pathlib import Path
from lab import sysroot, kernel, guest, vm
m = kernel.build_modules(kernel.stock("7.2"), source=Path("/tmp/tmod"))
r = vm.run("try", "#!/bin/bash\ncat /proc/uptime; time modprobe -v hello_lab; dmesg | tail -2; modprobe scsi_debug; lsscsi; exit 0\n", vm.Config(modules=m))
print(r.status, r.output, r.complaints, r.seconds, r.console[-1500:])
