"""Extract from S3 to S3, and search with trials that are kept there: book/src/guide/clusters.md.

    pip install . "ray[data,tune]" "moto[server]" optuna
    python scripts/s3_trial.py

A server on this machine stands for S3 (https://docs.getmoto.org). The images and the model are the demo's. Prints what was
compared, and ends with status 1 if features differ from those of local files, or a search does not go on.
"""

from __future__ import annotations

import logging
import os
import sys
import tempfile
from pathlib import Path

import numpy
from moto.server import ThreadedMotoServer

logging.getLogger("werkzeug").setLevel(logging.ERROR)
SERVER = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
SERVER.start()
os.environ.update(
    AWS_ENDPOINT_URL="http://{}:{}".format(*SERVER.get_host_and_port()),
    AWS_ACCESS_KEY_ID="key",
    AWS_SECRET_ACCESS_KEY="secret",
    AWS_DEFAULT_REGION="us-east-1",
)

# The libraries read where the server is when they are imported.
import boto3  # noqa: E402
import pyarrow.fs  # noqa: E402
import pyarrow.parquet  # noqa: E402
import ray  # noqa: E402
from ray import tune  # noqa: E402
from ray_trial import make_images  # noqa: E402

import retune  # noqa: E402


def told(what: str, holds: bool) -> bool:
    print(f"{'yes' if holds else 'NO '}  {what}", flush=True)
    return holds


def extraction(store: pyarrow.fs.FileSystem, model: Path, images: Path) -> bool:
    pyarrow.fs.copy_files(str(images), "bucket/images", destination_filesystem=store)
    here = retune.features(model, images, quiet=True)
    retune.features(model, "s3://bucket/images", out="s3://bucket/features", engine="ray", quiet=True)
    files = {info.base_name for info in store.get_file_info(pyarrow.fs.FileSelector("bucket/features"))}
    parts = [f"bucket/features/{name}" for name in sorted(files) if name.endswith(".parquet")]
    table = pyarrow.concat_tables([pyarrow.parquet.read_table(part, filesystem=store) for part in parts])
    order = numpy.argsort([path.split("images/")[1] for path in table["path"].to_pylist()])
    values = numpy.stack(table["features"].to_pylist()).astype(numpy.float32)[order]
    expected = here.values[numpy.argsort(here.paths)]
    complete = told(f"{len(parts)} files and _SUCCESS, nothing else", files == {"_SUCCESS", *map(os.path.basename, parts)})
    same = told(f"{len(values)} features of images in S3 have the bytes of local ones", values.tobytes() == expected.tobytes())
    try:
        retune.features(model, "s3://bucket/images", out="s3://bucket/features", engine="ray", quiet=True)
        refused = False
    except retune.Error as error:
        refused = "exists" in str(error)
    return complete and same and told("a complete folder is not written again", refused)


def search(model: Path, images: Path) -> bool:
    space = {"lr": tune.loguniform(1e-4, 1e-2)}
    options = {"method": "ft", "epochs": 3, "no_report": True, "quiet": True, "out": "s3://bucket/search"}
    found = retune.tune(model, images, space, num_samples=4, search_alg="optuna", **options)
    states = [trial.state for trial in found.trials]
    finished = told(f"Optuna chose 4 rates: {found!r}", len(states) == 4 and "failed" not in states)
    best = found.best
    read = told(f"the best run, fetched from S3, has {best.path}", (Path(best.path) / "model" / "model.safetensors").is_file())
    again = retune.tune(model, images, space, num_samples=4, search_alg="optuna", **options)
    rates = [{trial.name: trial.options for trial in search.trials} for search in (found, again)]
    return finished and read and told("the same call finds the search finished", rates[0] == rates[1])


def main() -> int:
    boto3.client("s3").create_bucket(Bucket="bucket")
    store, _ = pyarrow.fs.FileSystem.from_uri("s3://bucket")
    ray.init("local", num_cpus=2, include_dashboard=False, log_to_driver=False)
    with tempfile.TemporaryDirectory() as folder:
        model, images = Path(folder) / "model", Path(folder) / "images"
        retune.demo.backbone(model)
        make_images(images, 40, "jpg")
        held = extraction(store, model, images)
        held = search(model, images) and held
    ray.shutdown()
    SERVER.stop()
    return 0 if held else 1


if __name__ == "__main__":
    sys.exit(main())
