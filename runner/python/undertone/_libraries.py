"""Where the shared libraries lie that are loaded at run time: ONNX Runtime's, and the execution provider's."""

from __future__ import annotations

import importlib.util
import os
import sys
from pathlib import Path

PACKAGE = Path(__file__).resolve().parent


def onnxruntime_library() -> str:
    """The library of the installed package `onnxruntime`, or the one that `ORT_DYLIB_PATH` names.

    The package is looked at and not imported: its own bindings are not needed, and take half a second.
    """
    named = os.environ.get("ORT_DYLIB_PATH")
    if named:
        return named
    found = importlib.util.find_spec("onnxruntime")
    folders = list(found.submodule_search_locations or []) if found else []
    patterns = {
        "win32": ["onnxruntime.dll"],
        "darwin": ["libonnxruntime.*.dylib", "libonnxruntime.dylib"],
    }.get(sys.platform, ["libonnxruntime.so.*", "libonnxruntime.so"])
    for folder in folders:
        for pattern in patterns:
            for library in sorted(Path(folder, "capi").glob(pattern)):
                return str(library)
    where = (
        f"the package onnxruntime in {folders[0]} holds no library"
        if folders
        else "the package onnxruntime is not installed"
    )
    raise ImportError(
        f"{where}: install it (`pip install 'onnxruntime>=1.24'`, with wheels for Python 3.11 and newer), "
        "or let ORT_DYLIB_PATH name ONNX Runtime's shared library"
    )


def library_name(platform: str = sys.platform) -> str:
    """What the execution provider's file is called."""
    if platform.startswith("win"):
        return "onnxruntime_ep_xdna.dll"
    return "libonnxruntime_ep_xdna.dylib" if platform.startswith(("darwin", "macos")) else "libonnxruntime_ep_xdna.so"


def command_name(platform: str = sys.platform) -> str:
    """What the command's file is called."""
    return "undertone.exe" if platform.startswith("win") else "undertone"


def ep_library() -> str:
    """The execution provider in this package, or the one that `UNDERTONE_EP_LIBRARY` names."""
    return os.environ.get("UNDERTONE_EP_LIBRARY") or str(PACKAGE / "bin" / library_name())


def packed_folder() -> str | None:
    """The folder for packed models, the command's too: `UNDERTONE_PACKED` (`off`: none), or in the user's cache."""
    named = os.environ.get("UNDERTONE_PACKED")
    if named:
        return None if named == "off" else named
    from undertone._native import packed_folder as usual

    folder = usual()
    return None if folder is None else os.fspath(folder)
