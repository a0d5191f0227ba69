#!/usr/bin/env python3
"""Compares what two commits make of the same inputs, byte for byte: for changes that must not change a result.

    python3 scripts/same_bytes.py main HEAD              # builds both in temporary git worktrees, then compares
    python3 scripts/same_bytes.py OLD NEW --only fit     # takes programs that are built already; only runs named "fit…"

Each of the two is a commit or a built `retune`. Both run the same commands (the demo, a fit by each method and with each
option of training, a fit that is killed and resumed, a comparison, a range test, advice, features, UMAP, CKA) on the models
and images of the repository's fixtures. Times are masked; everything else that a run writes has to be the same. Prints a
line for each command, and ends with status 1 if any output differs. Needs git, cargo and about a gigabyte of disk for two
commits; nothing from the network but the crates.
"""

import argparse
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parent.parent
MODELS = REPOSITORY / "crates/retune/tests/fixtures/models"
IMAGES = REPOSITORY / "crates/retune-pixels/tests/fixtures/pixels/formats"
BACKBONE = REPOSITORY / "crates/retune/assets/demo/backbone"

# Name of the run, model, options. Two epochs and eight images a batch, unless the options say something else.
FITS = [
    ("lp", "resnet_basic", "--method lp"),
    ("ft", "resnet_basic", "--method ft"),
    ("ft-mixup", "resnet_basic", "--method ft --mixup 0.2 --cutmix 0.5 --augment standard --label-smoothing 0.1"),
    ("ft-bn-train", "resnet_basic", "--method ft --bn train --augment randaugment --ema 0.9"),
    ("ft-recalibrate", "resnet_basic", "--method ft --bn recalibrate --swa-from 1"),
    ("ft-adam-clip", "vit", "--method ft --optimizer adam --weight-decay 0.01 --clip-norm 0.5 --save last"),
    ("ft-bfloat16", "vit", "--method ft --precision bfloat16 --warmup-epochs 0.5"),
    ("lp-ft", "convnext", "--method lp-ft"),
    ("surgical", "resnet_basic", "--method surgical --first layer3 --last layer4"),
    ("surgical-half", "resnet_basic", "--method surgical --layers layer4 --half-activations --augment flip --views 2"),
    ("auto-rgn", "resnet_basic", "--method auto-rgn --ema 0.9"),
    ("auto-rgn-stage", "vit", "--method auto-rgn --rgn-granularity stage --head-init normal"),
    ("auto-snr", "resnet_basic", "--method auto-snr"),
    ("auto-snr-official", "efficientnet", "--method auto-snr --snr-mode official --bn train"),
    ("discriminative", "vit", "--method discriminative --granularity tensor"),
    ("reinit", "resnet_basic", "--method discriminative --reinit 2"),
    ("ulmfit", "convnext", "--method ulmfit --epochs 3"),
    ("wise-ft", "vit", "--method wise-ft --alpha 0.2,0.5"),
    ("uniform-soup", "resnet_basic", "--method uniform-soup --bn train --lr 1e-3,1e-4"),
    ("greedy-soup", "convnext", "--method greedy-soup --lr 1e-3,1e-4,1e-5"),
    ("l2-sp", "efficientnet", "--method l2-sp --optimizer sgd --lr 1e-2"),
    ("norms", "vit", "--method norms"),
    ("biases", "vit", "--method biases --no-shuffle"),
    ("lora", "vit", "--method lora --clip-norm 1 --lr 1e-2,1e-3"),
    ("lora-ema", "vit", "--method lora --optimizer sgd --ema 0.8"),
    ("balanced", "efficientnet", "--method lp-ft --class-weights balanced"),
    ("no-cache", "resnet_basic", "--method surgical --layers layer4 --activation-mb 0 --cache-mb 0"),
]

# Of these runs, one is killed again and again, and resumed.
RESUMED = ("ft-bn-train", "auto-rgn", "lora", "greedy-soup", "wise-ft", "ulmfit", "surgical-half")


def make_images(folder: Path) -> None:
    """Two classes of copies of the decoder's fixtures, one larger than the other."""
    files = sorted(path for path in IMAGES.iterdir() if path.suffix in (".png", ".jpg", ".webp", ".bmp"))
    for number in range(45):
        file = files[number % len(files)]
        target = folder / ("third" if number % 3 == 0 else "other")
        target.mkdir(parents=True, exist_ok=True)
        shutil.copy(file, target / f"{number:02}{file.suffix}")


