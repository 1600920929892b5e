# SPDX-License-Identifier: GPL-2.0
"""The two SRP targets that the tests run against, behind one interface: ours, and the kernel's own (LIO).

LIO's is the reference that shows that a test can be passed. Both modules are called ib_srpt, so only one can be
loaded at a time.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Sequence
from pathlib import Path

import scst
import srp
from lib import LONG, Skip, Suite, check, sh, wait_until
from srp import Link

KINDS = ("nullio", "fileio", "blockio")


class Target:
    """A loaded SRP target."""

    name: str
    """`ours` or `LIO`."""
    shared = False
    """It has a shared receive queue."""

    def __init__(self) -> None:
        self.disks: list[tuple[str, int, Sequence[Link]]] = []
        """Name, LUN and ports of what `add` made."""

    @property
    def title(self) -> str:
        """What the tests' names begin with."""
        return self.name

    def load(self) -> None:
        """Load the modules; the links must be up."""
        raise NotImplementedError

    def add(self, kind: str, name: str, lun: int, where: str = "", links: Sequence[Link] = (Link(0),)) -> None:
        """Make a disk of a kind over a file or block device, and give it to all initiators of the links' ports."""
        raise NotImplementedError

    def attach_again(self, link: Link) -> None:
        """Give the link's port its LUNs again, after its RDMA device was away, and enable it."""
        raise NotImplementedError

    def enable(self, *links: Link) -> None:
        """Let initiators log in through the links' ports."""
        raise NotImplementedError

    def disable(self, *links: Link) -> None:
        """End all sessions of the links' ports, and take no more."""
        raise NotImplementedError

    def unload(self) -> None:
        """Take everything down, the modules included."""
        raise NotImplementedError

    def wait_idle(self, links: Sequence[Link] = (Link(0),), seconds: float = 30) -> None:
        """Wait until the target has no session."""

    def built(self) -> bool:
        """Whether there is such a target at all."""
        raise NotImplementedError


