"""`retune` against plain timm/PyTorch loops, in turn on the same images and machine: prints Markdown tables of ratios.

    cargo build --release --workspace --bins --examples
    python benches/against_pytorch.py [steps] [avx2] [bfloat16] [epochs] [commands] [growth] [threads] [startup]
                                      [operators]
    cargo build --release -p retune --features cuda --examples
    python benches/against_pytorch.py card

Without a name everything but `card` is measured. A ratio above 1 means that retune is faster, or takes less memory. Both sides
compute in float32 (but for bfloat16) with all processors and start from random weights of the same architecture; BatchNorm normalizes by
running statistics on both sides. What is compared:

steps     whole training steps (forward, backward, update) on a batch that is in memory, both sides in turn step by step
avx2      the same, both sides kept to AVX2 as on processors without AVX-512; the libraries under PyTorch are asked to by
          their environment variables, which MKL heeds on Intel's processors only (on AMD's it uses AVX2 anyway)
bfloat16  steps in bfloat16, beside retune's float32 and PyTorch's autocast to bfloat16
epochs    seconds of an epoch after the first, as a user sees them: retune's from `metrics.jsonl`, with images from files;
          PyTorch's with the images waiting in memory as a tensor, so that its loop is not charged for loading
commands  whole programs from start to end on a folder of images and a file of weights, with their peak memory; PyTorch's
          reads the folder with torchvision's ImageFolder and two loading processes that keep what they have decoded
growth    how the time of a whole linear probe grows with the images
threads   steps with one thread and with all
startup   from nothing to the end of the first step
operators one pass of one operator, with one thread and with all: linear layers and attention of ViT-Tiny, -Small, and -Base and of
          ConvNeXt-Atto; GFLOP/s of linear layers, milliseconds of attention
card      steps on a graphics card in float32, float32 with factors of 11 significant bits (TF32), and bfloat16 (autocast), in turns of
          16 steps, after which the host waits for the card; each step takes its images from the host; PyTorch with CUDA in
          its faster layout
"""

import argparse
import json
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile
import time

import numpy as np
from PIL import Image

BUILT = pathlib.Path(__file__).resolve().parent.parent / "target" / "release"
CLASSES = 10
# Architecture, side, batch size, optimizer.
RESNET_64 = ("resnet18", 64, 32, "sgd")
RESNET_224 = ("resnet18", 224, 8, "sgd")
VIT_TINY = ("vit_tiny_patch16_224", 224, 8, "adamw")
LITE_96 = ("tf_efficientnet_lite0", 96, 16, "sgd")
MODELS = [
    RESNET_64,
    RESNET_224,
    ("resnet50", 224, 8, "sgd"),
    VIT_TINY,
    ("vit_small_patch16_224", 224, 8, "adamw"),
    ("convnext_atto", 224, 8, "adamw"),
    LITE_96,
    ("tf_efficientnet_lite0", 224, 8, "sgd"),
]
KEPT_TO_AVX2 = {"ATEN_CPU_CAPABILITY": "avx2", "ONEDNN_MAX_CPU_ISA": "AVX2", "MKL_ENABLE_INSTRUCTIONS": "AVX2"}
# The layers that retune trains, and what the names of the same parameters in timm begin with.
EVERYTHING = ("all", ())
STAGE_1, STAGE_3, STAGE_4 = (("layer1", ("layer1.",)), ("layer3", ("layer3.",)), ("layer4", ("layer4.",)))
LAST_BLOCKS = ("blocks.10:blocks.11", ("blocks.10.", "blocks.11."))

# The model and the step of every PyTorch program here.
PRELUDE = """
import sys, time, torch, timm
torch.set_num_threads({threads})
extra = dict(img_size={side}) if 'vit' in '{name}' else dict()
model = timm.create_model('{name}', num_classes={classes}, **extra).eval()
def train_only(beginnings):
    global optimizer
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(not beginnings or name.startswith(beginnings))
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    adamw = '{optimizer}' == 'adamw'
    optimizer = torch.optim.AdamW(trained, 1e-4) if adamw else torch.optim.SGD(trained, 1e-4, 0.9)
def step(images, labels):
    optimizer.zero_grad()
    with torch.autocast('cpu', torch.bfloat16, enabled='--bfloat16' in sys.argv):
        loss = torch.nn.functional.cross_entropy(model(images), labels)
    loss.backward()
    optimizer.step()
"""


