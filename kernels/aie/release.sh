#!/usr/bin/env bash
# Makes a release of compiled kernels: all arrays for all NPUs, a report of what they take, a comparison of one stream for each with aiecc's own,
# the arrays of `undertone npu bring-up`, and an archive with checksums, which `undertone npu fetch` takes.
#
#   kernels/aie/release.sh WORK
#
# Leaves in WORK: bundles (with SHA256SUMS), bundles.zip, report.txt. Needs what build.sh needs, and cargo (or, in UNDERTONE_STREAMS, a program that
# writes our streams). Everything is tried, so that one run says all; the exit code is 1 if something of it failed.
set -euo pipefail
here="$(cd "$(dirname "$0")" && pwd)"
work="${1:?usage: kernels/aie/release.sh WORK}"
mkdir -p "$work"
work="$(cd "$work" && pwd)"
streams=(cargo run --quiet --release --manifest-path "$here/../Cargo.toml" --example npu_streams --)
[[ -z "${UNDERTONE_STREAMS:-}" ]] || streams=("$UNDERTONE_STREAMS")
peano="${PEANO_INSTALL_DIR:-$(python3 -c 'import sysconfig; print(sysconfig.get_path("purelib"))')/llvm-aie}"
failed=0
# try COMMAND…: goes on if it fails.
try() { "$@" || { failed=1; echo "release.sh: failed: ${*##*/}" >&2; }; }

for target in npu1 npu4; do
    for kernels in int8 bf16; do
        try "$here/build.sh" --target "$target" --kernels "$kernels" --out "$work/bundles" --work "$work/designs"
    done
done
# shellcheck disable=SC2329 # called by try
compare() {
    "${streams[@]}" "$work/bundles" "$work/streams" || return
    local stream code=0
    for stream in "$work"/streams/*.bin; do
        python3 -B "$here/compare_streams.py" "$work/designs/$(basename "$stream" .bin)" "$stream" --peano "$peano" || code=1
    done
    return "$code"
}
{
    try python3 -B "$here/report.py" "$work"/designs/* --size "$peano/bin/llvm-size"
    try compare
} 2>&1 | tee "$work/report.txt"
# `failed` of the pipe's own shell is lost; its words are not.
! grep -q '^release.sh: failed' "$work/report.txt" || failed=1
# What `undertone npu bring-up` begins with.
for target in npu1 npu4; do
    try "$here/build.sh" --target "$target" --ladder --out "$work/bundles" --work "$work/ladder"
done
if compgen -G "$work/bundles/*/bundle.json" > /dev/null; then
    try python3 -B "$here/manifest.py" "$work/bundles" --archive "$work/bundles.zip"
fi
exit $failed
