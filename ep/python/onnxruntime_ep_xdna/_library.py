"""The shared library: where it lies, what it is, and what it has counted. Imports nothing but Python's own modules."""

from __future__ import annotations

import ctypes
import json
import sys
from pathlib import Path
from typing import Any

EP_NAME = "XdnaExecutionProvider"

# The library's own names of what it counts.
COUNTERS = ("fused_nodes_executed", "kernel_calls.host", "kernel_calls.sim", "kernel_calls.npu")


def library_name(platform: str = sys.platform) -> str:
    """The library's file name on a platform, named as Python or as wheels do; the wheel holds it beside this file."""
    if platform.startswith("win"):
        return "onnxruntime_ep_xdna.dll"
    if platform.startswith(("darwin", "macosx")):
        return "libonnxruntime_ep_xdna.dylib"
    return "libonnxruntime_ep_xdna.so"


def shim_name(platform: str = sys.platform) -> str:
    """The file name of the library between this one and AMD's XRT; a wheel holds it if it was built."""
    return "undertone_xrt.dll" if platform.startswith("win") else "libundertone_xrt.so"


def get_library_path() -> str:
    """The absolute path of the library, for ``onnxruntime.register_execution_provider_library``.

    Raises ``FileNotFoundError`` if this package was not installed from its wheel and so came without the library.
    """
    path = Path(__file__).resolve().with_name(library_name())
    if not path.is_file():
        raise FileNotFoundError(f"{path} is not there: this is the package's source; build its wheel and install that")
    return str(path)


def counters(library: str) -> dict[str, int]:
    """What this process has executed with the library in this file, by the library's own count."""
    count = ctypes.CDLL(library).onnxruntime_ep_xdna_counter
    count.argtypes, count.restype = [ctypes.c_char_p], ctypes.c_uint64
    return {name: int(count(name.encode())) for name in COUNTERS}


def describe(library: str) -> dict[str, Any]:
    """What the library in this file is, and which devices it finds here."""
    return _json(ctypes.CDLL(library).onnxruntime_ep_xdna_describe)


def npu(library: str) -> dict[str, Any]:
    """The NPUs that are open, simulated or real, and what they have done."""
    return _json(ctypes.CDLL(library).onnxruntime_ep_xdna_npu)


def loaded() -> str | None:
    """The provider's library that this process has open already, where the system tells."""
    try:
        maps = Path("/proc/self/maps").read_text(encoding="utf-8", errors="surrogateescape")
    except OSError:
        return None
    names = (line.split(None, 5)[-1] for line in maps.splitlines())
    return next((name for name in names if Path(name).name == library_name()), None)


def _json(function: Any) -> dict[str, Any]:
    function.restype = ctypes.c_char_p
    text = function()
    described: dict[str, Any] = json.loads(text) if text else {}
    return described
