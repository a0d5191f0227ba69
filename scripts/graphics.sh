#!/usr/bin/env bash
# Trains on a graphics device and compares with the CPU; installs Mesa's driver, which computes on the processor, where there
# is none. Built without optimization, which takes half of the time; the models are tiny.
set -euo pipefail
cd "$(dirname "$0")/.."

if [ -z "$(find /usr/share/vulkan /etc/vulkan -path '*/icd.d/*.json' 2>/dev/null)" ]; then
    apt-get update -qq && apt-get install -y -qq mesa-vulkan-drivers libvulkan1
fi
# Where there is no display, Mesa complains of its absence.
export XDG_RUNTIME_DIR=${XDG_RUNTIME_DIR:-/tmp}
CARGO_PROFILE_DEV_DEBUG=0 cargo test -p retune --no-default-features --features wgpu --test device
