#!/usr/bin/env bash
# Builds with the feature `mpi`, and tests training by several processes: the same bytes as one process, a killed process,
# interruptions. With a model and data, also measures how much of the time goes into exchange:
#   scripts/mpi_trial.sh [MODEL DATA]
set -euo pipefail
cd "$(dirname "$0")/.."

if ! command -v mpirun >/dev/null || ! command -v mpicc >/dev/null; then
    echo "needs an MPI library and libclang: apt-get install libopenmpi-dev openmpi-bin libclang-dev" >&2
    exit 1
fi
cargo clippy --release --workspace --all-targets --features mpi -- -D warnings
cargo test --release --workspace --features mpi --test program mpi::
cargo test --release --workspace --features mpi --lib -- collective:: shared_gradients::

if [ $# -eq 2 ]; then
    cargo build --release --workspace --features mpi
    out=$(mktemp -d)
    trap 'rm -r "$out"' EXIT
    line="fit --model $1 --data $2 --method ft --lr 1e-4 --epochs 1 --size 96 --threads 1 --no-report -v"
    for batch in 16 64; do
        for processes in 1 2; do
            run="$out/$batch-$processes"
            echo "batches of $batch, $processes processes:"
            # As root, mpirun wants to be asked twice; two processes may have to share a core.
            # shellcheck disable=SC2086
            OMPI_MCA_btl_vader_single_copy_mechanism=none mpirun --allow-run-as-root --oversubscribe -n "$processes" \
                target/release/retune $line --batch-size "$batch" --out "$run" 2>&1 | grep -E "exchange|epoch 1" || true
        done
    done
fi
