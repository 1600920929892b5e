# SPDX-License-Identifier: GPL-2.0
"""Run commands inside a root directory, in namespaces of their own."""

from __future__ import annotations

import dataclasses
import functools
import os
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from . import paths
from .errors import LabError


@dataclasses.dataclass(frozen=True)
class Bind:
    """A host file or directory that the command sees."""

    source: Path
    target: str
    writable: bool = True

    @staticmethod
    def same(path: Path, writable: bool = True) -> "Bind":
        """PATH under its own name."""
        return Bind(path, str(path), writable)

    def spec(self) -> str:
        """The form that `enter.sh` reads."""
        return f"{'rw' if self.writable else 'ro'}:{self.source}:{self.target}"


@functools.lru_cache(maxsize=None)
def namespace_options() -> tuple[str, ...]:
    """Options for unshare(1) that work for this user."""
    base = ("--mount", "--pid", "--fork", "--kill-child")
    if os.geteuid() == 0:
        return base
    options = ("--user", "--map-root-user", *base)
    try:
        done = subprocess.run(["unshare", *options, "mount", "-t", "tmpfs", "tmpfs", "/mnt"], check=False,
                              stdin=subprocess.DEVNULL, capture_output=True, text=True)
    except OSError as error:
        raise LabError(f"cannot run unshare (package util-linux): {error}") from None
    if done.returncode != 0:
        raise LabError(
            "this user may not make namespaces, which the lab needs to enter its Debian root "
            f"({done.stderr.strip()}).\n"
            "Run make as root, or let root allow it once:\n"
            "  sysctl -w kernel.unprivileged_userns_clone=1              (older Debian)\n"
            "  sysctl -w kernel.apparmor_restrict_unprivileged_userns=0  (Ubuntu 24.04 and later)")
    return options


def network() -> list[Bind]:
    """What a command needs to reach package archives as the host does: names and certificates."""
    files = ("/etc/resolv.conf", "/etc/hosts", "/etc/ssl/certs", "/usr/local/share/ca-certificates",
             "/usr/share/ca-certificates")
    return [Bind(Path(os.path.realpath(f)), f, False) for f in files if os.path.exists(f)]


def network_env() -> dict[str, str]:
    """The proxy and certificate settings of the caller, which the clean environment would lose."""
    names = ("http_proxy", "https_proxy", "no_proxy", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "SSL_CERT_FILE")
    return {name: os.environ[name] for name in names if name in os.environ}


def argv(root: Path, command: Sequence[str], binds: Sequence[Bind] = (), cwd: str = "/",
         env: Mapping[str, str] = {}) -> list[str]:
    """The host command line that runs COMMAND inside ROOT."""
    return ["unshare", *namespace_options(), "--", "sh", str(paths.LAB / "enter.sh"), str(root), cwd,
            *(bind.spec() for bind in binds), "--", *(f"{k}={v}" for k, v in env.items()), *command]
