"""How long an update takes by N processes, on a machine each: the model of book/src/measurements/processes.md.

    T(N) = a B / (N s) + 8 P (N - 1) / N / W + 2 ceil(4 P / 2^22) (N - 1) L

a: seconds of an image on the two cores of book/src/measurements/performance.md; s: how many times as fast a machine is;
B: images of an update; P: trained values; W: bytes a second of the network; L: its latency.
"""

import math

# Trained values in millions, seconds of a step of so many images.
MODELS = {
    "EfficientNet-Lite0 at 224": (4.652, 0.149, 8),
    "ResNet-18 at 224": (11.690, 0.160, 8),
    "ResNet-50 at 224": (25.557, 0.531, 8),
    "ViT-Small at 224": (22.051, 0.704, 8),
}
# Gbit/s and latency in seconds.
NETWORKS = {10: 20e-6, 100: 2e-6}
NODES = [1, 4, 16, 64]
SPEED = 16


def exchange(values, nodes, gigabits):
    if nodes == 1:
        return 0.0
    transfer = 8 * values * (nodes - 1) / nodes / (gigabits / 8 * 1e9)
    return transfer + 2 * math.ceil(4 * values / 2**22) * (nodes - 1) * NETWORKS[gigabits]


def update(model, nodes, gigabits, images):
    millions, seconds, batch = MODELS[model]
    computing = seconds / batch * math.ceil(images / nodes) / SPEED
    return computing + exchange(millions * 1e6, nodes, gigabits)


def main():
    print("| model | MB of gradients | network |", *(f" strong, {n} |" for n in NODES[1:]), *(f" weak, {n} |" for n in NODES[1:]), sep="")
    for model, (millions, _, _) in MODELS.items():
        for gigabits in NETWORKS:
            alone = update(model, 1, gigabits, 1024)
            strong = [alone / update(model, n, gigabits, 1024) / n for n in NODES[1:]]
            weak = [update(model, 1, gigabits, 32) / update(model, n, gigabits, 32 * n) for n in NODES[1:]]
            row = "".join(f" {100 * share:.0f} % |" for share in strong + weak)
            print(f"| {model} | {4 * millions:.0f} | {gigabits} Gbit/s |{row}")


main()
