#!/usr/bin/env bash
# Builds the XRT shim (`xrt-sys/shim`, libundertone_xrt.so) against the XRT of sid.sh's folder, and prints the library's path.
#
#   tests/xrt/shim.sh ROOT        (what sid.sh printed)
#
# bindgen needs libclang: that of LIBCLANG_PATH (15 or newer), else the one of PyPI, unpacked beside the build outputs.
set -euo pipefail

# The release that PyPI's libclang is taken in.
readonly libclang=18.1.1

here="$(cd "$(dirname "$0")/../.." && pwd)"
root="${1:?usage: tests/xrt/shim.sh ROOT (tests/xrt/sid.sh prints it)}"
target="${CARGO_TARGET_DIR:-$here/target}"
mkdir -p "$target"
target="$(cd "$target" && pwd)"

if [[ -z "${LIBCLANG_PATH:-}" ]]; then
    folder="$target/xrt-libclang-$libclang"
    if [[ ! -d "$folder" ]]; then
        python3 -m pip install --quiet --disable-pip-version-check --root-user-action=ignore --no-deps \
            --target "$folder.new" "libclang==$libclang" >&2 || {
            echo "tests/xrt/shim.sh: no libclang: set LIBCLANG_PATH to the folder of one (pip's words are above)" >&2
            exit 1
        }
        mv "$folder.new" "$folder"
    fi
    export LIBCLANG_PATH="$folder/clang/native"
fi

XRT_INCLUDE_DIR="$root/usr/include" XRT_LIB_DIR="$root/usr/lib/x86_64-linux-gnu" CARGO_TARGET_DIR="$target/xrt-shim" \
    cargo build --quiet --release --manifest-path "$here/xrt-sys/shim/Cargo.toml" >&2
echo "$target/xrt-shim/release/libundertone_xrt.so"
