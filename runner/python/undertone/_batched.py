"""Transcriptions in pieces that are decoded together, under faster-whisper's name."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, BinaryIO

import numpy as np

from undertone._defaults import _APPENDED, _PREPENDED, _TEMPERATURES
from undertone._pieces import _InSpeech, _samples, _vad_options
from undertone._results import Segment, TranscriptionInfo, TranscriptionOptions
from undertone.audio import SAMPLE_RATE
from undertone.tokenizer import Tokenizer
from undertone.utils import format_timestamp
from undertone.vad import SpeechTimestampsMap, VadOptions, collect_chunks, get_speech_timestamps

if TYPE_CHECKING:
    from undertone.transcribe import WhisperModel


class BatchedInferencePipeline:
    """Transcribes a recording in pieces that are decoded together: faster, and without the text before each piece."""

    def __init__(self, model: WhisperModel):
        self.model: WhisperModel = model
        self.last_speech_timestamp = 0.0

    def transcribe(
        self,
        audio: str | BinaryIO | np.ndarray,
        language: str | None = None,
        task: str = "transcribe",
        log_progress: bool = False,
        beam_size: int = 5,
        best_of: int = 5,
        patience: float = 1,
        length_penalty: float = 1,
        repetition_penalty: float = 1,
        no_repeat_ngram_size: int = 0,
        temperature: float | list[float] | tuple[float, ...] = _TEMPERATURES,
        compression_ratio_threshold: float | None = 2.4,
        log_prob_threshold: float | None = -1.0,
        no_speech_threshold: float | None = 0.6,
        condition_on_previous_text: bool = True,
        prompt_reset_on_temperature: float = 0.5,
        initial_prompt: str | Iterable[int] | None = None,
        prefix: str | None = None,
        suppress_blank: bool = True,
        suppress_tokens: list[int] | None = [-1],  # noqa: B006, it is not written to
        without_timestamps: bool = True,
        max_initial_timestamp: float = 1.0,
        word_timestamps: bool = False,
        prepend_punctuations: str = _PREPENDED,
        append_punctuations: str = _APPENDED,
        multilingual: bool = False,
        vad_filter: bool = True,
        vad_parameters: dict | VadOptions | None = None,
        max_new_tokens: int | None = None,
        chunk_length: int | None = None,
        clip_timestamps: list[dict] | None = None,
        hallucination_silence_threshold: float | None = None,
        batch_size: int = 8,
        hotwords: str | None = None,
        language_detection_threshold: float | None = 0.5,
        language_detection_segments: int = 1,
    ) -> tuple[Iterable[Segment], TranscriptionInfo]:
        """Transcribes a recording: `batch_size` pieces of up to 30 s at a time.

        The arguments are those of `WhisperModel.transcribe`, but for these:

        Args:
          temperature: The first alone is used.
          condition_on_previous_text, prompt_reset_on_temperature, prefix, max_initial_timestamp,
            hallucination_silence_threshold: Without effect, as in faster-whisper: no piece knows of another.
          vad_filter: Whether the recording is cut where nobody speaks; else it has to be shorter than a window, or
            `clip_timestamps` cut it.
          chunk_length: The most seconds of a piece, up to 30.
          clip_timestamps: The pieces, as `{"start": seconds, "end": seconds}`, each of at most 30 s.
          batch_size: Pieces that are decoded together.

        Returns:
          The segments, computed while they are consumed, and what is known before.
        """
        model = self.model
        if multilingual and not model.model.is_multilingual:
            model.logger.warning("the model is English-only: multilingual=True has no effect")
            multilingual = False
        samples = _samples(audio)
        duration = len(samples) / SAMPLE_RATE
        model.logger.info("Processing audio with duration %s", format_timestamp(duration))
        window = model.feature_extractor.chunk_length if chunk_length is None else chunk_length
        if not 0 < window <= model.feature_extractor.chunk_length:
            raise ValueError(f"chunk_length={chunk_length}: use 1 to 30 s")
        if clip_timestamps:
            parts = [{name: int(time * SAMPLE_RATE) for name, time in clip.items()} for clip in clip_timestamps]
            pieces = [samples[part["start"] : part["end"]] for part in parts]
            times = _InSpeech([part["start"] / SAMPLE_RATE for part in parts])
        else:
            if vad_filter:
                vad_parameters = _vad_options(vad_parameters, window)
                parts = get_speech_timestamps(samples, vad_parameters)
            elif duration < window:
                parts = [{"start": 0, "end": len(samples)}]
            else:
                raise RuntimeError(
                    "the recording is longer than a window: set vad_filter=True, or give clip_timestamps"
                )
            pieces, metadata = collect_chunks(samples, parts, max_duration=window)
            speech = SpeechTimestampsMap(parts, SAMPLE_RATE) if parts else None
            times = _InSpeech([piece["offset"] for piece in metadata], speech)
        kept = sum(part["end"] - part["start"] for part in parts) / SAMPLE_RATE
        model.logger.info("VAD filter removed %s of audio", format_timestamp(duration - kept))
        language, probability, probabilities = model._language(
            language, np.concatenate(pieces), language_detection_threshold, language_detection_segments
        )
        Tokenizer(model.hf_tokenizer, model.model.is_multilingual, task=task, language=language)
        temperatures = list(temperature[:1]) if isinstance(temperature, (list, tuple)) else [temperature]
        options = TranscriptionOptions(
            beam_size=beam_size,
            best_of=best_of,
            patience=patience,
            length_penalty=length_penalty,
            repetition_penalty=repetition_penalty,
            no_repeat_ngram_size=no_repeat_ngram_size,
            log_prob_threshold=log_prob_threshold,
            no_speech_threshold=no_speech_threshold,
            compression_ratio_threshold=compression_ratio_threshold,
            condition_on_previous_text=False,
            prompt_reset_on_temperature=0.5,
            temperatures=temperatures,
            initial_prompt=initial_prompt,
            prefix=None,
            suppress_blank=suppress_blank,
            suppress_tokens=suppress_tokens,
            without_timestamps=without_timestamps,
            max_initial_timestamp=1.0,
            word_timestamps=word_timestamps,
            prepend_punctuations=prepend_punctuations,
            append_punctuations=append_punctuations,
            multilingual=multilingual,
            max_new_tokens=max_new_tokens,
            clip_timestamps=[],
            hallucination_silence_threshold=None,
            hotwords=hotwords,
        )
        segments = model._segments(
            pieces if kept else [], language, task, options, log_progress, times, batch=batch_size
        )
        options.clip_timestamps = clip_timestamps or parts
        info = TranscriptionInfo(
            language=language,
            language_probability=probability,
            duration=duration,
            duration_after_vad=kept,
            all_language_probs=probabilities,
            transcription_options=options,
            vad_options=vad_parameters,
        )
        return segments, info
