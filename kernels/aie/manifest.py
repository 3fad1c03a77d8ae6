"""Makes a release of a folder of bundles: writes the list of its files' SHA-256 checksums, `SHA256SUMS`, beside them, and, if asked, puts all of
it into one archive. `undertone npu fetch` takes either, and `sha256sum --check SHA256SUMS` reads the list too.

    python3 manifest.py FOLDER [--archive bundles.zip]

The same files give the same archive, byte for byte. Needs nothing but Python.
"""

import argparse
import hashlib
import os
import pathlib
import sys
import zipfile

CHECKSUMS = "SHA256SUMS"
# The earliest that a zip archive can say.
TIME = (1980, 1, 1, 0, 0, 0)


def sha256(file):
    return hashlib.sha256(file.read_bytes()).hexdigest()


def files(folder):
    """All files below a folder but the list, by name."""
    found = {file.relative_to(folder).as_posix(): file for file in folder.rglob("*") if file.is_file()}
    found.pop(CHECKSUMS, None)
    return dict(sorted(found.items()))


def checksums(folder):
    """Writes the list, and says what is on it."""
    found = files(folder)
    if not any(name.endswith("/bundle.json") for name in found):
        sys.exit(f"manifest.py: {folder} holds no folder with a bundle.json: kernels/aie/build.sh makes them")
    # Renamed into place: a reader sees the old list or the new one.
    half = folder / f"{CHECKSUMS}.{os.getpid()}"
    half.write_text("".join(f"{sha256(file)}  {name}\n" for name, file in found.items()), encoding="utf-8", newline="\n")
    half.replace(folder / CHECKSUMS)
    return found


def archive(folder, found, target):
    """Puts the list and the files into a zip archive."""
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as out:
        for name, file in {CHECKSUMS: folder / CHECKSUMS, **found}.items():
            entry = zipfile.ZipInfo(name, TIME)
            entry.external_attr = 0o644 << 16
            out.writestr(entry, file.read_bytes(), zipfile.ZIP_DEFLATED)


def main():
    parser = argparse.ArgumentParser(description="lists the checksums of a folder of bundles, and makes an archive of it")
    parser.add_argument("folder", type=pathlib.Path)
    parser.add_argument("--archive", type=pathlib.Path, metavar="FILE.zip")
    arguments = parser.parse_args()
    found = checksums(arguments.folder)
    print(f"{arguments.folder / CHECKSUMS}: {len(found)} files")
    if arguments.archive:
        if arguments.folder.resolve() in arguments.archive.resolve().parents:
            parser.exit(1, "manifest.py: the archive can't lie in the folder that it is made of\n")
        archive(arguments.folder, found, arguments.archive)
        # As `sha256sum` prints it; `undertone npu fetch --sha256` takes the digits.
        print(f"{sha256(arguments.archive)}  {arguments.archive}")


if __name__ == "__main__":
    main()
