# SPDX-License-Identifier: GPL-2.0
"""What lets the guest's fio start at once.

Debian's links the client libraries of Ceph, Gluster and others for engines that nothing here uses, and has every symbol of
them bound when it starts: most of a second on an emulated processor, a hundred times in a run of the tests. Here are
libraries of the same names that have the functions fio wants of them, none of which can be called.
"""

from __future__ import annotations

from pathlib import Path

from . import cache, guest, kernel, paths, sysroot
from .sandbox import Bind

_MAKE = r"""set -e
cd /srv
unsquashfs -q -n -d image /tmp/image usr/bin/fio > /dev/null
fio=image/usr/bin/fio
nm -D --undefined-only $fio | awk '
	$2 ~ /^(rados|rbd|glfs|nbd|nfs|pmem)_/ {
		split($2, name, "@")
		print "void " name[1] "(void) { __builtin_trap(); }" > "none.c"
		version = name[2] ? name[2] : "NONE"
		list[version] = list[version] " " name[1] ";"
	}
	END { for (version in list) print version " { global:" list[version] " };" > "none.map" }'
%(cc)s -shared -fPIC -nostdlib -O1 -Wl,--version-script=none.map -o none.so none.c
for name in $(readelf -d $fio | grep -oE 'lib(rados|rbd|gfapi|nbd|nfs|pmem)\.so\.[0-9]+'); do
	cp none.so $name
done
rm -r image none.c none.map none.so
"""


def _make(partial: Path) -> None:
    cc = next(word.partition("=")[2] for word in kernel.MAKE if word.startswith("CC="))
    sysroot.get().run(["sh", "-c", _MAKE % {"cc": cc}], paths.fresh_log("fio"), "libraries for fio",
                      [Bind(partial, "/srv"), Bind(guest.userland(), "/tmp/image", False)])


def libraries() -> Path:
    """The directory of them."""
    digest = cache.key(guest.userland().parent.name, _MAKE, cache.source(_make), sysroot.toolchain())
    return cache.entry("fio", digest, _make)
