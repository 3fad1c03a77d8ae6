"""The extension module: no interface of the package, which is in the files beside it."""

from collections.abc import Callable, Iterator
from os import PathLike
from pathlib import Path
from typing import Any

__version__: str

class Tokenizer:
    def encode(self, text: str) -> list[int]: ...
    def decode(self, tokens: list[int]) -> str: ...
    def special_token(self, name: str) -> int | None: ...
    def non_speech_tokens(self) -> list[int]: ...

class Model:
    n_mels: int
    warning: str | None
    tokenizer: Tokenizer
    languages: list[str] | None
    def __init__(
        self,
        folder: str | PathLike[str],
        *,
        ort_library: str | PathLike[str],
        ep_library: str | PathLike[str] | None,
        device: str,
        precision: str,
        threads: int | None,
        workers: int,
        packed: str | PathLike[str] | None,
    ) -> None: ...
    def features(self, audio: bytes) -> tuple[bytes, int]: ...
    def language_probabilities(self, window: bytes) -> list[tuple[str, float]]: ...
    def transcribe(self, pieces: list[bytes], **options: Any) -> Segments: ...

class Segments(Iterator[tuple[Any, ...]]):
    done_seconds: float
    fallback: str | None
    warnings: list[tuple[int, float, float, str]]
    executed_by: tuple[str, str] | None
    def __iter__(self) -> Segments: ...
    def __next__(self) -> tuple[Any, ...]: ...

def available_models() -> list[str]: ...
def language_codes() -> list[str]: ...
def packed_folder() -> Path | None: ...
def convert(source: str | PathLike[str], out: str | PathLike[str]) -> None: ...
def provide(
    source: str,
    said: Callable[[str], object],
    *,
    output_dir: str | PathLike[str] | None,
    offline: bool,
    cache: str | PathLike[str] | None,
    revision: str | None,
    token: str | None,
    anonymous: bool,
) -> Path: ...
def decode_audio(
    source: str | PathLike[str] | bytes, name: str, *, rate: int, sides: bool
) -> tuple[list[bytes], list[str]]: ...
def speech_segments(
    audio: bytes,
    *,
    ort_library: str | PathLike[str],
    threshold: float,
    neg_threshold: float | None,
    min_speech_duration_ms: int,
    max_speech_duration_s: float,
    min_silence_duration_ms: int,
    speech_pad_ms: int,
) -> list[tuple[int, int]]: ...
