"""Sound in pieces: read, cut, and the segments of the pieces in the recording's time."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator
from typing import Any, BinaryIO

import numpy as np

from undertone._results import Segment, Word
from undertone.audio import as_samples, decode_audio
from undertone.vad import SpeechTimestampsMap, VadOptions


def _samples(audio: str | BinaryIO | np.ndarray) -> np.ndarray:
    return as_samples(audio if isinstance(audio, np.ndarray) else decode_audio(audio))


def _vad_options(given: dict | VadOptions | None, window: int | None = None) -> VadOptions:
    """The options that were given, or faster-whisper's defaults; with a `window`, for pieces of so many seconds."""
    if isinstance(given, VadOptions):
        return given
    if window is None:
        return VadOptions(**(given or {}))
    if given is None:
        return VadOptions(max_speech_duration_s=window, min_silence_duration_ms=160)
    return VadOptions(**{**given, "max_speech_duration_s": window})


class _InSpeech:
    """From times in a piece of sound to times in the recording.

    Args:
      offsets: Where each piece begins, in seconds: in the recording, or in its joined speech where there is `speech`.
      speech: The parts of the recording that were joined.
    """

    def __init__(self, offsets: list[float], speech: SpeechTimestampsMap | None = None):
        self.offsets = offsets
        self.speech = speech

    def place(self, piece: int, segment: Segment) -> None:
        """Moves a segment and its words."""
        offset = self.offsets[piece]
        if offset:
            segment.seek = int(offset * 100)
            segment.start = round(segment.start + offset, 3)
            segment.end = round(segment.end + offset, 3)
            for word in segment.words or []:
                word.start, word.end = round(word.start + offset, 3), round(word.end + offset, 3)
        if self.speech is None:
            return
        for word in segment.words or []:
            # Both ends in the part that the word's middle lies in.
            part = self.speech.get_chunk_index((word.start + word.end) / 2)
            word.start = self.speech.get_original_time(word.start, part)
            word.end = self.speech.get_original_time(word.end, part)
        if segment.words:
            segment.start, segment.end = segment.words[0].start, segment.words[-1].end
        else:
            segment.start = self.speech.get_original_time(segment.start)
            segment.end = self.speech.get_original_time(segment.end, is_end=True)


def _consume(
    native: Any, duration: float, times: _InSpeech, log_progress: bool, logger: logging.Logger
) -> Iterator[Segment]:
    """Segments as they are computed; at the end what is to be said of the whole."""
    progress = _Progress(duration) if log_progress else None
    for number, (piece, *before, words, temperature) in enumerate(native, start=1):
        words = None if words is None else [Word(*word) for word in words]
        segment = Segment(number, *before, words, temperature)
        times.place(piece, segment)
        yield segment
        if progress:
            progress.show(native.done_seconds)
    if progress:
        progress.show(duration)
        progress.end()
    if native.fallback:
        logger.warning("not on the device asked for: %s", native.fallback)
    for piece, start, end, what in native.warnings:
        span = Segment(0, 0, start, end, "", [], 0.0, 0.0, 0.0, None, None)
        times.place(piece, span)
        logger.warning("from %.1f s to %.1f s: %s", span.start, span.end, what)
    if native.executed_by:
        logger.debug("computed by %s, %s", *native.executed_by)


class _Progress:
    """How much of a recording is done, on a line of standard error."""

    def __init__(self, total: float):
        self.total = total

    def show(self, done: float) -> None:
        share = done / self.total if self.total else 1.0
        print(f"\r{share:4.0%} of {self.total:.0f} s", end="", file=sys.stderr, flush=True)

    def end(self) -> None:
        print(file=sys.stderr)
