"""What the Python package costs, beside timm and umap-learn in one process.

    OMP_NUM_THREADS=1 python benches/python.py [import features umap probe memory]
    python benches/python.py soak        # an hour of fits, interrupts, and exceptions in one process

Needs timm, torch, umap-learn and scikit-learn. The model is timm's resnet18 with random weights, on 1,000 noisy images of
224×224.
"""

import _thread
import gc
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import numpy

import retune


def seconds(work, times=3):
    """The shortest of several calls."""
    found = []
    for _ in range(times):
        started = time.perf_counter()
        work()
        found.append(time.perf_counter() - started)
    return min(found)


def resident():
    """Megabytes of this process in memory."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096 / 2**20


def importing():
    for line in ("import numpy", "import retune", "import retune; retune.UMAP"):
        took = min(
            float(subprocess.check_output([sys.executable, "-c", f"import time; t = time.perf_counter(); {line}; print(time.perf_counter() - t)"]))
            for _ in range(5)
        )
        print(f"{line}: {took:.3f} s")


def photos(n=1000, side=224):
    random = numpy.random.default_rng(0)
    coarse = random.integers(0, 256, (n, side // 16, side // 16, 3), dtype=numpy.uint8)
    return numpy.ascontiguousarray(coarse.repeat(16, axis=1).repeat(16, axis=2))


def features(folder):
    import timm
    import torch
    from torch.utils.data import DataLoader, Dataset

    images = photos()
    torch.manual_seed(0)
    module = timm.create_model("resnet18.a1_in1k", num_classes=10).eval()
    model = retune.from_torch(module, folder / "model")
    transform = timm.data.create_transform(**timm.data.resolve_model_data_config(module), is_training=False)

    class Photos(Dataset):
        def __len__(self):
            return len(images)

        def __getitem__(self, index):
            from PIL import Image

            return transform(Image.fromarray(images[index]))

    def with_timm(workers, threads):
        torch.set_num_threads(threads)
        with torch.no_grad():
            loader = DataLoader(Photos(), batch_size=32, num_workers=workers)
            return numpy.concatenate([module.forward_head(module.forward_features(x), pre_logits=True).numpy() for x in loader])

    before = resident()
    own = model.features(images, quiet=True).values
    print(f"memory beside {images.nbytes / 2**20:.0f} MiB of images: {resident() - before:.0f} MiB more after the first call")
    other = with_timm(0, 2)
    print(f"largest difference of features: {numpy.abs(own - other).max():.1e}")
    took = seconds(lambda: model.features(images, quiet=True), 2)
    for workers, threads in ((0, 2), (1, 2), (2, 1)):
        others = seconds(lambda: with_timm(workers, threads), 2)
        print(f"features of 1,000 images: retune {took:.1f} s, timm with {workers} workers and {threads} threads {others:.1f} s, "
              f"{others / took:.2f} times as long")


def umap(folder):
    import umap as umap_learn
    from sklearn.manifold import trustworthiness

    task = retune.demo.input_shift()
    model = retune.demo.backbone(folder / "backbone")
    values = model.features(task.test.images, quiet=True).values
    values = numpy.concatenate([values, model.features(task.train.images, quiet=True).values])
    own = lambda: retune.UMAP(random_state=0).fit_transform(values)
    other = lambda: umap_learn.UMAP(random_state=0, n_jobs=1).fit_transform(values)
    parallel = lambda: umap_learn.UMAP().fit_transform(values)
    own(), other(), parallel()
    took, others, many = seconds(own), seconds(other), seconds(parallel)
    print(f"UMAP of {values.shape}, second call: retune {took:.2f} s, umap-learn with a seed {others:.2f} s "
          f"({others / took:.1f} times), without {many:.2f} s ({many / took:.1f} times)")
    print(f"trustworthiness: {trustworthiness(values, own(), n_neighbors=15):.4f} and {trustworthiness(values, other(), n_neighbors=15):.4f}")


def probe(folder):
    from sklearn.linear_model import LogisticRegression

    task = retune.demo.input_shift()
    model = retune.demo.backbone(folder / "probe-backbone")
    values = model.features(task.train.images, quiet=True).values
    labels = task.train.labels
    count = 0

    def own():
        nonlocal count
        count += 1
        retune.fit(model, task.train, method="lp", out=folder / f"probe-{count}", no_report=True, quiet=True)

    def other():
        for strength in numpy.logspace(-7, 2, 50):
            LogisticRegression(C=strength, max_iter=200).fit(values[:750], labels[:750])

    print(f"a probe with its 50 strengths: retune {seconds(own):.2f} s with features and evaluation, scikit-learn {seconds(other):.2f} s without")


def memory(folder):
    task = retune.demo.subpopulation_shift()
    model = retune.demo.backbone(folder / "memory-backbone")
    rows = []
    for number in range(60):
        out = folder / "memory-run"
        retune.fit(model, task.train, epochs=1, lr=1e-3, out=out, overwrite=True, no_report=True, quiet=True)
        try:
            retune.fit(model, task.train, lr=-1, out=out, quiet=True)
        except retune.Error:
            pass
        retune.umap(model.features(task.test, quiet=True), epochs=20)
        gc.collect()
        rows.append(resident())
    print("MiB after fits 1, 10, 20, …: " + ", ".join(f"{rows[n]:.0f}" for n in (0, 9, 19, 29, 39, 49, 59)))


def soak(folder):
    """Rounds of fits, an interrupted fit that goes on, exceptions, features, and maps; memory every five minutes."""
    # A shell lets programs in the background ignore interrupts.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    task = retune.demo.subpopulation_shift()
    model = retune.demo.backbone(folder / "soak-backbone")
    minutes = float(os.environ.get("MINUTES", "60"))
    started, rounds, interrupts, exceptions, reported = time.monotonic(), 0, 0, 0, -1
    while (elapsed := (time.monotonic() - started) / 60) < minutes or rounds == 0:
        out = folder / "soak-run"
        retune.fit(model, task.train, epochs=1, lr=1e-3, out=out, overwrite=True, no_report=True, quiet=True)
        timer = threading.Timer(0.2 + 0.1 * (rounds % 5), _thread.interrupt_main)
        try:
            timer.start()
            retune.fit(model, task.train, epochs=20, lr=1e-3, out=out, overwrite=True, no_report=True, quiet=True)
        except KeyboardInterrupt:
            interrupts += 1
        finally:
            timer.cancel()
        for wrong in (dict(lr=-1), dict(epochs=0), dict(batch_size="x")):
            try:
                retune.fit(model, task.train, out=out, quiet=True, **wrong)
            except (retune.Error, ValueError, TypeError):
                exceptions += 1
        retune.umap(model.features(task.test, quiet=True), epochs=20)
        gc.collect()
        rounds += 1
        if int(elapsed // 5) > reported:
            reported = int(elapsed // 5)
            print(
                f"{elapsed:.0f} min: {rounds} rounds, {interrupts} interrupts, {exceptions} exceptions, "
                f"{resident():.0f} MiB, {threading.active_count()} threads, {len(os.listdir('/proc/self/fd'))} files",
                flush=True,
            )


if __name__ == "__main__":
    wanted = sys.argv[1:] or ["import", "features", "umap", "probe", "memory"]
    with tempfile.TemporaryDirectory() as name:
        for part in wanted:
            {"import": lambda _: importing(), "features": features, "umap": umap, "probe": probe, "memory": memory, "soak": soak}[part](Path(name))
