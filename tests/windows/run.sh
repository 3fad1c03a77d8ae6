#!/usr/bin/env bash
# Builds the command, the provider's library and its wheel for Windows, and runs them under Wine with Windows' ONNX Runtime.
#
#   tests/windows/run.sh [FOLDER]         (default: windows in Cargo's target directory)
#   tests/windows/run.sh check            cargo check of all of the workspace for Windows, its tests too; runs nothing
#   tests/windows/run.sh test ARGUMENTS   cargo test with these, under Wine: test --workspace --lib
#
# Takes Debian with mingw and Wine (see environment.sh), cargo, and Python 3 with pip; a quarter of an hour on two cores, most of it
# cargo's. What runs is Wine on Linux: no Windows and no NPU. Exit codes: 0 all well; 1 a step failed; 2 and 3 as environment.sh.
set -euo pipefail
cd "$(dirname "$0")/../.."
# shellcheck source=tests/windows/environment.sh
source tests/windows/environment.sh

fail() { echo "tests/windows/run.sh: $1" >&2; exit 1; }

mode=run
case "${1:-}" in check | test) mode="$1"; shift ;; esac
folder="${CARGO_TARGET_DIR:-$PWD/target}/windows"
if [[ $mode == run && -n "${1:-}" ]]; then folder="$1"; fi
mkdir -p "$folder"
folder="$(cd "$folder" && pwd)"
unset ORT_DYLIB_PATH UNDERTONE_EP_LIBRARY UNDERTONE_MODEL UNDERTONE_PACKED
windows_cargo "$folder"
case $mode in
    check) exec cargo check --release --workspace --all-targets ;;
    test) windows_wine "$folder"; exec cargo test --release "$@" ;;
esac
windows_wine "$folder"
cargo build --release

work="$folder/work"
rm -rf "$work" "$WINEPREFIX"/drive_c/users/*/AppData/Local/undertone
mkdir -p "$work"

# What the command prints; what it says on standard error is kept in a file.
undertone() { wine "$command" "$@" 2> "$work/stderr" || { cat "$work/stderr" >&2; return 1; }; }
# The words that the text has to hold.
holds() {
    local text="$1" word
    shift
    for word; do [[ "$text" == *"$word"* ]] || fail "no '$word' in: ${text:0:2000}"; done
}

echo "== $(wine --version): the command"
command="$release/undertone.exe"
said="$(undertone devices < /dev/null)"
echo "$said"
holds "$said" "host   yes" "npu    no   no AMD NPU on the PCI bus" "no xrt_coreutil.dll in C:" "System32" "ONNX Runtime        1." "onnxruntime.dll"
model=models/reference
expected="The green lion is above the red table."
for device in cpu host sim; do
    text="$(undertone transcribe --model $model --device $device tests/audio/000-en.mp3 < /dev/null)"
    grep "of audio in" "$work/stderr"
    [[ "$text" == "$expected" ]] || fail "$device: '$text'"
done
[[ -n "$(find "$WINEPREFIX/drive_c/users" -path '*/AppData/Local/undertone/packed/*/packed.xdna')" ]] || fail "nothing was packed"
# The packed model, a pipe, a file's name beyond ASCII, results in files.
[[ "$(undertone transcribe --model $model - < tests/audio/000-en.ogg)" == "$expected" ]] || fail "standard input"
cp tests/audio/000-en.m4a "$work/grüner Löwe.m4a"
undertone transcribe --model $model -f srt -o "$work/out" "$work/grüner Löwe.m4a" < /dev/null
holds "$(< "$work/out/grüner Löwe.srt")" "00:00:00,000 -->" "$expected"
# Windows' shells leave patterns to the program.
undertone transcribe --model $model -f txt -o "$work/out" 'tests/audio/000-en.m?a' < /dev/null
[[ "$(< "$work/out/000-en.txt")" == "$expected" ]] || fail "a pattern"
holds "$(undertone partition $model < /dev/null)" "encoder_model" "left to ONNX Runtime's CPU provider: 0 nodes"
holds "$(undertone npu plan $model --target npu4 < /dev/null)" "npu4"
if undertone transcribe --model $model --device npu tests/audio/000-en.mp3 < /dev/null > /dev/null 2>&1; then fail "an NPU was used"; fi
holds "$(< "$work/stderr")" "error: " "xrt_coreutil.dll"

echo "== an NPU in the registry, and its driver's library"
device='HKLM\SYSTEM\CurrentControlSet\Enum\PCI\VEN_1022&DEV_17F0&SUBSYS_17F01022&REV_10\1'
class='{00000000-0000-0000-0000-000000000001}\0000'
driver="$WINEPREFIX/drive_c/windows/system32/AMD"
registry() { wine reg "$@" /f > /dev/null 2>&1 < /dev/null || fail "reg $*"; }
registry add "$device" /v Driver /d "$class"
registry add 'HKLM\SYSTEM\CurrentControlSet\Control\Class\'"$class" /v DriverVersion /d 32.0.203.329
mkdir -p "$driver"
x86_64-w64-mingw32-gcc -shared -o "$driver/xrt_coreutil.dll" -x c - <<< 'int nothing;'
said="$(undertone devices < /dev/null)"
code=0
undertone transcribe --model $model --device npu tests/audio/000-en.mp3 < /dev/null > /dev/null 2>&1 || code=$?
registry delete "${device%\\1}"
rm -r "$driver"
echo "$said" | grep -E '^(npu|NPU) '
holds "$said" "npu4 at PCI\\VEN_1022&DEV_17F0" "NPU driver          32.0.203.329"
[[ $code == 1 ]] || fail "an NPU was used, or a crash: $code"
holds "$(< "$work/stderr")" "undertone_xrt.dll did not load" "AMD's NPU driver"

echo "== installed, from elsewhere"
command="$work/installed/bin/undertone.exe"
mkdir -p "$work"/installed/{bin,lib,share/undertone/models}
cp "$release/undertone.exe" "$work/installed/bin"
cp "$release/onnxruntime_ep_xdna.dll" "$(dirname "$release")"/onnxruntime-*/onnxruntime.dll "$work/installed/lib"
cp -r $model "$work/installed/share/undertone/models"
recording="$PWD/tests/audio/000-en.aac"
said="$(cd "$work" && undertone devices < /dev/null)"
holds "$said" 'installed\lib\onnxruntime.dll' 'installed\lib\onnxruntime_ep_xdna.dll'
[[ "$(cd "$work" && undertone transcribe "$recording" < /dev/null)" == "$expected" ]] || fail "installed"

echo "== the wheel, from Windows' Python"
ONNXRUNTIME_EP_XDNA_PLATFORM=win_amd64 ONNXRUNTIME_EP_XDNA_LIBRARY="$(cd "$release" && pwd)/onnxruntime_ep_xdna.dll" \
    python3 -m pip wheel --quiet --disable-pip-version-check --no-deps --wheel-dir "$work/dist" ./ep/python
tests/windows/python.sh "$folder" "$work/dist"/onnxruntime_ep_xdna-*-py3-none-win_amd64.whl
echo "tests/windows/run.sh: all well"
