#!/usr/bin/env bash
# Unpacks AMD's XRT 2.25, its tools and the C library they need, from Debian's `sid`, into a folder: `FOLDER/root`.
#
#   tests/xrt/sid.sh [FOLDER]        (default: xrt-sid in Cargo's target directory); prints the root it made
#
# Nothing is installed and no root is needed. apt itself fetches, with configuration, state and cache inside the folder, from
# the Debian mirror and with the keyring that this machine's own apt names: so signatures are verified as always. What was
# unpacked is recorded with its checksums; a second call only checks them. Programs of the folder run with its own loader:
#
#   R=FOLDER/root
#   $R/usr/lib64/ld-linux-x86-64.so.2 --library-path $R/usr/lib/x86_64-linux-gnu $R/usr/bin/xclbinutil --help
#
# Exit codes: 0 done; 2 this machine can't (not Debian on amd64, or its apt names no mirror); 3 sid moved on to another XRT.
set -euo pipefail

# The release that the device code and the tests were written against. Every 2.25.x will do: the ABI is the same.
readonly version=2.25
readonly xrt_packages=(libxrt2 libxrt-npu2 libxrt-dev libxrt-utils libxrt-utils-npu)
# What those need to start. Boost's and any later addition come by asking apt (`closure` below).
readonly base_packages=(libc6 libstdc++6 libgcc-s1 libuuid1 libssl3t64 zlib1g libzstd1)

fail() { echo "tests/xrt/sid.sh: $2" >&2; exit "$1"; }

here="$(cd "$(dirname "$0")/../.." && pwd)"
# shellcheck source=tests/private_apt.sh
source "$here/tests/private_apt.sh"
folder="${1:-${CARGO_TARGET_DIR:-$here/target}/xrt-sid}"
mkdir -p "$folder"
folder="$(cd "$folder" && pwd)"
root="$folder/root"
sums="$folder/packages.sha256"

# Already there? The packages' checksums say that nothing was cut off or changed; the mark comes last of all.
if [[ -f "$folder/complete" && -d "$root" ]] && (cd "$folder" && sha256sum --check --status "$sums"); then
    echo "$root"
    exit 0
fi

[[ "$(uname -m)" == x86_64 ]] || fail 2 "Debian's XRT packages are for amd64; this is $(uname -m)"

# One run at a time in a folder: tests may ask for it side by side.
exec 9>"$folder/lock"
flock 9
if [[ -f "$folder/complete" ]] && (cd "$folder" && sha256sum --check --status "$sums"); then
    echo "$root"
    exit 0
fi

private_apt "$folder" sid || fail $? "apt cannot be asked for sid's packages (its words are above)"

# Without Debian's epoch ("1:").
found="$(apt-cache "${apt_options[@]}" show --no-all-versions libxrt2 | sed -n -E 's/^Version: ([0-9]+:)?//p')"
case "$found" in
    "$version".*) ;;
    *) fail 3 "sid moved on: its libxrt2 is '${found:-absent}', and this was written against $version.*.
  Either give a folder that was filled while sid had $version (a cache), or check the device code against the new release
  and change 'version' in this script." ;;
esac

# The libraries that XRT's own packages depend on by name with a version in it (boost), one level down.
mapfile -t closure < <(apt-cache "${apt_options[@]}" depends --no-recommends --no-suggests --no-conflicts --no-breaks \
    --no-replaces --no-enhances "${xrt_packages[@]}" | sed -n 's/^ *|\{0,1\}Depends: \(libboost-[a-z-]*[0-9.]*\)$/\1/p' | sort -u)

mkdir -p "$folder/packages"
rm -f "$folder"/packages/*.deb
(cd "$folder/packages" && apt-get "${apt_options[@]}" --quiet=2 download "${xrt_packages[@]}" "${base_packages[@]}" "${closure[@]}" >&2) \
    || fail 1 "apt could not fetch the packages (its words are above)"

rm -rf "$root" "$root.new"
mkdir "$root.new"
# dpkg-deb does not know that /lib is a link to /usr/lib; with the links in place both ways of naming end in one folder.
mkdir -p "$root.new"/usr/{lib,lib64,bin,sbin}
for name in lib lib64 bin sbin; do ln -s "usr/$name" "$root.new/$name"; done
for package in "$folder"/packages/*.deb; do
    dpkg-deb --fsys-tarfile "$package" | tar --extract --keep-directory-symlink --no-same-owner --directory "$root.new"
done
mv "$root.new" "$root"
(cd "$folder" && sha256sum packages/*.deb > "$sums")
# A program that starts is the proof that the set is whole.
"$root/usr/lib64/ld-linux-x86-64.so.2" --library-path "$root/usr/lib/x86_64-linux-gnu" "$root/usr/bin/xclbinutil" --help >/dev/null \
    || fail 1 "XRT's xclbinutil from $root does not start: a package it needs is missing from the list in this script"
touch "$folder/complete"
echo "$root"