def prelude(model, beginnings=(), threads=None):
    name, side, _, optimizer = model
    threads = threads or os.cpu_count()
    program = PRELUDE.format(name=name, side=side, optimizer=optimizer, threads=threads, classes=CLASSES)
    return program + f"train_only({beginnings!r})\n"


# Steps that a program makes in a turn, as a loop of training does: caches are its own then, and the threads of the one
# before, which spin for a while and wait for more, are asleep.
TURN = 4


class Stepper:
    """A program that makes one training step, or what a line names, for every line it is sent and answers with the milliseconds."""

    def __init__(self, command, threads):
        environment = {**os.environ, **({"RAYON_NUM_THREADS": str(threads)} if threads else {})}
        if "avx2" in command or "--avx2" in command:
            environment |= KEPT_TO_AVX2
        pipe = subprocess.PIPE
        self.process = subprocess.Popen(
            command, stdin=pipe, stdout=pipe, stderr=subprocess.DEVNULL, text=True, env=environment
        )

    def step(self, line="step"):
        self.process.stdin.write(f"{line}\n")
        self.process.stdin.flush()
        return float(self.process.stdout.readline())

    def stop(self):
        self.process.stdin.close()
        self.process.wait()


def step_programs(model, part, threads=None):
    """Programs of retune and PyTorch that make steps; options can be added to both."""
    name, side, batch, optimizer = model
    program = prelude(model, part[1], threads) + f"""
images, labels = torch.randn({batch}, 3, {side}, {side}), torch.arange({batch}) % {CLASSES}
if '--channels-last' in sys.argv:
    model, images = model.to(memory_format=torch.channels_last), images.to(memory_format=torch.channels_last)
for line in sys.stdin:
    started = time.perf_counter()
    step(images, labels)
    print((time.perf_counter() - started) * 1e3, flush=True)
"""
    theirs = [sys.executable, "-c", program]
    ours = [BUILT / "examples" / "steps", name, str(side), str(batch), part[0], optimizer]
    return ours, theirs


def step_times(commands, rounds, threads=None):
    """The median milliseconds of a step of each program, in turns of which the first step is left out."""
    sides = [Stepper(command, threads) for command in commands]
    # The first turn allocates.
    turns = [[[side.step() for _ in range(TURN)][1:] for side in sides] for _ in range(rounds + 1)][1:]
    for side in sides:
        side.stop()
    return [statistics.median(sum(turns_of_side, [])) for turns_of_side in zip(*turns)]


def row(*cells):
    print("| " + " | ".join(str(cell) for cell in cells) + " |", flush=True)


def head(*cells):
    print()
    row(*cells)
    row(*("---" if number == 0 else "---:" for number in range(len(cells))))


def described(model, part):
    return f"{model[0]} at {model[1]}, {part}"


def steps(options, ours_too=(), theirs_too=()):
    head("step", "batch", "retune, ms", "PyTorch, ms", "channels last, ms", "ratio", "to channels last")
    cases = [(model, "full fine-tuning", EVERYTHING) for model in MODELS]
    cases += [
        (RESNET_64, "surgical first stage", STAGE_1),
        (RESNET_224, "surgical first stage", STAGE_1),
        (RESNET_64, "surgical middle stage", STAGE_3),
        (RESNET_64, "surgical last stage", STAGE_4),
        (VIT_TINY, "surgical last two blocks", LAST_BLOCKS),
    ]
    for model, name, part in cases:
        ours, theirs = step_programs(model, part)
        ours, theirs = [*ours, *ours_too], [*theirs, *theirs_too]
        ours, theirs, channels_last = step_times([ours, theirs, [*theirs, "--channels-last"]], options.rounds)
        times = (f"{milliseconds:.0f}" for milliseconds in (ours, theirs, channels_last))
        row(described(model, name), model[2], *times, f"{theirs / ours:.2f}", f"{channels_last / ours:.2f}")


def avx2(options):
    steps(options, ["avx2"], ["--avx2"])


