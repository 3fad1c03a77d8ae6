"""Undertone's plugin execution provider for ONNX Runtime: its library, and sessions that use it.

    session = onnxruntime_ep_xdna.session("encoder_model.onnx", device="host", precision="int8")

Importing it imports nothing of ONNX Runtime and loads nothing: the first function that needs ONNX Runtime does.
``python -m onnxruntime_ep_xdna`` tells versions and devices.
"""

from __future__ import annotations

from typing import Any

from . import _library
from ._errors import EpError, NotClaimedError, OnnxRuntimeError, OptionsError, RegistrationError
from ._everywhere import Everywhere, everywhere
from ._library import get_library_path
from ._options import EpOptions
from ._registration import register, registered_library
from ._sessions import partition_report, providers, session

__all__ = [
    "EpError",
    "EpOptions",
    "Everywhere",
    "NotClaimedError",
    "OnnxRuntimeError",
    "OptionsError",
    "RegistrationError",
    "counters",
    "describe",
    "everywhere",
    "get_ep_name",
    "get_ep_names",
    "get_library_path",
    "npu",
    "partition_report",
    "providers",
    "register",
    "session",
]


def get_ep_name() -> str:
    """The execution provider's name, as in ``OrtEpDevice.ep_name``, whatever name the library is registered under."""
    return _library.EP_NAME


def get_ep_names() -> list[str]:
    """The names of all execution providers in the library: the one."""
    return [get_ep_name()]


def counters() -> dict[str, int]:
    """What this process has executed with the provider so far, counted by the code that executed it:
    ``fused_nodes_executed``, and kernel calls by device (``kernel_calls.host``, ``.sim``, ``.npu``).

    They only grow: what a run did is the difference of two calls.
    """
    return _library.counters(registered_library())


def npu() -> dict[str, Any]:
    """The NPUs that are open, simulated or real, and what they have done; ``{}`` where none is."""
    return _library.npu(registered_library())


def describe() -> dict[str, Any]:
    """What the library is, and which devices it finds on this machine."""
    return _library.describe(registered_library())
