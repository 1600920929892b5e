# SPDX-License-Identifier: GPL-2.0
"""SCST's management interface as its users see it, for the tests."""

from __future__ import annotations

import contextlib
import functools
import os
import re
import stat
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Union

from lib import Failure, check, errno_name, sh, wait_until

ROOT = Path("/sys/kernel/scst_tgt")
HANDLERS = ROOT / "handlers"
DEVICES = ROOT / "devices"
GROUPS = ROOT / "device_groups"
LOCAL = ROOT / "targets/scst_local"
TARGET = LOCAL / "scst_local_tgt"
SESSION = "scst_local_host"
_DISK = "0"
"""Peripheral device type."""
MODULES = ("scst", "scst_vdisk", "scst_local")


def loaded(module: str = "scst") -> bool:
    """Whether a module is there."""
    return Path("/sys/module", module).is_dir()


def load() -> None:
    """Load all modules."""
    sh("modprobe", "-a", *MODULES)


def unload() -> None:
    """Take the modules out, the last first."""
    for module in reversed(MODULES):
        if loaded(module):
            # The initiator lets go of its last disks a little after the LUNs went.
            wait_until(functools.partial(try_rmmod, module), 60, f"rmmod {module}: in use")


def try_rmmod(module: str) -> bool:
    """Remove a module; False if it is in use."""
    text = sh("rmmod", module, timeout=90, status=None)
    check(not text or "in use" in text, text)
    return not text


def write(path: Union[str, Path], data: Union[str, bytes]) -> int:
    """Write to an attribute as `echo` does (one write, a newline at its end); the errno, or 0."""
    if isinstance(data, str):
        data = data.encode() + b"\n"
    try:
        handle = os.open(path, os.O_WRONLY)
    except OSError as error:
        return error.errno or -1
    try:
        os.write(handle, data)
        return 0
    except OSError as error:
        return error.errno or -1
    finally:
        os.close(handle)


def put(path: Union[str, Path], text: str) -> None:
    """Write what has to succeed."""
    result = write(path, text)
    if result:
        raise Failure(f"echo '{text}' > {path}: {errno_name(result)}")


def get(path: Union[str, Path]) -> str:
    """An attribute's value, without the [key] mark."""
    return Path(path).read_text(errors="replace").partition("[key]")[0].strip()


def add_device(handler: str, name: str, params: str = "") -> Path:
    """Add a virtual device; its directory."""
    put(HANDLERS / handler / "mgmt", f"add_device {name} {params}".strip())
    return DEVICES / name


def del_device(name: str) -> None:
    """Delete a virtual device."""
    handler = (DEVICES / name / "handler").resolve().name
    put(HANDLERS / handler / "mgmt", f"del_device {name}")


def add_target(name: str, session: str = "") -> Path:
    """Add a local target; its directory."""
    put(LOCAL / "mgmt", f"add_target {name}" + (f" session_name={session}" if session else ""))
    return LOCAL / name


def add_device_group(name: str, devices: Sequence[str] = ()) -> Path:
    """A new device group; its directory."""
    put(GROUPS / "mgmt", f"create {name}")
    for device in devices:
        put(GROUPS / name / "devices/mgmt", f"add {device}")
    return GROUPS / name


def add_target_group(group: str, name: str, number: int, state: str = "", targets: Sequence[str] = ()) -> Path:
    """A new target group of a device group; its directory."""
    put(GROUPS / group / "target_groups/mgmt", f"create {name}")
    path = GROUPS / group / "target_groups" / name
    put(path / "group_id", str(number))
    for target in targets:
        put(path / "mgmt", f"add {target}")
    if state:
        put(path / "state", state)
    return path


def host_of(target: Path = TARGET) -> int:
    """Number of the SCSI host of a local target's only session."""
    numbers = [int(get(path)) for path in (target / "sessions").glob("*/host_no")]
    check(len(numbers) == 1, f"{target}: {len(numbers)} sessions with a host_no")
    return numbers[0]


def scsi_device(lun: int, target: Path = TARGET) -> Path:
    """Where the initiator's view of a LUN stands in sysfs."""
    return Path(f"/sys/class/scsi_device/{host_of(target)}:0:0:{lun}/device")


def wait_disk(lun: int, target: Path = TARGET, kind: str = "block") -> str:
    """The initiator's device node (/dev/sdX; kind scsi_generic: /dev/sgN) of a LUN, waiting for it to appear.

    A disk has its /dev/sgN while sd still looks at it, with commands that take unit attentions: that is waited for.
    """
    where = scsi_device(lun, target) / kind

    def node() -> str:
        with contextlib.suppress(OSError):
            if kind != "block" and get(where.parent / "type") == _DISK and not os.listdir(where.parent / "block"):
                return ""
            for name in os.listdir(where):
                path = f"/dev/{name}"
                if kind == "block":
                    # The node of a disk that is still being added is there, and cannot be opened (ENXIO).
                    os.close(os.open(path, os.O_RDONLY | os.O_NONBLOCK))
                if os.path.exists(path):
                    return path
        return ""
    wait_until(node, 60, f"no disk for LUN {lun} of {target.name} ({where})")
    return node()


def wait_gone(lun: int, target: Path = TARGET) -> None:
    """Wait until the initiator no longer has a LUN."""
    wait_until(lambda: not scsi_device(lun, target).exists(), 60, f"LUN {lun} of {target.name} is still there")


