"""Work on a Ray cluster of three nodes of which one is killed at random moments, again and again: book/src/guide/clusters.md.

    python scripts/ray_kills.py [--kills 50] [--seed 0] [--seconds 3 14] [--work comparison parts dataset search]

A comparison, features by parts, features of a data set of Ray, and a search take turns until as many nodes are lost; each
killed node is replaced. Prints a line for each piece of work, and ends with status 1 if one of them is not as one process
makes it: tables, weights, or features that differ, or images that are missing or there twice.

Needs Ray and the installed Python package. Everything runs on this machine, on the demo's model and generated images.
"""

from __future__ import annotations

import argparse
import random
import shutil
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path

import ray
from ray import tune
from ray.cluster_utils import Cluster
from ray_trial import make_images, table

import retune

METHODS, SEEDS = ["ft", "lp-ft"], 2
RATES = [1e-3, 3e-3, 1e-2]
NODE = {"num_cpus": 1, "object_store_memory": 300_000_000}


def kill(cluster: Cluster, nodes: list, draws: random.Random) -> None:
    """Kills a node, and starts another in its place."""
    place = draws.randrange(len(nodes))
    cluster.remove_node(nodes[place], allow_graceful=False)
    nodes[place] = cluster.add_node(**NODE)


def weights(run: Path) -> bytes:
    return (run / "model" / "model.safetensors").read_bytes()


class Work:
    """The same work by one process, and by the cluster."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.data, self.backbone = folder, folder / "images", str(folder / "backbone")
        make_images(self.data, 150)
        retune.demo.backbone(self.backbone)
        self.options = dict(epochs=6, checkpoint_every=2, no_report=True, quiet=True)
        self.compared = dict(methods=METHODS, seeds=SEEDS, lr=1e-3, **self.options)
        retune.compare(self.backbone, self.data, out=folder / "alone", **self.compared)
        self.features = retune.features(self.backbone, self.data, batch_size=8, quiet=True)
        self.weights = {
            rate: weights(retune.fit(self.backbone, self.data, out=folder / f"fit-{rate}", lr=rate, **self.options).path)
            for rate in RATES
        }

    def comparison(self, out: Path) -> bool:
        retune.compare(self.backbone, self.data, out=out, engine="ray", parts=len(METHODS) * SEEDS, **self.compared)
        alone = self.folder / "alone"
        runs = [run.relative_to(alone) for run in (alone / "runs").glob("*/*")]
        return table(out) == table(alone) and all(weights(alone / run) == weights(out / run) for run in runs)

    def parts(self, out: Path) -> bool:
        found = retune.features(
            self.backbone, self.data, batch_size=8, out=out.with_suffix(".npz"), engine="ray", parts=8, quiet=True
        )
        return found.paths == self.features.paths and found.values.tobytes() == self.features.values.tobytes()

    def dataset(self, out: Path) -> bool:
        files = [{"path": str(self.data / path), "label": path.split("/")[0]} for path in self.features.paths]
        images = ray.data.from_items(files, override_num_blocks=10)
        found = retune.features(self.backbone, images, batch_size=8, out=out, engine="ray", parts=2)
        same = found.values.tobytes() == self.features.values.tobytes()
        return same and [Path(path) for path in found.paths] == [self.data / path for path in self.features.paths]

    def search(self, out: Path) -> bool:
        lost = tune.RunConfig(failure_config=tune.FailureConfig(max_failures=-1), verbose=0)
        found = retune.tune(
            self.backbone, self.data, {"lr": tune.grid_search(RATES)}, out=out, num_samples=1, scheduler=None,
            run_config=lost, **self.options,
        )
        trials = [trial for trial in found.trials if trial.state == "finished"]
        return len(trials) == len(RATES) and all(
            weights(Path(trial.checkpoint) / "run") == self.weights[trial.options["lr"]] for trial in trials
        )


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--seed", type=int, default=0)
    # Between two kills, a worker process must have time to start and to get some work done.
    parser.add_argument("--seconds", type=float, nargs=2, default=[3.0, 14.0])
    parser.add_argument("--work", nargs="+", default=["comparison", "parts", "dataset", "search"])
    arguments = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="retune-kills-"))
    work = Work(folder)
    # Work is on the nodes that are killed, and not on the one of this process.
    cluster = Cluster(initialize_head=True, head_node_args={**NODE, "num_cpus": 0})
    nodes = [cluster.add_node(**NODE) for _ in range(2)]
    ray.init(address=cluster.address, log_to_driver=False)
    draws, started, kills = random.Random(arguments.seed), time.monotonic(), 0
    kinds: list[Callable[[Path], bool]] = [getattr(work, name) for name in arguments.work]
    done: list[bool] = []

    def in_turns() -> None:
        while kills < arguments.kills:
            kind = kinds[len(done) % len(kinds)]
            before = kills
            try:
                same = kind(folder / f"{kind.__name__}-{len(done)}")
            except Exception as error:
                print(f"{kind.__name__}: {error!r}")
                same = False
            done.append(same)
            print(f"{kind.__name__}: {'the same' if same else 'DIFFERENT'} after {kills - before} lost nodes", flush=True)

    # Only the main thread can start nodes.
    worker = threading.Thread(target=in_turns)
    worker.start()
    while kills < arguments.kills and worker.is_alive():
        time.sleep(draws.uniform(*arguments.seconds))
        kill(cluster, nodes, draws)
        kills += 1
    worker.join()
    seconds = time.monotonic() - started
    print(f"{len(done)} pieces of work, {kills} lost nodes, {done.count(False)} different, {seconds:.0f} s", flush=True)
    ray.shutdown()
    cluster.shutdown()
    shutil.rmtree(folder, ignore_errors=True)
    sys.exit(0 if all(done) else 1)


if __name__ == "__main__":
    main()
