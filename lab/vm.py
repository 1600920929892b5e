# SPDX-License-Identifier: GPL-2.0
"""Boot the virtual machine, run one job in it, collect what it left."""

from __future__ import annotations

import dataclasses
import os
import selectors
import shutil
import subprocess
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Optional, Union

from . import cache, console, guest, kernel, over, paths, proc, sysroot
from .errors import LabError
from .progress import say
from .sandbox import Bind

if TYPE_CHECKING:
    from .fc import Slots

Job = Union[Path, str]
# What a boot need not spend a second on: TCG has no speculation to mitigate, and the kernel's ciphers are not on trial.
_APPEND = "console=ttyS0 panic=-1 loglevel=5 printk.devkmsg=on rcupdate.rcu_cpu_stall_timeout=120 mitigations=off " \
          "workqueue.watchdog_thresh=120 cryptomgr.notests"
# Without PIT: on a busy host the kernel finds a TSC of some MHz by it, and then time flies. By the HPET it is a few percent.
# Without erms and fsrm, as TCG copies "rep movsb" by the byte; without la57, which costs each page walk a level.
_PLAIN = ("-machine", "q35,pit=off", "-accel", "tcg,thread=multi", "-cpu", "max,-erms,-fsrm,-la57")
# Nor is the wiring of the HPET's interrupt on trial: a host that is busy for the tenth of a second that the kernel waits
# for some is a panic. Kernels that know their hypervisor do not look either.
_PLAIN_CLOCK = "tsc=reliable no_timer_check"
# How long what a machine has printed may take to be read when it is dead.
_REST_S = 5.0
# One instruction is one nanosecond. The model is one that reproduces shared/baseline (QEMU's "max" has grown since);
# without erms, as TCG counts "rep stosb" by the byte.
_ICOUNT = ("-machine", "q35", "-accel", "tcg,thread=single", "-cpu", "Skylake-Server,-erms", "-icount", "shift=0,sleep=off")


@dataclasses.dataclass(frozen=True)
class Drive:
    """A raw disk of the guest, found there as /dev/disk/lab/NAME.

    The host's page cache is the disk: what the guest has flushed survives the killing of QEMU, as a disk's platter
    survives a power cut, and so may more.
    """

    name: str
    image: Path
    size_mb: int = 64
    shared: bool = False
    """Another machine has it at the same time."""

    def option(self) -> str:
        """QEMU's -drive argument; the image is made if it is not there."""
        if not self.image.exists():
            self.image.parent.mkdir(parents=True, exist_ok=True)
            with self.image.open("wb") as handle:
                handle.truncate(self.size_mb << 20)
        locking = ",file.locking=off" if self.shared else ""
        return f"file={self.image},format=raw,if=none,cache=writeback,id={self.name}{locking}"


@dataclasses.dataclass(frozen=True)
class Config:
    """How a machine is made."""

    cpus: int = 2
    mem: str = "1G"
    drives: Sequence[Drive] = ()
    icount: bool = False
    """One processor, and the guest's time is the number of instructions that it has executed.

    Of several QEMU would run one at a time, until it is idle: a wake-up on another one would be late by that.
    """
    kernel: Optional[guest.Kernel] = None
    """None: the stock kernel."""
    userland: Optional[Path] = None
    """None: the guest's usual Debian."""
    modules: Optional[Path] = None
    """A build directory whose .ko files modprobe will find in the guest."""
    extra: Sequence[Path] = ()
    """Files and directories that the job finds in /lab."""
    append: str = ""
    qemu: Sequence[str] = ()
    fc: Optional["Slots"] = None
    """Fibre Channel adapters of a fabric that runs."""
    timeout: float = 300
    allow: Sequence[str] = ()
    """Patterns of kernel log lines that look bad and are not."""


