# SPDX-License-Identifier: GPL-2.0
"""The lab's own judgement: what it takes for a pass and what for a failure."""

import contextlib
import io
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
import unittest
from pathlib import Path
from unittest import mock

from lab import console, cpio, guest, keep, ktap, lanes, paths, pins, proc, suite, vm, vmtests
from lab.errors import LabError


class Ktap(unittest.TestCase):
    """Counting test results."""

    def test_flat(self) -> None:
        """Results, a skip and a failure."""
        counts = ktap.parse(["1..3", "ok 1 - a", "not ok 2 - b", "ok 3 - c # SKIP no disk"], "s")
        self.assertEqual((counts.passed, counts.failed, counts.skipped), (1, 1, 1))
        self.assertEqual(counts.failures, ["s: b"])

    def test_nested_counts_leaves_only(self) -> None:
        """A summary line is no result of its own; kernel time stamps are stripped."""
        lines = ["[    1.000000] 1..1", "[    1.000001]     KTAP version 1", "[    1.000002]     1..2",
                 "[    1.000003]     ok 1 x", "[    1.000004]     not ok 2 y", "[    1.000005] not ok 1 suite"]
        counts = ktap.parse(lines)
        self.assertEqual((counts.passed, counts.failed), (1, 1))

    def test_plan_not_met(self) -> None:
        """A script that dies half-way has failed."""
        self.assertEqual(ktap.parse(["1..2", "ok 1 - a"]).failed, 1)

    def test_todo_is_no_failure(self) -> None:
        """Known problems are marked so."""
        self.assertEqual(ktap.parse(["not ok 1 - a # TODO later"]).failed, 0)


class Console(unittest.TestCase):
    """Judging a kernel log."""

    def test_bad_lines(self) -> None:
        """Each of these is a failure."""
        for line in ("WARNING: CPU: 0 PID: 1 at x", "BUG: kernel NULL pointer dereference", "Oops: 0000 [#1]",
                     "INFO: task fio:12 blocked for more than 122 seconds.", "Kernel panic - not syncing",
                     "WARNING: possible circular locking dependency detected", "rust_kernel: panicked at x"):
            self.assertTrue(console.complaints("[    1.000000] " + line), line)

    def test_harmless_lines(self) -> None:
        """None of these is."""
        for line in ("scst: loading out-of-tree module taints kernel.", "ACPI BIOS debug", "sd 0:0:0:0: [sda] OK"):
            self.assertFalse(console.complaints(line), line)

    def test_allowed(self) -> None:
        """A test may say what it expects."""
        self.assertFalse(console.complaints("WARNING: CPU: 0 srp_x", [r"WARNING:.*srp_x"]))


class Lanes(unittest.TestCase):
    """Jobs that run at the same time."""

    def setUp(self) -> None:
        """Count who runs."""
        self._lock = threading.Lock()
        self._running = 0
        self.most = 0

    def _job(self, number: int, timed: bool) -> lanes.Job:
        def work() -> ktap.Counts:
            with self._lock:
                self._running += 1
                self.most = max(self.most, self._running)
            time.sleep(0.02)
            with self._lock:
                self._running -= 1
            if number == 3:
                raise LabError("no such kernel")
            return ktap.Counts(passed=1)
        return lanes.Job(f"job{number}", "waits", work, timed, 10 - number)

    def test_all_results_count(self) -> None:
        """What each job found is in the sum, an error as a failure; three run at a time."""
        with contextlib.redirect_stdout(io.StringIO()) as out:
            counts = lanes.run([self._job(number, number % 3 != 0) for number in range(9)])
        self.assertEqual((counts.passed, counts.failed), (8, 1))
        self.assertEqual(counts.failures, ["job3: no such kernel"])
        self.assertLessEqual(self.most, 3)
        self.assertIn("job3             |     FAIL no such kernel\n", out.getvalue())


class Lines(unittest.TestCase):
    """What a machine prints."""

    def test_until_it_is_dead(self) -> None:
        """What was printed before the end counts, also behind the line for which it was killed."""
        for first, second in (("a\\nstop\\nstop\\nb\\nc", ""), ("a\\nstop\\n", "stop\\nb\\nc")):
            seen: list[str] = []

            def told(line: str, seen: list[str] = seen) -> bool:
                seen.append(line)
                return line == "stop"

            with tempfile.TemporaryDirectory() as place:
                script = f"printf '{first}'; sleep 0.1; printf '{second}'; : > {place}/printed; sleep 300"
                with proc.spawn(["sh", "-c", script], stdout=subprocess.PIPE) as child:
                    assert child.stdout is not None
                    lines = vm._Lines(child, told)  # pylint: disable=protected-access
                    self.assertEqual(lines.read(60), "killed")
                    while not Path(place, "printed").exists():
                        time.sleep(0.02)
                    child.end()
                    lines.drain()
                    child.stdout.close()
            self.assertEqual((seen, lines.text()), (["a", "stop", "stop", "b"], "a\nstop\nstop\nb\nc"))


