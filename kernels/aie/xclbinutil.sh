#!/usr/bin/env bash
# Puts AMD's xclbinutil into a folder, for machines whose distribution has none: unpacked from Debian's sid by tests/xrt/sid.sh, with its own loader.
#
#   kernels/aie/xclbinutil.sh FOLDER
#
# Exit codes: those of sid.sh.
set -euo pipefail
folder="${1:?usage: kernels/aie/xclbinutil.sh FOLDER}"
root="$("$(dirname "$0")/../../tests/xrt/sid.sh")"
mkdir -p "$folder"
printf '#!/bin/sh\nexec "%s/usr/lib64/ld-linux-x86-64.so.2" --library-path "%s/usr/lib/x86_64-linux-gnu" "%s/usr/bin/xclbinutil" "$@"\n' \
    "$root" "$root" "$root" > "$folder/xclbinutil"
chmod +x "$folder/xclbinutil"
