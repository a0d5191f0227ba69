#!/usr/bin/env bash
# Makes the pictures of the gallery from real runs on the demo's images: scripts/gallery.sh RETUNE WORK PICTURES
#
# RETUNE is the program, WORK a folder for images and runs (kept, so that a second call only draws), PICTURES where the
# pictures go, at half their size and with few colors, at most 60 kB each. Needs Python with Pillow; takes a few minutes on two
# cores.
set -euo pipefail
retune=$(realpath "$1") work=$2 pictures=$(realpath -m "$3") python=${PYTHON:-python3}
here=$(realpath "$(dirname "$0")")
mkdir -p "$work" "$pictures"
cd "$work"

[ -d images ] || "$python" "$here/demo_images.py" images
model=(--model images/backbone)
fit() {
    [ -f "$1/summary.json" ] || "$retune" fit "${model[@]}" --data images/data --eval test=images/test \
        --eval shifted=images/shifted --head-init normal --out "$@" --quiet
}
fit ft --method ft --epochs 4 --lr 1e-3
# A map of more than one place needs larger images than the demo's.
fit larger --method ft --epochs 2 --lr 1e-3 --size 96
fit auto-rgn --method auto-rgn --epochs 5 --lr 1e-3
fit discriminative --method discriminative --decay 0.7 --epochs 4 --lr 1e-3
"$retune" lr-find "${model[@]}" --data images/data --head-init normal --out lr-find --quiet
"$retune" cka "${model[@]}" --data images/test --layer pooled --out cka.png --quiet
[ -f features.npz ] || "$retune" features "${model[@]}" --data images/test --out features.npz --quiet
"$retune" umap --features features.npz --out umap.png --quiet
"$retune" report ft auto-rgn discriminative --out report.html --quiet

take() { "$python" "$here/gallery_picture.py" "$1" "$pictures/$2.png"; }
take ft/plots/confusion_shifted.png confusion
take ft/plots/calibration_shifted.png calibration
take ft/plots/hardest_shifted.png hardest
take larger/plots/heat_maps_shifted.png heat-maps
take ft/plots/loss.png loss
take ft/plots/rates.png rates-ft
take discriminative/plots/rates.png rates-discriminative
take auto-rgn/plots/rate_multipliers.png rate-multipliers
take lr-find/lr_find.png lr-find
take cka.png cka
take umap.png umap
