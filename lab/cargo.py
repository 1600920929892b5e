# SPDX-License-Identifier: GPL-2.0
"""cargo in the root, for the crate that is also a crate of the host. What it depends on is built once for all clones."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

from . import cache, paths, sysroot
from .progress import say
from .sandbox import Bind

PLACE = paths.REPO / "scst_proto"
FUZZ = PLACE / "fuzz" / "run.sh"
_TARGET = paths.BUILD / "cargo"
_KIND = "crates"


def fuzz_targets() -> list[str]:
    """The names that FUZZ takes."""
    return sorted(path.stem for path in (PLACE / "fuzz" / "fuzz_targets").glob("*.rs"))


def run(arguments: Sequence[str], log: Path) -> None:
    """Run a command with cargo's directories set, in PLACE."""
    home = paths.cache() / "cargo"
    home.mkdir(parents=True, exist_ok=True)
    # The crate and nothing else of this clone: nothing else can decide what comes out.
    _TARGET.mkdir(parents=True, exist_ok=True)
    sysroot.get().run(arguments, log, " ".join(arguments), [Bind.same(PLACE), Bind.same(_TARGET), Bind.same(home)], str(PLACE),
                      {"CARGO_HOME": str(home), "CARGO_TARGET_DIR": str(_TARGET)}, network=True)


def _digest() -> str:
    """What decides how a dependency is built."""
    return cache.key(sysroot.toolchain(), *(path.read_text() for path in (
        PLACE / "Cargo.toml", PLACE / "Cargo.lock", PLACE / "fuzz/Cargo.toml", PLACE / "fuzz/Cargo.lock", FUZZ)))


def _without_ours(directory: str, names: list[str]) -> set[str]:
    """For copytree: what is built from this clone."""
    ours = ("scst_proto", "libscst_proto", *(path.stem for path in (PLACE / "tests").glob("*.rs")), *fuzz_targets())
    return {name for name in names
            if name == "incremental" or any(name == own or name.startswith((f"{own}-", f"{own}.", f"{own}_")) for own in ours)}


def take_crates() -> None:
    """Begin with the dependencies that another clone has built, if one has."""
    made = cache.find(_KIND, _digest())
    if made and not _TARGET.exists():
        partial = _TARGET.with_suffix(".new")
        cache.remove(partial)
        shutil.copytree(made / "target", partial, symlinks=True)
        partial.rename(_TARGET)


def keep_crates() -> None:
    """Leave the dependencies that were built here to others."""
    def make(partial: Path) -> None:
        say(f"    keeping the crates that scst_proto's tests need in {paths.cache()}")
        shutil.copytree(_TARGET, partial / "target", ignore=_without_ours, symlinks=True)

    cache.entry(_KIND, _digest(), make)
