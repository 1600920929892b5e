# SPDX-License-Identifier: GPL-2.0
"""SRP over Soft-RoCE in one machine, as the initiator sees it: RDMA devices, logins, disks, states, multipath.

The initiator is the stock ib_srp. On a Link both ends are on one rxe device over a dummy netdev: what goes to the device's
own address is looped back by rxe, through the same verbs as over a wire. A Wire has two devices and a cable to pull.
"""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import functools
import os
import re
import subprocess
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Optional

from lib import Failure, check, errno_name, sh, wait_until

PORT = 5555
"""Where the target listens for RDMA/CM."""
_HOSTS = Path("/sys/class/scsi_host")
_RPORTS = Path("/sys/class/srp_remote_ports")


@dataclasses.dataclass(frozen=True)
class Link:
    """An RDMA device over a netdev of its own; the number decides all names and addresses."""

    number: int = 0

    @property
    def netdev(self) -> str:
        """The netdev below."""
        return f"dm{self.number}"

    @property
    def device(self) -> str:
        """The RDMA device."""
        return f"rxe{self.number}"

    @property
    def address(self) -> str:
        """Its IPv4 address."""
        return f"192.168.{77 + self.number}.1"

    @property
    def initiator_device(self) -> str:
        """The RDMA device that the initiator uses."""
        return self.device

    @property
    def initiator_address(self) -> str:
        """The IPv4 address that the initiator has there."""
        return self.address

    @property
    def gid(self) -> str:
        """Its port GID, as SCST names the target port."""
        return f"fe80:0000:0000:0000:0000:00ff:fe00:{self.number + 1:04x}"

    def up(self) -> None:
        """Make both; nothing is changed if they are there."""
        if not Path("/sys/class/net", self.netdev).exists():
            # For packets of 4096 bytes, as InfiniBand has: a quarter of the work. Through a cable they have 1024.
            sh("ip", "link", "add", self.netdev, "address", f"02:00:00:00:00:{self.number + 1:02x}", "mtu", "4500",
               "type", "dummy")
            sh("ip", "addr", "add", f"{self.address}/24", "dev", self.netdev)
        sh("ip", "link", "set", self.netdev, "up")
        if not Path("/sys/class/infiniband", self.device).exists():
            sh("rdma", "link", "add", self.device, "type", "rxe", "netdev", self.netdev)
        wait_until(lambda: self.state() == "ACTIVE", 10, f"{self.device} is {self.state()}")
        wait_until(lambda: Path(f"/sys/class/infiniband/{self.device}/ports/1/gids/1").read_text().strip("0:\n"), 10,
                   f"{self.device} has no GID for {self.address}")

    def in_namespace(self) -> "contextlib.AbstractContextManager[None]":
        """Be where the initiator is, in the sense of network namespaces, for as long as the block runs."""
        return contextlib.nullcontext()

    def _reaches(self) -> bool:
        """Whether the initiator's address reaches the target's."""
        with self.in_namespace():
            ping = ["busybox", "ping", "-c", "1", "-W", "1", self.address]
            return subprocess.run(ping, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False).returncode == 0

    def reach(self) -> None:
        """Wait until the initiator's machine knows the target's address, for which a login waits for a second only."""

    def state(self, device: str = "") -> str:
        """State of the port of an RDMA device, the target's if none is named: `ACTIVE` or `DOWN`."""
        text = Path(f"/sys/class/infiniband/{device or self.device}/ports/1/state").read_text()
        return text.split(":")[1].strip()

    def unplug_device(self) -> None:
        """Take the RDMA device away, as a hot-unplug does."""
        sh("rdma", "link", "delete", self.device)

    def remove(self) -> None:
        """Take both away."""
        if Path("/sys/class/infiniband", self.device).exists():
            sh("rdma", "link", "delete", self.device)
        if Path("/sys/class/net", self.netdev).exists():
            sh("ip", "link", "delete", self.netdev)


