# SPDX-License-Identifier: GPL-2.0
"""`python3 -m bench.management`: management at the size of a large installation, as management.md has it."""

from __future__ import annotations

import sys

from lab import paths, suite


def main() -> int:
    """Run tests/vm/scale.py at full size and print its figures."""
    status = suite.run(["scale.py"], long=True)
    output = paths.BUILD / "vm/test-stock-scale/output"
    print("\n".join(line for line in output.read_text().splitlines() if line.startswith("# ")))
    return status


if __name__ == "__main__":
    sys.exit(main())
