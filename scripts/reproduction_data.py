"""Make the data sets of book/src/measurements/reproduction.md from Fashion-MNIST.

    python scripts/reproduction_data.py --idx /usr/share/datasets/fashion-mnist --out DATA

Fashion-MNIST (Xiao, Rasul & Vollgraf 2017, arXiv 1708.07747; MIT license) is in Debian's package
`dataset-fashion-mnist`. Its 60,000 training images are the source that models are pretrained on; its 10,000 test images
are the target that they are fine-tuned to, so no target image was seen in pretraining.

DATA gets
    images/                  the 10,000 test images as PNG files
    garments.csv             all ten classes: 1,000 images to train on, 500 to choose by, 8,500 to test
    groups_seen.csv          three groups of garments, shown as five subclasses, split in the same way
    groups_unseen.csv        the same groups, shown as four other subclasses, split in the same way
    source_groups/           IDX files: the training images of the five seen subclasses, labeled by group
                             (0 top, 1 shoe, 2 long)
    source_groups_unseen/    the same of the four other subclasses
"""

import argparse
import csv
import gzip
import pathlib

import numpy as np
from PIL import Image

CLASSES = ["t-shirt", "trouser", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag", "ankle boot"]
SEEN = {0: 0, 4: 0, 5: 1, 7: 1, 1: 2}
UNSEEN = {2: 0, 6: 0, 9: 1, 3: 2}
TRAIN, VALIDATION = 1_000, 500


def read_idx(path):
    data = gzip.decompress(path.read_bytes())
    shape = [int.from_bytes(data[4 + 4 * i : 8 + 4 * i], "big") for i in range(data[3])]
    return np.frombuffer(data, np.uint8, offset=4 + 4 * data[3]).reshape(shape)


def write_idx(path, array):
    header = bytes([0, 0, 8, array.ndim]) + b"".join(size.to_bytes(4, "big") for size in array.shape)
    path.write_bytes(gzip.compress(header + array.tobytes(), mtime=0))


def write_manifest(path, labels, name_of):
    """The images come in the random order that Fashion-MNIST has, so the first ones are a fair sample."""
    with path.open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["path", "label", "split", "group"])
        count = 0
        for index, label in enumerate(labels):
            if (name := name_of(int(label))) is None:
                continue
            split = "train" if count < TRAIN else "val" if count < TRAIN + VALIDATION else "test"
            rows.writerow([f"images/{index:05}.png", name, split, CLASSES[label]])
            count += 1


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--idx", type=pathlib.Path, required=True)
    parser.add_argument("--out", type=pathlib.Path, required=True)
    options = parser.parse_args()

    (options.out / "images").mkdir(parents=True, exist_ok=True)
    images = read_idx(options.idx / "t10k-images-idx3-ubyte.gz")
    labels = read_idx(options.idx / "t10k-labels-idx1-ubyte.gz")
    for index, image in enumerate(images):
        Image.fromarray(image).save(options.out / "images" / f"{index:05}.png")
    write_manifest(options.out / "garments.csv", labels, lambda label: CLASSES[label])
    # IDX files name their classes by number, and the groups' source model is trained on such.
    group = lambda subclasses: lambda label: subclasses.get(label)
    write_manifest(options.out / "groups_seen.csv", labels, group(SEEN))
    write_manifest(options.out / "groups_unseen.csv", labels, group(UNSEEN))

    images = read_idx(options.idx / "train-images-idx3-ubyte.gz")
    labels = read_idx(options.idx / "train-labels-idx1-ubyte.gz")
    for folder, subclasses in [("source_groups", SEEN), ("source_groups_unseen", UNSEEN)]:
        (options.out / folder).mkdir(exist_ok=True)
        chosen = np.isin(labels, list(subclasses))
        write_idx(options.out / folder / "train-images-idx3-ubyte.gz", images[chosen])
        relabeled = np.vectorize(subclasses.get, otypes=[np.uint8])(labels[chosen])
        write_idx(options.out / folder / "train-labels-idx1-ubyte.gz", relabeled)
