"""The `retune` command of the wheel: the same program as the Rust binary, and `--engine` besides."""

from __future__ import annotations

import argparse
import os
import signal
import sys
from pathlib import Path

from . import _retune
from ._errors import Error


def main() -> int:
    """Runs the program on this process's arguments and returns the exit status."""
    typed = sys.argv[1:]
    if typed[:1] in (["compare"], ["features"]) and any(word.split("=")[0] == "--engine" for word in typed):
        return on_cluster(typed[0], typed[1:])
    # The program listens for interrupts by itself, and Python cannot while it runs.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    return _retune.main(["retune", *typed])


def on_cluster(command: str, typed: list[str]) -> int:
    """`compare` or `features` by the machines of a Ray cluster: `--engine ray`, or `--engine ray://HOST:PORT`, `--parts N`.

    What is typed besides goes to every part, as `retune COMMAND --shard I/N`.
    """
    parser = argparse.ArgumentParser(prog=f"retune {command}", allow_abbrev=False, add_help=False)
    parser.add_argument("--engine", required=True)
    parser.add_argument("--parts", type=int)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("-o", "--out")
    parser.add_argument("-q", "--quiet", action="store_true")
    known, others = parser.parse_known_args(typed)
    if known.engine.split("://")[0] != "ray":
        return _mistake(f"--engine must be ray or ray://HOST:PORT, not {known.engine}")
    if known.out is None:
        return _mistake("--out is missing: a cluster needs a place that every machine sees")
    try:
        return _in_parts(command, others, known)
    except Error as error:
        return _mistake(str(error))


def _mistake(sentence: str) -> int:
    print(f"error: {sentence}", file=sys.stderr)
    return 2


def _in_parts(command: str, typed: list[str], known: argparse.Namespace) -> int:
    from . import _ray

    _ray.cluster(known.engine if "://" in known.engine else None)
    count = known.parts or max(1, _ray.processors() // known.threads)
    whole = Path(known.out)
    outs = [whole] * count
    if command == "features":
        outs = [whole.with_name(f"{whole.stem}.part-{number}.npz") for number in range(1, count + 1)]
    sized = [*typed, "--threads", str(known.threads), "--quiet"]
    _ray.run_parts(
        [[command, *sized, "--shard", f"{number}/{count}", "--out", str(out)] for number, out in enumerate(outs, 1)],
        known.threads,
    )
    last = ["--out", str(whole), *(["--quiet"] if known.quiet else [])]
    if command == "compare":
        # Every run is there: what is left are the tables.
        return _retune.main(["retune", command, *typed, *last])
    status = _retune.main(["retune", "merge-features", *map(str, outs), *last])
    if status == 0:
        for out in outs:
            os.remove(out)
    return status
