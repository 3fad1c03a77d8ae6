"""What this package raises: each says what is wrong, where, and what to do."""

from __future__ import annotations


class EpError(RuntimeError):
    """The execution provider cannot be used as it was asked for."""


class OnnxRuntimeError(EpError):
    """ONNX Runtime is missing, older than the provider needs, or cannot do this in its version."""


class RegistrationError(EpError):
    """ONNX Runtime did not take the provider's library."""


class OptionsError(EpError, ValueError):
    """An option of the provider that is not known, or that cannot be followed on this machine: ``device="npu"``
    without an NPU is one."""


class NotClaimedError(EpError):
    """The provider takes less of a model than ``require`` asks for."""
