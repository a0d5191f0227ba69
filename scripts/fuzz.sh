#!/usr/bin/env bash
# Builds the fuzz targets with libFuzzer's coverage on a stable toolchain (no sanitizer; Rust's own checks on) and runs
# one, or all in turn: scripts/fuzz.sh TARGET|all SECONDS. What crashes is in fuzz/artifacts/TARGET/.
set -euo pipefail
cd "$(dirname "$0")/../fuzz"
target=${1:?a target of fuzz/targets, or all}
seconds=${2:-60}

# Targets that read files write them first: to memory, where there is such a file system.
memory=/dev/shm
if [ ! -w $memory ]; then memory=${TMPDIR:-/tmp}; fi
TMPDIR=$(mktemp -d "$memory/retune-fuzz-XXXXXX")
export TMPDIR
trap 'rm -rf "$TMPDIR"' EXIT

RUSTC_WRAPPER=$PWD/coverage.sh cargo build --release
if [ "$target" = all ]; then target=$(basename -s .rs targets/*.rs); fi
for name in $target; do
    mkdir -p "corpus/$name" "artifacts/$name"
    seeds=seeds/$name
    if [ "$name" = image_file ]; then seeds=../crates/retune-pixels/tests/fixtures/pixels/formats; fi
    if [ "$name" = jpeg ]; then seeds=../crates/retune-jpeg/tests/fixtures; fi
    # 64 kB hold any seed; two gigabytes are more than any input that small may take.
    "target/release/$name" "corpus/$name" "$seeds" -artifact_prefix="artifacts/$name/" \
        -max_total_time="$seconds" -max_len=65536 -rss_limit_mb=2048 -malloc_limit_mb=1024 -timeout=20 \
        -print_final_stats=1 2>"artifacts/$name/log" || echo "$name: found something, see fuzz/artifacts/$name"
    awk -v name="$name" '/stat::number_of_executed_units/ {n = $2}
        {for (i = 1; i < NF; i++) if ($i == "cov:") c = $(i + 1)}
        /^SUMMARY|ERROR: libFuzzer/ {print name ": " $0}
        END {printf "%s: %d executions, %d edges covered\n", name, n, c}' "artifacts/$name/log"
done
