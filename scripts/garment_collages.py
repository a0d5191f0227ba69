"""Writes collages of the demo's garments, each with the labels of all that it shows: `python3 garment_collages.py OUT`.

    OUT/images/*.png     56 × 56 pixels, up to three garments in four corners
    OUT/train.csv        1,500 of them, of garments for training
    OUT/test.csv         500 of other garments; in every 25th row a label is missing or wrong
    OUT/shifted.csv      500 of garments that are noisy, blurred, or of low contrast
    OUT/wrong.csv        what is wrong in test.csv: path, the label, and whether the image has it
    OUT/backbone         the pretrained model

The garments are those of `demo_images.py`. A collage may show two garments of a kind, and about one in ten shows none.
Train with `retune fit --model OUT/backbone --data OUT/train.csv --multi-label --size 56 --eval test=OUT/test.csv`.
Needs Pillow and NumPy.
"""

import csv
import shutil
import sys
from pathlib import Path

import numpy as np
from PIL import Image

SIDE = 28
TRAINING, FIRST_TEST = 3_000, 3_000
GARMENTS = ["t-shirt", "trouser", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag", "ankle boot"]
EVERY = 25

assets = Path(__file__).parent.parent / "crates/retune/assets/demo"
labels = (assets / "labels.bin").read_bytes()
images = Image.open(assets / "images.png").convert("RGB")
corrupted = Image.open(assets / "corrupted.png").convert("RGB")


def collage(column, tiles, first_label, random):
    """A picture, and the garments that it shows."""
    picture, shown = Image.new("RGB", (2 * SIDE, 2 * SIDE)), set()
    count = random.choice(4, p=[0.1, 0.3, 0.3, 0.3])
    for corner, tile in zip(random.permutation(4)[:count], random.choice(tiles, count, replace=False)):
        garment = column.crop((0, int(tile) * SIDE, SIDE, (int(tile) + 1) * SIDE))
        picture.paste(garment, (int(corner) % 2 * SIDE, int(corner) // 2 * SIDE))
        shown.add(GARMENTS[labels[first_label + int(tile)]])
    # So that collages without a garment are not all the same.
    background = random.integers(0, 80) + random.normal(0, 8, (2 * SIDE, 2 * SIDE, 1))
    return Image.fromarray(np.maximum(picture, background.clip(0, 255)).astype(np.uint8)), shown


def write(out, name, count, column, tiles, first_label, random, wrong=None):
    with open(out / f"{name}.csv", "w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["path", "labels"])
        for number in range(count):
            picture, shown = collage(column, tiles, first_label, random)
            path = f"images/{name}_{number:04}.png"
            picture.save(out / path)
            if wrong is not None and number % EVERY == EVERY - 1:
                garment = GARMENTS[random.integers(len(GARMENTS))]
                wrong.writerow([path, garment, garment in shown])
                shown ^= {garment}
            rows.writerow([path, "|".join(sorted(shown))])


def main():
    out, random = Path(sys.argv[1]), np.random.default_rng(0)
    (out / "images").mkdir(parents=True, exist_ok=True)
    write(out, "train", 1_500, images, range(TRAINING), 0, random)
    with open(out / "wrong.csv", "w", newline="") as file:
        wrong = csv.writer(file)
        wrong.writerow(["path", "label", "has"])
        write(out, "test", 500, images, range(FIRST_TEST, images.height // SIDE), 0, random, wrong)
    write(out, "shifted", 500, corrupted, range(corrupted.height // SIDE), FIRST_TEST, random)
    shutil.copytree(assets / "backbone", out / "backbone", dirs_exist_ok=True)


main()
