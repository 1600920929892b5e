# SPDX-License-Identifier: GPL-2.0
"""What the virtual machine boots: a Debian image, the stock kernel and its modules, a first file system."""

from __future__ import annotations

import dataclasses
import re
import struct
from collections.abc import Sequence
from pathlib import Path
from typing import Optional

from . import cache, cpio, debs, paths, pins, proc, sysroot
from .errors import LabError
from .mmdebstrap import Mmdebstrap
from .progress import step
from .sandbox import Bind

PACKAGES = ("bash", "coreutils", "util-linux", "mount", "kmod", "fio", "sg3-utils", "lsscsi", "e2fsprogs", "xfsprogs",
            "python3", "dmsetup", "procps", "psmisc", "strace", "iproute2", "gawk", "grep", "sed", "findutils",
            "busybox-static", "hostname", "file", "xxd",
            # multipath: the stock daemon, and udev, without which it has no paths
            "multipath-tools", "udev",
            # SRP: verbs from user space, discovery; iproute2 brings rdma, dmsetup makes multipath devices
            "ibverbs-providers", "python3-pyverbs", "srptools",
            # iscsi-test-cu: a conformance test that drives /dev/sgN too
            "libiscsi-bin")

# For nodes of a cluster, in an image of their own: Pacemaker, and what tries its agents.
_CLUSTER = ("pacemaker", "corosync", "pacemaker-cli-utils", "resource-agents", "libxml2-utils")

# Files that no test here can reach, left out to keep the image small.
_DROPPED = ("usr/lib/udev/hwdb.bin", "usr/lib/udev/hwdb.d", "usr/lib/python3/dist-packages/pyverbs/providers")

# The same for modules.
_LEFT_OUT = ("sound", "net/bluetooth", "net/wireless", "net/mac80211", "net/can", "drivers/gpu", "drivers/media",
             "drivers/iio", "drivers/usb", "drivers/hid", "drivers/platform", "drivers/hwmon", "drivers/input",
             "drivers/comedi", "drivers/video", "drivers/mtd", "drivers/bluetooth", "drivers/staging", "drivers/accel",
             "drivers/mmc", "drivers/leds", "drivers/edac", "drivers/thermal", "drivers/soundwire", "drivers/gpio",
             "drivers/net/wireless", "drivers/net/ethernet", "drivers/net/can", "drivers/net/phy", "drivers/net/usb",
             "drivers/infiniband/hw")
_BOOT_MODULES = ("virtio_blk", "squashfs", "overlay", "9pnet_virtio", "9p")

# Not compressed: unpacking costs an emulated processor more than reading does. The format is one that both kernels know.
_PLAIN = ("-comp", "zstd", "-noI", "-noD", "-noF", "-noX")


@dataclasses.dataclass(frozen=True)
class Kernel:
    """A kernel that boots in the virtual machine."""

    release: str
    image: Path
    initramfs: Path
    modules: Path
    """A directory with usr/lib/modules/RELEASE."""
    modules_image: Optional[Path] = None
    """The same as a file system for the guest; None where all, or almost all, is built in."""
    append: str = ""
    """Words for its command line."""
    loose: Sequence[Path] = ()
    """Modules that the guest gets beside ours."""


def _make_userland(partial: Path, packages: tuple[str, ...]) -> None:
    log = paths.fresh_log("guest")
    tool = Mmdebstrap(paths.cache() / "tools")
    with step("setup", "making the guest's Debian image", 45):
        pack = sysroot.get().argv(["sqfstar", "-quiet", "-no-progress", *_PLAIN, "/srv/root.squashfs",
                                   *_DROPPED], [Bind(partial, "/srv")])
        sysroot.unpack_tar(tool.command(packages, "essential", "-"), log, "making the guest image", pack, partial)


def packing(top: Path) -> str:
    """The command that packs the directory TOP into TOP.squashfs, as the guest's other images are."""
    return f"mksquashfs {top} {top}.squashfs -mem 64M -processors 1 -quiet -no-progress -all-root {' '.join(_PLAIN)}"


def _image(packages: tuple[str, ...]) -> Path:
    digest = cache.key(packages, _DROPPED, _PLAIN, cache.source(_make_userland, Mmdebstrap.command), pins.load().release)
    return cache.entry("guest", digest, lambda partial: _make_userland(partial, packages)) / "root.squashfs"


def userland() -> Path:
    """The guest's Debian as a squashfs image."""
    return _image(PACKAGES)


def cluster_userland() -> Path:
    """The same with Pacemaker, for soaks."""
    return _image((*PACKAGES, *_CLUSTER))


