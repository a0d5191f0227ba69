#!/usr/bin/env bash
# Fetches axe, an accessibility checker (MPL-2.0), for the tests of pages:
#     scripts/axe.sh          writes target/axe/axe.min.js, from npm or else from a Python package that bundles it
set -euo pipefail
cd "$(dirname "$0")/.."
mkdir -p target/axe
[ -s target/axe/axe.min.js ] && exit 0
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

if command -v npm >/dev/null && (cd "$work" && npm pack --silent axe-core@4.10.3 >/dev/null); then
    tar -xzf "$work"/axe-core-*.tgz -C "$work" package/axe.min.js
    cp "$work/package/axe.min.js" target/axe/
else
    python3 -m pip download --quiet --no-deps --dest "$work" axe-playwright-python==0.1.8
    python3 -m zipfile -e "$work"/axe_playwright_python-*.whl "$work"
    cp "$work/axe_playwright_python/axe.min.js" target/axe/
fi
