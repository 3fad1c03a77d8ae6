"""Puts the library that cargo built into the wheel, and names the wheel after the platform. Compiles nothing."""

from __future__ import annotations

import os
import re
import runpy
from pathlib import Path
from typing import Any

from elftools.common.exceptions import ELFError
from elftools.elf.elffile import ELFFile
from hatchling.builders.hooks.plugin.interface import BuildHookInterface
from packaging.tags import platform_tags

PACKAGE = "onnxruntime_ep_xdna"
VARIABLE = "ONNXRUNTIME_EP_XDNA_LIBRARY"
# For a library of another system than this one, as `win_amd64`.
PLATFORM_VARIABLE = "ONNXRUNTIME_EP_XDNA_PLATFORM"
# What every manylinux platform has: these libraries, with symbols of these versions or older. glibc's version may be
# any: it makes the platform's name.
PRESENT = re.compile(r"lib(stdc\+\+|gcc_s|m|c|dl|rt|pthread)\.so\.\d|ld-linux-.*\.so\.\d")
OLDEST = {"GLIBC": (2, 17), "GLIBCXX": (3, 4, 19), "CXXABI": (1, 3, 7), "GCC": (4, 8, 0)}


class LibraryHook(BuildHookInterface[Any]):
    """hatchling calls it before it writes the wheel."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Ends the build with one line if there is no library."""
        here = (tag for tag in platform_tags() if not tag.startswith(("manylinux", "musllinux")))
        platform = os.environ.get(PLATFORM_VARIABLE) or next(here)
        root = Path(self.root)
        names = runpy.run_path(str(root / PACKAGE / "_library.py"))
        name, shim = names["library_name"](platform), names["shim_name"](platform)
        named = os.environ.get(VARIABLE)
        library = Path(named) if named else root.parents[1] / "target" / "release" / name
        if not library.is_file():
            self.app.abort(
                f"error: {library} is not there: build it with `cargo build --release -p onnxruntime-ep-xdna`,"
                f" or name another with {VARIABLE} (an absolute path)"
            )
        build_data["force_include"][str(library.resolve())] = f"{PACKAGE}/{name}"
        # The XRT shim is built by itself, with XRT's headers; the library looks for it beside itself.
        if library.with_name(shim).is_file():
            build_data["force_include"][str(library.with_name(shim).resolve())] = f"{PACKAGE}/{shim}"
        build_data["pure_python"] = False
        # Any Python 3, for nothing of its ABI is used.
        build_data["tag"] = f"py3-none-{wheel_platform(platform, library)}"


def wheel_platform(platform: str, library: Path) -> str:
    """The platform in the wheel's name: for Linux with glibc the oldest manylinux that has all symbols that the library
    needs; else, and where it needs more than every manylinux has, the platform as it is.

    The shim does not count: it is loaded only where AMD's XRT is, which no manylinux has.
    """
    system, _, machine = platform.partition("_")
    if system != "linux":
        return platform
    needed = {name: list(version) for name, version in OLDEST.items()}
    try:
        with library.open("rb") as file:
            elf = ELFFile(file)
            dynamic, versions = elf.get_section_by_name(".dynamic"), elf.get_section_by_name(".gnu.version_r")
            if dynamic is None or versions is None:
                return platform
            libraries = [tag.needed for tag in dynamic.iter_tags("DT_NEEDED")]
            symbols = [symbol.name for _, of_library in versions.iter_versions() for symbol in of_library]
    except ELFError:
        return platform
    for symbol in symbols:
        name, _, version = symbol.partition("_")
        if name not in needed or not re.fullmatch(r"[\d.]+", version):
            return platform
        needed[name] = max(needed[name], [int(number) for number in version.split(".")])
    glibc = needed.pop("GLIBC")
    if not all(map(PRESENT.fullmatch, libraries)) or any(
        version > list(OLDEST[name]) for name, version in needed.items()
    ):
        return platform
    return f"manylinux_{glibc[0]}_{glibc[1]}_{machine}"
