"""Times the linear probe's path of 50 penalties against scikit-learn's, warm-started over the same penalties.

Features are made up: correlated, rectified, with a tenth of the labels wrong, so that the path has an optimum inside.
Both sides fit the same features, divided by their standard deviation, to the same tolerances as they define them, one after
the other, on the same cores. Seconds of processor time are printed besides, which other work on the machine disturbs less; they
include the start of the program and the reading of the features. Run:

    cargo build --release --workspace --examples
    python benches/probe_against_sklearn.py 48000 1280 17
    python benches/probe_against_sklearn.py 10000 512 1000 --without-sklearn
"""

import argparse
import json
import resource
import subprocess
import tempfile
import time
import warnings
from pathlib import Path

import numpy as np
from sklearn.linear_model import LogisticRegression

PROGRAM = Path(__file__).parent.parent / "target/release/examples/probe_path"
STRENGTHS = np.logspace(-7, 2, 50)


def features(rows, columns, classes):
    rng = np.random.default_rng(0)
    held_out = max(2000, rows // 5)
    labels = rng.integers(0, classes, rows + held_out)
    spectrum = np.arange(1, columns + 1) ** -0.5
    means = rng.normal(size=(classes, columns)) * 0.35
    rotation = np.linalg.qr(rng.normal(size=(columns, columns)))[0]
    values = ((rng.normal(size=(rows + held_out, columns)) + means[labels]) * spectrum) @ rotation
    values = np.maximum(values + 0.3 * values.std(), 0).astype(np.float32)
    wrong = rng.random(len(labels)) < 0.1
    labels = np.where(wrong, rng.integers(0, classes, len(labels)), labels)
    return values[:rows], labels[:rows], values[rows:], labels[rows:]


def processor():
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    return next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), "unknown processor")


def retune(train, labels, validation, validation_labels, classes):
    with tempfile.TemporaryDirectory() as folder:
        for name, values, kind in [
            ("train.f32", train, "<f4"),
            ("val.f32", validation, "<f4"),
            ("train.u32", labels, "<u4"),
            ("val.u32", validation_labels, "<u4"),
        ]:
            values.astype(kind).tofile(Path(folder) / name)
        command = [PROGRAM, folder, str(train.shape[1]), str(classes)]
        result = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
        usage = resource.getrusage(resource.RUSAGE_CHILDREN)
        return result | {"processor_seconds": usage.ru_utime + usage.ru_stime}


def sklearn(train, labels, validation, validation_labels):
    warnings.filterwarnings("ignore")
    scale = train.astype(np.float64).std()
    started, processor_started = time.perf_counter(), time.process_time()
    train, validation = train / np.float32(scale), validation / np.float32(scale)
    model = LogisticRegression(warm_start=True, max_iter=100)
    best = (0.0, 0.0)
    for strength in STRENGTHS:
        model.set_params(C=strength).fit(train, labels)
        accuracy = (model.predict(validation) == validation_labels).mean()
        if accuracy > best[0]:
            best = (accuracy, strength)
    return {
        "seconds": time.perf_counter() - started,
        "processor_seconds": time.process_time() - processor_started,
        "accuracy": float(best[0]),
        "inverse_strength": float(best[1]),
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("rows", type=int)
    parser.add_argument("columns", type=int)
    parser.add_argument("classes", type=int)
    parser.add_argument("--without-sklearn", action="store_true")
    arguments = parser.parse_args()
    data = features(arguments.rows, arguments.columns, arguments.classes)
    print(processor())
    ours = retune(*data, arguments.classes)
    print("retune", ours)
    if not arguments.without_sklearn:
        theirs = sklearn(*data)
        print("scikit-learn", theirs)
        for time_of in ["seconds", "processor_seconds"]:
            print(f"ratio of {time_of}: {theirs[time_of] / ours[time_of]:.2f}")


if __name__ == "__main__":
    main()
