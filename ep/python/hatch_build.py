"""Puts the library that cargo built into the wheel, and names the wheel after the platform. Compiles nothing."""

from __future__ import annotations

import os
import runpy
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface
from packaging.tags import platform_tags

PACKAGE = "onnxruntime_ep_xdna"
VARIABLE = "ONNXRUNTIME_EP_XDNA_LIBRARY"
# For a library of another system than this one, as `win_amd64`.
PLATFORM_VARIABLE = "ONNXRUNTIME_EP_XDNA_PLATFORM"


class LibraryHook(BuildHookInterface[Any]):
    """hatchling calls it before it writes the wheel."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Ends the build with one line if there is no library."""
        # This machine's platform as it is: the library was linked with this machine's C library, so manylinux or musllinux
        # would promise more than is known here.
        here = (tag for tag in platform_tags() if not tag.startswith(("manylinux", "musllinux")))
        platform = os.environ.get(PLATFORM_VARIABLE) or next(here)
        root = Path(self.root)
        name = runpy.run_path(str(root / PACKAGE / "_library.py"))["library_name"](platform)
        named = os.environ.get(VARIABLE)
        library = Path(named) if named else root.parents[1] / "target" / "release" / name
        if not library.is_file():
            self.app.abort(
                f"error: {library} is not there: build it with `cargo build --release -p onnxruntime-ep-xdna`,"
                f" or name another with {VARIABLE} (an absolute path)"
            )
        build_data["force_include"][str(library.resolve())] = f"{PACKAGE}/{name}"
        build_data["pure_python"] = False
        # Any Python 3, for nothing of its ABI is used.
        build_data["tag"] = f"py3-none-{platform}"
