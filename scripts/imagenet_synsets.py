"""Writes the table of ImageNet's classes that retune carries, from the lists that timm carries.

    python scripts/imagenet_synsets.py crates/retune/assets/imagenet/synsets.txt.gz

Needs timm (written with timm 1.0.31). Three blocks of as many lines as there are WordNet ids in any of the label sets, in
their order: how far the id's number is from the one before; which sets have it, as bits in hexadecimal; its names."""

import gzip
import sys
from importlib import resources

# The order is that of the bits in the second column; src/models/imagenet.rs has the same.
SETS = [
    "imagenet_synsets.txt",
    "imagenet12k_synsets.txt",
    "imagenet22k_synsets.txt",
    "imagenet22k_ms_synsets.txt",
    "imagenet21k_goog_synsets.txt",
    "imagenet21k_miil_synsets.txt",
    "imagenet21k_miil_w21_synsets.txt",
]


def lines(name):
    return resources.files("timm.data").joinpath("_info", name).read_text(encoding="utf-8").splitlines()


def main(out):
    names = dict(line.split("\t", 1) for line in lines("imagenet_synset_to_lemma.txt"))
    sets = [lines(name) for name in SETS]
    for name, ids in zip(SETS, sets):
        # Every set is in the order of the ids, but that Microsoft's has the thousand of ImageNet-1k first.
        first = 1000 if "22k_ms" in name else 0
        assert ids[:first] == sets[0][:first] and ids[first:] == sorted(ids[first:]), name
    members = [set(ids) for ids in sets]
    synsets = sorted(set().union(*members))
    numbers = [int(synset.removeprefix("n")) for synset in synsets]
    steps = [number - before for number, before in zip(numbers, [0] + numbers)]
    bits = [sum(1 << bit for bit, ids in enumerate(members) if synset in ids) for synset in synsets]
    blocks = [map(str, steps), (f"{value:x}" for value in bits), (names[synset] for synset in synsets)]
    text = "".join(f"{line}\n" for block in blocks for line in block)
    with open(out, "wb") as file:
        # No time stamp, so that the same lists give the same bytes.
        file.write(gzip.compress(text.encode(), 9, mtime=0))


if __name__ == "__main__":
    main(*sys.argv[1:])
