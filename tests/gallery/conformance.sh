#!/usr/bin/env bash
# ONNX's conformance data of opsets 7 to 23 through the execution provider (see conformance.py). The data are in the
# wheels of `onnx`, each opset's in its own; the wheels are read, not installed, so old ones do for any Python. Some
# 190 MB are fetched once.
#
#   tests/gallery/conformance.sh       builds the provider, fetches the wheels, runs all cases
#
# The newest opset's cases are in the gate too (tests/python/check_operators.py). Exit codes: 0 all well; 1 a case is
# wrong.
set -euo pipefail
here="$(cd "$(dirname "$0")" && pwd)"
cd "$here/../.."
target="${CARGO_TARGET_DIR:-$PWD/target}"
home="$target/conformance"
pip=(python3 -m pip --quiet --disable-pip-version-check)
platforms=()
for platform in manylinux1 manylinux2010 manylinux_2_12 manylinux2014 manylinux_2_17; do
    platforms+=(--platform "${platform}_x86_64")
done
mkdir -p "$home/wheels"
# Versions and a Python that each has a wheel for.
for wanted in 1.2.2:3.6 1.3.0:3.6 1.4.1:3.6 1.5.0:3.6 1.6.0:3.6 1.7.0:3.6 1.8.1:3.8 1.9.0:3.8 1.10.2:3.8 1.11.0:3.8 \
    1.12.0:3.9 1.13.1:3.9 1.14.1:3.9 1.15.0:3.9 1.16.2:3.9 1.17.0:3.9 1.18.0:3.11; do
    version="${wanted%%:*}"
    if ! compgen -G "$home/wheels/onnx-$version-*.whl" > /dev/null; then
        "${pip[@]}" download --no-deps --only-binary=:all: --python-version "${wanted##*:}" "${platforms[@]}" \
            --dest "$home/wheels" "onnx==$version"
    fi
done
if [[ ! -d "$home/python" ]]; then
    rm -rf "$home/python.new"
    "${pip[@]}" install --root-user-action=ignore --only-binary=:all: --target "$home/python.new" \
        onnxruntime==1.32.0 onnx==1.23.2 numpy
    mv "$home/python.new" "$home/python"
fi
if [[ -z "${UNDERTONE_EP_LIBRARY:-}" ]]; then
    cargo build --release -p onnxruntime-ep-xdna
fi
PYTHONPATH="$home/python" python3 "$here/conformance.py" \
    "${UNDERTONE_EP_LIBRARY:-$target/release/libonnxruntime_ep_xdna.so}" "$home"/wheels/*.whl
