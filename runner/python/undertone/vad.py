"""Where somebody speaks: Silero's model, which is part of the library."""

from __future__ import annotations

import bisect
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

from undertone import _native
from undertone._libraries import onnxruntime_library
from undertone.audio import SAMPLE_RATE, as_samples


@dataclass
class VadOptions:
    """How speech is told from what is not, under faster-whisper's names.

    Attributes:
      threshold: Sound whose probability of speech is above this is speech.
      neg_threshold: Speech ends where the probability falls below this; None is 0.15 less than `threshold`.
      min_speech_duration_ms: Shorter speech is left out.
      max_speech_duration_s: Longer speech is cut, at a pause where it has one.
      min_silence_duration_ms: A pause that ends speech lasts at least so long.
      speech_pad_ms: What is kept before and after speech.
    """

    threshold: float = 0.5
    neg_threshold: float | None = None
    min_speech_duration_ms: int = 0
    max_speech_duration_s: float = float("inf")
    min_silence_duration_ms: int = 2000
    speech_pad_ms: int = 400


def get_speech_timestamps(
    audio: np.ndarray, vad_options: VadOptions | None = None, sampling_rate: int = 16000, **kwargs: Any
) -> list[dict]:
    """The parts of `audio` in which somebody speaks, as `{"start": sample, "end": sample}`.

    Args:
      audio: Samples at 16 kHz, `[samples]`.
      vad_options: How to tell.
      sampling_rate: Samples in a second of `audio`: 16000.
      kwargs: Fields of `VadOptions`, where that is not given.
    """
    if sampling_rate != SAMPLE_RATE:
        raise NotImplementedError(f"sampling_rate={sampling_rate}: speech is found at 16000 Hz only")
    options = VadOptions(**kwargs) if vad_options is None else vad_options
    parts = _native.speech_segments(as_samples(audio).tobytes(), ort_library=onnxruntime_library(), **vars(options))
    return [{"start": start, "end": end} for start, end in parts]


def collect_chunks(
    audio: np.ndarray, chunks: list[dict], sampling_rate: int = 16000, max_duration: float = float("inf")
) -> tuple[list[np.ndarray], list[dict]]:
    """Joins parts of `audio` one after another into pieces of at most `max_duration` seconds.

    Returns:
      The pieces, and of each where it begins in the joined sound (`offset`), how long it is (`duration`, both in
      seconds), and which parts it is made of (`segments`). A single part that is longer stays whole.
    """
    if not chunks:
        return [np.array([], dtype=np.float32)], [{"offset": 0, "duration": 0, "segments": []}]
    # As in faster-whisper: the part that begins a new piece is not among its `segments`.
    pieces: list[np.ndarray] = []
    metadata: list[dict] = []
    parts: list[np.ndarray] = []
    segments: list[dict] = []
    length = before = 0

    def close() -> None:
        pieces.append(np.concatenate(parts) if parts else np.array([], dtype=np.float32))
        metadata.append({"offset": before / sampling_rate, "duration": length / sampling_rate, "segments": segments})

    for chunk in chunks:
        part = audio[chunk["start"] : chunk["end"]]
        size = chunk["end"] - chunk["start"]
        if length + size > max_duration * sampling_rate:
            close()
            before += length
            parts, segments, length = [part], [], size
        else:
            parts.append(part)
            segments.append(chunk)
            length += size
    close()
    return pieces, metadata


class SpeechTimestampsMap:
    """Times in the joined sound of parts, turned into times in the recording.

    Args:
      chunks: The parts, as `get_speech_timestamps` gives them.
      sampling_rate: Samples in a second.
      time_precision: Digits after the point.
    """

    def __init__(self, chunks: Iterable[dict], sampling_rate: int, time_precision: int = 2):
        self.sampling_rate = sampling_rate
        self.time_precision = time_precision
        # The end of each part in the joined sound, in samples, and the seconds that were left out before it.
        self.chunk_end_sample: list[int] = []
        self.total_silence_before: list[float] = []
        joined = 0
        for chunk in chunks:
            self.total_silence_before.append((chunk["start"] - joined) / sampling_rate)
            joined += chunk["end"] - chunk["start"]
            self.chunk_end_sample.append(joined)

    def get_original_time(self, time: float, chunk_index: int | None = None, is_end: bool = False) -> float:
        """The time in the recording; `is_end`: of something that ends there, and belongs to the part before."""
        if chunk_index is None:
            chunk_index = self.get_chunk_index(time, is_end)
        return round(self.total_silence_before[chunk_index] + time, self.time_precision)

    def get_chunk_index(self, time: float, is_end: bool = False) -> int:
        """The part that a time in the joined sound lies in."""
        sample = int(time * self.sampling_rate)
        find = bisect.bisect_left if is_end and sample in self.chunk_end_sample else bisect.bisect_right
        return min(find(self.chunk_end_sample, sample), len(self.chunk_end_sample) - 1)
