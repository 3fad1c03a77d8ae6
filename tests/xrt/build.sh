#!/usr/bin/env bash
# Builds what run.sh and run_fake.sh run, in the folder that Cargo names or is told; prints the paths of the test programs.
#
#   tests/xrt/build.sh
#
# All in one go, and of the whole workspace: Cargo compiles a crate anew for each choice of packages, because their choice decides with which
# features the crates below are compiled. So `cargo test --workspace` has done most of the work already.
set -euo pipefail
cd "$(dirname "$0")/../.."
wanted=(--quiet --release --workspace)
cargo build "${wanted[@]}" --lib --bins --example look --example npu >&2
programs="$(cargo test "${wanted[@]}" --no-run --message-format=json --test arrays --test handles --test ladder --test unfinished |
    sed -n 's/.*"kind":\["test"\].*"executable":"\([^"]*\)".*/\1/p')"
[[ -n "$programs" ]] || { echo "tests/xrt/build.sh: the tests of tests/xrt/through were not built" >&2; exit 1; }
echo "$programs"