_NAMESPACE = "ini"


class Wire(Link):
    """Two RDMA devices, the target's and the initiator's, on a switch; the initiator's is in a network namespace.

    A netdev that is down is no pulled cable: it makes rxe fail a management datagram outright, which ib_mad's queue pair
    of that port does not survive in 7.2. On a link without carrier it is lost, as it should be.
    """

    _initiator_has_device = True

    @property
    def netdev(self) -> str:
        return f"wt{self.number}"

    @property
    def initiator_device(self) -> str:
        return f"rxi{self.number}"

    @property
    def initiator_address(self) -> str:
        return f"192.168.{77 + self.number}.9"

    def up(self) -> None:
        number = self.number
        if Path("/sys/class/net", f"sw{number}").exists():
            return
        if not Path("/run/netns", _NAMESPACE).exists():
            sh("ip", "netns", "add", _NAMESPACE)
        sh("modprobe", "-a", "veth", "bridge")
        sh("ip", "link", "add", f"sw{number}", "type", "bridge", "forward_delay", "0")
        # A switch answers for nobody else.
        Path(f"/proc/sys/net/ipv4/conf/sw{number}/arp_ignore").write_text("1")
        sh("ip", "link", "set", f"sw{number}", "up")
        for side, address in (("t", f"02:00:00:00:00:{number + 1:02x}"), ("i", f"02:00:00:00:01:{number + 1:02x}")):
            sh("ip", "link", "add", f"w{side}{number}", "address", address, "type", "veth", "peer", f"s{side}{number}")
            sh("ip", "link", "set", f"s{side}{number}", "master", f"sw{number}", "up")
        sh("ip", "link", "set", f"wi{number}", "netns", _NAMESPACE)
        for prefix, name, address in (((), self.netdev, self.address),
                                      (("ip", "netns", "exec", _NAMESPACE), f"wi{number}", self.initiator_address)):
            sh(*prefix, "ip", "addr", "add", f"{address}/24", "dev", name)
            sh(*prefix, "ip", "link", "set", name, "up")
            device = self.device if name == self.netdev else self.initiator_device
            if device == self.device or self._initiator_has_device:
                sh(*prefix, "rdma", "link", "add", device, "type", "rxe", "netdev", name)
        super().up()
        if self._initiator_has_device:
            wait_until(lambda: self.state(self.initiator_device) == "ACTIVE", 10, f"{self.initiator_device} is not active")

    def pull(self) -> None:
        """Pull the initiator's cable out of the switch."""
        sh("ip", "link", "set", f"si{self.number}", "down")

    def plug(self) -> None:
        """Put it back, and wait until both ends have noticed: the switch forwards a moment after the port is active."""
        sh("ip", "link", "set", f"si{self.number}", "up")
        wait_until(lambda: self.state(self.initiator_device) == "ACTIVE", 10, f"{self.initiator_device} is not active")
        wait_until(self._reaches, 20, f"{self.address} is not reached from {self.initiator_address}")

    def remove(self) -> None:
        if Path("/sys/class/infiniband", self.initiator_device).exists():
            sh("rdma", "link", "delete", self.initiator_device)
        if Path("/sys/class/net", f"sw{self.number}").exists():
            sh("ip", "netns", "exec", _NAMESPACE, "ip", "link", "delete", f"wi{self.number}")
        super().remove()
        if Path("/sys/class/net", f"sw{self.number}").exists():
            sh("ip", "link", "delete", f"sw{self.number}")

    def in_namespace(self) -> "contextlib.AbstractContextManager[None]":
        return _namespace(f"/run/netns/{_NAMESPACE}")


class BareWire(Wire):
    """A Wire whose far end has an address but no RDMA device: what speaks there is user space."""

    _initiator_has_device = False