def commands() -> list[tuple[str, list[str]]]:
    """Each command's name and arguments; it runs in a folder that has the images in `data`."""
    listed = [("demo", ["demo", "--json"])]
    for name, model, options in FITS:
        listed.append((f"fit {name}", fit(model, options, f"fit-{name}")))
    run = "fit-ft"
    listed += [
        ("compare", split(f"compare --json --model {MODELS / 'resnet_basic'} --data data --eval again=data@gaussian_noise:2 "
                          "--methods lp,ft,surgical:layer3..layer4,auto-rgn --seeds 2 --epochs 2 --batch-size 8 --out compared")),
        ("lr-find", split(f"lr-find --json --model {MODELS / 'resnet_basic'} --data data --batch-size 8")),
        ("advise", split(f"advise --json --model {MODELS / 'resnet_basic'} --data data --batch-size 8")),
        ("eval", split(f"eval --json --model {run} --data data")),
        ("predict", split(f"predict --json --model {run} data/third/00.png")),
        ("verify", split(f"verify --json {run}")),
        ("soup", split("soup fit-ft fit-ft-bn-train --out souped")),
        ("features npz", split(f"features --model {run} --data data --out features.npz")),
        ("features of a block", split(f"features --model {run} --data data --layer layer2 --out layer2.safetensors")),
        ("features of the input", split(f"features --model {run} --data data --layer input --out input.parquet")),
        ("umap", split("umap --features features.npz --out umap.csv")),
        ("umap of a model", split(f"umap --model {run} --data data --out model.csv")),
        ("cka", split(f"cka --model {run} --data data --interpolations nearest,bilinear --layer all --out cka.json")),
    ]  # fmt: skip
    return listed


def split(text: str) -> list[str]:
    return text.split()


def fit(model: str, options: str, out: str) -> list[str]:
    epochs = "" if "--epochs" in options else "--epochs 2"
    rate = "" if "--lr" in options.split() else "--lr 1e-3"
    line = f"fit --json --model {MODELS / model} --data data {epochs} {rate} --batch-size 8 --checkpoint-every 1 {options} --out {out}"
    return line.split()


def call(program: Path, arguments: list[str], folder: Path) -> subprocess.CompletedProcess:
    environment = os.environ | {"RAYON_NUM_THREADS": "2"}
    return subprocess.run([program, *arguments], cwd=folder, capture_output=True, text=True, env=environment)