def wait_quiet() -> None:
    """Wait until initiators have looked at the LUNs that they know of, and ask nothing any more."""
    seen: list[bool] = []

    def quiet() -> bool:
        devices = [Path(f"/sys/class/scsi_device/{address.name}/device")
                   for session in LOCAL.glob("*/sessions/*")
                   for address in Path("/sys/class/scsi_device").glob(f"{get(session / 'host_no')}:*")]
        with contextlib.suppress(OSError):
            seen.append(all(any((device / "block").glob("sd*")) for device in devices if get(device / "type") == _DISK)
                        and all(get(path) == "0" for path in LOCAL.glob("*/sessions/*/active_commands")))
        # Between two commands of one who looks there is none.
        return len(seen) > 5 and all(seen[-5:])
    wait_until(quiet, 30, "initiators still look at their disks")


def add_lun(device: str, lun: int, luns: Path = TARGET / "luns", params: str = "") -> None:
    """Map a device."""
    put(luns / "mgmt", f"add {device} {lun} {params}".strip())


def come_and_go(device: str, lun: int, seen: bool) -> None:
    """A LUN is mapped and unmapped again, each SEEN by the initiator, or as soon as the map has it."""
    add_lun(device, lun)
    if seen:
        wait_disk(lun)
    put(TARGET / "luns/mgmt", f"del {lun}")
    if seen:
        wait_gone(lun)


def disk(handler: str, name: str, lun: int, params: str = "") -> str:
    """A new device as a LUN of the default target; the initiator's node."""
    add_device(handler, name, params)
    add_lun(name, lun)
    return wait_disk(lun)


def failed(lun: int, target: Path = TARGET) -> int:
    """Commands to a LUN that its only session has seen end with another status than GOOD."""
    path = next((target / "sessions").glob(f"*/lun{lun}/stats"))
    return sum(int(line.split()[4]) for line in get(path).splitlines()[1:])


def image(path: str, mib: int) -> str:
    """A new sparse file."""
    with open(path, "wb") as handle:
        handle.truncate(mib << 20)
    return path


def unblock() -> None:
    """Take all blocks of devices back."""
    for path in DEVICES.glob("*/block"):
        for _ in range(int(path.read_text().split()[0])):
            put(path, "0")


def clear() -> None:
    """Remove all that tests may have made."""
    if not ROOT.is_dir():
        return
    unblock()
    for group in GROUPS.glob("*/"):
        put(GROUPS / "mgmt", f"del {group.name}")
    for path in [*LOCAL.glob("*/ini_groups/*/initiators/mgmt"), *LOCAL.glob("*/ini_groups/*/luns/mgmt"),
                 *LOCAL.glob("*/luns/mgmt")]:
        put(path, "clear")
    for group in LOCAL.glob("*/ini_groups/*/"):
        put(group.parent / "mgmt", f"del {group.name}")
    for target in LOCAL.glob("*/luns"):
        if target.parent != TARGET:
            put(LOCAL / "mgmt", f"del_target {target.parent.name}")
    for device in DEVICES.iterdir():
        if re.fullmatch(r"\d+:\d+:\d+:\d+", device.name) is None:
            del_device(device.name)


@contextlib.contextmanager
def fresh() -> Iterator[None]:
    """Freshly loaded modules that leave nothing behind."""
    load()
    try:
        yield
    finally:
        clear()
        unload()


# Values that change by themselves.
_ALIVE = ("/sessions/*/latency/*", "/sessions/*/*_count", "/sessions/*/*_kb", "/sessions/*/*commands", "/sgv/*",
          "/sessions/*/lun*/*", "/targets/*/*/*_count", "/targets/*/*/*_kb", "/last_sysfs_mgmt_res", "/targets/*/stats")


def _entry(path: Path) -> tuple[str, int, str]:
    info = path.lstat()
    mode = stat.S_IMODE(info.st_mode)
    if stat.S_ISLNK(info.st_mode):
        return "l", mode, os.readlink(path)
    if stat.S_ISDIR(info.st_mode):
        return "d", mode, ""
    if not mode & 0o444:
        return "f", mode, ""
    try:
        return "f", mode, path.read_bytes().decode("latin-1")
    except OSError as error:
        return "f", mode, f"!{errno_name(error.errno or 0)}"


def snapshot(root: Path = ROOT, leave_out: Sequence[str] = _ALIVE) -> dict[str, tuple[str, int, str]]:
    """Type, mode and contents of everything below a directory; values that LEAVE_OUT names read as empty."""
    found = {}
    for where, directories, files in os.walk(root):
        for name in [*directories, *files]:
            path = Path(where, name)
            with contextlib.suppress(FileNotFoundError):
                kind, mode, text = _entry(path)
                if kind == "f" and any(path.match("*" + pattern) for pattern in leave_out):
                    text = ""
                found[str(path)] = kind, mode, text
    return found


def changes(before: dict[str, tuple[str, int, str]], after: dict[str, tuple[str, int, str]]) -> list[str]:
    """What is different between two snapshots."""
    found = [f"appeared: {path}" for path in after if path not in before]
    found += [f"went: {path}" for path in before if path not in after]
    found += [f"changed: {path}: {before[path]!r} -> {after[path]!r}" for path in before
              if path in after and before[path] != after[path]]
    return found