@dataclasses.dataclass(frozen=True)
class Result:
    """What a run left."""

    status: Optional[int]
    """The job's exit status; None if the machine ended before the job did."""
    output: str
    console: str
    complaints: Sequence[str]
    share: Path
    seconds: float
    timed_out: bool = False
    killed: bool = False

    @property
    def ok(self) -> bool:
        """The job ended well and the kernel had nothing to complain of."""
        return self.status == 0 and not self.complaints and not self.timed_out

    def problem(self) -> str:
        """What went wrong, for a person."""
        if self.timed_out:
            what = f"no end after {self.seconds:.0f} s"
        elif self.status is None:
            what = "the machine stopped before its job ended"
        elif self.status != 0:
            what = f"the job ended with status {self.status}"
        else:
            what = "the kernel complained"
        lines = [what, *(f"    kernel: {line}" for line in self.complaints[:20])]
        if self.status is None or self.timed_out:
            lines += ["  end of the console:", *(f"    | {line}" for line in self.console.splitlines()[-25:])]
        return "\n".join(lines)


class Machine:
    """One boot. The directory build/vm/NAME holds all that belongs to it."""

    def __init__(self, name: str, job: Job, config: Config) -> None:
        self.config = config
        self.kernel = config.kernel or guest.stock()
        self._child: Optional[proc.Child] = None
        self.place = paths.BUILD / "vm" / name
        cache.remove(self.place)
        self.share = self.place / "lab/share"
        self.share.mkdir(parents=True)
        self._lay_out(job)

    def _lay_out(self, job: Job) -> None:
        lab = self.place / "lab"
        shutil.copy2(paths.LAB / "guest/init", lab / "init")
        target = lab / "job"
        target.write_text(job if isinstance(job, str) else job.read_text())
        target.chmod(0o755)
        for path in self.config.extra:
            if path.is_dir():
                shutil.copytree(path, lab / path.name, symlinks=True)
            else:
                shutil.copy2(path, lab / path.name)
        modules = [*self.kernel.loose, *kernel.modules_in(self.config.modules)] if self.config.modules else []
        self._over = over.image(self.kernel, modules)

    def command(self, interactive: bool = False) -> list[str]:
        """QEMU's command line."""
        config = self.config
        append = f"{_APPEND} {self.kernel.append} {config.append}"
        if not config.icount:
            append += f" {_PLAIN_CLOCK}"
        if interactive:
            append += " lab.shell"
        program = config.fc.program if config.fc else "qemu-system-x86_64"
        command = [program, "-nodefaults", "-no-user-config", "-display", "none", "-no-reboot",
                   "-m", config.mem, "-smp", "1" if config.icount else str(config.cpus),
                   *(_ICOUNT if config.icount else _PLAIN),
                   "-kernel", str(self.kernel.image), "-initrd", str(self.kernel.initramfs), "-append", append]
        if interactive:
            command += ["-serial", "mon:stdio", "-serial", "null"]
        else:
            command += ["-serial", f"file:{self.place}/console", "-chardev", "stdio,id=job,signal=off",
                        "-serial", "chardev:job"]
        command += ["-virtfs", f"local,path={self.place}/lab,mount_tag=lab,security_model=none,multidevs=remap"]
        # The first of them lies over the others.
        for name, image in (("over", self._over), ("root", config.userland or guest.userland()),
                            ("modules", self.kernel.modules_image)):
            if image:
                command += ["-drive", f"file={image},format=raw,if=none,readonly=on,id=lab-{name}",
                            "-device", f"virtio-blk-pci,drive=lab-{name},serial=lab-{name}"]
        for drive in config.drives:
            command += ["-drive", drive.option(),
                        "-device", f"virtio-blk-pci,drive={drive.name},serial={drive.name},write-cache=on"]
        if config.fc:
            command += config.fc.options(config.mem)
        return [*command, *config.qemu]

    def binds(self) -> list[Bind]:
        """What QEMU needs to see of the host."""
        return [Bind.same(paths.cache(), False), Bind.same(paths.BUILD),
                *(Bind.same(drive.image.parent) for drive in self.config.drives)]

    def shell(self) -> int:
        """Give the terminal to the guest."""
        argv = sysroot.get().argv(self.command(interactive=True), self.binds(), "/")
        with proc.spawn(argv, foreground=True) as child:
            return child.wait()

    def run(self, on_line: Optional[Callable[[str], bool]] = None) -> Result:
        """Boot and wait for the end.

        ON_LINE gets each line that the job prints; where it returns true the machine is killed on the spot, as by a
        power cut. It then still gets what the job has printed before its death.

        A machine that stops before its job has begun is started once more: until then there is only the emulator and the
        distribution's kernel, on a host that may be too busy for them.
        """
        result = self._run(on_line)
        if result.timed_out or (self.share / "begun").exists():
            return result
        say(f"    {result.problem()}\n    once more")
        (self.place / "console").rename(self.place / "console.first")
        return self._run(on_line)

    def _run(self, on_line: Optional[Callable[[str], bool]]) -> Result:
        command = self.command()
        (self.place / "command").write_text(" \\\n  ".join(command) + "\n")
        start = time.monotonic()
        with (self.place / "qemu.log").open("wb") as errors, sysroot.get().spawn(
                command, self.binds(), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=errors) as child:
            self._child = child
            lines = _Lines(child, on_line)
            ending = lines.read(self.config.timeout)
            if ending == "killed":
                # What it has printed until it was dead it has done.
                child.end()
                lines.drain()
            output = lines.text()
        seconds = time.monotonic() - start
        (self.place / "output").write_text(output)
        log = _text(self.place / "console")
        status = _text(self.share / "status").strip()
        if not log and not output and ending == "end":
            raise LabError(f"QEMU did not start: {_text(self.place / 'qemu.log').strip()}")
        complaints = console.complaints(log + "\n" + _text(self.share / "dmesg"), self.config.allow)
        return Result(int(status) if status else None, output, log, complaints, self.share, seconds,
                      ending == "timeout", ending == "killed")

    def spent(self) -> float:
        """Processor seconds of a machine that runs."""
        return self._child.so_far() if self._child else 0.0


