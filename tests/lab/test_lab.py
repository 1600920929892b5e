# SPDX-License-Identifier: GPL-2.0
"""The lab's own judgement: what it takes for a pass and what for a failure."""

import io
import unittest

from lab import console, cpio, ktap, pins


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
