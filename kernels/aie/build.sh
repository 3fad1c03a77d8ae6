#!/usr/bin/env bash
# Compiles array designs into bundles: folders with a container that XRT loads and a `bundle.json`.
#
#   kernels/aie/build.sh --target npu1|npu4 [--kernels int8|bf16] [--tile M,K,N] --out FOLDER [--work FOLDER]
#   kernels/aie/build.sh --target npu1|npu4 --ladder --out FOLDER [--work FOLDER]
#
# Without --kernels both, with the tiles below. --ladder makes the arrays that `undertone npu bring-up` begins with: one that passes bytes on, one
# core that answers questions, and both kernels on one core and on one column. --work keeps what lies between (objects, MLIR, aiecc's files); otherwise it is
# deleted. What CXXFLAGS says is given to Peano's clang++ last (-Os, should a program be too large for a core).
#
# Needs mlir-aie and Peano (llvm-aie) at the versions of requirements.txt, which setup.sh installs, and xclbinutil (XRT; Debian
# sid: libxrt-utils; elsewhere xclbinutil.sh). No NPU and no driver. Exit codes: 0 done; 1 something failed; 2 tools are missing or options are
# wrong: all of that is said at once.
#
# This was written where none of these compilers can be had: it has never made a bundle yet. docs/npu-streams.md says what was checked.
set -euo pipefail

# shellcheck disable=SC2054 # the commas are within the elements
declare -rA tiles=([int8]=48,64,64 [bf16]=48,32,64)
# Bytes of a core's program memory.
readonly program_memory=16384
here="$(cd "$(dirname "$0")" && pwd)"
# pinned PACKAGE: its version in requirements.txt, or in the file that UNDERTONE_PINS names.
pinned() { sed -n "s/^$1==\([^ ]*\).*/\1/p" "${UNDERTONE_PINS:-$here/requirements.txt}"; }
mlir_aie_version="$(pinned mlir_aie)"
peano_version="$(pinned llvm-aie)"
readonly mlir_aie_version peano_version

