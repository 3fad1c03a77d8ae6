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
for tool in apt-get apt-cache dpkg-deb sha256sum; do
    command -v "$tool" >/dev/null || fail 2 "no '$tool': this script takes the packages through Debian's apt"
done

# One run at a time in a folder: tests may ask for it side by side.
exec 9>"$folder/lock"
flock 9
if [[ -f "$folder/complete" ]] && (cd "$folder" && sha256sum --check --status "$sums"); then
    echo "$root"
    exit 0
fi

# The mirror and the keyring of this machine's own Debian entry (not its security or updates entries).
read -r mirror source < <(apt-get indextargets --format '$(ORIGIN)|$(LABEL)|$(COMPONENT)|$(REPO_URI)|$(SOURCESENTRY)' 'Created-By: Packages' \
    | awk -F'|' '$1 == "Debian" && $2 == "Debian" && $3 == "main" && !seen++ { print $4, $5 }') || true
[[ -n "${mirror:-}" ]] || fail 2 "this machine's apt names no Debian mirror (try 'apt-get update' first, or look into /etc/apt/sources.list.d)"
keyring="$(sed -n -E 's/^Signed-By:[[:space:]]*(\/[^[:space:]]+).*/\1/p; s/.*signed-by=(\/[^] ]+).*/\1/p' "${source%:*}" | head -n 1)"
signed="${keyring:+[arch=amd64 signed-by=$keyring] }"

mkdir -p "$folder"/{state/lists/partial,cache/archives/partial,packages}
: > "$folder/state/status"
echo "deb ${signed:-[arch=amd64] }$mirror sid main" > "$folder/sources.list"
options=(
    -o Dir::State="$folder/state" -o Dir::State::status="$folder/state/status" -o Dir::Cache="$folder/cache"
    -o Dir::Etc::SourceList="$folder/sources.list" -o Dir::Etc::SourceParts=/dev/null -o Dir::Etc::Preferences=/dev/null
    -o Dir::Etc::PreferencesParts=/dev/null -o APT::Architecture=amd64 -o APT::Architectures::=amd64
    -o Acquire::Languages=none -o Acquire::Retries=3 -o APT::Sandbox::User="$(id -un)" -o APT::Update::Error-Mode=any
)
apt-get "${options[@]}" --quiet=2 update >&2 || fail 1 "apt could not read sid's package list from $mirror (its words are above)"

# Without Debian's epoch ("1:").
found="$(apt-cache "${options[@]}" show --no-all-versions libxrt2 | sed -n -E 's/^Version: ([0-9]+:)?//p')"
case "$found" in
    "$version".*) ;;
    *) fail 3 "sid moved on: its libxrt2 is '${found:-absent}', and this was written against $version.*.
  Either give a folder that was filled while sid had $version (a cache), or check the device code against the new release
  and change 'version' in this script." ;;
esac

# The libraries that XRT's own packages depend on by name with a version in it (boost), one level down.
mapfile -t closure < <(apt-cache "${options[@]}" depends --no-recommends --no-suggests --no-conflicts --no-breaks \
    --no-replaces --no-enhances "${xrt_packages[@]}" | sed -n 's/^ *|\{0,1\}Depends: \(libboost-[a-z-]*[0-9.]*\)$/\1/p' | sort -u)

rm -f "$folder"/packages/*.deb
(cd "$folder/packages" && apt-get "${options[@]}" --quiet=2 download "${xrt_packages[@]}" "${base_packages[@]}" "${closure[@]}" >&2) \
    || fail 1 "apt could not fetch the packages from $mirror (its words are above)"

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
