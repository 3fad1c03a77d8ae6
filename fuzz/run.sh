#!/usr/bin/env bash
# Has LLVM's fuzzer make up inputs for the execution provider's library, beginning with those that are kept.
#
#   fuzz/run.sh SECONDS [TARGET...]         options, entry_points, graph, container; all of them where none is named
#   fuzz/run.sh keep FOLDER TARGET          adds to the corpus what of FOLDER reaches code that nothing kept reaches
#
# Needs a nightly Rust, or any with RUSTC_BOOTSTRAP=1. An input that the library fails on is written to target/fuzz/found/TARGET; the
# failure is on standard error. Inputs that reach new code are in target/fuzz/corpus/TARGET.
set -euo pipefail
cd "$(dirname "$0")"
here=$(pwd)
home="$here/../target/fuzz"

toolchain=()
if [[ -z ${RUSTC_BOOTSTRAP:-} ]]; then toolchain=(+nightly); fi
# What cargo-fuzz passes: counters at every edge, comparisons, and AddressSanitizer.
export RUSTFLAGS="--cfg fuzzing -Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
-Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table \
-Cllvm-args=-sanitizer-coverage-trace-compares -Zsanitizer=address -Ccodegen-units=1"
host=$(rustc "${toolchain[@]}" -vV | sed -n 's/^host: //p')
cargo "${toolchain[@]}" build --release --target "$host" --target-dir "$home" --bins
# The library keeps what it has opened, and its answers, until the process ends.
export ASAN_OPTIONS="detect_leaks=0:allocator_may_return_null=1:max_allocation_size_mb=1024${ASAN_OPTIONS:+:$ASAN_OPTIONS}"

fuzzer() { "$home/$host/release/$1" "${@:2}"; }

if [[ ${1:?seconds, or keep} == keep ]]; then
    fuzzer "$3" -merge=1 "corpus/$3" "$2" 2>&1 | tail -3
    exit
fi
seconds=$1
shift
failed=()
if (($# == 0)); then set -- options entry_points graph container; fi
for target in "$@"; do
    mkdir -p "$home/corpus/$target" "$home/found/$target"
    options=(-max_total_time="$seconds" -artifact_prefix="$home/found/$target/" -timeout=20 -rss_limit_mb=3000 -max_len=4000 -print_final_stats=1)
    if [[ -f dictionary/$target ]]; then options+=(-dict="dictionary/$target"); fi
    fuzzer "$target" "${options[@]}" "$home/corpus/$target" "corpus/$target" || failed+=("$target")
done
if ((${#failed[@]})); then
    echo "fuzz/run.sh: ${failed[*]} failed; the inputs are in $home/found" >&2
    exit 1
fi