def bfloat16(options):
    head("step in bfloat16", "batch", "retune, ms", "its float32, ms", "PyTorch, ms", "to its float32", "to PyTorch")
    for model in MODELS:
        ours, theirs = step_programs(model, EVERYTHING)
        commands = [[*ours, "bfloat16"], ours, [*theirs, "--bfloat16", "--channels-last"]]
        rounded, single, theirs = step_times(commands, options.rounds)
        row(described(model, "full fine-tuning"), model[2], f"{rounded:.0f}", f"{single:.0f}", f"{theirs:.0f}",
            f"{single / rounded:.2f}", f"{theirs / rounded:.2f}")  # fmt: skip


CARD_MODELS = [
    ("resnet18", 64, 256, "sgd"),
    ("resnet18", 224, 64, "sgd"),
    ("resnet50", 224, 64, "sgd"),
    ("vit_tiny_patch16_224", 224, 64, "adamw"),
    ("vit_small_patch16_224", 224, 64, "adamw"),
    ("convnext_atto", 224, 64, "adamw"),
    ("tf_efficientnet_lite0", 224, 64, "sgd"),
]


def card_program(model, precision, channels_last):
    """PyTorch's steps on a card, 16 for each line."""
    name, side, batch, optimizer = model
    program = PRELUDE.format(name=name, side=side, optimizer=optimizer, threads=os.cpu_count(), classes=CLASSES)
    program = program.replace("autocast('cpu'", "autocast('cuda'") + f"""
tf32 = '{precision}' == 'tf32'
torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = tf32
model = model.cuda()
train_only(())
images, labels = torch.randn({batch}, 3, {side}, {side}), torch.arange({batch}) % {CLASSES}
if {channels_last}:
    model, images = model.to(memory_format=torch.channels_last), images.to(memory_format=torch.channels_last)
images, labels = images.pin_memory(), labels.pin_memory()
for line in sys.stdin:
    started = time.perf_counter()
    for _ in range(16):
        step(images.cuda(non_blocking=True), labels.cuda(non_blocking=True))
    torch.cuda.synchronize()
    print((time.perf_counter() - started) * 1e3 / 16, flush=True)
"""
    return [sys.executable, "-c", program, *(["--bfloat16"] if precision == "bfloat16" else [])]


def card(options):
    precisions = ("float32", "tf32", "bfloat16")
    head("step", "batch", *(f"PyTorch, {precision}, ms" for precision in precisions), "retune, ms", "bfloat16, ms")
    for model in CARD_MODELS:
        name, side, batch, optimizer = model
        theirs = [card_program(model, precision, last) for precision in precisions for last in (False, True)]
        ours = [BUILT / "examples" / "steps", name, str(side), str(batch), "all", optimizer, options.device]
        times = step_times([*theirs, ours, [*ours, "bfloat16"]], options.rounds)
        theirs = [min(times[place : place + 2]) for place in (0, 2, 4)]
        row(described(model, "full fine-tuning"), batch, *(f"{time:.2f}" for time in (*theirs, *times[6:])))


def threads(options):
    head("threads", "retune, ms", "PyTorch, ms", "ratio")
    for model in (RESNET_64, VIT_TINY):
        for count in sorted({1, os.cpu_count()}):
            ours, theirs = step_times(step_programs(model, EVERYTHING, count), options.rounds, count)
            row(described(model, f"{count} threads"), f"{ours:.0f}", f"{theirs:.0f}", f"{theirs / ours:.2f}")


def write_images(folder, side, count, validation):
    """A folder of random images with a tint for each class, so that there is something to learn."""
    random = np.random.default_rng(0)
    tints = random.integers(0, 120, (CLASSES, 3))
    for split, images in (("train", count), ("val", validation)):
        for index in range(images):
            label = index % CLASSES
            path = pathlib.Path(folder) / split / f"class{label}" / f"{index}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            pixels = random.integers(0, 136, (side, side, 3)) + tints[label]
            Image.fromarray(pixels.astype(np.uint8)).save(path)


def measured(command):
    """Seconds, peak memory in MB (of the largest process) and output of a program."""
    wrapper = (
        "import resource, subprocess, sys\n"
        "done = subprocess.run(sys.argv[1:], capture_output=True, text=True)\n"
        "sys.stderr.write(done.stderr[-2000:])\n"
        "print(done.stdout)\n"
        "print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)\n"
        "sys.exit(done.returncode)\n"
    )
    # What was written before must not wait to be written while this syncs its own files.
    os.sync()
    started = time.perf_counter()
    done = subprocess.run([sys.executable, "-c", wrapper, *map(str, command)], capture_output=True, text=True)
    seconds = time.perf_counter() - started
    if done.returncode:
        raise SystemExit(done.stderr)
    *lines, peak = done.stdout.strip().splitlines()
    return seconds, int(peak) / 1024, [line for line in lines if line]


