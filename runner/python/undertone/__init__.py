"""Whisper speech to text on AMD NPUs and CPUs, with the interface of faster-whisper.

    from undertone import WhisperModel

    model = WhisperModel("base")
    segments, info = model.transcribe("talk.mp3")
    for segment in segments:
        print(f"[{segment.start:.2f} -> {segment.end:.2f}] {segment.text}")

Segments are computed while they are consumed. What differs from faster-whisper stands in the README.
"""

import os

# ONNX Runtime's own builds report to Microsoft that they run, unless this is set before they are loaded.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

from undertone.audio import decode_audio
from undertone.transcribe import BatchedInferencePipeline, WhisperModel
from undertone.utils import available_models, download_model, format_timestamp
from undertone.version import __version__

__all__ = [
    "BatchedInferencePipeline",
    "WhisperModel",
    "__version__",
    "available_models",
    "decode_audio",
    "download_model",
    "format_timestamp",
]
