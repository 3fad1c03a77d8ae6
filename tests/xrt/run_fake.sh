#!/usr/bin/env bash
# Tests with the real XRT, its real NPU shim, and below them a pretended NPU (`fake/`): nothing here ran on hardware.
#
#   tests/xrt/run_fake.sh
#
# Needs what sid.sh and shim.sh need. Exit codes: 0 all well; 1 a test failed; others as sid.sh.
set -euo pipefail
here="$(cd "$(dirname "$0")" && pwd)"
repository="$(cd "$here/../.." && pwd)"
cd "$repository"
target="${CARGO_TARGET_DIR:-$repository/target}"
root="$("$here/sid.sh")"
libraries="$root/usr/lib/x86_64-linux-gnu"
work="$(mktemp -d)"
trap 'rm -rf "$work"' EXIT

export CARGO_TARGET_DIR="$target"
# The command packs nothing into the user's cache, and takes nothing from there.
export UNDERTONE_PACKED=off
# Our own code's tests: the files of `through/tests`, each a program.
programs="$("$here/build.sh")"
# Under another name of its folder: a build without the feature puts its own in this one's place.
mkdir "$work/lib"
cp "$target/release/libonnxruntime_ep_xdna.so" "$work/lib/"
export UNDERTONE_EP_LIBRARY="$work/lib/libonnxruntime_ep_xdna.so"
shim="$("$here/shim.sh" "$root")"
c++ -std=c++17 -O1 -Wall -isystem "$root/usr/include" -o "$work/add" "$here/fake/check/add.cpp" \
    -L"$libraries" -lxrt_coreutil -Wl,--allow-shlib-undefined

# fake TARGET FOLDER PROGRAM ARGUMENTS…: a program under sid's loader with a pretended NPU.
fake() {
    local silicon=$1 folder=$2
    shift 2
    mkdir -p "$folder"
    env UNDERTONE_FAKE_NPU="$folder" UNDERTONE_FAKE_NPU_TARGET="$silicon" timeout 300 \
        "$root/usr/lib64/ld-linux-x86-64.so.2" --library-path "$libraries" \
        --preload "$target/release/libundertone_fake_npu.so" "$@"
}

# counted FOLDER NAME: one of the device's counters.
counted() { sed "s/.*\"$2\":\([0-9]*\).*/\1/" "$1/counters"; }

# clean FOLDER: after a program ended, nothing of the device is open.
clean() {
    for name in clients contexts buffers buffer_bytes mappings mapped_bytes pending; do
        grep -q "\"$name\":0[,}]" "$1/counters" || {
            echo "run_fake.sh: $name is left open:" >&2
            cat "$1/counters" >&2
            exit 1
        }
    done
}

printf 'undertone stand-in for a PDI\nadd\n' >"$work/add.pdi"
columns=([1]=4 [4]=8)
for generation in 1 4; do
    container="$work/add$generation.xclbin"
    "$here/fake/container.sh" "$root" "${columns[$generation]}" "$work/add.pdi" "$container"
    "$here/fake/container.sh" "$root" "${columns[$generation]}" "$work/add.pdi" "$work/three$generation.xclbin" 3
    for last in ordinary timeout lost; do
        folder="$work/add-npu$generation-$last"
        echo "XRT's own API, npu$generation, $last:"
        # What XRT itself says on its error stream about provoked faults is kept for the case that a step fails.
        if ! fake "npu$generation" "$folder" "$work/add" "$container" "$folder" "$last" >"$folder.out" 2>"$folder.err"; then
            cat "$folder.out" "$folder.err" "$folder/log" >&2
            exit 1
        fi
        grep -c '^ok' "$folder.out" | sed 's/$/ steps are well/'
        clean "$folder"
    done
done

# They run one after another, for there is one device.
export UNDERTONE_XRT_LIBRARY="$shim"
# through TARGET INCOHERENT: all of them; 1 for a device that sees only what was synced.
through() {
    local silicon=$1 program folder
    for program in $programs; do
        folder="$work/$(basename "$program")-$silicon-$2"
        echo "$(basename "${program%-*}"), $silicon, $([[ $2 = 0 ]] || echo in)coherent memory"
        UNDERTONE_ADD_XCLBIN="$work/add${silicon#npu}.xclbin" UNDERTONE_THREE_XCLBIN="$work/three${silicon#npu}.xclbin" \
            UNDERTONE_TEST_BUNDLES="$work/bundles-$silicon" \
            UNDERTONE_FAKE_NPU_INCOHERENT=$2 \
            fake "$silicon" "$folder" "$program" --test-threads=1 >"$folder.out" 2>"$folder.err" ||
            { cat "$folder.out" "$folder.err" "$folder/log" >&2; exit 1; }
        grep '^test result' "$folder.out"
        [[ $program == */unfinished-* ]] || clean "$folder"
    done
}
for silicon in npu1 npu4; do
    "$target/release/bundles" "$silicon" "$here/fake/container.sh" "$root" "$work/bundles-$silicon" >/dev/null
    through "$silicon" 0
    # Layers and attention of odd shapes and of Whisper's, through the device that the EP uses.
    folder="$work/shapes-$silicon"
    if ! fake "$silicon" "$folder" "$target/release/examples/npu" "$work/bundles-$silicon" >"$folder.out" 2>"$folder.err"; then
        cat "$folder.out" "$folder.err" "$folder/log" >&2
        exit 1
    fi
    if grep -E ' apart' "$folder.out" >&2; then
        echo "run_fake.sh: these differ from the simulator, which is what executed them" >&2
        exit 1
    fi
    echo "$silicon: $(grep -c ': equal$' "$folder.out") shapes equal to the simulator's, $(grep -c 'by the host$' "$folder.out") left to the host"
    clean "$folder"
