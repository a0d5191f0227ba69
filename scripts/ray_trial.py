"""Compare and extract on a Ray cluster of three nodes, of which one is killed on the way: book/src/guide/clusters.md.

    python scripts/ray_trial.py

Needs Ray and the installed Python package. Everything runs on this machine, on the demo's model and generated images. Prints
what was compared, and ends with status 1 if a table or a feature differs from what one process makes.
"""

from __future__ import annotations

import json
import sys
import tempfile
import threading
import time
from pathlib import Path

import numpy
import ray
from PIL import Image
from ray.cluster_utils import Cluster

import retune

METHODS, SEEDS = ["lp", "ft", "lp-ft"], 2
RUNS = len(METHODS) * SEEDS


def make_images(folder: Path, count: int, kind: str = "png") -> None:
    draws = numpy.random.default_rng(0)
    for name, channel in (("green", 1), ("red", 0)):
        (folder / name).mkdir(parents=True)
        for number in range(count):
            image = draws.integers(0, 90, (32, 32, 3), dtype=numpy.uint8)
            image[..., channel] += 60
            Image.fromarray(image).save(folder / name / f"{number:03}.{kind}")


def without_times(value: object) -> object:
    if isinstance(value, dict):
        return {key: without_times(part) for key, part in value.items() if "seconds" not in key}
    return [without_times(part) for part in value] if isinstance(value, list) else value


def table(out: Path) -> object:
    return without_times(json.loads((out / "comparison.json").read_text()))


def main() -> None:
    folder = Path(tempfile.mkdtemp())
    data, backbone = folder / "images", folder / "backbone"
    make_images(data, 60)
    retune.demo.backbone(backbone)
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1})
    doomed = cluster.add_node(num_cpus=1)
    cluster.add_node(num_cpus=1)
    ray.init(address=cluster.address)
    print(f"{len(ray.nodes())} nodes")

    options = dict(methods=METHODS, seeds=SEEDS, epochs=4, lr=1e-3, checkpoint_every=1, no_report=True, quiet=True)

    def kill_one_after_a_run() -> None:
        runs = folder / "cluster" / "runs"
        while sum(1 for _ in runs.glob("*/*/summary.json")) < 1:
            time.sleep(0.05)
        cluster.remove_node(doomed, allow_graceful=False)
        print("a node is gone")

    killer = threading.Thread(target=kill_one_after_a_run)
    killer.start()
    retune.compare(str(backbone), data, out=folder / "cluster", engine="ray", parts=RUNS, **options)
    killer.join()
    retune.compare(str(backbone), data, out=folder / "alone", **options)
    same = table(folder / "cluster") == table(folder / "alone")
    for run in (folder / "alone" / "runs").glob("*/*"):
        other = folder / "cluster" / run.relative_to(folder / "alone")
        weights = [(path / "model" / "model.safetensors").read_bytes() for path in (run, other)]
        same &= weights[0] == weights[1]
    print("comparison:", "the same tables and weights" if same else "DIFFERENT")

    own = retune.features(str(backbone), data, batch_size=8, quiet=True)
    shared = retune.features(str(backbone), data, batch_size=8, out=folder / "features.npz", engine="ray", parts=5, quiet=True)
    equal = own.values.tobytes() == shared.values.tobytes() and own.paths == shared.paths
    print("features:", "the same" if equal else "DIFFERENT", f"({len(shared)} images)")
    ray.shutdown()
    cluster.shutdown()
    sys.exit(0 if same and equal else 1)


if __name__ == "__main__":
    main()
