#!/usr/bin/env python3
"""How soon training starts on a million images listed by a manifest, and how much memory it takes.

    python scripts/million_images.py target/release/retune FOLDER [--lines 1000000] [--files 1000000]

Writes FILES tiny PNG images (each a few hundred bytes, all different) and a manifest of LINES lines that goes round them,
starts `retune fit`, and stops it after the first hundred steps. Linux only: memory is read from /proc.
"""

import argparse
import os
import signal
import struct
import subprocess
import sys
import time
import zlib
from pathlib import Path

CLASSES = 10
PER_FOLDER = 1000


def chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def png(number: int) -> bytes:
    """A gray image of 8 by 8 pixels that differs between numbers and whose brightness tells its class."""
    level = 20 * (number % CLASSES)
    pixels = [level + (number >> (bit % 24) & 1) * 10 for bit in range(64)]
    rows = b"".join(b"\0" + bytes(pixels[row * 8 : row * 8 + 8]) for row in range(8))
    header = struct.pack(">IIBBBBB", 8, 8, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows, 1)) + chunk(b"IEND", b"")


def generate(folder: Path, lines: int, files: int) -> Path:
    for start in range(0, files, PER_FOLDER):
        part = folder / f"images/{start // PER_FOLDER:04}"
        if part.exists():
            continue
        part.mkdir(parents=True)
        for number in range(start, min(start + PER_FOLDER, files)):
            (part / f"{number}.png").write_bytes(png(number))
    manifest = folder / f"list-{lines}-{files}.csv"
    with manifest.open("w") as out:
        out.write("path,label\n")
        for line in range(lines):
            number = line % files
            out.write(f"images/{number // PER_FOLDER:04}/{number}.png,class {number % CLASSES}\n")
    return manifest


def memory(process: int) -> dict[str, int]:
    """Present and largest resident size, in MB."""
    found = {}
    for line in Path(f"/proc/{process}/status").read_text().splitlines():
        if line.startswith(("VmRSS", "VmHWM")):
            found[line[:5]] = int(line.split()[1]) // 1024
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("retune", type=Path)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--lines", type=int, default=1_000_000)
    parser.add_argument("--files", type=int, default=1_000_000)
    parser.add_argument("--seconds", type=float, default=60, help="how long training is watched")
    parser.add_argument("options", nargs="*", help="further options of `retune fit`")
    arguments = parser.parse_args()

    manifest = generate(arguments.folder, arguments.lines, arguments.files)
    model = Path(__file__).parent.parent / "crates/retune/tests/fixtures/models/resnet_basic"
    run = arguments.folder / f"run-{os.getpid()}"
    options = "--method ft --epochs 1 --lr 1e-4 --checkpoint-every 100 --batch-size 32".split() + arguments.options
    command = [arguments.retune, "fit", "--model", model, "--data", manifest, "--out", run, *options]
    started = time.monotonic()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    first = None
    while process.poll() is None and (first is None or time.monotonic() - first < arguments.seconds):
        time.sleep(0.05)
        if first is None and (run / "checkpoint/progress.json").exists():
            first = time.monotonic()
            print(f"100 steps after {first - started:.1f} s, {memory(process.pid)} MB", flush=True)
        if time.monotonic() - started > 600:
            break
    if process.poll() is not None:
        print(f"ended with status {process.poll()} after {time.monotonic() - started:.0f} s")
        return process.poll()
    print(f"after {time.monotonic() - started:.0f} s: {memory(process.pid)} MB")
    process.send_signal(signal.SIGINT)
    return 0 if process.wait() == 130 else 1


if __name__ == "__main__":
    sys.exit(main())
