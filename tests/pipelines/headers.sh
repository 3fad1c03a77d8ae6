#!/usr/bin/env bash
# Unpacks ONNX Runtime's C and C++ headers, as Debian's `sid` has them, into a folder and prints where they are. Nothing is installed.
# (ONNX Runtime's packages for Python and npm have the library, and no headers.)
set -euo pipefail
here="$(cd "$(dirname "$0")/../.." && pwd)"
# shellcheck source=tests/private_apt.sh
source "$here/tests/private_apt.sh"
folder="$1"
headers="$folder/usr/include/onnxruntime"
if [[ ! -d "$headers" ]]; then
    rm -rf "$folder.new"
    mkdir -p "$folder.new"
    private_apt "$folder.new/apt" sid
    (cd "$folder.new" && apt-get "${apt_options[@]}" --quiet=2 download libonnxruntime-dev >&2)
    dpkg-deb --extract "$folder.new"/libonnxruntime-dev*.deb "$folder.new"
    rm -rf "$folder" "$folder.new/apt"
    mv "$folder.new" "$folder"
fi
echo "$headers"
