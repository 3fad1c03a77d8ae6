#!/usr/bin/env bash
# Runs the examples of examples/pipelines with real libraries from their registries, with Undertone's execution provider and without:
# same words? how fast? See run.py for the options.
#
#   tests/pipelines/run.sh all                         every pipeline, on the recordings that the repository and its build have
#   tests/pipelines/run.sh onnx-asr c --turns 3        two of them, each three times in turn
#   tests/pipelines/run.sh --table                     writes the table of docs/pipelines.md out of the results
#
# Installs into `pipelines` in Cargo's target directory. Takes python3 with pip, ffmpeg, a C and C++ compiler, npm.
set -euo pipefail
here="$(cd "$(dirname "$0")/../.." && pwd)"
exec python3 "$here/tests/pipelines/run.py" "$@"
