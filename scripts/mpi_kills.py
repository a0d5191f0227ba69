#!/usr/bin/env python3
"""Kills single processes of `mpirun -n N retune fit --bn train` at random moments, resumes, and compares the ends.

    python scripts/mpi_kills.py target/release/retune --kills 50 [--seed 0]

Needs a program that was built with the feature `mpi`, Open MPI's `mpirun`, NumPy, safetensors, and the fixtures of the
repository. Each run is killed several times, each time a process of any rank by SIGKILL. Its rows of metrics must be those
of an uninterrupted run. Its model must have the same bytes where the book promises that (the number of processes stays, or
each has whole batches). Otherwise, running statistics must be within 1e-5 of the distance that training moved them, and
weights within 1e-2 of theirs: rounding in another place now and then changes which value of a window is largest. A step that
was lost or made twice would move either by more. (With a head of zeros, hardly a weight would move at this rate.)
"""

import argparse
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from safetensors.numpy import load_file

from kill_and_resume import MODELS, make_images

# A batch of 9 or 10 images is cut up; with --accumulate 3, each process has whole ones.
RUNS = [
    ("resnet_basic", "--method ft --batch-size 10", False),
    ("efficientnet", "--method ft --batch-size 9", False),
    ("resnet_basic", "--method auto-rgn --batch-size 10 --drop-path 0.2", False),
    ("resnet_basic", "--method ft --batch-size 5 --accumulate 2 --mixup 0.4", False),
    ("resnet_bottleneck", "--method lp-ft --batch-size 4 --accumulate 3 --augment flip", True),
]
ENVIRONMENT = {**os.environ, "OMPI_MCA_btl_vader_single_copy_mechanism": "none", "OMPI_MCA_plm": "isolated"}


def mpirun(processes: int, line: list) -> list:
    return ["mpirun", "--allow-run-as-root", "--oversubscribe", "-n", str(processes), *map(str, line)]


def process_of_rank(rank: int, job: int) -> int | None:
    """The process of a job that has this rank, if it runs."""
    wanted = f"OMPI_COMM_WORLD_RANK={rank}".encode()
    for folder in Path("/proc").iterdir():
        if not folder.name.isdigit():
            continue
        try:
            parent = int((folder / "stat").read_text().rsplit(")", 1)[1].split()[1])
            if parent == job and wanted in (folder / "environ").read_bytes().split(b"\0"):
                return int(folder.name)
        except (OSError, IndexError):
            continue
    return None


def rows(run: Path) -> list[dict]:
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    for row in rows:
        del row["seconds"]
    return rows


def places(run: Path) -> list[tuple]:
    return [(row["phase"], row["epoch"], row["step"], row["split"]) for row in rows(run)]


def distances(one: Path, other: Path, start: Path) -> list[float]:
    """Norm of the difference of two models to the norm of what training changed: weights, without the new head, and
    running statistics."""
    one, other = (load_file(run / "model/model.safetensors") for run in (one, other))
    start = load_file(start / "model.safetensors")

    def distance(are_statistics: bool) -> float:
        names = [name for name in start if start[name].ndim > 0 and start[name].shape == one[name].shape]
        names = [name for name in names if (".running_" in name) == are_statistics]
        norm = lambda a, b: np.sqrt(sum(np.sum((a[name].astype(np.float64) - b[name]) ** 2) for name in names))
        return float(norm(one, other) / norm(other, start))

    return [distance(False), distance(True)]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("retune", type=Path)
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    retune = arguments.retune.resolve()
    draw = random.Random(arguments.seed)

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        make_images(folder / "data")
        struck = rounds = 0
        while struck < arguments.kills:
            model, options, has_whole_batches = RUNS[rounds % len(RUNS)]
            # Every second time that a run's turn comes, the number of processes changes with every resumption.
            changes = (rounds // len(RUNS)) % 2 == 1
            processes = draw.choice([2, 3])
            rounds += 1
            line = f"fit -q --model {MODELS / model} --data {folder / 'data'} --epochs 5 --checkpoint-every 1 --no-report"
            line = f"{line} --bn train --head-init normal --optimizer sgd --lr 1e-4 --save last --threads 1 {options} --seed {rounds} --out"
            whole, broken = folder / "whole", folder / "broken"
            begun = time.monotonic()
            command = mpirun(processes, [retune, *line.split(), whole])
            subprocess.run(command, check=True, env=ENVIRONMENT, stdout=subprocess.DEVNULL)
            duration = time.monotonic() - begun
            kills, sizes = 0, []
            while not (broken / "summary.json").exists():
                size = draw.choice([1, 2, 3]) if changes and sizes else processes
                begins = not (broken / "run.toml").exists()
                command = [retune, *line.split(), broken] if begins else [retune, "fit", "-q", "--resume", broken]
                command += [] if begins else ["--no-report", "--threads", "1"]
                job = subprocess.Popen(
                    mpirun(size, command), env=ENVIRONMENT, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
                )
                sizes.append(size)
                hit = False
                if kills < 6:
                    time.sleep(0.15 + duration * 0.6 * draw.random())
                    process = process_of_rank(draw.randrange(size), job.pid)
                    if process is not None and job.poll() is None:
                        os.kill(process, signal.SIGKILL)
                        hit = True
                told = job.communicate(timeout=120)[1].decode(errors="replace")
                if job.returncode != 0 and hit:
                    kills += 1
                elif job.returncode != 0:
                    print(f"{model} {options}: ended with status {job.returncode}: {told}")
                    return 1
            weights = [(run / "model/model.safetensors").read_bytes() for run in (whole, broken)]
            same = rows(whole) == rows(broken) and weights[0] == weights[1]
            must_be_same = has_whole_batches or set(sizes) == {processes}
            weights_apart, statistics_apart = distances(broken, whole, MODELS / model)
            good = same if must_be_same else weights_apart < 1e-2 and statistics_apart < 1e-5
            good = good and places(broken) == places(whole)
            struck += kills
            verdict = "the same bytes" if same else f"{weights_apart:.1e} and {statistics_apart:.1e} apart"
            print(
                f"{model} {options}, {'-'.join(map(str, sizes))} processes: {kills} kills, {verdict}"
                f"{'' if good else ': WRONG'} ({struck} so far)",
                flush=True,
            )
            if not good:
                return 1
            shutil.rmtree(whole)
            shutil.rmtree(broken)
        print(f"{struck} kills in {rounds} runs, all ended as they should")
    return 0


if __name__ == "__main__":
    sys.exit(main())
