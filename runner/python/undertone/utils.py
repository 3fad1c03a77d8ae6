"""Models by name, and small things that programs import."""

from __future__ import annotations

import logging
import os

from undertone import _native


def available_models() -> list[str]:
    """The names that `WhisperModel` takes, beside paths and repositories of the Hugging Face hub."""
    return _native.available_models()


def get_logger() -> logging.Logger:
    """The package's logger, `undertone`."""
    return logging.getLogger("undertone")


def download_model(
    size_or_id: str,
    output_dir: str | None = None,
    local_files_only: bool = False,
    cache_dir: str | None = None,
    revision: str | None = None,
    use_auth_token: str | bool | None = None,
) -> str:
    """Fetches a model, and converts its weights to ONNX graphs if it is not published so; does nothing if it is here.

    Args:
      size_or_id: A name out of `available_models()`, or a repository `owner/name` of the Hugging Face hub with a
        Whisper model: ONNX graphs, safetensors, CTranslate2 (faster-whisper's), `.pt`, ggml.
      output_dir: A folder to put the model into, which must not be there yet; without one it is in the caches.
      local_files_only: Nothing is fetched.
      cache_dir: The hub's cache to use instead of the usual one. What is converted is in `UNDERTONE_MODELS` or the
        user's cache.
      revision: A branch, a tag or a commit of the repository.
      use_auth_token: A token for the hub, or True for the one that logging in left.

    Returns:
      The path of a folder that `WhisperModel` opens.

    Raises:
      ValueError: There is no such name.
      FileNotFoundError: It is not here, and the network is not reached or not allowed.
    """
    token = use_auth_token if isinstance(use_auth_token, str) else None
    folder = _native.provide(
        os.fspath(size_or_id),
        get_logger().info,
        output_dir=output_dir,
        offline=local_files_only,
        cache=cache_dir,
        revision=revision,
        token=token,
        anonymous=use_auth_token is False,
    )
    return os.fspath(folder)


def format_timestamp(seconds: float, always_include_hours: bool = False, decimal_marker: str = ".") -> str:
    """A time as subtitles have it: `01:02.500`, with hours where there are some or where they are always wanted."""
    if seconds < 0:
        raise AssertionError(f"a time is not negative: {seconds}")
    whole = round(seconds * 1000)
    rest, milliseconds = divmod(whole, 1000)
    rest, second = divmod(rest, 60)
    hour, minute = divmod(rest, 60)
    hours = f"{hour:02}:" if hour or always_include_hours else ""
    return f"{hours}{minute:02}:{second:02}{decimal_marker}{milliseconds:03}"


def get_end(segments: list[dict]) -> float | None:
    """The end of the last word of segments given as dictionaries; of the last segment where none has words."""
    words = [word for segment in segments for word in segment["words"] or []]
    last = words[-1] if words else segments[-1] if segments else None
    return last["end"] if last else None
