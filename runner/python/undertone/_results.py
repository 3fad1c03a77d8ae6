"""What a transcription gives: segments, words, and what is known of the recording."""

from __future__ import annotations

import warnings
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any

from undertone.vad import VadOptions


def _deprecated(what: Any) -> dict:
    name = type(what).__name__
    warnings.warn(f"{name}._asdict() is deprecated: use dataclasses.asdict", DeprecationWarning, stacklevel=3)
    return asdict(what)


@dataclass
class Word:
    """A word with its times in seconds, and the mean probability of its tokens."""

    start: float
    end: float
    word: str
    probability: float

    def _asdict(self) -> dict:
        return _deprecated(self)


@dataclass
class Segment:
    """What was said between two times.

    Attributes:
      id: Its number, from 1.
      seek: The frame (10 ms) at which the window begins that it was decoded in.
      start: Seconds.
      end: Seconds.
      text: With the blank that Whisper puts in front of a word.
      tokens: With the timestamps.
      avg_logprob: Mean log-probability of the window's tokens.
      compression_ratio: By how much zlib makes the window's text smaller.
      no_speech_prob: Probability that nobody speaks in the window.
      words: Where `word_timestamps` asked for them.
      temperature: At which the window was decoded.
    """

    id: int
    seek: int
    start: float
    end: float
    text: str
    tokens: list[int]
    avg_logprob: float
    compression_ratio: float
    no_speech_prob: float
    words: list[Word] | None
    temperature: float | None

    def _asdict(self) -> dict:
        return _deprecated(self)


@dataclass
class TranscriptionOptions:
    """How a transcription was asked for: the arguments of `transcribe` under their names."""

    beam_size: int
    best_of: int
    patience: float
    length_penalty: float
    repetition_penalty: float
    no_repeat_ngram_size: int
    log_prob_threshold: float | None
    no_speech_threshold: float | None
    compression_ratio_threshold: float | None
    condition_on_previous_text: bool
    prompt_reset_on_temperature: float
    temperatures: list[float]
    initial_prompt: str | Iterable[int] | None
    prefix: str | None
    suppress_blank: bool
    suppress_tokens: list[int] | None
    without_timestamps: bool
    max_initial_timestamp: float
    word_timestamps: bool
    prepend_punctuations: str
    append_punctuations: str
    multilingual: bool
    max_new_tokens: int | None
    clip_timestamps: str | list[float] | list[dict]
    hallucination_silence_threshold: float | None
    hotwords: str | None


@dataclass
class TranscriptionInfo:
    """What is known of a recording before its segments are.

    Attributes:
      language: The code of the spoken language, asked for or detected.
      language_probability: How probable it is; 1 where it was asked for.
      duration: Seconds of the recording.
      duration_after_vad: Seconds that are left of it when what is no speech is taken out.
      all_language_probs: Codes and probabilities, the likeliest first, of the window that decided; None where none was
        asked.
      transcription_options: What was asked for.
      vad_options: How speech was told from what is not, if it was.
    """

    language: str
    language_probability: float
    duration: float
    duration_after_vad: float
    all_language_probs: list[tuple[str, float]] | None
    transcription_options: TranscriptionOptions
    vad_options: dict | VadOptions | None
