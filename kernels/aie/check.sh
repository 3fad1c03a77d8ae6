#!/usr/bin/env bash
# Compiles the entries as the array designs do, but with clang for this machine and against host/: for both NPUs and the tiles that build.sh has.
# No warning, no double, no division, no heap, no exception, no initialiser, no recursion; entries with constant tiles compute what the templates with tiles as
# values do. Needs clang++ and python3.
#
#   kernels/aie/check.sh
set -euo pipefail

here="$(cd "$(dirname "$0")" && pwd)"
clang="${CLANGXX:-clang++}"
if ! command -v "$clang" > /dev/null; then
    echo "kernels/aie/check.sh: there is no $clang: install it (Debian: apt-get install clang) or set CLANGXX" >&2
    exit 2
fi
work="$(mktemp -d)"
trap 'rm -rf "$work"' EXIT

flags=(-std=c++20 -O2 -ffp-contract=off -fno-exceptions -fno-rtti -fno-strict-aliasing -Wall -Wextra -Wdouble-promotion -Wconversion
    -Wno-sign-conversion -Wvla -Walloca -Werror -I"$here/host" -I"$here/src")
# shellcheck disable=SC2034,SC2054 # used by name below; the commas are within the elements
declare -A tiles=([int8]=48,64,64 [bf16]=48,32,64)
# Tiles that leave blocks of registers over, and rows of scores that are no whole vectors of 32.
# shellcheck disable=SC2034,SC2054
declare -A odd=([int8]=24,48,64 [bf16]=12,24,64)
# The shipped ones again.
# shellcheck disable=SC2034,SC2054
declare -A split_products=([int8]=48,64,64 [bf16]=48,32,64)

entry() { # NPU SOURCE [TILE]
    local out="$work/$1-$2" defines=(-DUNDERTONE_NPU="$1" -DUNDERTONE_SPLIT_PRODUCTS="$split") m k n
    if [[ $# -gt 2 ]]; then
        IFS=, read -r m k n <<< "$3"
        defines+=(-DTILE_M="$m" -DTILE_K="$k" -DTILE_N="$n")
    fi
    "$clang" "${flags[@]}" "${defines[@]}" -fstack-usage -c "$here/src/$2.cc" -o "$out.o"
    "$clang" "${flags[@]}" "${defines[@]}" -S -emit-llvm "$here/src/$2.cc" -o "$out.ll"
    echo "  npu$1 $2 ${3:-}, split products: $split"
    python3 -B "$here/check/calls.py" "$out.ll" "$out.su"
}

# Both ways of making fp32 products (src/floats.h).
for npu in 1 4; do
    split=0
    # The questions that the ladder asks a core.
    entry "$npu" trial
    for set in tiles odd split_products; do
        [[ "$set" != split_products ]] || split=1
        declare -n chosen="$set"
        tile_defines=()
        objects=()
        for kernels in "${!chosen[@]}"; do
            entry "$npu" "$kernels" "${chosen[$kernels]}"
            tile_defines+=("-D${kernels^^}=${chosen[$kernels]}")
            objects+=("$work/$npu-$kernels.o")
        done
        "$clang" "${flags[@]}" -Wno-conversion -DUNDERTONE_NPU="$npu" -DUNDERTONE_SPLIT_PRODUCTS="$split" "${tile_defines[@]}" "$here/check/entries.cc" "${objects[@]}" -lstdc++ \
            -o "$work/entries"
        "$work/entries"
    done
done
echo "kernels/aie/check.sh: all is well"
