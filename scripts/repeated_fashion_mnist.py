"""Writes Fashion-MNIST's training images, repeated up to a number, as IDX files or as the hub keeps them in Parquet.

    python scripts/repeated_fashion_mnist.py /usr/share/datasets/fashion-mnist 100000 OUT_FOLDER [--parquet]

The images are those of Debian's package dataset-fashion-mnist. Parquet needs pyarrow and Pillow.
"""

import argparse
import gzip
import io
import json
import struct
from pathlib import Path

import numpy as np

CLASSES = ["T-shirt", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot"]
SHARDS = 4


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("source", type=Path)
    parser.add_argument("count", type=int)
    parser.add_argument("out", type=Path)
    parser.add_argument("--parquet", action="store_true")
    arguments = parser.parse_args()
    read = lambda name, header: np.frombuffer(gzip.decompress((arguments.source / name).read_bytes())[header:], np.uint8)
    images = read("train-images-idx3-ubyte.gz", 16).reshape(-1, 28, 28)
    labels = read("train-labels-idx1-ubyte.gz", 8)
    at = np.arange(arguments.count) % len(images)
    arguments.out.mkdir(parents=True, exist_ok=True)
    write = write_parquet if arguments.parquet else write_idx
    write(arguments.out, images[at], labels[at])


def write_idx(out, images, labels):
    header = struct.pack(">IIII", 0x803, *images.shape)
    (out / "train-images-idx3-ubyte").write_bytes(header + images.tobytes())
    (out / "train-labels-idx1-ubyte").write_bytes(struct.pack(">II", 0x801, len(labels)) + labels.tobytes())


def write_parquet(out, images, labels):
    import pyarrow as pa
    import pyarrow.parquet as pq

    features = {"image": {"_type": "Image"}, "label": {"names": CLASSES, "_type": "ClassLabel"}}
    schema = pa.schema(
        [("image", pa.struct([("bytes", pa.binary()), ("path", pa.string())])), ("label", pa.int64())],
        metadata={"huggingface": json.dumps({"info": {"features": features}})},
    )
    for shard, rows in enumerate(np.array_split(np.arange(len(images)), SHARDS)):
        encoded = [{"bytes": png(images[row]), "path": None} for row in rows]
        table = pa.table({"image": encoded, "label": labels[rows].astype(np.int64)}, schema=schema)
        pq.write_table(table, out / f"train-{shard:05}-of-{SHARDS:05}.parquet", row_group_size=1000)


def png(image):
    from PIL import Image

    out = io.BytesIO()
    Image.fromarray(image).save(out, "PNG")
    return out.getvalue()


if __name__ == "__main__":
    main()
