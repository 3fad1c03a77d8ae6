"""Models and transcriptions, under the names of faster-whisper."""

from __future__ import annotations

import os
import shutil
import tempfile
import weakref
from collections.abc import Iterable, Iterator
from typing import Any, BinaryIO

import numpy as np

from undertone import _native
from undertone._batched import BatchedInferencePipeline
from undertone._defaults import _APPENDED, _PREPENDED, _TEMPERATURES
from undertone._device import resolve
from undertone._libraries import ep_library, onnxruntime_library, packed_folder
from undertone._pieces import _consume, _InSpeech, _samples, _vad_options
from undertone._results import Segment, TranscriptionInfo, TranscriptionOptions, Word
from undertone.audio import SAMPLE_RATE, as_samples, pad_or_trim
from undertone.feature_extractor import FeatureExtractor
from undertone.tokenizer import ModelTokenizer, Tokenizer
from undertone.utils import download_model, format_timestamp, get_logger
from undertone.vad import SpeechTimestampsMap, VadOptions, collect_chunks, get_speech_timestamps

__all__ = [
    "BatchedInferencePipeline",
    "LoadedModel",
    "Segment",
    "TranscriptionInfo",
    "TranscriptionOptions",
    "WhisperModel",
    "Word",
]


class LoadedModel:
    """What `WhisperModel.model` is: the properties of a loaded model that programs look at."""

    def __init__(self, native: Any, device: str, compute_type: str, workers: int):
        self.native = native
        self.device = device
        self.device_index = [0]
        self.compute_type = compute_type
        self.num_workers = workers

    @property
    def is_multilingual(self) -> bool:
        """Whether it knows languages and tasks."""
        return self.native.languages is not None

    @property
    def num_languages(self) -> int:
        """How many languages it knows."""
        return len(self.native.languages or ["en"])

    @property
    def n_mels(self) -> int:
        """Mel bins of its features."""
        return self.native.n_mels


