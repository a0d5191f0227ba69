"""Compare what `retune advise` says with the block that is best when every block is tuned.

    python scripts/reproduction_data.py --idx /usr/share/datasets/fashion-mnist --out DATA
    cargo build --release && python scripts/advise_against_measured.py --data DATA --out OUT

For each shift, `retune compare` tunes each stage alone, and everything, on 1,000 target images and measures accuracy on
the target's test images; `retune advise` sees training and validation images alone. Prints the tables of
book/src/measurements/analysis.md. What is finished is not run again; about an hour on two cores.
"""

import argparse
import csv
import json
import pathlib
import subprocess

ROOT = pathlib.Path(__file__).parent.parent
BACKBONE = ROOT / "crates/retune/assets/demo/backbone"
EPOCHS, BATCH = "8", "64"
RATES = "1e-3,3e-3,1e-2"
SEEDS = "2"
ADVISE_SEEDS = 3
# Test accuracies of 8,500 images vary by as much: parts that differ by less are equally good.
EQUAL = 0.5

CORRUPTIONS = ["gaussian_noise", "impulse_noise", "defocus_blur", "glass_blur", "motion_blur", "snow", "fog",
               "brightness", "contrast", "elastic_transform", "pixelate"]


def rows_of(path):
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def write(path, rows, fields):
    with path.open("w", newline="") as file:
        table = csv.DictWriter(file, fields, extrasaction="ignore")
        table.writeheader()
        table.writerows(rows)


class Shifts:
    """The shifts, each with its kind, source model, source images and target data."""

    def __init__(self, retune, data, out):
        self.retune, self.data, self.out = retune, data, out
        out.mkdir(parents=True, exist_ok=True)

    def source_model(self, name, seen):
        """The demo's network, trained on some of the subclasses alone."""
        model = self.out / name
        if not (model / "summary.json").exists():
            images = self.data / seen
            subprocess.run([self.retune, "fit", "--model", BACKBONE, "--from-scratch", "--data", images, "--method", "ft",
                            "--out", model, "--epochs", "6", "--lr", "0.003", "--batch-size", "128", "--bn", "train",
                            "--augment", "flip", "--head-init", "normal", "--val-fraction", "0.05", "--seed", "1",
                            "--no-report", "-q"], check=True, stdout=subprocess.DEVNULL)
        return model

    def all(self):
        garments = self.data / "garments.csv"
        rows = rows_of(garments)
        # Images of the source that are none of the target's training or validation images.
        source = self.data / "garments_source.csv"
        write(source, [row for row in rows if row["split"] == "test"][:2000], ["path", "label"])
        classes = sorted({row["label"] for row in rows})
        after = dict(zip(classes, classes[1:] + classes[:1]))
        rotated = self.data / "garments_rotated.csv"
        write(rotated, [row | {"label": after[row["label"]]} for row in rows], list(rows[0]))

        shifts = [(f"{name}:4", "input", BACKBONE, source, f"{garments}@{name}:4") for name in CORRUPTIONS]
        shifts.append(("labels reversed", "output", BACKBONE, source, f"{garments}@label_flip"))
        shifts.append(("labels rotated", "output", BACKBONE, source, str(rotated)))
        seen, unseen = self.data / "groups_seen.csv", self.data / "groups_unseen.csv"
        for name, model, source, target in [("new subclasses", "source_seen", seen, unseen),
                                            ("new subclasses, the other way", "source_unseen", unseen, seen)]:
            # The source's images are the test rows of the other table, which no model has seen.
            images = self.data / f"{source.stem}_source.csv"
            write(images, [row for row in rows_of(source) if row["split"] == "test"], ["path", "label"])
            folder = "source_groups" if model == "source_seen" else "source_groups_unseen"
            shifts.append((name, "feature", self.source_model(model, folder), images, str(target)))
        return shifts


def safe(name):
    return "".join(letter if letter.isalnum() else "_" for letter in name)


def measure(retune, out, shift):
    """Accuracy on the target's test images for each stage tuned alone, and for everything."""
    name, _, model, _, target = shift
    directory = out / "measured" / safe(name)
    if not (directory / "comparison.json").exists():
        subprocess.run([retune, "compare", "--model", model, "--head-init", "keep", "--data", target,
                        "--methods", "surgical-each,ft", "--lr", RATES, "--seeds", SEEDS, "--epochs", EPOCHS,
                        "--batch-size", BATCH, "--no-report", "-q", "--out", directory],
                       check=True, stdout=subprocess.DEVNULL)
    comparison = json.loads((directory / "comparison.json").read_text())
    column = next(column for column in comparison["results"] if column["set"] == "test" and not column["worst_group"])
    label = lambda method: method["label"].removeprefix("surgical:").split("..")[0]
    return {label(method): 100 * method["estimate"]["mean"] for method in column["methods"]}


