#!/usr/bin/env bash
# Runs the comparisons of book/src/measurements/reproduction.md: about an hour on two cores. What is finished is not run again.
#
#     scripts/reproduce.sh DATA OUT          DATA as scripts/reproduction_data.py makes it
set -euo pipefail
data=$1 out=$2
cd "$(dirname "$0")/.."
retune=${RETUNE:-target/release/retune}
backbone=crates/retune/assets/demo/backbone
common=(--epochs 8 --batch-size 64)

# The source model of the subpopulation shift: the demo's network, trained on the five seen subclasses alone.
if [ ! -f "$out/source/summary.json" ]; then
    "$retune" fit --model "$backbone" --from-scratch --data "$data/source_groups" --method ft --out "$out/source" \
        --epochs 6 --lr 0.003 --batch-size 128 --bn train --augment flip --head-init normal --val-fraction 0.05 --seed 1
fi

# Which layers to tune for which shift: 1,000 target images, the source model's own head kept.
surgical() {
    "$retune" compare --model "$2" --head-init keep --data "$3" --methods surgical-each,ft,auto-rgn \
        --lr 1e-3,3e-3,1e-2 --seeds 3 --out "$out/$1" "${common[@]}"
}
surgical output "$backbone" "$data/garments.csv@label_flip"
surgical input "$backbone" "$data/garments.csv@gaussian_noise:4"
surgical feature "$out/source" "$data/groups_unseen.csv"

# In distribution, and on subclasses that training never showed, with a new head.
unseen() {
    "$retune" compare --model "$backbone" --data "$data/groups_seen.csv" --eval "unseen=$data/groups_unseen.csv" \
        --lr 3e-4,1e-3,3e-3 --out "$out/$1" "${common[@]}" "${@:2}"
}
unseen unseen --methods all --seeds 3
unseen lp_ft --methods lp,ft,lp-ft --seeds 8
unseen unseen_slanted --methods ft --schedule slanted --seeds 3
unseen unseen_unfreezing --methods ulmfit --decay 1 --schedule cosine --seeds 3

# How far the features moved.
for method in ft lp-ft; do
    for seed in 0 1 2 3 4 5 6 7; do
        "$retune" eval --model "$out/lp_ft/runs/$method/seed-$seed" --against "$backbone" --json \
            --data "$data/groups_seen.csv" --split test --eval "unseen=$data/groups_unseen.csv" \
            >"$out/lp_ft/moved-$method-$seed.json"
    done
done
