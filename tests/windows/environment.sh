# shellcheck shell=bash
# To be sourced: cargo for Windows and Wine to run what it builds, from a machine with Debian.
#
#   windows_cargo FOLDER     cargo builds for Windows from then on; `release` is the folder of its results
#   windows_wine FOLDER      `wine` runs programs of Windows from then on, in FOLDER/wine
#
# What is missing is said on standard error, and 2 is returned; 3 where Debian has no source of this Rust's standard library.

readonly windows_target=x86_64-pc-windows-gnu
windows_here="$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)"
# shellcheck source=tests/private_apt.sh
source "$windows_here/tests/private_apt.sh"

windows_cargo() {
    local folder="$1" library flags
    library="$(x86_64-w64-mingw32-g++ -print-file-name=libstdc++.a)" || {
        echo "no mingw: apt-get install g++-mingw-w64-x86-64-win32" >&2
        return 2
    }
    # A library of our own must not need one of mingw's beside it: Python, for one, would not look for that.
    flags="-L native=$(dirname "$library")"
    export CXXSTDLIB_x86_64_pc_windows_gnu="static:-bundle=stdc++"
    # rustup has the standard library (`rustup target add`); Debian has its source.
    if ! compgen -G "$(rustc --print target-libdir --target $windows_target)/libstd-*.rlib" > /dev/null; then
        windows_std "$folder" || return
        flags="--sysroot $sysroot $flags"
    fi
    export CARGO_TARGET_X86_64_PC_WINDOWS_GNU_RUSTFLAGS="$flags"
    export CARGO_TARGET_X86_64_PC_WINDOWS_GNU_RUNNER=wine
    export CARGO_BUILD_TARGET=$windows_target
    release="${CARGO_TARGET_DIR:-$windows_here/target}/$windows_target/release"
}

# Makes Rust's standard library for Windows, once: `sysroot`.
windows_std() {
    local folder="$1" version package source into
    version="$(rustc --version | cut -d ' ' -f 2)"
    sysroot="$folder/std-$version"
    if [[ -d "$sysroot" ]]; then return; fi
    private_apt "$folder/apt" sid trixie-backports || return
    package="$(apt-cache "${apt_options[@]}" madison rust-src | awk -v start="$version+" 'index($3, start) == 1 { print $3; exit }')"
    if [[ -z "$package" ]]; then
        echo "Debian has no source of Rust $version's standard library: get the library with 'rustup target add $windows_target'" >&2
        return 3
    fi
    source="$folder/rust-src"
    rm -rf "$source" "$sysroot.new"
    mkdir -p "$source/empty/src"
    (cd "$source" && apt-get "${apt_options[@]}" --quiet=2 download "rust-src=$package" >&2) || return 1
    dpkg-deb --fsys-tarfile "$source"/rust-src_*.deb | tar --extract --directory "$source" "./usr/src/rustc-$version/library" || return 1
    printf '[package]\nname = "empty"\n\n[workspace]\n' > "$source/empty/Cargo.toml"
    : > "$source/empty/src/lib.rs"
    # cargo builds a standard library only for compilers that allow what is not stable, and asks this variable where it is.
    RUSTC_BOOTSTRAP=1 __CARGO_TESTS_ONLY_SRC_ROOT="$source/usr/src/rustc-$version/library" CARGO_TARGET_DIR="$source/target" \
        cargo build --quiet --release --manifest-path "$source/empty/Cargo.toml" --target $windows_target \
        -Z build-std=std,panic_unwind,panic_abort,test >&2 || return 1
    into="$sysroot.new/lib/rustlib/$windows_target/lib"
    mkdir -p "$into"
    cp "$source/target/$windows_target/release/deps"/*.rlib "$into" || return 1
    mv "$sysroot.new" "$sysroot"
    rm -rf "$source"
}

windows_wine() {
    local folder="$1" system prng
    command -v wine > /dev/null || { echo "no Wine: apt-get install wine wine64" >&2; return 2; }
    # Silent: Debian's Wine complains of everything that a machine without a screen and 32-bit programs lacks.
    export WINEPREFIX="$folder/wine" WINEDEBUG=-all WINEDLLOVERRIDES="mscoree,mshtml="
    system="$WINEPREFIX/drive_c/windows/system32"
    if [[ ! -f "$WINEPREFIX/complete" ]]; then
        wine wineboot --init > /dev/null 2>&1 || { echo "wineboot failed" >&2; return 1; }
        wine reg add 'HKCU\Software\Wine' /v Version /d win10 /f > /dev/null 2>&1 || return 1
        touch "$WINEPREFIX/complete"
    fi
    # Wine has it since version 9; Rust's standard library takes its random numbers there.
    if [[ ! -f "$system/bcryptprimitives.dll" ]]; then
        prng="$folder/prng.c"
        cat > "$prng" <<'C'
__declspec(dllimport) unsigned char __stdcall SystemFunction036(void *bytes, unsigned long count);
__declspec(dllexport) int __stdcall ProcessPrng(void *bytes, unsigned long long count) {
    return SystemFunction036(bytes, (unsigned long)count);
}
C
        x86_64-w64-mingw32-gcc -shared -O2 -o "$system/bcryptprimitives.dll" "$prng" -ladvapi32 || return 1
    fi
}