def _text(path: Path) -> str:
    try:
        return path.read_text(errors="replace").replace("\r", "")
    except OSError:
        return ""


class _Lines:
    """What a child prints."""

    def __init__(self, child: proc.Child, on_line: Optional[Callable[[str], bool]]) -> None:
        assert child.stdout is not None
        self._descriptor = child.stdout.fileno()
        self._on_line = on_line
        self._text: list[str] = []
        self._rest = b""

    def read(self, timeout: float) -> str:
        """Collect it until the child ends, TIMEOUT passes or ON_LINE says stop: `end`, `timeout` or `killed`."""
        end = time.monotonic() + timeout
        with selectors.DefaultSelector() as selector:
            selector.register(self._descriptor, selectors.EVENT_READ)
            while True:
                left = end - time.monotonic()
                if left <= 0:
                    return "timeout"
                if not selector.select(min(left, 5)):
                    continue
                data = os.read(self._descriptor, 65536)
                if not data:
                    return "end"
                if self._take(data):
                    return "killed"

    def drain(self) -> None:
        """Collect what there is when the child is dead."""
        while self.read(_REST_S) == "killed":
            pass

    def _take(self, data: bytes) -> bool:
        """Whether ON_LINE says stop to one of the lines that are whole now."""
        *lines, self._rest = (self._rest + data.replace(b"\r", b"")).split(b"\n")
        stop = False
        for raw in lines:
            line = raw.decode(errors="replace")
            self._text.append(line + "\n")
            stop |= bool(self._on_line and self._on_line(line))
        return stop

    def text(self) -> str:
        """All of it so far."""
        return "".join(self._text) + self._rest.decode(errors="replace")


def run(name: str, job: Job, config: Config = Config(),
        on_line: Optional[Callable[[str], bool]] = None) -> Result:
    """Boot a machine called NAME for one job."""
    return Machine(name, job, config).run(on_line)