done
through npu1 1
# Whisper, whole: the reference model through ONNX Runtime, the EP, its NPU device, the real XRT and its shim to the pretended NPU. The
# words have to be those of the EP's simulated device, which needs none of that.
# Bundles that were fetched are found without an option.
export UNDERTONE_BUNDLES="$work/fetched"
fetch() { fake npu4 "$work/fetch-$1" "$target/release/undertone" npu fetch "$work/bundles-$1"; }
for silicon in npu1 npu4; do
    python3 -B kernels/aie/manifest.py "$work/bundles-$silicon" >/dev/null
    fetch "$silicon" >"$work/fetch.out" 2>"$work/fetch.err" || { cat "$work/fetch.err" >&2; exit 1; }
    # The machine seems to have npu4.
    warned="$(grep -c "^warning: this machine's NPU is npu4" "$work/fetch.err" || true)"
    [[ "$warned" = "$([[ $silicon = npu1 ]] && echo 1 || echo 0)" && "$(tail -n 1 "$work/fetch.out")" = *complete ]] ||
        { echo "run_fake.sh: fetching the bundles of $silicon said:" >&2; cat "$work/fetch.out" "$work/fetch.err" >&2; exit 1; }
done
transcribe=("$target/release/undertone" transcribe --model models/reference --language en --output-format txt)
for silicon in npu1 npu4; do
    for precision in int8 bf16; do
        # Commands in lists, and each by itself.
        [[ $precision == int8 ]] && commands=lists || commands=single
        folder="$work/whisper-$silicon-$precision"
        words="$folder.words"
        mkdir "$words"
        "${transcribe[@]}" --device sim --target "$silicon" \
            --precision "$precision" tests/audio/000-en.mp3 >"$words/sim" 2>"$words/sim.err" ||
            { cat "$words/sim.err" >&2; exit 1; }
        fake "$silicon" "$folder" "${transcribe[@]}" --device npu \
            --precision "$precision" --npu-commands "$commands" tests/audio/000-en.mp3 >"$words/npu" 2>"$words/npu.err" ||
            { cat "$words/npu.err" "$folder/log" >&2; exit 1; }
        [[ -s "$words/npu" ]] && diff "$words/sim" "$words/npu" >&2 ||
            { echo "run_fake.sh: $silicon, $precision: these are other words than the simulator's, or none" >&2; exit 1; }
        clean "$folder"
        executed="$(counted "$folder" executed)"
        submitted="$(counted "$folder" submissions)"
        [[ $commands == single ]] && single=1 || single=0
        ((executed > 0 && (submitted == executed) == single)) && [[ ! -s "$folder/log" ]] ||
            { echo "run_fake.sh: $commands: $executed commands in $submitted submissions" >&2; cat "$folder/log" >&2; exit 1; }
        echo "Whisper, $silicon, $precision: the simulator's words, with $executed commands executed in $submitted submissions"
    done
done
# The command with each fault, and the real graph of whisper-tiny, whose weights are made with onnx.
onnx="$target/xrt-onnx-1.23.2"
if [[ ! -d "$onnx" ]]; then
    python3 -m pip install --quiet --disable-pip-version-check --root-user-action=ignore --only-binary=:all: --target "$onnx.new" \
        onnx==1.23.2 numpy
    mv "$onnx.new" "$onnx"
fi
above=("$work/bundles-npu4" "$root/usr/lib64/ld-linux-x86-64.so.2" --library-path "$libraries"
    --preload "$target/release/libundertone_fake_npu.so" "$target/release/undertone")
python3 -B "$here/faults.py" npu4 "$work/faults" "${above[@]}"
python3 -B "$here/bring_up.py" npu4 "$work/bring-up" "${above[@]}"
PYTHONPATH="$onnx" python3 -B "$here/tiny.py" npu4 "$work/tiny" "${above[@]}"
echo "run_fake.sh: all well"
