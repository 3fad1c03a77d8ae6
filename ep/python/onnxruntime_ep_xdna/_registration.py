"""Registering the library with ONNX Runtime, once for a process, and what this ONNX Runtime can do with it."""

from __future__ import annotations

import importlib
import re
import sys
import threading
from types import ModuleType
from typing import TYPE_CHECKING, Any

from ._errors import OnnxRuntimeError, RegistrationError
from ._library import EP_NAME, get_library_path, loaded

if TYPE_CHECKING:
    import onnxruntime

# The first with the interface of plugin execution providers that the library has.
OLDEST = (1, 23)
REGISTERED_NAME = "onnxruntime_ep_xdna"

_LOCK = threading.Lock()


def runtime() -> ModuleType:
    """The module ``onnxruntime``, imported now. Raises :class:`OnnxRuntimeError` if there is none, or an old one."""
    wanted = ".".join(map(str, OLDEST))
    try:
        onnxruntime = importlib.import_module("onnxruntime")
    except ImportError as error:
        raise OnnxRuntimeError(
            f"the package onnxruntime cannot be imported ({error}): install version {wanted} or newer"
        ) from error
    version = str(getattr(onnxruntime, "__version__", ""))
    numbers = tuple(int(number) for number in re.findall(r"\d+", version)[:2])
    if numbers < OLDEST or not hasattr(onnxruntime, "register_execution_provider_library"):
        raise OnnxRuntimeError(
            f"ONNX Runtime {version or 'without a version'} in {getattr(onnxruntime, '__file__', 'this process')} is"
            f" too old for {EP_NAME}: install {wanted} or newer"
        )
    return onnxruntime


def register() -> onnxruntime.OrtEpDevice:
    """Registers the library with ONNX Runtime, unless this process has done so already, under whatever name.

    Gives the provider's device, for ``SessionOptions.add_provider_for_devices``. Any thread may call it, any number of
    times. Once it is registered, sessions that leave the choice of a provider to one of ONNX Runtime's automatic
    policies go to this provider, in f32.

    Raises :class:`OnnxRuntimeError` without ONNX Runtime 1.23 or newer, ``FileNotFoundError`` without the library, and
    :class:`RegistrationError` if ONNX Runtime does not take it.
    """
    module = runtime()
    with _LOCK:
        present = _device(module)
        if present is None:
            library = get_library_path()
            try:
                module.register_execution_provider_library(REGISTERED_NAME, library)
            except Exception as error:
                # Another part of the program may have been faster.
                if _device(module) is None:
                    raise RegistrationError(
                        f"ONNX Runtime {module.__version__} did not take {library}: {error}"
                    ) from error
            present = _device(module)
        if present is None:
            raise RegistrationError(f"ONNX Runtime {module.__version__} took the library and offers no {EP_NAME}")
        return present


def registered_library() -> str:
    """The file of the library that is registered, or of this package's: a program may have registered another."""
    device = _device(runtime()) if "onnxruntime" in sys.modules else None
    if device is None:
        return get_library_path()
    # ONNX Runtime 1.23 and 1.24 do not say which file it was.
    return device.ep_metadata.get("library_path") or loaded() or get_library_path()


def takes_names(module: ModuleType) -> bool:
    """Whether ``providers=["XdnaExecutionProvider"]`` is understood: from 1.25 on, once the library is registered."""
    return EP_NAME in module.get_available_providers()


def _device(module: ModuleType) -> Any:
    return next((device for device in module.get_ep_devices() if device.ep_name == EP_NAME), None)