class Lio(Target):
    """The kernel's own, through configfs."""

    name = "LIO"
    _root = Path("/sys/kernel/config/target")
    _module = Path(f"/lib/modules/{os.uname().release}/kernel/drivers/infiniband/ulp/srpt/ib_srpt.ko")
    _modules = ("target_core_mod", "target_core_file", "target_core_iblock", "rdma_cm", "ib_cm")

    def built(self) -> bool:
        """On the stock kernel."""
        return self._module.exists()

    def load(self) -> None:
        sh("modprobe", "-a", *self._modules)
        # What a closing device writes its reservations to.
        os.makedirs("/var/target/pr", exist_ok=True)
        sh("insmod", str(self._module), "srp_max_req_size=8260")
        (self._root / "srpt").mkdir()
        (self._root / "srpt/discovery_auth/rdma_cm_port").write_text(str(srp.PORT))

    def _group(self, link: Link) -> Path:
        guid = link.gid[20:]
        return self._root / "srpt" / guid / guid

    def acl(self, link: Link) -> Path:
        """The directory that says what initiators may see: with RDMA/CM LIO knows all by the port's own address."""
        return self._group(link) / "acls" / link.address

    def _open(self, link: Link) -> None:
        group = self._group(link)
        if not group.exists():
            group.parent.mkdir()
            group.mkdir()
            self.acl(link).mkdir()

    def add(self, kind: str, name: str, lun: int, where: str = "", links: Sequence[Link] = (Link(0),)) -> None:
        store, control = {
            "nullio": ("rd_mcp_0", "rd_pages=262144,rd_nullio=1"),
            "fileio": ("fileio_0", f"fd_dev_name={where},fd_dev_size={os.path.getsize(where) if where else 0}"),
            "blockio": ("iblock_0", f"udev_path={where}")}[kind]
        device = self._root / "core" / store / name
        device.mkdir(parents=True)
        (device / "control").write_text(control)
        (device / "enable").write_text("1")
        for link in links:
            self._map(name, device, lun, link)
        self.disks.append((name, lun, links))

    def _map(self, name: str, device: Path, lun: int, link: Link) -> None:
        self._open(link)
        place = self._group(link) / f"lun/lun_{lun}"
        place.mkdir()
        (place / name).symlink_to(device)
        mapped = self.acl(link) / f"lun_{lun}"
        if not mapped.exists():
            mapped.mkdir()
            (mapped / name).symlink_to(place)

    def attach_again(self, link: Link) -> None:
        # What is configured belongs to the device that went.
        self._close(link.gid[20:])
        for name, lun, links in self.disks:
            if link in links:
                (device,) = (self._root / "core").glob(f"*/{name}")
                self._map(name, device, lun, link)
        self.enable(link)

    def _close(self, port: str) -> None:
        """Take a port (or with `*` all) out of the configuration."""
        srpt = self._root / "srpt"
        for path in srpt.glob(f"{port}/*/enable"):
            path.write_text("0")
        for pattern in ("acls/*/lun_*/*", "lun/lun_*/*"):
            for path in srpt.glob(f"{port}/*/{pattern}"):
                if path.is_symlink():
                    path.unlink()
        for pattern in ("/*/acls/*/lun_*", "/*/acls/*", "/*/lun/lun_*", "/*", ""):
            for path in srpt.glob(port + pattern):
                if path.is_dir() and path.name not in _GIVEN:
                    path.rmdir()

    def enable(self, *links: Link) -> None:
        for link in links:
            self._open(link)
            (self._group(link) / "enable").write_text("1")

    def disable(self, *links: Link) -> None:
        for link in links:
            (self._group(link) / "enable").write_text("0")

    def unload(self) -> None:
        srpt = self._root / "srpt"
        self._close("*")
        for path in (self._root / "core").glob("*/*"):
            if path.is_dir() and path.parent.name != "alua":
                path.rmdir()
        if srpt.exists():
            srpt.rmdir()
        if scst.loaded("ib_srpt"):
            sh("rmmod", "ib_srpt", timeout=90)
        if (self._root / "core").exists():
            for path in (self._root / "core").iterdir():
                if path.is_dir() and path.name != "alua":
                    path.rmdir()
        if scst.loaded("target_core_mod"):
            # It brings more backing stores along than were asked for.
            users = [path.name for path in Path("/sys/module/target_core_mod/holders").iterdir()]
            for module in (*users, "target_core_mod"):
                wait_until(functools.partial(scst.try_rmmod, module), 30, f"rmmod {module}: in use")


# Directories of configfs that come and go with their parents.
_GIVEN = ("discovery_auth", "acls", "attrib", "auth", "lun", "np", "param", "fabric_statistics", "alua")


class Ours(Target):
    """This project's, through /sys/kernel/scst_tgt."""

    name = "ours"
    root = scst.ROOT / "targets/ib_srpt"

    def __init__(self, shared: bool = False, **parameters: object) -> None:
        """Its channels of a device have a receive queue each, or SHARE one; module PARAMETERS that are not the usual."""
        super().__init__()
        self.shared, self._parameters = shared, parameters

    @property
    def title(self) -> str:
        return self.name + ", a shared receive queue" * self.shared

    def built(self) -> bool:
        """This clone has one."""
        return Path(f"/lib/modules/{os.uname().release}/updates/ib_srpt.ko").exists()

    def load(self, **parameters: object) -> None:
        sh("modprobe", "-a", "scst", "scst_vdisk")
        chosen = {"rdma_cm_port": srp.PORT, "use_srq": "NY"[self.shared], **self._parameters, **parameters}
        sh("modprobe", "ib_srpt", *(f"{key}={value}" for key, value in chosen.items()))

    def port(self, link: Link) -> Path:
        """The directory of a link's port."""
        return self.root / link.gid

    def sessions(self, link: Link = Link(0)) -> list[str]:
        """Names of the sessions of a link's port."""
        place = self.port(link) / "sessions"
        return sorted(path.name for path in place.iterdir()) if place.exists() else []

    def add(self, kind: str, name: str, lun: int, where: str = "", links: Sequence[Link] = (Link(0),)) -> None:
        scst.add_device(f"vdisk_{kind}", name, "size_mb=1024" if kind == "nullio" else f"filename={where}")
        for link in links:
            scst.add_lun(name, lun, self.port(link) / "luns")
        self.disks.append((name, lun, links))

    def attach_again(self, link: Link) -> None:
        wait_until(self.port(link).exists, 10, f"no port {link.gid}")
        for name, lun, links in self.disks:
            if link in links:
                scst.add_lun(name, lun, self.port(link) / "luns")
        self.enable(link)

    def enable(self, *links: Link) -> None:
        for link in links:
            scst.put(self.port(link) / "enabled", "1")

    def disable(self, *links: Link) -> None:
        for link in links:
            scst.put(self.port(link) / "enabled", "0")

    def wait_idle(self, links: Sequence[Link] = (Link(0),), seconds: float = 30) -> None:
        for link in links:
            wait_until(lambda link=link: not self.sessions(link), seconds,
                       f"sessions of {link.device}: {self.sessions(link)}")

    def unload(self) -> None:
        for port in self.root.glob("*:*"):
            scst.put(port / "enabled", "0")
            for path in [*port.glob("ini_groups/*/initiators/mgmt"), *port.glob("ini_groups/*/luns/mgmt"),
                         port / "luns/mgmt"]:
                scst.put(path, "clear")
            for group in port.glob("ini_groups/*/"):
                scst.put(port / "ini_groups/mgmt", f"del {group.name}")
        scst.clear()
        if scst.loaded("ib_srpt"):
            sh("rmmod", "ib_srpt", timeout=90)
        scst.unload()