class WhisperModel:
    """A Whisper model, loaded.

    Args:
      model_size_or_path: A name (`available_models()`), a folder or file of weights or ONNX graphs, faster-whisper's
        folders included, or a repository of the Hugging Face hub. What is not here is fetched, and weights are
        converted, once.
      device: `auto`, the best there is; `npu`, an AMD NPU; `cpu`, this processor by the NPU kernels' arithmetic. Also
        `sim`, the NPU's simulator, and `onnxruntime`, ONNX Runtime's own CPU provider, which computes in the model's
        own types.
      device_index: 0: there is one device of each kind.
      compute_type: `int8`, `bfloat16` or `float32`: of the products and the attention in the layers. `default` is
        `int8`. faster-whisper's other words are taken for the nearest of these, and a warning says for which.
      cpu_threads: Threads that compute; 0 leaves the choice to ONNX Runtime.
      num_workers: How many transcriptions may compute at once, from as many threads. Each worker takes memory of its
        own.
      download_root: The hub's cache to use.
      local_files_only: Nothing is fetched.
      files: The model's files by name, as bytes or file objects, in place of a path.
      revision: A branch, a tag or a commit of the repository.
      use_auth_token: A token for the hub, or True for the one that logging in left.

    Raises:
      ValueError: A name, a device or a type that there is not.
      FileNotFoundError: The model is not here, and the network is not reached or not allowed.
      RuntimeError: The model or the device does not work; the message says what is missing.
    """

    def __init__(
        self,
        model_size_or_path: str,
        device: str = "auto",
        device_index: int | list[int] = 0,
        compute_type: str = "default",
        cpu_threads: int = 0,
        num_workers: int = 1,
        download_root: str | None = None,
        local_files_only: bool = False,
        files: dict | None = None,
        revision: str | None = None,
        use_auth_token: str | bool | None = None,
        **model_kwargs: Any,
    ):
        self.logger = get_logger()
        engine, precision, computed = resolve(device, compute_type, self.logger)
        _refuse(device_index, model_kwargs)
        if files:
            # Models out of memory lie in a folder of their own as long as this is there.
            home = _folder_of(files)
            weakref.finalize(self, shutil.rmtree, home, ignore_errors=True)
            folder = os.path.join(home, "model")
        elif os.path.isdir(model_size_or_path):
            # Weights in it are converted, wherever they are from.
            folder = download_model(os.path.abspath(model_size_or_path))
        else:
            folder = download_model(
                model_size_or_path,
                local_files_only=local_files_only,
                cache_dir=download_root,
                revision=revision,
                use_auth_token=use_auth_token,
            )
        workers = max(num_workers, 1)
        native = _native.Model(
            folder,
            ort_library=onnxruntime_library(),
            ep_library=None if engine == "cpu" else ep_library(),
            device=engine,
            precision=precision,
            threads=cpu_threads or None,
            workers=workers,
            packed=None if files else packed_folder(),
        )
        if native.warning:
            self.logger.warning("%s", native.warning)
        self.model = LoadedModel(native, device, computed, workers)
        self.hf_tokenizer = ModelTokenizer(native.tokenizer)
        self.feature_extractor = FeatureExtractor(native)
        self.feat_kwargs = {"feature_size": native.n_mels}
        self.input_stride = 2
        self.num_samples_per_token = self.feature_extractor.hop_length * self.input_stride
        self.frames_per_second = self.feature_extractor.sampling_rate // self.feature_extractor.hop_length
        self.tokens_per_second = self.feature_extractor.sampling_rate // self.num_samples_per_token
        self.time_precision = 0.02
        self.max_length = 448

    @property
    def supported_languages(self) -> list[str]:
        """The codes of the languages that the model knows."""
        return list(self.model.native.languages or ["en"])

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
        without_timestamps: bool = False,
        max_initial_timestamp: float = 1.0,
        word_timestamps: bool = False,
        prepend_punctuations: str = _PREPENDED,
        append_punctuations: str = _APPENDED,
        multilingual: bool = False,
        vad_filter: bool = False,
        vad_parameters: dict | VadOptions | None = None,
        max_new_tokens: int | None = None,
        chunk_length: int | None = None,
        clip_timestamps: str | list[float] = "0",
        hallucination_silence_threshold: float | None = None,
        hotwords: str | None = None,
        language_detection_threshold: float | None = 0.5,
        language_detection_segments: int = 1,
    ) -> tuple[Iterable[Segment], TranscriptionInfo]:
        """Transcribes a recording: window after window, each with the text before it.

        Args:
          audio: A path, a file object, or samples at 16 kHz (float32 between -1 and 1, or int16).
          language: A code such as `de`; None detects it in the first window.
          task: `transcribe`, or `translate` into English.
          log_progress: Whether to show on standard error how far it is.
          beam_size: Texts that are followed side by side at temperature 0.
          best_of: Texts that are drawn at a temperature above 0, of which the likeliest is taken.
          patience: How many beams have to be finished: `beam_size` times this.
          length_penalty: The exponent of the length by which texts are compared.
          repetition_penalty: Above 1, tokens that stand in the text already become less likely.
          no_repeat_ngram_size: So many tokens in a row do not come twice; 0 lets them.
          temperature: One, or several that are tried one after another until a text passes the thresholds.
          compression_ratio_threshold: Text that zlib makes smaller than by this factor repeats itself, and does not
            pass.
          log_prob_threshold: Text whose mean log-probability is below this does not pass.
          no_speech_threshold: A window whose probability of no speech is above this, and whose text does not pass, is
            silence.
          condition_on_previous_text: Whether a window is given the text before it.
          prompt_reset_on_temperature: Text that was decoded at a higher temperature is given to no window.
          initial_prompt: Text, or its tokens, that comes before the first window's.
          prefix: Text that the first window's begins with.
          suppress_blank: Whether a text may not begin with a blank or be empty.
          suppress_tokens: Tokens that are not written; -1 stands for marks that nobody says.
          without_timestamps: Whether each window becomes one segment, without times within it.
          max_initial_timestamp: The latest time, in seconds, at which a window's first segment begins.
          word_timestamps: Whether segments get words with their times.
          prepend_punctuations: Marks that belong to the word after them.
          append_punctuations: Marks that belong to the word before them.
          multilingual: Whether the language is detected in each window.
          vad_filter: Whether what is no speech is taken out before.
          vad_parameters: `VadOptions`, or a dictionary of its fields.
          max_new_tokens: The most tokens of a window.
          chunk_length: The length of a window in seconds: 30, as Whisper's models have it.
          clip_timestamps: The parts to transcribe, in seconds: `start,end,start,end,…`; without the last end, to the
            recording's.
          hallucination_silence_threshold: With `word_timestamps`: silence of more seconds around doubtful words is
            skipped, with them.
          hotwords: Words that are likely; given to each window unless there is a `prefix`.
          language_detection_threshold: A language that is likelier than this is believed at once.
          language_detection_segments: Windows that are looked at for a language that is; else the most frequent one is
            taken.

        Returns:
          The segments, computed while they are consumed, and what is known before.

        Raises:
          ValueError: An option has a value that means nothing, or the model does not know the language.
          NotImplementedError: An option is not carried out; the message names it.
          KeyboardInterrupt: Ctrl-C was pressed while a segment was computed.
        """
        if multilingual and not self.model.is_multilingual:
            self.logger.warning("the model is English-only: multilingual=True has no effect")
            multilingual = False
        samples = _samples(audio)
        duration = len(samples) / SAMPLE_RATE
        self.logger.info("Processing audio with duration %s", format_timestamp(duration))
        if chunk_length not in (None, self.feature_extractor.chunk_length):
            raise NotImplementedError(f"chunk_length={chunk_length}: the windows of Whisper's models are 30 s long")
        clips = _clips(clip_timestamps)
        speech = None
        if vad_filter and clip_timestamps == "0":
            vad_parameters = _vad_options(vad_parameters)
            parts = get_speech_timestamps(samples, vad_parameters)
            samples = np.concatenate(collect_chunks(samples, parts)[0])
            speech = SpeechTimestampsMap(parts, SAMPLE_RATE) if parts else None
        kept = len(samples) / SAMPLE_RATE
        if vad_filter:
            self.logger.info("VAD filter removed %s of audio", format_timestamp(duration - kept))
        if len(clips) % 2 == 0 and clips and clips[-1] > kept:
            # As in faster-whisper: times are often rounded up.
            self.logger.info("the last clip ends with the recording, at %s", format_timestamp(kept))
            clips.pop()
        start = int(clips[0] * SAMPLE_RATE) if clips and clips[0] < kept else 0
        language, probability, probabilities = self._language(
            language, samples[start:], language_detection_threshold, language_detection_segments
        )
        Tokenizer(self.hf_tokenizer, self.model.is_multilingual, task=task, language=language)
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
            condition_on_previous_text=condition_on_previous_text,
            prompt_reset_on_temperature=prompt_reset_on_temperature,
            temperatures=list(temperature) if isinstance(temperature, (list, tuple)) else [temperature],
            initial_prompt=initial_prompt,
            prefix=prefix,
            suppress_blank=suppress_blank,
            suppress_tokens=suppress_tokens,
            without_timestamps=without_timestamps,
            max_initial_timestamp=max_initial_timestamp,
            word_timestamps=word_timestamps,
            prepend_punctuations=prepend_punctuations,
            append_punctuations=append_punctuations,
            multilingual=multilingual,
            max_new_tokens=max_new_tokens,
            clip_timestamps=clips,
            hallucination_silence_threshold=hallucination_silence_threshold,
            hotwords=hotwords,
        )
        segments = self._segments([samples], language, task, options, log_progress, _InSpeech([0.0], speech))
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

    def detect_language(
        self,
        audio: np.ndarray | None = None,
        features: np.ndarray | None = None,
        vad_filter: bool = False,
        vad_parameters: dict | VadOptions | None = None,
        language_detection_segments: int = 1,
        language_detection_threshold: float = 0.5,
    ) -> tuple[str, float, list[tuple[str, float]]]:
        """Which language is spoken.

        Args:
          audio: Samples at 16 kHz.
          features: Or features `[bins, frames]`, as `feature_extractor` makes them.
          vad_filter: Whether what is no speech is taken out of the samples before.
          vad_parameters: `VadOptions`, or a dictionary of its fields.
          language_detection_segments: Windows of 30 s that are looked at, at most.
          language_detection_threshold: A language that is likelier than this is believed at once.

        Returns:
          The code, its probability, and all codes with their probabilities in the window that was looked at last.
        """
        if audio is not None:
            samples = as_samples(np.asarray(audio))
            if vad_filter:
                parts = get_speech_timestamps(samples, _vad_options(vad_parameters))
                samples = np.concatenate(collect_chunks(samples, parts)[0])
            features = self.feature_extractor(samples[: language_detection_segments * self.feature_extractor.n_samples])
        if features is None:
            raise AssertionError("either audio or features have to be given")
        window = self.feature_extractor.nb_max_frames
        features = features[..., : language_detection_segments * window]
        votes: dict[str, list[float]] = {}
        everything: list[tuple[str, float]] = []
        for start in range(0, features.shape[-1], window):
            part = pad_or_trim(features[..., start : start + window], window)
            everything = self.model.native.language_probabilities(
                np.ascontiguousarray(part, dtype=np.float32).tobytes()
            )
            language, probability = everything[0]
            if probability > language_detection_threshold:
                return language, probability, everything
            votes.setdefault(language, []).append(probability)
        # The first of those with most windows.
        language = max(votes, key=lambda code: len(votes[code]))
        return language, max(votes[language]), everything

    def _language(
        self, asked: str | None, samples: np.ndarray, threshold: float | None, segments: int
    ) -> tuple[str, float, list[tuple[str, float]] | None]:
        """The language that was asked for, or is detected; its probability; and those of all, if it was detected."""
        if not self.model.is_multilingual:
            if asked not in (None, "en"):
                self.logger.warning("the model is English-only: language '%s' has no effect", asked)
            return "en", 1, None
        if asked is not None:
            return asked, 1, None
        found = self.detect_language(
            audio=samples,
            language_detection_segments=segments,
            language_detection_threshold=0.5 if threshold is None else threshold,
        )
        self.logger.info("Detected language '%s' with probability %.2f", found[0], found[1])
        return found

    def _segments(
        self,
        pieces: list[np.ndarray],
        language: str,
        task: str,
        options: TranscriptionOptions,
        log_progress: bool,
        times: _InSpeech,
        batch: int = 1,
    ) -> Iterator[Segment]:
        """Begins a transcription of pieces, each by itself. Errors in the options come now, not with a segment."""
        native = self.model.native.transcribe(
            [piece.tobytes() for piece in pieces], language=language, task=task, batch=batch, **vars(options)
        )
        return _consume(native, sum(map(len, pieces)) / SAMPLE_RATE, times, log_progress, self.logger)


