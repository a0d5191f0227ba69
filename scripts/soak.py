#!/usr/bin/env python3
"""Trains for a long time in one process and watches its memory and its open files.

    python scripts/soak.py target/release/retune --minutes 60

A run with augmentation, checkpoints and validation goes on until the time is over. Memory and open files may grow in the
first fifth of it, while caches fill; after that the script ends with status 1 if either grows by more than a tenth.
Linux only: both are read from /proc.
"""

import argparse
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from kill_and_resume import MODELS, make_images


def watch(process: int) -> tuple[float, int]:
    """MB that the process holds, without the pages of its own file, which the system maps as it likes; and open files."""
    status = Path(f"/proc/{process}/status").read_text()
    resident = next(int(line.split()[1]) for line in status.splitlines() if line.startswith("RssAnon"))
    return resident / 1024, len(os.listdir(f"/proc/{process}/fd"))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("retune", type=Path)
    parser.add_argument("--minutes", type=float, default=60)
    arguments = parser.parse_args()
    seconds = 60 * arguments.minutes
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        make_images(folder / "data")
        line = (
            f"fit -q --model {MODELS / 'resnet_basic'} --data {folder / 'data'} --method auto-rgn --epochs 1000000 --lr 1e-5"
            f" --augment standard --mixup 0.2 --ema 0.99 --checkpoint-every 50 --batch-size 8 --out {folder / 'run'}"
        )
        process = subprocess.Popen([arguments.retune.resolve(), *line.split()])
        started = time.monotonic()
        early, late = (0.0, 0), (0.0, 0)
        while (now := time.monotonic() - started) < seconds:
            time.sleep(min(1.0, seconds / 100))
            if process.poll() is not None:
                print(f"ended by itself with status {process.returncode}")
                return 1
            found = watch(process.pid)
            if now < seconds / 5:
                early = max(early[0], found[0]), max(early[1], found[1])
            else:
                late = max(late[0], found[0]), max(late[1], found[1])
        process.send_signal(signal.SIGINT)
        code = process.wait()
        rows = len((folder / "run/metrics.jsonl").read_text().splitlines())
    print(f"{arguments.minutes:g} minutes, {rows // 2} epochs, status {code}")
    print(f"first fifth: at most {early[0]:.0f} MB, {early[1]} open files; afterwards: {late[0]:.0f} MB, {late[1]}")
    grew = late[0] > 1.1 * early[0] or late[1] > 1.1 * early[1]
    return 1 if grew or code != 130 else 0


if __name__ == "__main__":
    sys.exit(main())