_Body = Callable[[Target], None]


def _skipped() -> None:
    raise Skip("no ib_srpt in this build")


class Plan:
    """Tests that run against each target in turn: set-up, the tests, everything taken down and unloaded."""

    def __init__(self, setup: _Body, links: Sequence[Link] = (Link(0),), limit_s: int = 240,
                 keep_links: bool = False, shared: bool = LONG, **parameters: object) -> None:
        """SETUP gives a loaded target its disks and enables it. SHARED: also with a shared receive queue.

        PARAMETERS of the module are for our target.
        """
        self._setup, self._links, self._keep_links, self._shared = setup, links, keep_links, shared
        self._parameters = parameters
        self._tests: list[tuple[str, _Body, int, Sequence[str]]] = []
        self.suite = Suite(limit_s=limit_s)

    def test(self, name: str, limit_s: int = 0, only: Sequence[str] = ()) -> Callable[[_Body], _Body]:
        """Add a test, for the targets named ONLY if that is given."""
        def add(function: _Body) -> _Body:
            self._tests.append((name, function, limit_s, only))
            return function
        return add

    def main(self) -> None:
        """Run all and end the process.

        The reference is for builds that have no other, and for who asks for it with SRP_REFERENCE=1 (in `make shell`): it
        costs as much time as what is tested.
        """
        ours, reference = Ours(**self._parameters), Lio()
        if ours.built():
            self._add(ours)
            if self._shared:
                self._add(Ours(shared=True, **self._parameters))
        else:
            self.suite.test(f"{ours.title}: {len(self._tests)} tests")(_skipped)
        if os.environ.get("SRP_REFERENCE") or not ours.built():
            self._add(reference)
        self.suite.main()

    def _add(self, target: Target) -> None:
        tests = [test for test in self._tests if not test[3] or target.name in test[3]]
        if not tests:
            return
        ready: list[bool] = []

        def begin() -> None:
            srp.load_initiator()
            for link in self._links:
                link.up()
            target.load()
            self._setup(target)
            ready.append(True)

        def end() -> None:
            srp.unload_initiator()
            target.unload()
            for link in () if self._keep_links else self._links:
                link.remove()

        def guarded(function: _Body) -> Callable[[], None]:
            def run() -> None:
                check(ready, "the target was not set up")
                function(target)
            return run

        self.suite.test(f"{target.title}: the target is set up")(begin)
        for name, function, limit_s, _ in tests:
            self.suite.test(f"{target.title}: {name}", limit_s)(guarded(function))
        self.suite.test(f"{target.title}: logged out, taken down, unloaded")(guarded(lambda _: end()))
