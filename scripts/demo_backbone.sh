#!/usr/bin/env bash
# Makes the demo's assets: its images, and its backbone, pretrained with retune itself on Fashion-MNIST's 60,000
# training images. Needs Debian's package dataset-fashion-mnist (or FASHION_MNIST=FOLDER), Python with NumPy and Pillow.
set -euo pipefail
cd "$(dirname "$0")/.."
idx=${FASHION_MNIST:-/usr/share/datasets/fashion-mnist}
assets=crates/retune/assets/demo
run=$(mktemp -d)
trap 'rm -rf "$run"' EXIT

python3 scripts/fashion_mnist_shifts.py --idx "$idx" --assets "$assets"
retune=${RETUNE:-target/release/retune}
"$retune" fit --model "$assets/backbone" --from-scratch --data "$idx" --method ft --out "$run/fit" \
    --epochs 8 --lr 0.003 --batch-size 128 --bn train --augment flip --head-init normal --val-fraction 0.05 --seed 1
cp "$run/fit/model/model.safetensors" "$assets/backbone/"
cp "$run/fit/model/config.json" "$assets/backbone/"
