"""`retune umap` beside umap-learn: time, memory and trustworthiness, as ratios.

    python benches/umap_against_umap_learn.py target/release/retune

Digits (1,797 × 64) come with scikit-learn; the 10,000 test images of Fashion-MNIST (784 pixels) are those of Debian's
dataset-fashion-mnist, left out where that is not installed. Both programs run as processes of their own, from features
on disk to a map on disk, and umap-learn a second time in the same process, so that its import and compilation are told
apart. retune's time includes the trustworthiness that it prints.
"""

import gzip
import json
import pathlib
import subprocess
import sys
import tempfile

import numpy as np
from sklearn.datasets import load_digits
from sklearn.manifold import trustworthiness

FASHION = pathlib.Path("/usr/share/datasets/fashion-mnist/t10k-images-idx3-ubyte.gz")
PEER = """
import sys, time
start = time.time()
import numpy as np, umap
x = np.load(sys.argv[1])["features"]
first = umap.UMAP(random_state=0).fit_transform(x)
whole = time.time() - start
np.save(sys.argv[2], first)
start = time.time()
umap.UMAP(random_state=1).fit_transform(x)
print(whole, time.time() - start)
"""


def measured(command):
    """Standard output, seconds and megabytes of a process."""
    script = (
        "import json, resource, subprocess, sys, time\n"
        "start = time.time()\n"
        "out = subprocess.run(sys.argv[1:], check=True, capture_output=True, text=True).stdout\n"
        "use = resource.getrusage(resource.RUSAGE_CHILDREN)\n"
        "print(json.dumps([out, time.time() - start, use.ru_maxrss / 1024]))"
    )
    return json.loads(subprocess.run([sys.executable, "-c", script, *command], check=True, capture_output=True, text=True).stdout)


def main():
    retune = str(pathlib.Path(sys.argv[1]).resolve())
    sets = {"digits": load_digits().data.astype(np.float32)}
    if FASHION.exists():
        pixels = np.frombuffer(gzip.open(FASHION).read(), np.uint8, offset=16)
        sets["Fashion-MNIST, 10,000"] = pixels.reshape(-1, 784).astype(np.float32) / 255
    print("data | retune s, MB, trust | umap-learn s (warm s), MB, trust | ratio of times (warm), memory")
    for name, features in sets.items():
        with tempfile.TemporaryDirectory() as folder:
            path, ours, theirs = (f"{folder}/{file}" for file in ("x.npz", "ours.csv", "theirs.npy"))
            np.savez(path, features=features)
            _, seconds, memory = measured([retune, "umap", "--features", path, "--out", ours])
            out, _, peer_memory = measured([sys.executable, "-c", PEER, path, theirs])
            cold, warm = map(float, out.split()[-2:])
            layout = np.loadtxt(ours, delimiter=",", skiprows=1, usecols=(0, 1))
            trust = trustworthiness(features, layout, n_neighbors=15)
            peer_trust = trustworthiness(features, np.load(theirs), n_neighbors=15)
        print(
            f"{name} | {seconds:.1f}, {memory:.0f}, {trust:.4f} | {cold:.1f} ({warm:.1f}), {peer_memory:.0f}, "
            f"{peer_trust:.4f} | {cold / seconds:.1f} ({warm / seconds:.1f}), {peer_memory / memory:.1f}"
        )


main()