def kill_and_resume(program: Path, arguments: list[str], folder: Path, out: str) -> None:
    """Kills the run with SIGKILL as soon as a new checkpoint is there, three times, then lets it finish."""
    progress = folder / out / "checkpoint/progress.json"
    for number in range(3):
        command = arguments if number == 0 else ["fit", "--resume", out]
        before = progress.stat().st_mtime_ns if progress.exists() else 0
        process = subprocess.Popen(
            [program, *command], cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        while process.poll() is None:
            try:
                if progress.stat().st_mtime_ns != before:
                    break
            except FileNotFoundError:
                pass
            time.sleep(0.002)
        process.kill()
        process.wait()
        if (folder / out / "summary.json").exists():
            return
    done = call(program, ["fit", "--resume", out], folder)
    if done.returncode != 0:
        print(done.stderr)


def masked(value):
    """Parsed JSON without times, and without hashes of files that hold times."""
    if isinstance(value, dict):
        kept = {key: masked(item) for key, item in value.items() if key not in ("seconds", "images_per_second")}
        if str(kept.get("detail", "")).startswith("SHA-256"):
            del kept["detail"]
        return kept
    return [masked(item) for item in value] if isinstance(value, list) else value


# Times in tables: a cell of a page's data, the last cell of a row of Markdown, of LaTeX and of text.
TIMES = re.compile(
    rb'"text": ?"[0-9.]+ (min|ms|s)", ?"value": ?[0-9.e-]+|"value": ?[0-9.e-]+, ?"text": ?"[0-9.]+ (min|ms|s)"'
    rb"|\| *[0-9.]+ \|$|& *[0-9.]+ \\\\$| +[0-9.]+ *$|\b[0-9]+(\.[0-9]+)? ?(min|ms|s)\b",
    re.MULTILINE,
)


def without_times(name: str, data: bytes) -> bytes:
    if name.endswith(".jsonl"):
        return json.dumps([masked(json.loads(line)) for line in data.splitlines()]).encode()
    if name.endswith(".json"):
        return json.dumps(masked(json.loads(data or b"null"))).encode()
    if name == "comparison.csv":
        # The last column is seconds.
        return b"\n".join(line.rpartition(b",")[0] for line in data.splitlines())
    if name.endswith((".txt", ".html", ".svg", ".md", ".tex")):
        return TIMES.sub(b"TIME", data)
    return data


def outputs(program: Path, folder: Path, only: str) -> dict[str, str]:
    """Runs every command; the SHA-256 of everything that each of them wrote."""
    make_images(folder / "data")
    found = {}
    for name, arguments in commands():
        if not name.startswith(only):
            continue
        done = call(program, arguments, folder)
        found[f"{name}: status"] = str(done.returncode)
        if done.returncode != 0:
            print(f"{program} {' '.join(arguments)}\n{done.stderr}", file=sys.stderr)
        suffix = ".json" if "--json" in arguments else ".txt"
        found[f"{name}: standard output"] = digest("output" + suffix, done.stdout.encode())
    for name, model, options in FITS:
        if name in RESUMED and "fit".startswith(only[:3]):
            kill_and_resume(program, fit(model, options, f"resumed-{name}"), folder, f"resumed-{name}")
    for path in sorted(folder.rglob("*")):
        relative = path.relative_to(folder).as_posix()
        if not path.is_file() or relative.startswith("data/"):
            continue
        # Who holds the folder, and hashes of files that hold times.
        if path.name in (".lock", "hashes.json"):
            continue
        found[relative] = digest(path.name, path.read_bytes())
    return found


def digest(name: str, data: bytes) -> str:
    return hashlib.sha256(without_times(name, data)).hexdigest()


def built(what: str, scratch: Path) -> Path:
    """The program itself, or that of a commit, built in a worktree."""
    if Path(what).is_file():
        return Path(what).resolve()
    tree = scratch / f"tree-{hashlib.sha256(what.encode()).hexdigest()[:8]}"
    subprocess.run(["git", "-C", REPOSITORY, "worktree", "add", "--detach", tree, what], check=True)
    try:
        # One build folder for both: the crates that they depend on are built once.
        target = scratch / "target"
        subprocess.run(["cargo", "build", "--release", "--target-dir", target, "--bin", "retune"], cwd=tree, check=True)
        program = scratch / f"retune-{tree.name}"
        shutil.copy(target / "release/retune", program)
    finally:
        subprocess.run(["git", "-C", REPOSITORY, "worktree", "remove", "--force", tree], check=True)
    return program


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("before", help="a commit or a program")
    parser.add_argument("after", help="a commit or a program")
    parser.add_argument("--only", default="", metavar="NAME", help="only commands whose name starts so")
    parser.add_argument("--scratch", type=Path, help="keep outputs here; what stands there of BEFORE is not made again")
    arguments = parser.parse_args()

    with tempfile.TemporaryDirectory() as temporary:
        scratch = (arguments.scratch or Path(temporary)).resolve()
        scratch.mkdir(parents=True, exist_ok=True)
        sides = []
        for side, what in (("before", arguments.before), ("after", arguments.after)):
            kept = scratch / f"{side}{arguments.only.replace(' ', '-')}.json"
            if side == "before" and arguments.scratch and kept.exists():
                sides.append(json.loads(kept.read_text()))
                continue
            # Both run in a folder of the same name, because runs note their paths.
            folder = scratch / "work"
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir()
            sides.append(outputs(built(what, scratch), folder, arguments.only))
            kept.write_text(json.dumps(sides[-1], indent=1))
            shutil.rmtree(scratch / side, ignore_errors=True)
            folder.rename(scratch / side)
    before, after = sides
    differing = sorted(name for name in before.keys() | after.keys() if before.get(name) != after.get(name))
    for name in differing:
        print(f"DIFFERENT: {name}")
    failed = sorted(name for name in after if name.endswith(": status") and after[name] != "0")
    for name in failed:
        print(f"FAILED: {name} {after[name]}")
    for name, _, _ in FITS:
        for sort in ("model/model.safetensors", "metrics.jsonl"):
            whole, resumed = after.get(f"fit-{name}/{sort}"), after.get(f"resumed-{name}/{sort}")
            if resumed and whole != resumed:
                print(f"DIFFERENT AFTER RESUMING: {name} {sort}")
                differing.append(name)
    print(f"{len(after)} outputs, {len(differing)} differ")
    return 1 if differing or failed else 0


if __name__ == "__main__":
    sys.exit(main())
