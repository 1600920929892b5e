# SPDX-License-Identifier: GPL-2.0
"""Find or fetch mmdebstrap, and make Debian root file systems with it."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Optional

from . import pins, proc
from .errors import LabError
from .progress import say, step

_KEYRING = "usr/share/keyrings/debian-archive-keyring"
_DOCS = ("man", "locale", "info", "lintian", "doc")


def _run_apt(argv: Sequence[str], cwd: Optional[Path] = None) -> Optional[str]:
    """Run an apt command of the host; its error text if it fails."""
    env = dict(os.environ, DEBIAN_FRONTEND="noninteractive", LC_ALL="C.UTF-8")
    try:
        with proc.spawn(argv, gentle=True, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
                        env=env, cwd=cwd) as child:
            errors = child.communicate()[1].decode(errors="replace")
    except OSError as error:
        return str(error)
    return None if child.returncode == 0 else errors.strip()


def _install_as_root(packages: Sequence[str]) -> None:
    """Install the host packages that are missing; refresh the package lists only if that is needed."""
    command = ["apt-get", "install", "-y", "--no-install-recommends", *packages]
    with step("setup", f"apt-get install {' '.join(packages)}", 20):
        if _run_apt(command) is None:
            return
        _run_apt(["apt-get", "update"])
        error = _run_apt(command)
    if error is not None:
        raise LabError(f"cannot install {' '.join(packages)} on this machine: {error}\n"
                       "Install it by hand, then run make again.")


def _unpack_for_user(packages: Sequence[str], into: Path) -> None:
    """Download packages with the host's apt and unpack them, which needs no rights."""
    with tempfile.TemporaryDirectory() as place:
        os.chmod(place, 0o755)
        error = _run_apt(["apt-get", "download", *packages], cwd=Path(place))
        if error is not None:
            raise LabError(f"{' '.join(packages)} cannot be downloaded by this user: {error}\n"
                           f"One command that root must run:  apt-get update && apt-get install {' '.join(packages)}")
        for deb in sorted(Path(place).glob("*.deb")):
            proc.capture(["dpkg-deb", "-x", str(deb), str(into)])


class Mmdebstrap:
    """A usable mmdebstrap with the Debian archive's keys."""

    def __init__(self, tools: Path) -> None:
        """TOOLS is a directory of the cache for what an ordinary user unpacks."""
        self.tools = tools
        self.is_root = os.geteuid() == 0
        self.program = shutil.which("mmdebstrap") or str(tools / "usr/bin/mmdebstrap")
        keyrings = [base / f"{_KEYRING}.{end}" for base in (Path("/"), tools) for end in ("gpg", "pgp")]
        missing = []
        if not os.access(self.program, os.X_OK):
            missing.append("mmdebstrap")
        if not any(ring.exists() for ring in keyrings):
            missing.append("debian-archive-keyring")
        if self.is_root and not shutil.which("mount"):
            missing.append("mount")  # not in the smallest of Debian's systems
        if missing and self.is_root:
            _install_as_root(missing)
            self.program = shutil.which("mmdebstrap") or self.program
        elif missing:
            say(f"[setup] unpacking {' '.join(missing)} for this user")
            _unpack_for_user(missing, tools)
        self.keyring = next((ring for ring in keyrings if ring.exists()), None)
        if not self.is_root:
            self._check_user_rights()

    def _check_user_rights(self) -> None:
        user = subprocess.run(["id", "-un"], capture_output=True, text=True, check=True).stdout.strip()
        problem = None
        if not shutil.which("newuidmap"):
            problem = "apt-get install uidmap"
        elif not any(line.split(":")[0] in (user, str(os.getuid()))
                     for line in Path("/etc/subuid").read_text().splitlines()):
            problem = f"usermod --add-subuids 100000-165535 --add-subgids 100000-165535 {user}"
        if problem:
            raise LabError("an ordinary user can set up the lab only with a range of user ids of their own.\n"
                           f"One command that root must run:  {problem}")

    def command(self, include: Sequence[str], variant: str, target: str) -> list[str]:
        """The command line that makes a root of the pinned release at TARGET (`-`: a tar on standard output)."""
        # What it mounts as root is gone with it even if it is killed.
        mode = ["unshare", "--mount", "--", self.program, "--mode=root"] if self.is_root else [self.program, "--mode=unshare"]
        command = [*mode, f"--variant={variant}", "--architectures=amd64", f"--include={','.join(include)}",
                   "--aptopt=Acquire::Retries \"3\""]
        if self.keyring:
            command.append(f"--keyring={self.keyring}")
        for name in _DOCS:
            command.append(f"--dpkgopt=path-exclude=/usr/share/{name}/*")
        command += ["--format=tar" if target == "-" else "--format=directory", pins.load().release, target]
        mirror = os.environ.get("MIRROR")
        return command + ([mirror] if mirror else [])
