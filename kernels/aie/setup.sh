#!/usr/bin/env bash
# Installs what build.sh needs from Python (mlir-aie, Peano and their packages, at the versions of requirements.txt) into a virtual environment.
#
#   kernels/aie/setup.sh FOLDER
#   PATH="$PWD/FOLDER/bin:$PATH" kernels/aie/build.sh …
#
# With --newest before the folder: the newest of all (newest.txt), which build.sh takes if UNDERTONE_PINS names FOLDER/installed.txt.
#
# Needs Python 3.12 or later (PYTHON names another than python3) and, beside it, xclbinutil (build.sh says which). Linux on x86-64.
# It was never run to its end where it was written: these wheels can't be had there.
set -euo pipefail
here="$(cd "$(dirname "$0")" && pwd)"
wanted="$here/requirements.txt"
if [[ "${1:-}" = --newest ]]; then
    wanted="$here/newest.txt"
    shift
fi
folder="${1:?usage: kernels/aie/setup.sh [--newest] FOLDER}"
python="${PYTHON:-python3}"
"$python" -c 'import sys; sys.exit(sys.version_info < (3, 12))' || {
    echo "kernels/aie/setup.sh: $python is $("$python" --version 2>&1 || true): Python 3.12 or later is needed; PYTHON names one" >&2
    exit 2
}
"$python" -m venv "$folder"
folder="$(cd "$folder" && pwd)"
"$folder/bin/python3" -m pip install --disable-pip-version-check --requirement "$wanted"
"$folder/bin/python3" -c 'import importlib.metadata as m; [print(f"{name}=={m.version(name)}") for name in ("mlir_aie", "llvm-aie")]' > "$folder/installed.txt"
echo "kernels/aie/setup.sh: done ($(paste -sd ' ' "$folder/installed.txt")). Now: PATH=\"$folder/bin:\$PATH\" kernels/aie/build.sh --target npu1 --out bundles" >&2
