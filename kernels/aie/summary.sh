#!/usr/bin/env bash
# Prints what release.sh left in a folder, and the end of a log, as Markdown.
#
#   kernels/aie/summary.sh WORK [LOG]
set -euo pipefail
work="${1:?usage: kernels/aie/summary.sh WORK [LOG]}"
# shellcheck disable=SC2016 # Markdown's marks
block() { printf '```\n%s\n```\n' "$1"; }
if [[ -f "$work/bundles.zip" ]]; then
    echo "Compiled kernels; nobody has run them on an NPU here. Take them with \`undertone npu fetch\`."
    block "$(cd "$work" && sha256sum bundles.zip && cat bundles/SHA256SUMS)"
else
    echo "No bundle was made."
fi
[[ ! -f "$work/report.txt" ]] || block "$(cat "$work/report.txt")"
[[ ! -f "${2:-}" ]] || block "$(tail -n 60 "$2")"
