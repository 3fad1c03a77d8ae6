"""faster-whisper's words for devices and types, and what they come to here."""

from __future__ import annotations

import logging

_DEVICES = {
    "auto": "auto",
    "cpu": "host",
    "npu": "npu",
    # Not of faster-whisper: the NPU's simulator, and ONNX Runtime's own CPU provider.
    "sim": "sim",
    "onnxruntime": "cpu",
}

_PRECISIONS = {"int8": "int8", "bfloat16": "bf16", "float32": "f32", "default": "int8", "auto": "int8"}
# What is computed where a type does not exist here: (on a CPU, on an NPU).
_NEAREST = {
    "int8_float32": ("int8", "int8"),
    "int8_float16": ("int8", "int8"),
    "int8_bfloat16": ("int8", "int8"),
    "int16": ("f32", "bf16"),
    "float16": ("f32", "bf16"),
}
_NAMES = {"int8": "int8", "bf16": "bfloat16", "f32": "float32"}


def resolve(device: str, compute_type: str, logger: logging.Logger) -> tuple[str, str, str]:
    """The library's words for a device and a precision, and the precision as it is called in Python.

    Raises:
      ValueError: A device or a type that there is not; the message says which there are.
    """
    if device not in _DEVICES:
        there = "'npu', 'cpu', or 'auto', which takes the best there is"
        if device in ("cuda", "gpu", "rocm", "mps"):
            raise ValueError(
                f"device '{device}': undertone computes on AMD NPUs and on the CPU, and on no GPU: use {there}"
            )
        raise ValueError(f"there is no device '{device}': use {there}")
    if compute_type in _PRECISIONS:
        precision = _PRECISIONS[compute_type]
    elif compute_type in _NEAREST:
        precision = _NEAREST[compute_type][0 if device in ("cpu", "onnxruntime") else 1]
        logger.warning("compute_type '%s' does not exist here: '%s' is computed", compute_type, _NAMES[precision])
    else:
        raise ValueError(
            f"there is no compute_type '{compute_type}': use one of {', '.join((*_PRECISIONS, *_NEAREST))}"
        )
    return _DEVICES[device], precision, _NAMES[precision]
