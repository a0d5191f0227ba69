"""Writes the demo's ten garments as folders of images, for commands that read files: `python3 demo_images.py OUT`.

    OUT/data/CLASS/*.png       a thousand images to train and validate on
    OUT/test/CLASS/*.png       others like them
    OUT/shifted/CLASS/*.png    noisy, blurred, or of low contrast
    OUT/backbone               the pretrained model

They are the "input shift" of crates/retune/src/demo.rs. Needs Pillow.
"""

import shutil
import sys
from pathlib import Path

from PIL import Image

SIDE = 28
TRAINING, FIRST_TEST = 1_000, 3_000
GARMENTS = ["t-shirt", "trouser", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag", "ankle boot"]

assets = Path(__file__).parent.parent / "crates/retune/assets/demo"
out = Path(sys.argv[1])
labels = (assets / "labels.bin").read_bytes()


def write(folder: str, column: Image.Image, tiles: range, first_label: int) -> None:
    for number, tile in enumerate(tiles):
        path = out / folder / GARMENTS[labels[first_label + number]] / f"{number:04}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        column.crop((0, tile * SIDE, SIDE, (tile + 1) * SIDE)).save(path)


images = Image.open(assets / "images.png").convert("RGB")
corrupted = Image.open(assets / "corrupted.png").convert("RGB")
count = images.height // SIDE
write("data", images, range(TRAINING), 0)
write("test", images, range(FIRST_TEST, count), FIRST_TEST)
write("shifted", corrupted, range(corrupted.height // SIDE), FIRST_TEST)
shutil.copytree(assets / "backbone", out / "backbone", dirs_exist_ok=True)
