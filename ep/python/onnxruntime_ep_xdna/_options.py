"""The provider's options, for type checkers; what is known and what can be followed here, the library decides."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Literal, TypedDict, Union

Path = Union[str, "os.PathLike[str]"]


class EpOptions(TypedDict, total=False):
    """Options of a session, each a word, a number or a path. One that is ``None`` is not given."""

    device: Literal["auto", "host", "sim", "npu"] | None
    target: Literal["npu1", "npu4"] | None
    sim: Literal["fast", "exact"] | None
    bundle_dir: Path | None
    npu_commands: Literal["lists", "single"] | None
    core_costs: Path | None
    precision: Literal["int8", "bf16", "f32"] | None
    claim: Literal["all", "attention", "matmul"] | None
    threads: int | None
    report: Path | None
    trace: Path | None


def words(options: Mapping[str, object]) -> dict[str, str]:
    """Options as ONNX Runtime passes them on."""
    return {
        name: os.fspath(value) if isinstance(value, os.PathLike) else str(value)
        for name, value in options.items()
        if value is not None
    }