def write_weights(model, path):
    """A file of random weights that both sides start from; the head, of other classes, is new on both."""
    program = (
        "import sys, timm\n"
        "from safetensors.torch import save_file\n"
        f"save_file(timm.create_model('{model[0]}').state_dict(), sys.argv[1])\n"
    )
    subprocess.run([sys.executable, "-c", program, path], check=True)


def retune_fit(model, images, arguments, weights=None):
    """A whole `retune fit`: seconds, peak memory, and the seconds of each epoch after the first of gradient descent."""
    name, side, batch, optimizer = model
    with tempfile.TemporaryDirectory() as folder:
        run = pathlib.Path(folder) / "run"
        seconds, peak, _ = measured([
            BUILT / "retune", "fit", "--arch", name, *(["--model", weights] if weights else ["--from-scratch"]), "--data", images, "--size", side,
            "--batch-size", batch, "--optimizer", optimizer, "--out", run, "--quiet", *arguments,
        ])  # fmt: skip
        rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    # A linear probe in front has rows of its own, without a learning rate.
    epochs = [row for row in rows if row["split"] == "train" and row.get("learning_rate") and row["epoch"] > 1]
    return seconds, peak, [row["seconds"] for row in epochs]


def pytorch_epochs(model, count, beginnings):
    _, side, batch, _ = model
    program = prelude(model, beginnings) + f"""
images, labels = torch.randn({count}, 3, {side}, {side}), torch.arange({count}) % {CLASSES}
for epoch in range(3):
    started = time.perf_counter()
    for first in range(0, {count}, {batch}):
        step(images[first:first + {batch}], labels[first:first + {batch}])
    print(time.perf_counter() - started)
"""
    _, peak, lines = measured([sys.executable, "-c", program])
    return min(map(float, lines[1:])), peak


def epochs(options):
    head("epoch after the first", "images", "retune, s", "PyTorch, s", "ratio", "retune, MB", "PyTorch, MB", "ratio")
    cases = [
        (RESNET_64, 512, "ft", EVERYTHING),
        (RESNET_64, 512, "auto-rgn", EVERYTHING),
        (RESNET_64, 512, "surgical", STAGE_1),
        (RESNET_64, 512, "surgical", STAGE_3),
        (RESNET_64, 512, "surgical", STAGE_4),
        (RESNET_224, 128, "ft", EVERYTHING),
        (RESNET_224, 128, "surgical", STAGE_4),
        (VIT_TINY, 128, "ft", EVERYTHING),
        (VIT_TINY, 128, "surgical", LAST_BLOCKS),
        (LITE_96, 256, "ft", EVERYTHING),
    ]
    for model, count, method, (layers, beginnings) in cases:
        arguments = ["--method", method, "--epochs", 3, "--lr", "1e-4"]
        if method == "surgical":
            first, _, last = layers.partition(":")
            arguments += ["--first", first, "--last", last or first]
        with tempfile.TemporaryDirectory() as folder:
            write_images(folder, model[1], count, 20)
            turns = [
                (retune_fit(model, folder, arguments), pytorch_epochs(model, count, beginnings))
                for _ in range(options.turns)
            ]
        ours = min(min(seconds) for (_, _, seconds), _ in turns)
        theirs = min(seconds for _, (seconds, _) in turns)
        our_peak, their_peak = max(turn[0][1] for turn in turns), max(turn[1][1] for turn in turns)
        name = described(model, f"{method} {layers}" if method == "surgical" else method)
        row(name, count, f"{ours:.2f}", f"{theirs:.2f}", f"{theirs / ours:.2f}",
            f"{our_peak:.0f}", f"{their_peak:.0f}", f"{their_peak / our_peak:.2f}")  # fmt: skip