class Card(Link):
    """A network card of this machine, whose cable leads to another: one is the target's, one the initiator's."""

    def __init__(self, initiator: bool, number: int = 0) -> None:
        super().__init__(number)
        object.__setattr__(self, "_initiator", initiator)

    @property
    def netdev(self) -> str:
        return f"eth{self.number}"

    @property
    def initiator_address(self) -> str:
        return f"192.168.{77 + self.number}.9"

    def up(self) -> None:
        sh("modprobe", "virtio_net")
        wait_until(lambda: Path("/sys/class/net", self.netdev).exists(), 10, f"no {self.netdev}")
        mine = self.initiator_address if self._initiator else self.address  # type: ignore[attr-defined]
        sh("ip", "addr", "add", f"{mine}/24", "dev", self.netdev)
        super().up()

    def reach(self) -> None:
        wait_until(self._reaches, 200, f"{self.address} is not reached from {self.initiator_address}")

    def remove(self) -> None:
        sh("rdma", "link", "delete", self.device)


@contextlib.contextmanager
def _namespace(path: str) -> Iterator[None]:
    """This thread is in another network namespace for as long as the block runs."""
    with open("/proc/self/ns/net", "rb") as before, open(path, "rb") as wanted:
        os.setns(wanted.fileno(), os.CLONE_NEWNET)
        try:
            yield
        finally:
            os.setns(before.fileno(), os.CLONE_NEWNET)


def service_id() -> str:
    """What the target port is called in a login: the GUID of the target's first RDMA device, 16 digits."""
    return "000000fffe000001"


_loaded: Optional[dict[str, object]] = None
"""The parameters that ib_srp was loaded with by this process, if it was and is there."""


def load_initiator(**parameters: object) -> None:
    """Have ib_srp loaded with these module parameters (ch_count, use_imm_data, indirect_sg_entries, ...) and no login."""
    global _loaded  # pylint: disable=global-statement
    there = Path("/sys/module/ib_srp/initstate").exists()
    if there and _loaded == parameters:
        log_out()
        return
    if there:
        unload_initiator()
    sh("modprobe", "-a", "rdma_rxe", "dummy")
    sh("modprobe", "ib_srp", *(f"{key}={value}" for key, value in parameters.items()))
    _loaded = parameters


def unload_initiator() -> None:
    """Log out of everywhere and remove ib_srp."""
    global _loaded  # pylint: disable=global-statement
    log_out()
    _loaded = None
    if Path("/sys/module/ib_srp/initstate").exists():
        wait_until(functools.partial(_rmmod, "ib_srp"), 60, "rmmod ib_srp: in use")


def _rmmod(module: str) -> bool:
    text = sh("rmmod", module, timeout=90, status=None)
    check(not text or "in use" in text, text)
    return not text


