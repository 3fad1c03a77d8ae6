"""Log-mel features, made by the library."""

from __future__ import annotations

from typing import Any

import numpy as np

from undertone.audio import as_samples


class FeatureExtractor:
    """Makes a model's features of samples, and says what they are made of.

    Attributes:
      sampling_rate: Samples in a second.
      hop_length: Samples between two frames.
      n_fft: Samples that a frame looks at.
      chunk_length: Seconds of a window.
      n_samples: Samples of a window.
      nb_max_frames: Frames of a window.
      time_per_frame: Seconds between two frames.
    """

    def __init__(self, native: Any):
        self._native = native
        self.sampling_rate = 16000
        self.hop_length = 160
        self.n_fft = 400
        self.chunk_length = 30
        self.n_samples = self.chunk_length * self.sampling_rate
        self.nb_max_frames = self.n_samples // self.hop_length
        self.time_per_frame = self.hop_length / self.sampling_rate

    def __call__(self, waveform: np.ndarray, padding: int = 160, chunk_length: int | None = None) -> np.ndarray:
        """The features `[bins, frames]` of samples at 16 kHz; a frame of silence follows, unless `padding` is 0."""
        if chunk_length not in (None, 30):
            raise NotImplementedError(f"chunk_length={chunk_length}: the windows of Whisper's models are 30 s long")
        data, frames = self._native.features(as_samples(waveform).tobytes())
        features = np.frombuffer(data, dtype=np.float32).reshape(-1, frames)
        return features.copy() if padding else features[:, :-1].copy()
