"""Make two shifted tasks of Fashion-MNIST's 10,000 test images, for the demo and for trying things on real images.

    python scripts/fashion_mnist_shifts.py --idx /usr/share/datasets/fashion-mnist --assets crates/retune/assets/demo
    python scripts/fashion_mnist_shifts.py --idx /usr/share/datasets/fashion-mnist --folders OUT

Fashion-MNIST (Xiao, Rasul & Vollgraf 2017, arXiv 1708.07747; MIT license) is in Debian's package
`dataset-fashion-mnist`. The demo's backbone is pretrained on the 60,000 training images, so the tasks use the others.

`--assets` writes what the demo embeds:
    images.png, labels.bin        4,000 images in a column of 28x28 tiles, and a byte each with Fashion-MNIST's label
    corrupted.png                 the last 1,000 of them, corrupted
`--folders` writes the same as folders of PNG files:
    garments/{train,test}         all ten classes
    garments_corrupted            the test images, corrupted
    groups/{train,test}           three groups, seen as some of their subclasses
    groups_shifted                the groups' other subclasses

The corruption is one of three, in turn: Gaussian noise (standard deviation 0.25), Gaussian blur (radius 1.2 pixels),
contrast lowered to 0.3; each as severe as severity 3 to 5 of ImageNet-C looks at this size.
"""

import argparse
import gzip
import pathlib

import numpy as np
from PIL import Image, ImageEnhance, ImageFilter

SIDE = 28
COUNT = 4_000
TRAIN = 3_000
CLASSES = ["t-shirt", "trouser", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag", "ankle boot"]
# Label -> (group, whether the subclass is seen in training); bags belong to no group.
GROUPS = {
    0: ("top", True), 4: ("top", True), 2: ("top", False), 6: ("top", False),
    5: ("shoe", True), 7: ("shoe", True), 9: ("shoe", False),
    1: ("long", True), 3: ("long", False),
}  # fmt: skip


def read_idx(path):
    data = gzip.decompress(path.read_bytes())
    dimensions = data[3]
    shape = [int.from_bytes(data[4 + 4 * i : 8 + 4 * i], "big") for i in range(dimensions)]
    return np.frombuffer(data, np.uint8, offset=4 + 4 * dimensions).reshape(shape)


def corrupted(image, index, random):
    if index % 3 == 0:
        noisy = image / 255 + random.normal(0, 0.25, image.shape)
        return (noisy.clip(0, 1) * 255).round().astype(np.uint8)
    picture = Image.fromarray(image)
    if index % 3 == 1:
        return np.asarray(picture.filter(ImageFilter.GaussianBlur(1.2)))
    return np.asarray(ImageEnhance.Contrast(picture).enhance(0.3))


def tasks(idx):
    images = read_idx(idx / "t10k-images-idx3-ubyte.gz")[:COUNT]
    labels = read_idx(idx / "t10k-labels-idx1-ubyte.gz")[:COUNT]
    random = np.random.default_rng(0)
    shifted = np.stack([corrupted(image, index, random) for index, image in enumerate(images[TRAIN:])])
    return images, labels, shifted


def write_assets(out, images, labels, shifted):
    out.mkdir(parents=True, exist_ok=True)
    column = lambda tiles: Image.fromarray(tiles.reshape(-1, SIDE))
    column(images).save(out / "images.png", optimize=True)
    column(shifted).save(out / "corrupted.png", optimize=True)
    (out / "labels.bin").write_bytes(labels.tobytes())


def write_folders(out, images, labels, shifted):
    def save(image, *parts):
        path = out.joinpath(*parts)
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(path)

    for index, (image, label) in enumerate(zip(images, labels)):
        name, split = f"{index:04}.png", "train" if index < TRAIN else "test"
        save(image, "garments", split, CLASSES[label], name)
        if index >= TRAIN:
            save(shifted[index - TRAIN], "garments_corrupted", CLASSES[label], name)
        group, seen = GROUPS.get(int(label), (None, None))
        if group and seen:
            save(image, "groups", split, group, f"{CLASSES[label]}-{name}")
        elif group:
            save(image, "groups_shifted", group, f"{CLASSES[label]}-{name}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--idx", type=pathlib.Path, required=True)
    parser.add_argument("--assets", type=pathlib.Path)
    parser.add_argument("--folders", type=pathlib.Path)
    options = parser.parse_args()
    made = tasks(options.idx)
    if options.assets:
        write_assets(options.assets, *made)
    if options.folders:
        write_folders(options.folders, *made)