def advise(retune, out, shift, seed):
    """What `retune advise` finds, with source images that are none of the target's."""
    name, _, model, source, target = shift
    file = out / "advise" / f"{safe(name)}-{seed}.json"
    file.parent.mkdir(exist_ok=True)
    if not file.exists():
        subprocess.run([retune, "advise", "--model", model, "--head-init", "keep", "--data", target, "--source", source,
                        "--batch-size", BATCH, "--seed", str(seed), "-q", "--out", file],
                       check=True, stdout=subprocess.DEVNULL)
    return json.loads(file.read_text())


def choices(advice):
    """What the verdict and each evidence alone choose."""
    verdict = advice["verdict"]
    trials = [(part["trial"]["accuracy"], -part["trial"]["loss"], part["name"])
              for part in advice["candidates"] if part["trial"]]
    return {
        "verdict": verdict["chosen"],
        "trial, the most accurate of all": verdict["by_trial"],
        "trial, the most accurate part": max(trials)[2],
        "gradients": verdict["by_gradients"],
        "likeness to the source": verdict["by_similarity"],
    }


def constants(parts):
    return {f"always {part}": part for part in parts}


def table(shifts, measured, advices):
    print("| shift | best part (others within 0.5) | its accuracy | all | advised (seeds) | lost | gradients | likeness |")
    print("| --- | --- | ---: | ---: | --- | ---: | --- | --- |")
    for name, *_ in shifts:
        accuracies = measured[name]
        parts = {part: value for part, value in accuracies.items() if part != "ft"}
        best = max(parts, key=parts.get)
        near = [part for part in parts if part != best and parts[part] >= parts[best] - EQUAL]
        found = [choices(advice) for advice in advices[name]]
        names = lambda key: ", ".join(dict.fromkeys(choice[key] or "–" for choice in found))
        lost = [max(accuracies.values()) - accuracies[choice["verdict"]] for choice in found]
        near = f" ({', '.join(near)})" if near else ""
        print(f"| {name} | {best}{near} | {parts[best]:.1f} | {accuracies['ft']:.1f} | {names('verdict')} | "
              f"{sum(lost) / len(lost):.1f} | {names('gradients')} | {names('likeness to the source')} |")


def summary(shifts, measured, advices):
    print("| chosen by | right | points lost, mean | worst |")
    print("| --- | ---: | ---: | ---: |")
    parts = [part for part in next(iter(measured.values()))]
    rules = list(choices(next(iter(advices.values()))[0])) + list(constants(parts))
    for rule in rules:
        lost = []
        for name, *_ in shifts:
            for advice in advices[name]:
                choice = (choices(advice) | constants(parts))[rule]
                lost.append(max(measured[name].values()) - measured[name][choice])
        right = sum(points <= EQUAL for points in lost)
        print(f"| {rule} | {right} of {len(lost)} | {sum(lost) / len(lost):.1f} | {max(lost):.1f} |")


def part_summary(shifts, measured, advices):
    """The same among parts alone, where the verdict names one."""
    right, lost = 0, []
    for name, *_ in shifts:
        parts = {part: value for part, value in measured[name].items() if part != "ft"}
        for advice in advices[name]:
            choice = choices(advice)["trial, the most accurate part"]
            lost.append(max(parts.values()) - parts[choice])
    right = sum(points <= EQUAL for points in lost)
    print(f"\nAmong parts alone, the trial's most accurate is right {right} of {len(lost)} times and loses "
          f"{sum(lost) / len(lost):.1f} points on average, {max(lost):.1f} at worst.")


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--data", type=pathlib.Path, required=True)
    parser.add_argument("--out", type=pathlib.Path, required=True)
    parser.add_argument("--retune", default=str(ROOT / "target/release/retune"))
    options = parser.parse_args()
    shifts = Shifts(options.retune, options.data, options.out).all()
    measured = {shift[0]: measure(options.retune, options.out, shift) for shift in shifts}
    advices = {shift[0]: [advise(options.retune, options.out, shift, seed) for seed in range(ADVISE_SEEDS)]
               for shift in shifts}
    table(shifts, measured, advices)
    print()
    summary(shifts, measured, advices)
    part_summary(shifts, measured, advices)
