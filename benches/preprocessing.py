"""Decoding, resizing, and normalizing JPEGs of 500 × 375 pixels, against Pillow with torchvision, in turn on one core.

    cargo build --release --workspace --examples
    python benches/preprocessing.py

Both decode files in memory, resize the short side to 256 pixels (bicubic, antialiased), crop 224 × 224, and normalize. The
photos are scikit-learn's. Prints medians of milliseconds an image; a ratio above 1 means that retune is faster.
"""

import io
import pathlib
import statistics
import subprocess
import tempfile
import time

import torch
from PIL import Image
from sklearn.datasets import load_sample_images
from torchvision import transforms

PROGRAM = pathlib.Path(__file__).resolve().parent.parent / "target" / "release" / "examples" / "prepare"
SIZE = (500, 375)
ROUNDS = 30


def encoded(quality, sampling):
    """Both photos, and each turned round."""
    files = []
    for pixels in load_sample_images().images:
        photo = Image.fromarray(pixels).resize(SIZE, Image.Resampling.LANCZOS)
        for turned in [photo, photo.transpose(Image.Transpose.ROTATE_180)]:
            out = io.BytesIO()
            turned.save(out, "JPEG", quality=quality, subsampling=sampling)
            files.append(out.getvalue())
    return files


def main():
    torch.set_num_threads(1)
    prepare = transforms.Compose(
        [
            transforms.Resize(256, transforms.InterpolationMode.BICUBIC),
            transforms.CenterCrop(224),
            transforms.ToTensor(),
            transforms.Normalize([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]),
        ]
    )
    print("| JPEG | retune, ms | torchvision, ms | ratio |\n| --- | ---: | ---: | ---: |")
    for quality, sampling, name in [(75, 2, "4:2:0, quality 75"), (92, 2, "4:2:0, 92"), (92, 0, "4:4:4, 92")]:
        files = encoded(quality, sampling)
        with tempfile.TemporaryDirectory() as folder:
            paths = [pathlib.Path(folder) / f"{number}.jpg" for number in range(len(files))]
            for path, file in zip(paths, files):
                path.write_bytes(file)
            program = subprocess.Popen([PROGRAM, *paths], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
            ours, theirs = [], []
            for _ in range(ROUNDS):
                program.stdin.write("\n")
                program.stdin.flush()
                ours.append(float(program.stdout.readline()) / len(files))
                started = time.perf_counter()
                for file in files:
                    prepare(Image.open(io.BytesIO(file)).convert("RGB"))
                theirs.append((time.perf_counter() - started) * 1e3 / len(files))
            program.stdin.close()
            program.wait()
        # The first turn warms caches up.
        ours, theirs = statistics.median(ours[1:]), statistics.median(theirs[1:])
        print(f"| {name} | {ours:.2f} | {theirs:.2f} | {theirs / ours:.2f} |")


if __name__ == "__main__":
    main()
