"""How fast retune and ONNX Runtime compute the logits of the same model on one and two threads.

    python benches/onnx_runtime.py MODEL [MODEL …] [--batch 8] [--rounds 12]

Needs the retune package, onnxruntime, and numpy. Both sides compute the same batches of normalized pixels by turns in one
process: retune as `features --layer logits` computes them, from images in memory that need no resizing, minus what the same
takes at `--layer input`; ONNX Runtime from the file that `export` writes. Printed are medians of milliseconds per image by
the clock and of processor time, which other programs disturb less, and the largest difference of logits.
"""

import argparse
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy


def processor():
    """The processor's name."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.split(":")[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor()


def seconds(work):
    """By the clock and of processor time, on all threads, with what the work gives."""
    clock, busy = time.perf_counter(), time.process_time()
    result = work()
    return numpy.array([time.perf_counter() - clock, time.process_time() - busy]), result


def measure(folder, batch, rounds, threads):
    import onnxruntime

    import retune

    # Images of the input's size are then not resized.
    model = retune.load(folder, threads=threads, crop_pct=1)
    size = model.preprocessing
    shape = (4 * batch, size["height"], size["width"], len(size["mean"]))
    images = numpy.random.default_rng(0).integers(0, 256, shape, dtype=numpy.uint8)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    # Threads that wait in a loop would count as busy.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    with tempfile.TemporaryDirectory() as scratch:
        file = model.export(Path(scratch) / "model.onnx")
        session = onnxruntime.InferenceSession(str(file), options, providers=["CPUExecutionProvider"])
    levels = images.astype(numpy.float32) / 255
    mean, std = (numpy.array(size[name], dtype=numpy.float32) for name in ("mean", "std"))
    x = numpy.ascontiguousarray(((levels - mean) / std).transpose(0, 3, 1, 2))
    batches = [x[start : start + batch] for start in range(0, len(x), batch)]

    def of_layer(layer):
        return model.features(images, layer, batch_size=batch, quiet=True).values

    def of_runtime():
        return numpy.concatenate([session.run(None, {"pixel_values": one})[0] for one in batches])

    own, other = [], []
    for turn in range(rounds):
        with_network, logits = seconds(lambda: of_layer("logits"))
        without, _ = seconds(lambda: of_layer("input"))
        taken, found = seconds(of_runtime)
        if turn:  # the first turn warms up
            own.append(with_network - without)
            other.append(taken)
    difference = numpy.abs(logits - found).max()
    print(f"{Path(folder).name}, threads {threads}, batch {batch}: logits differ by {difference:.1e}")
    for column, kind in enumerate(["clock", "processor"]):
        pairs = [(a[column], b[column]) for a, b in zip(own, other, strict=True)]
        mine, theirs = (1000 * statistics.median(side) / len(images) for side in zip(*pairs, strict=True))
        ratio = statistics.median(b / a for a, b in pairs)
        print(f"  {kind:9}  retune {mine:6.2f} ms  ONNX Runtime {theirs:6.2f} ms  ratio {ratio:.2f}", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="+")
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=12)
    parser.add_argument("--threads", type=int, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.threads:
        for folder in arguments.models:
            measure(folder, arguments.batch, arguments.rounds, arguments.threads)
        return
    print(processor())
    for threads in (1, 2):
        line = [sys.executable, __file__, *sys.argv[1:], "--threads", str(threads)]
        subprocess.run(line, check=True, env={**os.environ, "RAYON_NUM_THREADS": str(threads)})


if __name__ == "__main__":
    main()
