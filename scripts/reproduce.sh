#!/usr/bin/env bash
# Runs the comparisons of docs/reproduction.md: about an hour on two cores. What is finished is not run again.
#
#     scripts/reproduce.sh DATA OUT          DATA as scripts/reproduction_data.py makes it
set -euo pipefail
data=$1 out=$2
cd "$(dirname "$0")/.."
retune=${RETUNE:-target/release/retune}
backbone=crates/retune-cli/assets/demo/backbone
common=(--epochs 8 --lr 3e-4,1e-3,3e-3 --batch-size 64 --seeds 3)

# The source model of the subpopulation shift: the demo's network, trained on the five seen subclasses alone.
if [ ! -f "$out/source/summary.json" ]; then
    "$retune" fit --model "$backbone" --from-scratch --data "$data/source_groups" --method ft --out "$out/source" \
        --epochs 6 --lr 0.003 --batch-size 128 --bn train --augment flip --head-init normal --val-fraction 0.05 --seed 1
fi

# Which layers to tune for which shift: 1,000 target images, the source model's own head kept.
surgical() {
    "$retune" compare --model "$2" --head-init keep --data "$3" --methods surgical-each,ft,auto-rgn,auto-snr \
        --out "$out/$1" "${common[@]}"
}
surgical input_noise "$backbone" "$data/garments.csv@gaussian_noise:4"
surgical output "$backbone" "$data/garments.csv@label_flip"
surgical feature "$out/source" "$data/groups_unseen.csv"
# Every method in distribution and on subclasses that training never showed, with a new head.
"$retune" compare --model "$backbone" --data "$data/groups_seen.csv" --eval "unseen=$data/groups_unseen.csv" \
    --methods all --out "$out/unseen" "${common[@]}"

# Ten classes from 1,000 clean images, tested under corruptions, with a new head.
"$retune" compare --model "$backbone" --data "$data/garments.csv" --methods lp,ft,lp-ft,discriminative,ulmfit,wise-ft \
    --eval "noise=$data/garments.csv@gaussian_noise:2" --eval "contrast=$data/garments.csv@contrast:2" \
    --eval "blur=$data/garments.csv@motion_blur:2" --out "$out/corrupted" "${common[@]}"

# Another corruption.
surgical input_fog "$backbone" "$data/garments.csv@fog:4"