class Host:
    """A login, which is a SCSI host of the initiator."""

    def __init__(self, number: int) -> None:
        self.number = number

    def attribute(self, name: str) -> str:
        """An attribute of the host: ch_count, req_lim, zero_req_lim, cmd_sg_entries, ..."""
        return (_HOSTS / f"host{self.number}" / name).read_text().strip()

    @property
    def rport(self) -> Path:
        """The remote port's directory: state, delete, dev_loss_tmo, fast_io_fail_tmo, reconnect_delay."""
        return _RPORTS / f"port-{self.number}:1"

    def state(self) -> str:
        """State of the remote port: running, blocked, fail-fast, lost; `gone` after a logout."""
        try:
            return (self.rport / "state").read_text().strip()
        except OSError:
            return "gone"

    def set_timeouts(self, fast_io_fail: int, dev_loss: int, reconnect: int) -> None:
        """How long the initiator waits in seconds before it fails I/O, gives up, and between attempts; -1 is never."""
        def put(name: str, seconds: int) -> None:
            text = "off" if seconds < 0 else str(seconds)
            try:
                (self.rport / name).write_text(text)
            except OSError as error:
                raise Failure(f"echo {text} > {self.rport}/{name}: {errno_name(error.errno or 0)}") from None
        # Each must make sense beside the others at every moment.
        put("reconnect_delay", -1)
        put("dev_loss_tmo", -1)
        put("fast_io_fail_tmo", fast_io_fail)
        put("dev_loss_tmo", dev_loss)
        put("reconnect_delay", reconnect)

    def set_command_timeout(self, lun: int, seconds: int) -> None:
        """After how long the initiator takes a command of a LUN for lost."""
        (self.scsi_device(lun) / "timeout").write_text(str(seconds))

    def scsi_device(self, lun: int = 0) -> Path:
        """Where a LUN stands in sysfs."""
        return Path(f"/sys/class/scsi_device/{self.number}:0:0:{lun}/device")

    def luns(self) -> list[int]:
        """The LUNs that the initiator has."""
        found = Path("/sys/class/scsi_device").glob(f"{self.number}:0:0:*")
        return sorted(int(path.name.split(":")[3]) for path in found)

    def disk(self, lun: int = 0, kind: str = "block") -> str:
        """The device node (/dev/sdX; kind scsi_generic: /dev/sgN) of a LUN, waiting for it to appear, and for sd if it is a disk's."""
        where = self.scsi_device(lun) / kind

        def node() -> str:
            with contextlib.suppress(OSError):
                if kind != "block" and (where.parent / "type").read_text().strip() == "0" and not os.listdir(where.parent / "block"):
                    return ""
                for name in os.listdir(where):
                    os.close(os.open(f"/dev/{name}", os.O_RDONLY | os.O_NONBLOCK))
                    return f"/dev/{name}"
            return ""
        wait_until(node, 60, f"no disk for LUN {lun} of host{self.number}; it has {self.luns()}")
        return node()

    def rescan(self) -> None:
        """Look for LUNs again."""
        (_HOSTS / f"host{self.number}" / "scan").write_text("- - -")

    def logout(self, seconds: float = 60) -> None:
        """Log out and wait until the host is gone."""
        start_logout(self)
        self.wait_gone(seconds)

    def wait_gone(self, seconds: float = 60) -> None:
        """Wait until the host is gone."""
        wait_until(lambda: not (_HOSTS / f"host{self.number}").exists(), seconds,
                   f"host{self.number} is still there, its port is {self.state()}")

    def wait_lost(self, seconds: float = 30) -> None:
        """Wait until the initiator knows that the target has ended the connection, and no longer waits for it.

        The target's session may be gone before that. With a fast_io_fail_tmo only.
        """
        wait_until(lambda: self.state() not in ("running", "blocked"), seconds, f"host{self.number} is {self.state()}")

    def wait_state(self, state: str, seconds: float) -> None:
        """Wait until the remote port is in a state."""
        wait_until(lambda: self.state() == state, seconds, f"host{self.number} is {self.state()}, not {state}")


def start_logout(host: Host) -> None:
    """Ask for a logout without waiting for it.

    Not while the port is blocked: the stock initiator of 7.2 then uses the host's tag set after it was freed. It is
    blocked for fast_io_fail_tmo at most.
    """
    wait_until(lambda: host.state() != "blocked", 30, f"host{host.number} is blocked")
    try:
        (host.rport / "delete").write_text("1")
    except OSError as error:
        # It has gone by itself.
        check(error.errno in (errno.ENOENT, errno.ENODEV), f"logout: {error}")


def hosts() -> list[Host]:
    """All logins there are."""
    numbers = [int(path.parent.name[4:]) for path in _HOSTS.glob("host*/orig_dgid")]
    return [Host(number) for number in sorted(numbers)]


def login_text(link: Link, **options: object) -> str:
    """What is written to add_target; an option None leaves out what would be there by itself."""
    chosen: dict[str, object] = {"id_ext": service_id(), "ioc_guid": service_id(),
                                 "dest": f"{link.address}:{PORT}", **options}
    return ",".join(f"{key}={value}" for key, value in chosen.items() if value is not None)


