#!/usr/bin/env bash
# Tests with the real XRT on a machine without an NPU: the shim links and loads, and every way to ask for the NPU ends in an error that
# says what is missing and what to do. Nothing here runs on hardware.
#
#   tests/xrt/run.sh
#
# Needs what sid.sh and shim.sh need. Exit codes: 0 all well; 1 a test failed; others as sid.sh.
set -euo pipefail
here="$(cd "$(dirname "$0")" && pwd)"
repository="$(cd "$here/../.." && pwd)"
cd "$repository"
target="${CARGO_TARGET_DIR:-$repository/target}"
mkdir -p "$target"
target="$(cd "$target" && pwd)"
root="$("$here/sid.sh")"
libraries="$root/usr/lib/x86_64-linux-gnu"
work="$(mktemp -d)"
trap 'rm -rf "$work"' EXIT

# real PROGRAM ARGUMENTS…: a program under sid's loader, and so with the real XRT.
real() { timeout 300 "$root/usr/lib64/ld-linux-x86-64.so.2" --library-path "$libraries" "$@"; }

# says WHAT FILE WORD…: the file has all words.
says() {
    local what=$1 file=$2
    shift 2
    for word in "$@"; do
        grep -qF -- "$word" "$file" || {
            echo "run.sh: $what does not say \"$word\":" >&2
            cat "$file" >&2
            exit 1
        }
    done
    echo "ok: $what"
}

# fails FILE PROGRAM ARGUMENTS…: a program that has to fail, by itself and not by a signal or the clock; its words are in the file.
fails() {
    local file=$1 status=0
    shift
    "$@" >"$file" 2>&1 || status=$?
    if ((status == 0 || status >= 124)); then
        echo "run.sh: '$*' ended with $status:" >&2
        cat "$file" >&2
        exit 1
    fi
}

shim="$("$here/shim.sh" "$root")"

# The command line, the EP with the NPU device, and what looks through the binding alone.
"$here/build.sh" >/dev/null
# Under another name of its folder: a build without the feature puts its own in this one's place.
mkdir "$work/lib"
cp "$target/release/libonnxruntime_ep_xdna.so" "$work/lib/"

# 1. Without XRT: the same build starts, and says that XRT does not load.
fails "$work/out" "$target/release/examples/look"
says "the binding, where there is no shim" "$work/out" libundertone_xrt.so libxrt2 UNDERTONE_XRT_LIBRARY
UNDERTONE_XRT_LIBRARY="$shim" fails "$work/out" "$target/release/examples/look"
says "the shim, where there is no XRT" "$work/out" libxrt_coreutil.so.2

# 2. With XRT, found by the variable and beside the library that needs it: there is no device.
UNDERTONE_XRT_LIBRARY="$shim" fails "$work/out" real "$target/release/examples/look"
says "XRT itself" "$work/out" "built against XRT 2.25" "devices: 0" "No such device"

# Where the look at this machine finds an NPU, what follows would be another test.
if [[ -e /dev/accel/accel0 ]]; then
    echo "run.sh: this machine has /dev/accel/accel0: the tests of a machine without an NPU end here" >&2
    exit 1
fi
UNDERTONE_XRT_LIBRARY="$shim" fails "$work/out" real "$target/release/examples/npu" "$work"
says "the kernels" "$work/out" "No such device" "1022:1502" "/dev/accel/accel0" "amdxdna"

# 3. The command with the EP of this build; the shim lies beside the EP and needs no variable.
cp "$shim" "$work/lib/"
export UNDERTONE_EP_LIBRARY="$work/lib/libonnxruntime_ep_xdna.so" XDG_CACHE_HOME="$work/cache" UNDERTONE_MODEL=models/reference
undertone="$target/release/undertone"
speech=speech/short/000-en.flac
real "$undertone" devices >"$work/out" 2>&1
says "undertone devices" "$work/out" "npu    no" "1022:1502" "/dev/accel/accel0"
fails "$work/out" real "$undertone" transcribe --device npu "$speech"
says "undertone transcribe --device npu" "$work/out" "1022:1502" "/dev/accel/accel0" "amdxdna"
real "$undertone" transcribe --device auto -f json "$speech" >"$work/out"
says "undertone transcribe --device auto" "$work/out" "The green lion is above the red table."
python3 - "$work/out" <<'PYTHON'
import json
import sys

# Who executed what is counted by who executed it.
run = json.load(open(sys.argv[1]))["run"]
calls = run["kernel_calls"]
assert calls["host"] > 0 and calls.get("npu", 0) == 0 and calls.get("sim", 0) == 0, run
print("ok: auto left everything to the host:", calls)
PYTHON
echo "run.sh: all well"
