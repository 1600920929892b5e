# SPDX-License-Identifier: GPL-2.0
"""Fibre Channel in the machine: adapters, their disks, and the fabric that they are on."""

from __future__ import annotations

import contextlib
import os
import select
import time
from pathlib import Path

from lib import Failure, check, sh, wait_until

HOSTS = Path("/sys/class/fc_host")


class Fabric:
    """The fabric's command language (`help` says what there is), by the serial port that leads to it."""

    def __init__(self) -> None:
        self._fd = os.open(f"/dev/{self._port()}", os.O_RDWR)

    @staticmethod
    def _port() -> str:
        def found() -> list[str]:
            return [name.parent.name for name in Path("/sys/class/virtio-ports").glob("*/name")
                    if name.read_text().strip() == "fabric"]
        wait_until(found, 10, "no serial port that leads to the fabric")
        return found()[0]

    def do(self, command: str) -> str:
        """Carry out a command and give what it says."""
        os.write(self._fd, f"{command}\n".encode())
        text, end = "", time.monotonic() + 60
        while not (text.endswith("ok\n") or "error: " in text and text.endswith("\n")):
            if not select.select([self._fd], [], [], max(0, end - time.monotonic()))[0]:
                raise Failure(f"the fabric does not answer '{command}'; so far: {text!r}")
            text += os.read(self._fd, 65536).decode()
        if "error: " in text:
            raise Failure(f"fabric: {command}: {text.strip()}")
        return text[:-len("ok\n")]

    def done(self) -> int:
        """To how many frames something has been done since `clear`."""
        return sum(int(line.rpartition("done=")[2]) for line in self.do("faults").splitlines())


def wwpn(number: int) -> str:
    """The port name of hbaNUMBER, as targets are called: `21:00:00:00:fc:00:00:01`."""
    digits = f"{0x21000000fc000001 + number:016x}"
    return ":".join(digits[at:at + 2] for at in range(0, 16, 2))


def host(number: int) -> Path:
    """The SCSI host of hbaNUMBER in /sys/class/fc_host."""
    plain = "0x" + wwpn(number).replace(":", "")
    for path in HOSTS.glob("host*"):
        if (path / "port_name").read_text().strip() == plain:
            return path
    raise Failure(f"no host has the port name {plain}")


def load(**parameters: object) -> None:
    """Load the adapters' driver, and wait until all ports are online and have done with looking at each other.

    Who becomes a target while qla2xxx still logs in as an initiator may be left without a session, whoever the target is.
    """
    sh("modprobe", "qla2xxx", *(f"{name}={value}" for name, value in parameters.items()), timeout=180)
    wait_until(lambda: all((host / "port_state").read_text().strip() == "Online" for host in HOSTS.glob("host*")), 60,
               "a port is not online")
    time.sleep(4)
    # Where somebody else is, each has found one by now, or does soon.
    with contextlib.suppress(Failure):
        wait_until(lambda: all(_knows(host.name) for host in HOSTS.glob("host*")), 15, "")


def _knows(name: str) -> bool:
    """A host has another port online."""
    states = Path("/sys/class/fc_remote_ports").glob(f"rport-{name.removeprefix('host')}:*/port_state")
    return any(state.read_text().strip() == "Online" for state in states)


def online(number: int) -> bool:
    """The port has a link."""
    return (host(number) / "port_state").read_text().strip() == "Online"


def disks(number: int) -> dict[int, str]:
    """The disks that hbaNUMBER sees: device node by LUN."""
    name = host(number).name
    found = {}
    for path in Path("/sys/class", "scsi_host", name, "device").glob("rport-*/target*/*/block/*"):
        found[int(path.parent.parent.name.rpartition(":")[2])] = f"/dev/{path.name}"
    return found


def wait_disk(number: int, lun: int, seconds: float = 60) -> str:
    """The device node of a LUN that hbaNUMBER sees."""
    wait_until(lambda: os.path.exists(disks(number).get(lun, "")), seconds, f"hba{number} has no disk {lun}")
    return disks(number)[lun]


def rescan(number: int) -> None:
    """Look for LUNs that have come."""
    (Path("/sys/class/scsi_host") / host(number).name / "scan").write_text("- - -\n")


def unload() -> None:
    """Unload the adapters' driver."""
    sh("modprobe", "-r", "qla2xxx", timeout=180)
    check(not list(HOSTS.glob("host*")), "there are fc_hosts without a driver")