def pytorch_folder(model, weights, folder, phases):
    """The usual loop over a folder: each phase is a number of epochs and the beginnings of the names it trains."""
    _, side, batch, _ = model
    return prelude(model) + f"""
from safetensors.torch import load_file
from torchvision import datasets, transforms
pretrained = load_file('{weights}')
pretrained = dict((name, value) for name, value in pretrained.items() if value.shape == model.state_dict()[name].shape)
model.load_state_dict(pretrained, strict=False)
transform = transforms.Compose([transforms.Resize({side}), transforms.CenterCrop({side}), transforms.ToTensor(),
                                transforms.Normalize([0.485, 0.456, 0.406], [0.229, 0.224, 0.225])])
class Kept(torch.utils.data.Dataset):
    def __init__(self, split):
        self.images, self.kept = datasets.ImageFolder('{folder}/' + split, transform), dict()
    def __len__(self):
        return len(self.images)
    def __getitem__(self, index):
        if index not in self.kept:
            self.kept[index] = self.images[index]
        return self.kept[index]
def loader(split):
    kept = Kept(split)
    return torch.utils.data.DataLoader(kept, {batch}, shuffle=split == 'train', num_workers=2, persistent_workers=True)
train, validation = loader('train'), loader('val')
for epochs, beginnings in {phases!r}:
    train_only(beginnings)
    for epoch in range(epochs):
        for images, labels in train:
            step(images, labels)
        with torch.no_grad():
            for images, labels in validation:
                model(images)
"""


