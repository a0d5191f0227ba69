#!/usr/bin/env python3
"""What the end of a run of many classes takes: memory, time, and the sizes of its pictures and page.

    python scripts/many_classes.py target/release/retune FOLDER [--classes 1000] [--method ft]

Makes two images of 32 by 32 pixels of each class for training and two for validation, and trains a tiny model on them, once
as it is and once with 2 GB of address space (`ulimit -v 2000000`). Linux only: memory is what the kernel counts.
"""

import argparse
import os
import resource
import shutil
import struct
import subprocess
import time
import zlib
from pathlib import Path

SIDE = 32


def chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def png(label: int, number: int) -> bytes:
    """An image whose colors tell its class, one bit of noise aside."""
    red, green, blue = (label * factor % 256 for factor in (37, 91, 151))
    row = b"\0" + bytes(value ^ (number + x) & 1 for x in range(SIDE) for value in (red, green, blue))
    header = struct.pack(">IIBBBBB", SIDE, SIDE, 8, 2, 0, 0, 0)
    data = zlib.compress(row * SIDE, 1)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", data) + chunk(b"IEND", b"")


def generate(folder: Path, classes: int) -> Path:
    data = folder / f"data-{classes}"
    for label in range(classes):
        for split in ("train", "val"):
            part = data / split / f"class{label:05}"
            if part.exists():
                continue
            part.mkdir(parents=True)
            for number in range(2):
                (part / f"{number}.png").write_bytes(png(label, number + 2 * (split == "val")))
    return data


def fit(program: str, data: Path, run: Path, method: str, limit: int | None) -> tuple[int, float, int]:
    """Status, seconds and largest resident size in MB of a run."""
    shutil.rmtree(run, ignore_errors=True)
    options = ["--arch", "test_resnet", "--from-scratch", "--size", str(SIDE), "--method", method, "-q"]
    options += ["--epochs", "1", "--lr", "1e-3"] if method != "lp" else []
    command = [program, "fit", *options, "--data", str(data), "--out", str(run)]

    def bound() -> None:
        if limit:
            resource.setrlimit(resource.RLIMIT_AS, (limit, limit))

    started = time.monotonic()
    process = subprocess.Popen(command, preexec_fn=bound, stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    return os.waitstatus_to_exitcode(status), time.monotonic() - started, usage.ru_maxrss // 1024


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("program")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--classes", type=int, default=1000)
    parser.add_argument("--method", default="ft")
    arguments = parser.parse_args()
    data = generate(arguments.folder, arguments.classes)
    run = arguments.folder / f"run-{arguments.classes}-{arguments.method}"
    for name, limit in (("as it is", None), ("2 GB of address space", 2_000_000 * 1024)):
        status, seconds, megabytes = fit(arguments.program, data, run, arguments.method, limit)
        print(f"{name}: status {status}, {seconds:.1f} s, at most {megabytes} MB")
    files = [run / "report.html", *sorted((run / "plots").glob("*"))]
    for file in files:
        print(f"{file.stat().st_size / 1e6:8.3f} MB  {file.relative_to(run)}")


if __name__ == "__main__":
    main()
