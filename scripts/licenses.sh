#!/usr/bin/env bash
# Checks what the program is made of, by what cargo knows and without a network: every dependency's license is one of
# those below, every dependency comes from crates.io, and no build script is given a way to download anything.
# The same lists are in deny.toml, for those who have cargo-deny.
set -euo pipefail
cd "$(dirname "$0")/.."

allowed="MIT Apache-2.0 Apache-2.0-WITH-LLVM-exception BSD-2-Clause BSD-3-Clause ISC Zlib 0BSD CC0-1.0 MIT-0 Unlicense
BSL-1.0 Unicode-3.0 IJG MPL-2.0 CDLA-Permissive-2.0"

tree() { cargo tree --locked --workspace --prefix none "$@" | sed 's/ (\*)$//; s/ (proc-macro)//; /^$/d' | sort -u; }

# Whether a license expression can be met: of alternatives one, of what is joined by AND all.
accepted() {
    local part word met
    while read -r part; do
        met=no
        for word in $(sed 's/ WITH /-WITH-/g; s/[()]//g; s# */ *# #g; s/ OR / /g' <<<"$part"); do
            if grep -qwF -- "$word" <<<"$allowed"; then met=yes; fi
        done
        if [ $met = no ]; then return 1; fi
    done < <(sed 's/ AND /\n/g' <<<"$1")
}

failed=0
while IFS='|' read -r package license; do
    if [ -z "$license" ] || ! accepted "$license"; then
        echo "license of $package: ${license:-none}" >&2
        failed=1
    fi
done < <(tree --edges normal,build --format '{p}|{l}')

if grep '^source = ' Cargo.lock | sort -u | grep -v '^source = "registry+https://github.com/rust-lang/crates.io-index"$' >&2; then
    echo "a dependency does not come from crates.io" >&2
    failed=1
fi

# A line below the first is what needs the crate in a build script.
for client in ureq reqwest curl hyper attohttpc minreq isahc git2; do
    if grep -q "^name = \"$client\"$" Cargo.lock && [ "$(cargo tree --locked --workspace -i $client -e build 2>/dev/null | wc -l)" -gt 1 ]; then
        echo "a build script can download, by $client" >&2
        failed=1
    fi
done
exit $failed