def commands(options):
    head("whole command", "images", "retune, s", "PyTorch, s", "ratio", "retune, MB", "PyTorch, MB", "ratio")
    probe, tune = (lambda head: [(10, (head,))]), [(5, ("fc.",)), (5, ())]
    gradients = ["--epochs", 5, "--lr", "1e-4"]
    cases = [
        (RESNET_64, 1000, "lp", [], probe("fc.")),
        (RESNET_224, 300, "lp", [], probe("fc.")),
        (VIT_TINY, 300, "lp", [], probe("head.")),
        (RESNET_64, 1000, "lp-ft", gradients, tune),
        (RESNET_224, 300, "lp-ft", gradients, tune),
        (RESNET_64, 1000, "ft", gradients, tune[1:]),
    ]
    for model, count, method, arguments, phases in cases:
        with tempfile.TemporaryDirectory() as folder:
            images, weights = f"{folder}/images", f"{folder}/model.safetensors"
            write_images(images, model[1], count, count // 10)
            write_weights(model, weights)
            ours, our_peak, _ = retune_fit(model, images, ["--method", method, *arguments], weights)
            theirs, their_peak, _ = measured([sys.executable, "-c", pytorch_folder(model, weights, images, phases)])
        row(described(model, method), count, f"{ours:.1f}", f"{theirs:.1f}", f"{theirs / ours:.2f}",
            f"{our_peak:.0f}", f"{their_peak:.0f}", f"{their_peak / our_peak:.2f}")  # fmt: skip


def growth(options):
    head("images, lp of resnet18 at 32", "retune, s", "retune, MB")
    for count in (1000, 10_000, 100_000)[: options.growth]:
        with tempfile.TemporaryDirectory() as folder:
            write_images(folder, 32, count, 1000)
            seconds, peak, _ = retune_fit(("resnet18", 32, 64, "sgd"), folder, ["--method", "lp"])
        row(count, f"{seconds:.1f}", f"{peak:.0f}")


def startup(_):
    head("from nothing to the end of the first step", "retune, s", "PyTorch, s", "ratio")
    program = prelude(RESNET_64) + "step(torch.randn(8, 3, 64, 64), torch.arange(8))"
    ours = [BUILT / "examples" / "steps", "resnet18", "64", "8", "all", "sgd"]

    def seconds(command):
        started = time.perf_counter()
        subprocess.run(command, input="step\n", text=True, capture_output=True, check=True)
        return time.perf_counter() - started

    turns = [(seconds(ours), seconds([sys.executable, "-c", program])) for _ in range(4)]
    ours, theirs = (min(side) for side in zip(*turns))
    row("resnet18 at 64, batch 8", f"{ours:.2f}", f"{theirs:.2f}", f"{theirs / ours:.1f}")


# Rows of eight images' tokens or pixels, inputs, outputs.
LINEARS = [
    (1576, 192, 192),
    (1576, 192, 768),
    (1576, 768, 192),
    (1576, 384, 1536),
    (1576, 1536, 384),
    (1576, 768, 3072),
    (1576, 3072, 768),
    (6272, 80, 320),
    (25088, 40, 160),
    (25088, 160, 40),
]
# Images, tokens, heads.
ATTENTIONS = [(8, 197, 3), (8, 197, 6)]
PASSES = """
import sys, time, torch
torch.set_num_threads({threads})
x, weight = {factors}
def operator():
    return {operator}
with torch.no_grad():
    gradient = torch.randn_like(operator())
for line in sys.stdin:
    tracked = {{'input': x, 'weight': weight}}.get(line.strip())
    started = time.perf_counter()
    if tracked is None:
        with torch.no_grad():
            operator()
    else:
        tracked.grad = None
        tracked.requires_grad_(True)
        output = operator()
        started = time.perf_counter()
        output.backward(gradient)
    seconds = time.perf_counter() - started
    if tracked is not None:
        tracked.requires_grad_(False)
    print(seconds * 1e3, flush=True)
"""


def pass_times(ours, theirs, passes, threads, rounds):
    """The shortest milliseconds of each pass by each side, in turns."""
    ours = [BUILT / "examples" / "passes", *map(str, ours)]
    sides = [Stepper(command, threads) for command in (ours, [sys.executable, "-c", theirs])]
    times = []
    for name in passes:
        turns = [[min(side.step(name) for _ in range(TURN)) for side in sides] for _ in range(rounds + 1)]
        times.append([min(turns_of_side) for turns_of_side in zip(*turns)])
    for side in sides:
        side.stop()
    return times


def operators(options):
    linear = "torch.nn.functional.linear(x, weight)"
    attention = "torch.nn.functional.scaled_dot_product_attention(*x.permute(2, 0, 3, 1, 4)).transpose(1, 2).contiguous()"
    passes = ["forward", "input", "weight"]
    for threads in sorted({1, os.cpu_count()}):
        what = f"{threads} threads" if threads > 1 else "1 thread"
        head(f"linear layer, {what}, GFLOP/s: retune / PyTorch (ratio)", "forward", "input gradient", "weight gradient")
        for rows, inputs, outputs in LINEARS:
            factors = f"torch.randn({rows}, {inputs}), torch.randn({outputs}, {inputs})"
            program = PASSES.format(threads=threads, factors=factors, operator=linear)
            times = pass_times(["linear", rows, inputs, outputs], program, passes, threads, options.rounds)
            work = 2e-6 * rows * inputs * outputs
            rates = (f"{work / ours:.0f} / {work / theirs:.0f} ({theirs / ours:.2f})" for ours, theirs in times)
            row(f"{rows:,} rows, {inputs:,} → {outputs:,}", *rates)
        head(f"attention, {what}, ms: retune / PyTorch (ratio)", "forward", "gradient")
        for images, tokens, heads in ATTENTIONS:
            factors = f"torch.randn({images}, {tokens}, 3, {heads}, 64), None"
            program = PASSES.format(threads=threads, factors=factors, operator=attention)
            times = pass_times(["attention", images, tokens, heads], program, passes[:2], threads, options.rounds)
            cells = (f"{ours:.2f} / {theirs:.2f} ({theirs / ours:.2f})" for ours, theirs in times)
            row(f"{images} × {tokens} tokens, {heads} heads of 64", *cells)


MEASURES = {
    "steps": steps,
    "avx2": avx2,
    "bfloat16": bfloat16,
    "epochs": epochs,
    "commands": commands,
    "growth": growth,
    "threads": threads,
    "startup": startup,
    "operators": operators,
    "card": card,
}

if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="retune against plain timm/PyTorch loops")
    parser.add_argument("measures", nargs="*", help=", ".join(MEASURES))
    parser.add_argument("--rounds", type=int, default=10, help="steps of each side")
    parser.add_argument("--turns", type=int, default=2, help="programs of each side that measure epochs")
    parser.add_argument("--growth", type=int, default=2, help="1: a thousand images, 2: ten thousand too, 3: a hundred")
    parser.add_argument("--device", default="cuda", help="retune's device for `card`: cuda or wgpu")
    options = parser.parse_args()
    for name in options.measures or [name for name in MEASURES if name != "card"]:
        MEASURES[name](options)
