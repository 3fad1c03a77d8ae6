#!/usr/bin/env bash
# Compiles array designs into bundles: folders with a container that XRT loads and a `bundle.json`.
#
#   kernels/aie/build.sh --target npu1|npu4 [--operator NAME] [--tile M,K,N] --out FOLDER [--work FOLDER]
#
# Operators: linear_int8, linear_bf16, attention_bf16, attention_int8; without --operator all four, with the tiles below.
# --work keeps what lies between (objects, MLIR, aiecc's files); otherwise it is deleted.
#
# Needs mlir-aie 1.4.2 and Peano (llvm-aie), which their projects publish as wheels beside their GitHub releases, and xclbinutil
# (XRT; Debian: libxrt-utils). No NPU and no driver. Exit codes: 0 done; 1 something failed; 2 tools are missing or options are
# wrong: all of that is said at once.
#
# This was written where none of these compilers can be had: it has never made a bundle yet. docs/npu-streams.md says what was checked.
set -euo pipefail

readonly mlir_aie_version=1.4.2
declare -rA tiles=([linear_int8]=64,64,64 [linear_bf16]=32,64,64 [attention_bf16]=32,64,64 [attention_int8]=32,64,64)
here="$(cd "$(dirname "$0")" && pwd)"

fail() { echo "kernels/aie/build.sh: $2" >&2; exit "$1"; }

target="" operators=() tile="" out="" work=""
while [[ $# -gt 0 ]]; do
    case "$1" in
        -h | --help) sed -n '2,/^set /{/^#/s/^# \{0,1\}//p}' "$0"; exit 0 ;;
    esac
    [[ $# -ge 2 ]] || fail 2 "$1 wants a value (see --help)"
    case "$1" in
        --target) target="$2" ;;
        --operator) operators+=("$2") ;;
        --tile) tile="$2" ;;
        --out) out="$2" ;;
        --work) work="$2" ;;
        *) fail 2 "unknown option $1 (see --help)" ;;
    esac
    shift 2
done
case "$target" in
    npu1) npu=1 architecture=aie2 ;;
    npu4) npu=4 architecture=aie2p ;;
    *) fail 2 "--target is '${target}': use npu1 (Phoenix, Hawk Point) or npu4 (Strix, Krackan)" ;;
esac
[[ -n "$out" ]] || fail 2 "--out is missing: the folder where bundles go"
[[ ${#operators[@]} -gt 0 ]] || operators=(linear_int8 linear_bf16 attention_bf16 attention_int8)
[[ -z "$tile" || ${#operators[@]} -eq 1 ]] || fail 2 "--tile goes with one --operator"
for operator in "${operators[@]}"; do
    [[ -n "${tiles[$operator]:-}" ]] || fail 2 "unknown operator $operator: use ${!tiles[*]}"
done

# All that is missing, in one message.
missing=()
python="$(command -v python3 || true)"
if [[ -z "$python" ]]; then
    missing+=("python3 (3.10 or later)")
else
    for operator in "${operators[@]}"; do
        "$python" -B "$here/designs/describe.py" --target "$target" --operator "$operator" \
            --tile "${tile:-${tiles[$operator]}}" >/dev/null || fail 2 "that design can't be (its reason is above)"
    done
    found="$("$python" -c 'import importlib.metadata as m; print(m.version("mlir_aie"))' 2>/dev/null || true)"
    if [[ "$found" != "$mlir_aie_version" ]]; then
        missing+=("mlir-aie $mlir_aie_version (found: ${found:-none}): $python -m pip install mlir_aie==$mlir_aie_version -f https://github.com/Xilinx/mlir-aie/releases/expanded_assets/v$mlir_aie_version")
    fi
    packages="$("$python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')"
fi
aiecc="$(command -v aiecc || command -v aiecc.py || true)"
[[ -n "$aiecc" ]] || missing+=("aiecc (comes with mlir-aie; its bin folder has to be in PATH)")
peano="${PEANO_INSTALL_DIR:-${packages:-}/llvm-aie}"
if [[ ! -x "$peano/bin/clang++" ]]; then
    missing+=("Peano in $peano (set PEANO_INSTALL_DIR): the llvm-aie that utils/peano-requirements.txt of mlir-aie v$mlir_aie_version names, from https://github.com/Xilinx/llvm-aie/releases/expanded_assets/nightly")
fi
headers="${MLIR_AIE_INCLUDE_DIR:-${packages:-}/mlir_aie/include}"
[[ -f "$headers/aie_api/aie.hpp" ]] || missing+=("the AIE API's headers in $headers (set MLIR_AIE_INCLUDE_DIR; they come with mlir-aie)")
xclbinutil="$(command -v xclbinutil || true)"
[[ -n "$xclbinutil" ]] || missing+=("xclbinutil (XRT; Debian and Ubuntu: apt install libxrt-utils)")
if [[ ${#missing[@]} -gt 0 ]]; then
    printf 'kernels/aie/build.sh: nothing was built, these are missing:\n' >&2
    printf '  - %s\n' "${missing[@]}" >&2
    exit 2
fi

if [[ -z "$work" ]]; then
    work="$(mktemp -d)"
    trap 'rm -rf "$work"' EXIT
fi
mkdir -p "$out" "$work"
out="$(cd "$out" && pwd)" work="$(cd "$work" && pwd)"

for operator in "${operators[@]}"; do
    sides="${tile:-${tiles[$operator]}}"
    IFS=, read -r m k n <<< "$sides"
    design=(--target "$target" --operator "$operator" --tile "$sides")
    folder="$work/$target-$operator-${m}x${k}x$n"
    mkdir -p "$folder"
    echo "build.sh: $operator for $target, tiles ${m}×${k}×$n" >&2
    "$peano/bin/clang++" --target="$architecture-none-unknown-elf" -std=c++20 -O2 -DNDEBUG -fno-exceptions -fno-rtti -fno-strict-aliasing \
        -DUNDERTONE_NPU="$npu" -DTILE_M="$m" -DTILE_K="$k" -DTILE_N="$n" \
        -I"$headers" -I"$here/src" -c "$here/src/$operator.cc" -o "$folder/$operator.o"
    "$python" -B "$here/designs/dataflow.py" "${design[@]}" --object "$operator.o" > "$folder/array.mlir"
    # In its own folder: aiecc looks for the object there and leaves the cores' programs beside it.
    (cd "$folder" && "$aiecc" --no-xchesscc --no-xbridge --no-compile-host --peano="$peano" \
        --alloc-scheme=basic-sequential --tmpdir="$folder/aiecc" --aie-generate-pdi --pdi-name=design.pdi array.mlir >&2)
    # aiecc leaves the array after each of its steps; one where the streams have their shim channels will do.
    placed="$(grep -rl --include='*input_with_addresses.mlir' 'aie\.shim_dma_allocation' "$folder/aiecc" | sort | head -n 1 || true)"
    [[ -n "$placed" ]] || fail 1 "aiecc left no *input_with_addresses.mlir with shim allocations in $folder/aiecc: the shim channels can't be known"
    "$python" -B "$here/designs/package.py" "${design[@]}" --pdi "$folder/design.pdi" --mlir "$placed" \
        --xclbinutil "$xclbinutil" --out "$out" --tool "mlir_aie=$mlir_aie_version" \
        --tool "peano=$("$peano/bin/clang++" --version | head -n 1)" \
        --tool "xclbinutil=$("$xclbinutil" --version 2>&1 | sed -n 's/.*Build Version: *//p' | head -n 1)"
done
