#!/usr/bin/env python3
"""Kills `retune fit` with SIGKILL at random moments, resumes it, and compares the end with an uninterrupted run.

    python scripts/kill_and_resume.py target/release/retune --kills 200 [--seed 0]

Needs nothing but the program and the fixtures of the repository. Goes round methods and model families until that many
kills have struck a run that was under way; prints a line for each round, and ends with status 1 at the first difference.
"""

import argparse
import json
import random
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

MODELS = Path(__file__).resolve().parent.parent / "crates/retune/tests/fixtures/models"
IMAGES = Path(__file__).resolve().parent.parent / "crates/retune-pixels/tests/fixtures/pixels/formats"

RUNS = [
    ("resnet_basic", "--method ft --augment randaugment --mixup 0.2 --bn train --lr 1e-3,1e-4"),
    ("resnet_basic", "--method auto-rgn --augment standard --ema 0.9 --lr 1e-3"),
    ("resnet_basic", "--method auto-snr --bn recalibrate --lr 1e-3"),
    ("vit", "--method lora --optimizer sgd --lr 1e-2,1e-3"),
    ("vit", "--method wise-ft --cutmix 1 --lr 1e-3"),
    ("convnext", "--method greedy-soup --lr 1e-3,1e-4 --swa-from 2"),
    ("convnext", "--method ulmfit --label-smoothing 0.1 --lr 1e-3"),
    ("efficientnet", "--method lp-ft --class-weights balanced --clip-norm 1 --lr 1e-3"),
    ("efficientnet", "--method l2-sp --optimizer sgd --augment flip --views 2 --lr 1e-2"),
]


def make_images(folder: Path) -> None:
    """Two classes of copies of the decoder's fixtures, told apart by which of them they have."""
    files = sorted(path for path in IMAGES.iterdir() if path.suffix in (".png", ".jpg", ".webp", ".bmp"))
    for number in range(48):
        file = files[number % len(files)]
        target = folder / ("even" if number % 2 == 0 else "odd")
        target.mkdir(parents=True, exist_ok=True)
        shutil.copy(file, target / f"{number:02}{file.suffix}")


def results(run: Path) -> tuple[bytes, list[dict]]:
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    for row in rows:
        del row["seconds"]
    return (run / "model/model.safetensors").read_bytes(), rows


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("retune", type=Path)
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    retune = arguments.retune.resolve()
    moments = random.Random(arguments.seed)

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        make_images(folder / "data")
        struck = rounds = 0
        while struck < arguments.kills:
            model, options = RUNS[rounds % len(RUNS)]
            rounds += 1
            line = f"fit -q --model {MODELS / model} --data {folder / 'data'} --epochs 4 --batch-size 8 --checkpoint-every 1"
            begin = [retune, *line.split(), *options.split(), "--seed", str(rounds), "--out"]
            whole, broken = folder / "whole", folder / "broken"
            started = time.monotonic()
            subprocess.run([*begin, whole], check=True, stdout=subprocess.DEVNULL)
            duration = time.monotonic() - started
            kills = 0
            while not (broken / "summary.json").exists():
                began = (broken / "run.toml").exists()
                command = [retune, "fit", "-q", "--resume", broken] if began else [*begin, broken]
                process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
                if kills < 12:
                    time.sleep(duration * 0.5 * moments.random())
                    process.kill()
                code = process.wait()
                if code == -9:
                    kills += 1
                elif code != 0:
                    print(f"{model} {options}: ended with status {code}")
                    return 1
            same = results(whole) == results(broken)
            struck += kills
            print(f"{model} {options}: {kills} kills, {'the same bytes' if same else 'DIFFERENT'} ({struck} so far)", flush=True)
            if not same:
                return 1
            shutil.rmtree(whole)
            shutil.rmtree(broken)
        print(f"{struck} kills in {rounds} runs, all ended as if never interrupted")
    return 0


if __name__ == "__main__":
    sys.exit(main())