fail() { echo "kernels/aie/build.sh: $2" >&2; exit "$1"; }
absolute() { [[ "$1" == /* ]] && echo "$1" || echo "$PWD/$1"; }
# Compilers are started in the arrays' folders, where PATH="tools/bin:$PATH" would lead elsewhere.
path=""
while IFS= read -r -d : place; do path+=":$(absolute "$place")"; done <<< "$PATH:"
PATH="${path#:}"

target="" chosen=() tile="" out="" work="" ladder=""
while [[ $# -gt 0 ]]; do
    case "$1" in
        -h | --help) sed -n '2,/^set /{/^#/s/^# \{0,1\}//p}' "$0"; exit 0 ;;
    esac
    if [[ "$1" == --ladder ]]; then
        ladder=yes
        shift
        continue
    fi
    [[ $# -ge 2 ]] || fail 2 "$1 wants a value (see --help)"
    case "$1" in
        --target) target="$2" ;;
        --kernels) chosen+=("$2") ;;
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
[[ -z "$ladder" || (${#chosen[@]} -eq 0 && -z "$tile") ]] || fail 2 "--ladder goes alone: it makes arrays of its own"
[[ ${#chosen[@]} -gt 0 ]] || chosen=(int8 bf16)
[[ -z "$tile" || ${#chosen[@]} -eq 1 ]] || fail 2 "--tile goes with one --kernels"
for kernels in "${chosen[@]}"; do
    [[ -n "${tiles[$kernels]:-}" ]] || fail 2 "unknown kernels $kernels: use int8 or bf16"
done

# All that is missing, in one message.
missing=()
python="$(command -v python3 || true)"
if [[ -z "$python" ]]; then
    missing+=("python3 (3.10 or later)")
else
    for kernels in "${chosen[@]}"; do
        "$python" -B "$here/designs/describe.py" --target "$target" --kernels "$kernels" \
            --tile "${tile:-${tiles[$kernels]}}" >/dev/null || fail 2 "that design can't be (its reason is above)"
    done
    found="$("$python" -c 'import importlib.metadata as m; print(m.version("mlir_aie"))' 2>/dev/null || true)"
    if [[ "$found" != "$mlir_aie_version" ]]; then
        missing+=("mlir-aie $mlir_aie_version (found: ${found:-none}): kernels/aie/setup.sh FOLDER")
    fi
    if ! "$python" -c 'import aie.extras.context, ml_dtypes' 2>/dev/null; then
        missing+=("the Python packages aie.extras and ml_dtypes, which mlir-aie's bindings use: kernels/aie/setup.sh FOLDER")
    fi
    packages="$("$python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')"
fi
aiecc="$(command -v aiecc || command -v aiecc.py || true)"
[[ -n "$aiecc" ]] || missing+=("aiecc (comes with mlir-aie; its bin folder has to be in PATH)")
peano="$(absolute "${PEANO_INSTALL_DIR:-${packages:-}/llvm-aie}")"
if [[ ! -x "$peano/bin/clang++" ]]; then
    missing+=("Peano in $peano (set PEANO_INSTALL_DIR): llvm-aie $peano_version: kernels/aie/setup.sh FOLDER")
else
    # The wheel's version, where this is the wheel's compiler; or the commit that the compiler names. Some earlier ones do not link for npu1.
    said="$("$peano/bin/clang++" --version | head -n 1)"
    found=""
    if [[ "$peano" == "${packages:-}/llvm-aie" ]]; then
        found="$("$python" -c 'import importlib.metadata as m; print(m.version("llvm-aie"))' 2>/dev/null || true)"
    fi
    if [[ "$found" != "$peano_version" && "$said" != *"${peano_version#*+}"* ]]; then
        missing+=("Peano $peano_version (found: ${found:+$found, }$said): kernels/aie/setup.sh FOLDER")
    fi
fi
headers="$(absolute "${MLIR_AIE_INCLUDE_DIR:-${packages:-}/mlir_aie/include}")"
[[ -f "$headers/aie_api/aie.hpp" ]] || missing+=("the AIE API's headers in $headers (set MLIR_AIE_INCLUDE_DIR; they come with mlir-aie)")
xclbinutil="$(command -v xclbinutil || true)"
[[ -n "$xclbinutil" ]] || missing+=("xclbinutil (XRT; Debian's sid has 2.25, package libxrt-utils; \
Debian 12's is of 2022; kernels/aie/xclbinutil.sh FOLDER puts sid's into a folder, which goes into PATH)")
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

# make NAME SOURCE DESIGN…: one array, whose cores' code is a source file (or none, if that is empty), as describe.py's options have it.
make() {
    local name="$1" source="$2" folder="$work/$1"
    shift 2
    local design=(--target "$target" "$@") options=(--get-core-elfs) largest=0 size
    mkdir -p "$folder"
    echo "build.sh: $name" >&2
    if [[ -n "$source" ]]; then
        # Sections of their own: what no core calls can be left out by the linker, whose script (mlir-aie's) takes .text*, .data* and .rodata*.
        local compile=("$peano/bin/clang++" --target="$architecture-none-unknown-elf" -std=c++20 -O2 -DNDEBUG -fno-exceptions -fno-rtti
            -fno-strict-aliasing -ffunction-sections -fdata-sections -DUNDERTONE_NPU="$npu" "${defines[@]}" -I"$headers" -I"$here/src")
        # shellcheck disable=SC2206 # CXXFLAGS are words
        compile+=(${CXXFLAGS:-} "$here/src/$source.cc")
        "${compile[@]}" -c -o "$folder/$source.o"
        # How deep the stack goes, for report.py: of interest, and not needed.
        (cd "$folder" && "${compile[@]}" -c -fstack-usage -o stack.o && "${compile[@]}" -S -emit-llvm -o "$source.ll" &&
            mv stack.su "$source.su") 2> /dev/null || true
        rm -f "$folder/stack.o"
    else
        # Without a core's code: the array has a runtime sequence, of which aiecc makes an instruction stream.
        options=(--get-npu-insts --npu-insts-name=insts.bin)
    fi
    "$python" -B "$here/designs/dataflow.py" "${design[@]}" --object "$source.o" > "$folder/array.mlir"
    # In its own folder: aiecc looks for the object there and leaves what it was asked for beside it.
    (cd "$folder" && "$aiecc" --peano="$peano" --alloc-scheme=basic-sequential --tmpdir="$folder/aiecc" --output-dir="$folder" \
        --get-pdi --pdi-name=design.pdi --get-input-with-addresses "${options[@]}" array.mlir >&2)
    # The array after aiecc gave its streams their shim channels.
    local placed="$folder/input_with_addresses.mlir"
    grep -q 'aie\.shim_dma_allocation' "$placed" 2>/dev/null ||
        fail 1 "aiecc left no $placed with shim allocations: the shim channels can't be known"
    if [[ -n "$source" ]]; then
        while IFS= read -r core; do
            size="$("$peano/bin/llvm-size" --format=sysv "$core" | awk '$1 == ".text" { print $2 }')"
            ((${size:-0} <= largest)) || largest="$size"
        done < <(find "$folder" -name '*.elf')
        ((largest > 0)) || fail 1 "aiecc left no cores' programs in $folder: their size can't be known"
        echo "build.sh: the largest core's program takes $largest of $program_memory bytes" >&2
        ((largest <= program_memory)) || fail 1 "that is too large: try CXXFLAGS=-Os"
        options=()
    else
        [[ -s "$folder/insts.bin" ]] || fail 1 "aiecc left no $folder/insts.bin: the stream of its own can't be known"
        options=(--instructions "$folder/insts.bin")
    fi
    "$python" -B "$here/designs/package.py" "${design[@]}" --pdi "$folder/design.pdi" --mlir "$placed" "${options[@]}" \
        --xclbinutil "$xclbinutil" --out "$out" --tool "mlir_aie=$mlir_aie_version" \
        --tool "peano=$peano_version, $said" \
        --tool "xclbinutil=$("$xclbinutil" --version 2>&1 | sed -n 's/.*Build Version: *//p' | head -n 1)"
}

# products [CORES]: both kernels, or the chosen one, on all cores or on the first rows and columns.
products() {
    local cores="${1:-}" kernels sides m k n
    for kernels in "${chosen[@]}"; do
        sides="${tile:-${tiles[$kernels]}}"
        IFS=, read -r m k n <<< "$sides"
        defines=(-DTILE_M="$m" -DTILE_K="$k" -DTILE_N="$n")
        make "$target-$kernels-${m}x${k}x$n${cores:+-${cores/,/x}}" "$kernels" --kernels "$kernels" --tile "$sides" ${cores:+--cores "$cores"}
    done
}

if [[ -n "$ladder" ]]; then
    defines=()
    make "$target-pass_through" "" --trial pass_through
    make "$target-core" trial --trial core
    products 1,1
    products 4,1
else
    products
fi
# So that `undertone npu fetch` takes the folder, whatever else was built into it before.
"$python" -B "$here/manifest.py" "$out" >&2