class Limits(unittest.TestCase):
    """Figures and their limits."""

    def _judged(self, *measured: int) -> tuple[ktap.Counts, int]:
        """What comes of a figure that is MEASURED so, and how often it was."""
        record = {"transport": "scst_local", "handler": "nullio", "rw": "randread", "block_size": 4096, "iodepth": 32}
        runs = [[{**record, "insns_per_io": count}, {**record, "iodepth": 7, "insns_per_io": 1 << 40}] for count in measured]
        with contextlib.redirect_stdout(io.StringIO()), mock.patch.object(suite.kernel, "have_modules", return_value=False), \
                mock.patch.object(suite.figures, "have_ours", side_effect=lambda _, driver="scst_local": driver == "scst_local"), \
                mock.patch.object(suite.figures, "measure", side_effect=runs) as measure:
            counts = suite._run_limits()  # pylint: disable=protected-access
        return counts, measure.call_count

    def test_limits(self) -> None:
        """One that is too large is measured once more, and not twice; the lower one counts. One without a limit does not."""
        for measured, failed in (((100,), 0), ((1 << 30, 100), 0), ((1 << 30, 1 << 30), 1)):
            counts, times = self._judged(*measured)
            self.assertEqual((counts.failed, counts.passed, times), (failed, 1 - failed, len(measured)), str(measured))


class Payload(unittest.TestCase):
    """The kernel in a bzImage."""

    def test_payload(self) -> None:
        """It begins so many bytes after the setup's sectors, and its size is behind it."""
        image = bytearray(4 * 512)
        image[0x1F1] = 2
        image[0x248:0x250] = (16).to_bytes(4, "little") + (10).to_bytes(4, "little")
        image[3 * 512 + 16:3 * 512 + 26] = b"kernel" + bytes(4)
        self.assertEqual(guest.payload(bytes(image)), b"kernel")


class Kept(unittest.TestCase):
    """Results that are not found again."""

    def setUp(self) -> None:
        """A place of its own."""
        place = tempfile.TemporaryDirectory()
        self.addCleanup(place.cleanup)
        patch = mock.patch.object(keep, "_PLACE", Path(place.name) / "kept")
        patch.start()
        self.addCleanup(patch.stop)
        self.runs = 0
        self.result = ktap.Counts(passed=3, skipped=1, skips=["miri (none)"])

    def _run(self, inputs: str, fresh: bool = False) -> ktap.Counts:
        def work() -> ktap.Counts:
            self.runs += 1
            return self.result
        with contextlib.redirect_stdout(io.StringIO()) as out:
            counts = keep.run("part", lambda: inputs, work, fresh)
        self.said = out.getvalue()
        return counts

    def test_same_inputs(self) -> None:
        """The second time the counts are the same, and it is said where they come from."""
        self._run("a")
        self.assertEqual(self.said, "")
        self.assertEqual(self._run("a"), self.result)
        self.assertEqual(self.runs, 1)
        self.assertIn("kept from 20", self.said)

    def test_other_inputs(self) -> None:
        """A change of an input, or the wish for it, and it is run."""
        self._run("a")
        self._run("b")
        self._run("b", fresh=True)
        self.assertEqual(self.runs, 3)

    def test_failure_is_not_kept(self) -> None:
        """Nor is what passed before it, nor nothing at all, nor what is no record."""
        self._run("a")
        self.result = ktap.Counts(passed=2, failed=1, failures=["x"])
        self._run("a", fresh=True)
        self._run("a")
        self.result = ktap.Counts()
        self._run("a", fresh=True)
        self._run("a")
        self.assertEqual(self.runs, 5)
        (keep._PLACE / "part").parent.mkdir(exist_ok=True)  # pylint: disable=protected-access
        (keep._PLACE / "part").write_text("{")  # pylint: disable=protected-access
        self._run("a")
        self.assertEqual(self.runs, 6)

    def test_scripts(self) -> None:
        """One that is kept draws no lots, looks at no clock and knows no length."""
        kept = [path for path in (paths.REPO / "tests/host").glob("*.py") if "kept=yes" in vmtests.words(path)]
        self.assertTrue(kept)
        for path in kept:
            self.assertNotRegex(path.read_text(), r"\b(random|time)\b|LAB_LENGTH", path.name)

    def test_input_changed_meanwhile(self) -> None:
        """Which of the two was tried is not known."""
        inputs = iter("abb")
        with contextlib.redirect_stdout(io.StringIO()):
            keep.run("part", lambda: next(inputs), lambda: self.result, False)
        self._run("b")
        self.assertEqual(self.runs, 1)

    def test_key(self) -> None:
        """Name, mode and content of a file count."""
        with tempfile.TemporaryDirectory() as name, mock.patch.object(keep.sysroot, "get") as get:
            place = Path(name)
            get.return_value.root = place
            (place / "var/lib/dpkg").mkdir(parents=True)
            (place / "var/lib/dpkg/status").write_text("Package: rustc")
            file, other = place / "file", place / "other"
            file.write_text("x")
            keys = [keep.key([file]), keep.key([file], "tree")]
            file.chmod(0o700)
            keys.append(keep.key([file]))
            file.rename(other)
            keys.append(keep.key([other]))
            other.write_text("y")
            keys.append(keep.key([other]))
            (place / "var/lib/dpkg/status").write_text("Package: rustc 2")
            keys.append(keep.key([other]))
            self.assertEqual(len(set(keys)), len(keys))
            self.assertEqual(keep.key([other]), keys[-1])


