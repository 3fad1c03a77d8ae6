"""Where the plugin execution provider's library lies and what the provider is called.

    onnxruntime.register_execution_provider_library("undertone", onnxruntime_ep_xdna.get_library_path())

Imports neither ONNX Runtime nor anything else, and loads nothing: ONNX Runtime opens the library when it is registered.
"""

from __future__ import annotations

import sys
from pathlib import Path

__all__ = ["get_ep_name", "get_ep_names", "get_library_path"]


def library_name(platform: str = sys.platform) -> str:
    """The library's file name on a platform, named as Python or as wheels do; the wheel holds it beside this file."""
    if platform.startswith("win"):
        return "onnxruntime_ep_xdna.dll"
    if platform.startswith(("darwin", "macosx")):
        return "libonnxruntime_ep_xdna.dylib"
    return "libonnxruntime_ep_xdna.so"


def get_library_path() -> str:
    """The absolute path of the library, for ``onnxruntime.register_execution_provider_library``.

    Raises ``FileNotFoundError`` if this package was not installed from its wheel and so came without the library.
    """
    path = Path(__file__).resolve().with_name(library_name())
    if not path.is_file():
        raise FileNotFoundError(f"{path} is not there: this is the package's source; build its wheel and install that")
    return str(path)


def get_ep_name() -> str:
    """The execution provider's name, as in ``OrtEpDevice.ep_name``, whatever name the library is registered under."""
    return "XdnaExecutionProvider"


def get_ep_names() -> list[str]:
    """The names of all execution providers in the library: the one."""
    return [get_ep_name()]
