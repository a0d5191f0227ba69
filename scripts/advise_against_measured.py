"""Compare what `retune advise` says with the block that is best when every block is tuned.

    python scripts/reproduction_data.py --idx /usr/share/datasets/fashion-mnist --out DATA
    cargo build --release && python scripts/advise_against_measured.py --data DATA --out OUT

For each shift, `retune compare` tunes each stage alone, and everything, on 1,000 target images and measures accuracy on
the target's test images; `retune advise` sees training and validation images alone. Prints the tables of
docs/analysis.md. What is finished is not run again; about an hour and a half on two cores, of which `advise` takes
a few minutes.
"""

import argparse
import csv
import json
import pathlib
import subprocess

ROOT = pathlib.Path(__file__).parent.parent
BACKBONE = ROOT / "crates/retune-cli/assets/demo/backbone"
EPOCHS, BATCH = "8", "64"
RATES = "1e-3,3e-3,1e-2"
SEEDS = "2"

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


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--data", type=pathlib.Path, required=True)
    parser.add_argument("--out", type=pathlib.Path, required=True)
    parser.add_argument("--retune", default=str(ROOT / "target/release/retune"))
    options = parser.parse_args()
    for shift in Shifts(options.retune, options.data, options.out).all():
        print(shift[0], {key: round(value, 1) for key, value in measure(options.retune, options.out, shift).items()}, flush=True)
