"""Where the plugin execution provider's library lies and what the provider is called.

    onnxruntime.register_execution_provider_library("undertone", onnxruntime_ep_xdna.get_library_path())

Imports neither ONNX Runtime nor anything else, and loads nothing: ONNX Runtime opens the library when it is registered.
"""

from __future__ import annotations

import sys
from pathlib import Path

__all__ = ["get_ep_name", "get_ep_names", "get_library_path"]

#: The library's file name on this platform; the wheel holds it beside this file.
LIBRARY_NAME = {
    "darwin": "libonnxruntime_ep_xdna.dylib",
    "win32": "onnxruntime_ep_xdna.dll",
}.get(sys.platform, "libonnxruntime_ep_xdna.so")


def get_library_path() -> str:
    """The absolute path of the library, for ``onnxruntime.register_execution_provider_library``.

    Raises ``FileNotFoundError`` if this package was not installed from its wheel and so came without the library.
    """
    path = Path(__file__).resolve().with_name(LIBRARY_NAME)
    if not path.is_file():
        raise FileNotFoundError(f"{path} is not there: this is the package's source; build its wheel and install that")
    return str(path)


def get_ep_name() -> str:
    """The execution provider's name, as in ``OrtEpDevice.ep_name``, whatever name the library is registered under."""
    return "XdnaExecutionProvider"


def get_ep_names() -> list[str]:
    """The names of all execution providers in the library: the one."""
    return [get_ep_name()]
