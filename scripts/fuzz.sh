#!/usr/bin/env bash
# Builds the fuzz targets with libFuzzer's coverage on a stable toolchain (no sanitizer; Rust's own checks on) and runs
# one, or all in turn: scripts/fuzz.sh TARGET|all SECONDS. What crashes is in fuzz/artifacts/TARGET/.
set -euo pipefail
cd "$(dirname "$0")/../fuzz"
target=${1:?a target of fuzz/targets, or all}
seconds=${2:-60}

coverage="-Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4"
coverage+=" -Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table"
coverage+=" -Cllvm-args=-sanitizer-coverage-trace-compares"
host=$(rustc -vV | sed -n 's/^host: //p')
# Named, so that the flags are not for build scripts.
RUSTFLAGS="$coverage --cfg fuzzing" cargo build --release --target "$host"

targets=$target
if [ "$target" = all ]; then targets=$(ls targets | sed 's/\.rs$//'); fi
for name in $targets; do
    mkdir -p "corpus/$name" "artifacts/$name"
    # A megabyte holds any seed; two gigabytes are more than any input that small may take.
    "target/$host/release/$name" "corpus/$name" "seeds/$name" -artifact_prefix="artifacts/$name/" \
        -max_total_time="$seconds" -max_len=1048576 -rss_limit_mb=2048 -timeout=20 -print_final_stats=1 \
        2>"artifacts/$name/log" || echo "$name: found something, see fuzz/artifacts/$name"
    awk -v name="$name" '/stat::number_of_executed_units/ {n = $2} /cov:/ {for (i = 1; i < NF; i++) if ($i == "cov:") c = $(i + 1)}
        END {printf "%s: %d executions, %d edges covered\n", name, n, c}' "artifacts/$name/log"
done
