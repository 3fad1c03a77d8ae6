# shellcheck shell=bash
# To be sourced: Debian's packages without installing any and without root.
#
#   private_apt FOLDER SUITE...     makes `apt_options`, with which apt-get and apt-cache know these suites and nothing else
#
# apt's configuration, state and cache are in FOLDER; mirror and keyring are those that this machine's own apt names, so
# signatures are verified as always. Returns 1 where apt can't read the suites, 2 where this is no Debian with a mirror.

private_apt() {
    local folder="$1" tool mirror source keyring signed suite
    shift
    for tool in apt-get apt-cache dpkg-deb sha256sum; do
        command -v "$tool" > /dev/null || { echo "no '$tool': packages are taken through Debian's apt" >&2; return 2; }
    done
    # This machine's own Debian entry (not its security or updates entries).
    read -r mirror source < <(apt-get indextargets --format '$(ORIGIN)|$(LABEL)|$(COMPONENT)|$(REPO_URI)|$(SOURCESENTRY)' 'Created-By: Packages' \
        | awk -F'|' '$1 == "Debian" && $2 == "Debian" && $3 == "main" && !seen++ { print $4, $5 }') || true
    if [[ -z "${mirror:-}" ]]; then
        echo "this machine's apt names no Debian mirror (try 'apt-get update' first, or look into /etc/apt/sources.list.d)" >&2
        return 2
    fi
    keyring="$(sed -n -E 's/^Signed-By:[[:space:]]*(\/[^[:space:]]+).*/\1/p; s/.*signed-by=(\/[^] ]+).*/\1/p' "${source%:*}" | head -n 1)"
    signed="[arch=amd64${keyring:+ signed-by=$keyring}]"
    mkdir -p "$folder"/{state/lists/partial,cache/archives/partial}
    : > "$folder/state/status"
    for suite; do echo "deb $signed $mirror $suite main"; done > "$folder/sources.list"
    apt_options=(
        -o Dir::State="$folder/state" -o Dir::State::status="$folder/state/status" -o Dir::Cache="$folder/cache"
        -o Dir::Etc::SourceList="$folder/sources.list" -o Dir::Etc::SourceParts=/dev/null -o Dir::Etc::Preferences=/dev/null
        -o Dir::Etc::PreferencesParts=/dev/null -o APT::Architecture=amd64 -o APT::Architectures::=amd64
        -o Acquire::Languages=none -o Acquire::Retries=3 -o APT::Sandbox::User="$(id -un)" -o APT::Update::Error-Mode=any
    )
    apt-get "${apt_options[@]}" --quiet=2 update >&2 || return 1
}