def try_login(link: Link, **options: object) -> int:
    """Try a login; the errno, or 0."""
    path = Path(f"/sys/class/infiniband_srp/srp-{link.initiator_device}-1/add_target")
    wait_until(path.exists, 10, f"{path} does not appear")
    handle = os.open(path, os.O_WRONLY)
    try:
        with link.in_namespace():
            os.write(handle, login_text(link, **options).encode())
        return 0
    except OSError as error:
        return error.errno or -1
    finally:
        os.close(handle)


def login(link: Link = Link(0), **options: object) -> Host:
    """Log in with options of add_target (ch_count, cmd_sg_entries, queue_size, initiator_ext, ...)."""
    before = {host.number for host in hosts()}
    link.reach()
    end = time.monotonic() + 30
    # A host that is gone is known to the initiator for a moment more.
    while (result := try_login(link, **options)) == errno.EEXIST and time.monotonic() < end:
        time.sleep(0.2)
    if result:
        raise Failure(f"login {login_text(link, **options)}: {errno_name(result)}")
    new = [host for host in hosts() if host.number not in before]
    check(len(new) == 1, f"the login made {len(new)} hosts")
    return new[0]


def log_out() -> None:
    """Log out of everywhere."""
    open_ = hosts()
    for host in open_:
        start_logout(host)
    for host in open_:
        host.wait_gone()


@contextlib.contextmanager
def logged_in(link: Link = Link(0), **options: object) -> Iterator[Host]:
    """A login that ends with the block."""
    host = login(link, **options)
    try:
        yield host
    finally:
        if host.state() != "gone":
            host.logout()


class Multipath:
    """A dm-multipath device; the test says which paths it has."""

    def __init__(self, name: str, *nodes: str) -> None:
        sh("modprobe", "-a", "dm_multipath", "dm_round_robin")
        self.name = name
        self._sectors = sh("blockdev", "--getsz", nodes[0]).strip()
        sh("dmsetup", "create", name, "--noudevsync", "--table", self._table(nodes))
        self.node = "/dev/dm-" + sh("dmsetup", "info", "-c", "--noheadings", "-o", "minor", name).strip()

    def _table(self, nodes: Sequence[str]) -> str:
        start = f"0 {self._sectors} multipath 1 queue_if_no_path 0"
        if not nodes:
            return f"{start} 0 0"
        return f"{start} 1 1 round-robin 0 {len(nodes)} 1 " + " ".join(f"{_number(node)} 1" for node in nodes)

    def set_paths(self, *nodes: str) -> None:
        """Have these paths and no others; without any, I/O waits."""
        sh("dmsetup", "reload", self.name, "--table", self._table(nodes))
        sh("dmsetup", "suspend", "--noflush", "--nolockfs", "--noudevsync", self.name)
        sh("dmsetup", "resume", "--noudevsync", self.name)

    def working(self) -> int:
        """How many paths have not failed."""
        return len(re.findall(r"\d+:\d+ A ", sh("dmsetup", "status", self.name)))

    def reinstate(self, node: str) -> None:
        """Use a path again that had failed."""
        sh("dmsetup", "message", self.name, "0", f"reinstate_path {_number(node)}")

    def remove(self) -> None:
        """Take it down."""
        sh("dmsetup", "message", self.name, "0", "fail_if_no_path")
        sh("dmsetup", "remove", "--retry", "--noudevsync", self.name)


def lose_paths(device: Multipath, paths: dict[Link, Host], gone: Sequence[Link]) -> None:
    """Log these links of a multipath device's PATHS out, and in again."""
    for link in gone:
        start_logout(paths[link])
    for link in gone:
        paths[link].wait_gone()
    device.set_paths(*(host.disk(0) for link, host in paths.items() if link not in gone))
    for link in gone:
        paths[link] = login(link)
    device.set_paths(*(host.disk(0) for host in paths.values()))


def _number(node: str) -> str:
    device = os.stat(node).st_rdev
    return f"{os.major(device)}:{os.minor(device)}"
