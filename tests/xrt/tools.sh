#!/usr/bin/env bash
# Holds the instruction streams and bundles that this project writes against AMD's own tools, without an NPU.
#
#   tests/xrt/tools.sh [FOLDER]        (default: as sid.sh)
#
# Needs what sid.sh needs, cargo and Python 3. Exit codes: 0 all well; 101 a test failed; others as sid.sh.
set -euo pipefail
here="$(cd "$(dirname "$0")" && pwd)"
root="$("$here/sid.sh" "$@")"
tools="$(mktemp -d)"
trap 'rm -rf "$tools"' EXIT
for name in aiebu-asm aiebu-dump xclbinutil; do
    # The tools want a newer C library than this machine's may be: they run with their own loader.
    printf '#!/bin/sh\nexec "%s/usr/lib64/ld-linux-x86-64.so.2" --library-path "%s/usr/lib/x86_64-linux-gnu" "%s/usr/bin/%s" "$@"\n' \
        "$root" "$root" "$root" "$name" > "$tools/$name"
    chmod +x "$tools/$name"
done
cd "$here/../.."
# Of the whole workspace, as `cargo test --workspace` is: for one package by itself Cargo would compile the kernels anew.
UNDERTONE_AMD_TOOLS="$tools" cargo test --release --workspace --test amd_tools