# Two jobs that would take minutes. Whatever they have started has this process's output open until it is gone.
_LONG = """
import os, sys
from lab import __main__, commands, lanes, proc, progress, sandbox
from lab.ktap import Counts

def job(gentle, argv):
    def work():
        progress.say("begin")
        with proc.spawn(argv, gentle=gentle) as child:
            child.wait()
        progress.say("FAIL")
        return Counts(passed=1)
    return work

def check(arguments):
    '''a long command'''
    machine = ["unshare", *sandbox.namespace_options(), "sh", "-c", "sleep 300; sleep 300"]
    tidy = ["sh", "-c", "trap 'echo tidy; exit' INT; sleep 300 & wait"]
    lanes.run([lanes.Job("one", "x", job(False, machine), True), lanes.Job("two", "x", job(True, tidy), True)])
    return 0

commands.check = check
sys.argv = ["lab", "check"]
sys.exit(__main__.main())
"""


class Interrupted(unittest.TestCase):
    """However a run is told to end, it does at once, and nothing of it is left."""

    def _end(self, argv: list[str], number: int, group: bool, ignored: bool = False) -> str:
        """Start a long run, send it a signal when it is under way; what it printed."""
        def before_exec() -> None:
            signal.signal(signal.SIGINT, signal.SIG_IGN if ignored else signal.SIG_DFL)

        with subprocess.Popen(argv, cwd=paths.REPO, env=dict(os.environ, LONG=_LONG), stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, text=True, start_new_session=True, preexec_fn=before_exec) as run:
            try:
                assert run.stdout is not None
                text = ""
                while text.count("begin") < 2:
                    line = run.stdout.readline()
                    self.assertTrue(line, text)
                    text += line
                time.sleep(0.2)
                (os.killpg if group else os.kill)(run.pid, number)
                start = time.monotonic()
                text += run.communicate(timeout=120)[0]
                self.assertLess(time.monotonic() - start, 60)
                self.assertNotEqual(run.returncode, 0)
            finally:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(run.pid, signal.SIGKILL)
        self.assertIn("tidy", text)
        self.assertIn("lab: interrupted", text)
        self.assertNotIn("FAIL", text)
        return text

    def test_by_a_signal(self) -> None:
        """Ctrl-C reaches all, kill only one; also where a shell has had SIGINT ignored."""
        for number, group, ignored in ((signal.SIGINT, True, False), (signal.SIGINT, False, False),
                                       (signal.SIGTERM, False, False), (signal.SIGINT, False, True)):
            with self.subTest(number=number, group=group, ignored=ignored):
                self._end([sys.executable, "-c", _LONG], number, group, ignored)

    def test_through_make(self) -> None:
        """As with any program, and where the signal is for make alone, which does not pass it on."""
        with tempfile.TemporaryDirectory() as place:
            makefile = Path(place) / "Makefile"
            makefile.write_text(f'test:\n\t@{sys.executable} -c "$$LONG"\n')
            for number, group in ((signal.SIGINT, True), (signal.SIGINT, False), (signal.SIGTERM, False), (signal.SIGKILL, False)):
                with self.subTest(number=number, group=group):
                    self._end(["make", "-f", str(makefile)], number, group)

    def test_time_is_counted(self) -> None:
        """Of what ended by itself, and of what was killed."""
        for script in ("i=0; while [ $i -lt 100000 ]; do i=$((i+1)); done",
                       "i=0; while [ $i -lt 100000 ]; do i=$((i+1)); done; echo; sleep 100"):
            with self.subTest(script=script):
                before = proc.spent()
                with proc.spawn(["sh", "-c", f"({script}); true"], stdout=subprocess.PIPE) as child:
                    assert child.stdout is not None
                    child.stdout.readline()
                child.stdout.close()
                self.assertGreater(proc.spent() - before, 0.02)


class Files(unittest.TestCase):
    """What the lab reads and writes."""

    def test_pins(self) -> None:
        """The file names both kernels, and an entry survives being printed."""
        kernel = pins.load().kernel("7.2")
        self.assertRegex(kernel.release, r"^7\.2\.\d+\+deb13-amd64$")
        self.assertIn(f"7.2 = {kernel.package}", pins.render("7.2", kernel.package, kernel.sha256))
        self.assertTrue({"source", "headers"} <= set(pins.load().kernel("7.3").sha256))

    def test_cpio(self) -> None:
        """Parents are made, members are padded to four bytes."""
        out = io.BytesIO()
        writer = cpio.Writer(out)
        writer.file("a/b", b"xyz", executable=True)
        writer.close()
        data = out.getvalue()
        self.assertEqual(len(data) % 4, 0)
        self.assertEqual(data.count(b"070701"), 3)
        self.assertIn(b"TRAILER!!!", data)


if __name__ == "__main__":
    unittest.main()