def _refuse(device_index: int | list[int], others: dict) -> None:
    """Errors for what `WhisperModel` cannot do: other devices of a kind, and CTranslate2's own settings."""
    if device_index not in (0, [0], (0,)):
        raise ValueError(f"device_index={device_index}: there is one device of each kind, 0")
    harmless = {"max_queued_batches": 0, "flash_attention": False, "tensor_parallel": False}
    for name, value in others.items():
        if name not in harmless:
            raise TypeError(f"WhisperModel knows no argument '{name}'")
        if value != harmless[name]:
            raise NotImplementedError(
                f"{name}={value}: this is a setting of CTranslate2, which undertone does not have"
            )


def _folder_of(files: dict) -> str:
    """A new folder; in its folder `model` the graphs out of `files`, converted from weights where there are none."""
    home = tempfile.mkdtemp(prefix="undertone-")
    source, model = os.path.join(home, "files"), os.path.join(home, "model")
    try:
        os.mkdir(source)
        for name, content in files.items():
            with open(os.path.join(source, os.path.basename(name)), "wb") as file:
                file.write(content.read() if hasattr(content, "read") else content)
        if any(name.endswith(".onnx") for name in files):
            os.rename(source, model)
        else:
            _native.convert(source, model)
            shutil.rmtree(source)
    except BaseException:
        shutil.rmtree(home, ignore_errors=True)
        raise
    return home


def _clips(given: str | list[float]) -> list[float]:
    """Times in seconds, from faster-whisper's two ways to write them."""
    words = given.split(",") if isinstance(given, str) else given
    return [float(word) for word in words if word != ""]
