#!/usr/bin/env bash
# Watches the execution provider's memory and threads with LLVM's sanitizers.
#
#   tests/lifetime/run.sh [addresses] [threads] [fuzz]      all three where none is named
#
# addresses  AddressSanitizer and LeakSanitizer: the provider's unit tests, and its tests in a real ONNX Runtime, whose memory is watched
#            where the provider touches it
# threads    ThreadSanitizer: the provider's and the kernels' unit tests; ONNX Runtime itself is not built for it, and its locks would
#            not be seen
# fuzz       fuzz/run.sh, FUZZ_SECONDS (300) for each target
#
# Takes a nightly Rust with rust-src (`rustup toolchain install nightly --component rust-src`), a C++ compiler and Python 3 with pip; half
# an hour on two cores, most of it cargo's. Not in the gate: a workflow runs it each week. Exit code 0 only if nothing was found.
set -euo pipefail
cd "$(dirname "$0")/../.."
here="$PWD"
home="${CARGO_TARGET_DIR:-$here/target}/lifetime"
host=$(rustc +nightly -vV | sed -n 's/^host: //p')
if (($# == 0)); then set -- addresses threads fuzz; fi

# cargo with a sanitizer, in a target directory of its own; $1 is the sanitizer, the rest cargo's arguments.
sanitized() {
    local sanitizer="$1"
    shift
    RUSTFLAGS="-Zsanitizer=$sanitizer" RUSTDOCFLAGS="-Zsanitizer=$sanitizer" \
        cargo +nightly "$@" --release --target "$host" --target-dir "$home/$sanitizer"
}

addresses() {
    # What ONNX Runtime keeps until the process ends is its own.
    export LSAN_OPTIONS="suppressions=$here/tests/lifetime/leaks.txt:print_suppressions=0"
    export ASAN_OPTIONS="detect_leaks=1:strict_string_checks=1:detect_stack_use_after_return=1:alloc_dealloc_mismatch=0"
    sanitized address test --package onnxruntime-ep-xdna --lib --test entry_points --test fuzz_corpus
    sanitized address test --package undertone --test ep_sessions --test ep_concurrency
}

threads() {
    export TSAN_OPTIONS="halt_on_error=1:second_deadlock_stack=1"
    # The standard library's own locks have to be seen, too.
    sanitized thread test -Zbuild-std --package undertone-kernels --lib team
    sanitized thread test -Zbuild-std --package onnxruntime-ep-xdna --lib
}

fuzz() { fuzz/run.sh "${FUZZ_SECONDS:-300}"; }

for part in "$@"; do
    case "$part" in
        addresses | threads | fuzz) "$part" ;;
        *) echo "tests/lifetime/run.sh: addresses, threads or fuzz, not $part" >&2; exit 2 ;;
    esac
    echo "tests/lifetime/run.sh: $part: nothing was found"
done
