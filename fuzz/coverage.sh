#!/usr/bin/env bash
# A RUSTC_WRAPPER: compiles what reads files with the coverage that libFuzzer follows, which needs no nightly toolchain,
# and everything else as ever.
compiler=$1
shift
name=
for argument in "$@"; do
    if [ "$name" = next ]; then name=$argument; break; fi
    if [ "$argument" = --crate-name ]; then name=next; fi
done
# All targets count as one.
if [ -n "$name" ] && [ -e "$(dirname "$0")/targets/$name.rs" ]; then name=target; fi
case $name in
    brotli_decompressor | csv | csv_core | gif | image | image_webp | lz4_flex | parquet | png | pytorch_reader | retune | retune_analysis | retune_jpeg | \
        retune_pixels | ruzstd | safetensors | snap | tar | tiff | weezl | zip | zune_jpeg | target)
        exec "$compiler" "$@" --cfg fuzzing -Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
            -Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table \
            -Cllvm-args=-sanitizer-coverage-trace-compares
        ;;
esac
exec "$compiler" "$@"
