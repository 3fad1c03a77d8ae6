"""Sound into samples, by Undertone's own decoders, or for what they do not know by `ffmpeg`, if it is installed."""

from __future__ import annotations

import logging
import os
from typing import BinaryIO

import numpy as np

from undertone import _native

SAMPLE_RATE = 16000


def decode_audio(
    input_file: str | os.PathLike[str] | BinaryIO, sampling_rate: int = SAMPLE_RATE, split_stereo: bool = False
):
    """Reads a recording or the sound of a film.

    Args:
      input_file: A path, or a file object that is open for reading bytes.
      sampling_rate: Samples in a second of the result.
      split_stereo: Whether the left and the right channel are wanted each by itself; else all are mixed.
        A single channel is both.

    Returns:
      Samples as float32 between -1 and 1, `[samples]`; with `split_stereo` a pair of such arrays.

    Raises:
      FileNotFoundError, IsADirectoryError, OSError: There is nothing to read.
      ValueError: It is no sound, or too damaged. What is merely incomplete is read as far as it goes, and a
        warning says so.
    """
    if hasattr(input_file, "read"):
        name = getattr(input_file, "name", None)
        source, name = input_file.read(), str(name) if name else "the file object"
        if not isinstance(source, bytes):
            raise TypeError("the file object gives text: open it in mode 'rb'")
    else:
        source = name = os.fspath(input_file)
    channels, warnings = _native.decode_audio(source, name, rate=sampling_rate, sides=split_stereo)
    for warning in warnings:
        logging.getLogger("undertone").warning("%s: %s", name, warning)
    arrays = tuple(np.frombuffer(channel, dtype=np.float32).copy() for channel in channels)
    return arrays if split_stereo else arrays[0]


def pad_or_trim(array: np.ndarray, length: int = 3000, *, axis: int = -1) -> np.ndarray:
    """The array with `length` entries along `axis`: zeros are added at the end, or what is more is left away."""
    have = array.shape[axis]
    if have > length:
        return np.take(array, range(length), axis=axis)
    if have < length:
        missing = [(0, 0)] * array.ndim
        missing[axis] = (0, length - have)
        return np.pad(array, missing)
    return array


def as_samples(audio: np.ndarray) -> np.ndarray:
    """An array of samples as the library computes with: float32, contiguous. Integers are scaled to -1…1."""
    if audio.ndim != 1:
        raise ValueError(f"audio of shape {audio.shape}: give one channel at 16000 Hz, [samples]")
    if audio.dtype == np.int16:
        return audio.astype(np.float32) / 32768.0
    if not np.issubdtype(audio.dtype, np.floating):
        raise ValueError(f"audio of type {audio.dtype}: give float32 between -1 and 1, or int16")
    return np.ascontiguousarray(audio, dtype=np.float32)