def _closure(index: str, names: tuple[str, ...]) -> list[str]:
    """Paths of the modules NAMES and all that they need, in loading order, from the text of modules.dep."""
    needs: dict[str, tuple[str, list[str]]] = {}
    for line in index.splitlines():
        path, _, rest = line.partition(":")
        needs[re.sub(r"\.ko$", "", path.rsplit("/", 1)[-1]).replace("-", "_")] = (path, rest.split())
    order: list[str] = []
    for name in names:
        if name not in needs:
            raise LabError(f"the kernel package has no module {name}")
        path, dependencies = needs[name]
        for item in [*reversed(dependencies), path]:
            if item not in order:
                order.append(item)
    return order


def write_initramfs(target: Path, busybox: Path, modules: Optional[Path] = None, order: tuple[str, ...] = ()) -> None:
    """The first file system: busybox, our init, and the modules that it takes to mount the rest."""
    with target.open("wb") as out:
        writer = cpio.Writer(out)
        for name in ("proc", "sys", "dev", "tmp"):
            writer.directory(name)
        writer.file("bin/busybox", busybox.read_bytes(), executable=True)
        writer.file("init", (paths.LAB / "guest/initramfs-init").read_bytes(), executable=True)
        names = []
        for number, path in enumerate(order):
            assert modules is not None
            names.append(f"{number:02d}-{path.rsplit('/', 1)[-1]}")
            writer.file(f"modules/{names[-1]}", (modules / path).read_bytes())
        writer.file("modules/order", ("\n".join(names) + "\n").encode())
        writer.close()


def busybox() -> Path:
    """The static busybox of the root."""
    return sysroot.get().root / "bin/busybox"


def payload(image: bytes) -> bytes:
    """The compressed kernel in a bzImage (Documentation/arch/x86/boot.rst, protocol 2.08), without its size at the end.

    By its PVH entry it boots as it is; to unpack itself takes an emulated processor a second.
    """
    offset, length = struct.unpack_from("<II", image, 0x248)
    start = (image[0x1F1] + 1) * 512 + offset
    return image[start:start + length - 4]


def _make_stock(kernel: pins.Kernel, partial: Path) -> None:
    log = paths.fresh_log(f"kernel-{kernel.series}")
    root = sysroot.get()
    packages = debs.fetch(kernel, ["binary", "modules"])
    top = partial / "modules/usr/lib/modules" / kernel.release
    with step("setup", f"unpacking the stock kernel {kernel.release} for the guest", 30):
        proc.run(["dpkg-deb", "-x", str(packages["binary"]), str(partial / "binary")], log, "unpacking the kernel")
        image = partial / "binary/usr/lib/modules" / kernel.release / "vmlinuz"
        (partial / "vmlinux.zst").write_bytes(payload(image.read_bytes()))
        cache.remove(partial / "binary")
        drop = [f"--exclude=./usr/lib/modules/{kernel.release}/kernel/{name}" for name in _LEFT_OUT]
        script = ("set -e; mkdir -p modules/usr/lib; dpkg-deb --fsys-tarfile /mnt/modules.deb | "
                  'tar -x -C modules "$@"; rm -rf modules/usr/share; ln -s usr/lib modules/lib; '
                  "find modules -name '*.ko.xz' -print0 | xargs -0 -P2 -n16 xz -d; "
                  "zstd -dq --rm vmlinux.zst; "
                  f"mkdir modules/usr/lib/modules/{kernel.release}/updates; depmod -b modules {kernel.release}; "
                  "rm modules/lib; "
                  f"mksquashfs modules modules.squashfs -quiet -no-progress -all-root {' '.join(_PLAIN)}")
        root.run(["sh", "-c", script, "sh", *drop], log, "unpacking the modules",
                 [Bind(partial, "/srv"), Bind(packages["modules"], "/mnt/modules.deb", False)], "/srv")
        order = _closure((top / "modules.dep").read_text(), _BOOT_MODULES)
        write_initramfs(partial / "initramfs", busybox(), top, tuple(order))


def recipe() -> str:
    """The text of what makes a first file system, for the key of an entry that holds one."""
    return cache.source(write_initramfs) + (paths.LAB / "guest/initramfs-init").read_text()


def stock(series: str = "7.2") -> Kernel:
    """The unmodified Debian kernel of a series."""
    kernel = pins.load().kernel(series)
    digest = cache.key(kernel, _LEFT_OUT, _PLAIN, _BOOT_MODULES, cache.source(_make_stock, _closure, payload), recipe(),
                       sysroot.toolchain())
    path = cache.entry(f"kernel-{series}", digest, lambda partial: _make_stock(kernel, partial))
    return Kernel(kernel.release, path / "vmlinux", path / "initramfs", path / "modules",
                  path / "modules.squashfs")
