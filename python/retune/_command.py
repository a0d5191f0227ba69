"""The `retune` command of the wheel: the same program as the Rust binary."""

from __future__ import annotations

import signal
import sys

from . import _retune


def main() -> int:
    """Runs the program on this process's arguments and returns the exit status."""
    # The program listens for interrupts by itself, and Python cannot while it runs.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    return _retune.main(["retune", *sys.argv[1:]])
