"""How long an update takes by N processes, on a machine each: the model of book/src/measurements/processes.md.

    C(N) = a B / (N s)
    E(N) = 8 P (N - 1) / N / W + 2 ceil(4 P / 2^22) (N - 1) L
    C(N) + E(N) >= T(N) >= C(N) / 3 + max(2 C(N) / 3, E(N))

C is the computation, a third of it forward; E the exchange, of which the backward pass hides nothing or all that it can.
a: seconds of an image on the two cores of book/src/measurements/performance/steps.md; s: how many times as fast a machine is;
B: images of an update; P: trained values; W: bytes a second of the network; L: its latency.
"""

import math

# Trained values in millions, seconds of a step of so many images.
MODELS = {
    "EfficientNet-Lite0": (4.652, 0.149, 8),
    "ResNet-18": (11.690, 0.160, 8),
    "ResNet-50": (25.557, 0.531, 8),
    "ViT-Small": (22.051, 0.704, 8),
}
# Gbit/s and latency in seconds.
NETWORKS = {10: 20e-6, 100: 2e-6}
NODES = [1, 4, 16, 64]
SPEED = 16


def exchange(values, nodes, gigabits, latency):
    if nodes == 1:
        return 0.0
    transfer = 8 * values * (nodes - 1) / nodes / (gigabits / 8 * 1e9)
    return transfer + 2 * math.ceil(4 * values / 2**22) * (nodes - 1) * latency


def update(model, nodes, gigabits, images, hidden):
    millions, seconds, batch = MODELS[model]
    computing = seconds / batch * math.ceil(images / nodes) / SPEED
    exchanging = exchange(millions * 1e6, nodes, gigabits, NETWORKS[gigabits])
    return computing / 3 + max(2 * computing / 3, exchanging) if hidden else computing + exchanging


def efficiencies(model, gigabits, hidden):
    alone = update(model, 1, gigabits, 1024, hidden)
    strong = [alone / update(model, n, gigabits, 1024, hidden) / n for n in NODES[1:]]
    weak = [update(model, 1, gigabits, 32, hidden) / update(model, n, gigabits, 32 * n, hidden) for n in NODES[1:]]
    return strong + weak


def main():
    print("| model at 224 | gradients, MB | Gbit/s |", *(f" strong, {n} |" for n in NODES[1:]), *(f" weak, {n} |" for n in NODES[1:]), sep="")
    for model, (millions, _, _) in MODELS.items():
        for gigabits in NETWORKS:
            bounds = zip(efficiencies(model, gigabits, False), efficiencies(model, gigabits, True))
            row = "".join(f" {100 * low:.0f}–{100 * high:.0f} |" for low, high in bounds)
            print(f"| {model} | {4 * millions:.0f} | {gigabits} |{row}")


if __name__ == "__main__":
    main()
