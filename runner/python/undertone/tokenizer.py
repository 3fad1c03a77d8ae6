"""Text and tokens of a model, as programs written for faster-whisper use them."""

from __future__ import annotations

import string
from functools import cached_property
from typing import Any, NamedTuple

from undertone import _native

_TASKS = ("transcribe", "translate")
_LANGUAGE_CODES = tuple(_native.language_codes())
# Languages that are written without blanks between words.
_WITHOUT_BLANKS = frozenset({"zh", "ja", "th", "lo", "my", "yue"})


class Encoding(NamedTuple):
    """The tokens of a text."""

    ids: list[int]


class ModelTokenizer:
    """What `WhisperModel.hf_tokenizer` is: the part of `tokenizers.Tokenizer` that faster-whisper uses."""

    def __init__(self, native: Any):
        self._native = native

    def encode(self, sequence: str, add_special_tokens: bool = False) -> Encoding:
        """The tokens of a text. Special tokens are never added."""
        if add_special_tokens:
            raise NotImplementedError("add_special_tokens=True: tokens are those of the text alone")
        return Encoding(self._native.encode(sequence))

    def decode(self, ids: list[int], skip_special_tokens: bool = True) -> str:
        """The text of tokens, without special ones."""
        if not skip_special_tokens:
            raise NotImplementedError("skip_special_tokens=False: only text is decoded")
        return self._native.decode(list(ids))

    def token_to_id(self, token: str) -> int | None:
        """The id of a special token that is written `<|so|>`."""
        return self._native.special_token(token)


class Tokenizer:
    """A model's tokenizer with a task and a language.

    Args:
      tokenizer: `WhisperModel.hf_tokenizer`.
      multilingual: Whether the model knows languages; one that does not takes neither a task nor a language.
      task: `transcribe` or `translate`.
      language: A code such as `de`.

    Raises:
      ValueError: There is no such task or language.
    """

    def __init__(
        self, tokenizer: ModelTokenizer, multilingual: bool, task: str | None = None, language: str | None = None
    ):
        self.tokenizer = tokenizer
        self.task: int | None = None
        self.language: int | None = None
        self.language_code = "en"
        if not multilingual:
            return
        if task not in _TASKS:
            raise ValueError(f"there is no task '{task}': use one of {', '.join(_TASKS)}")
        if language not in _LANGUAGE_CODES:
            raise ValueError(f"there is no language '{language}': use one of {', '.join(_LANGUAGE_CODES)}")
        self.task = self._id(task)
        self.language = self._id(language)
        self.language_code = language

    def _id(self, word: str) -> Any:
        return self.tokenizer.token_to_id(f"<|{word}|>")

    @cached_property
    def transcribe(self) -> int:
        """`<|transcribe|>`."""
        return self._id("transcribe")

    @cached_property
    def translate(self) -> int:
        """`<|translate|>`."""
        return self._id("translate")

    @cached_property
    def sot(self) -> int:
        """`<|startoftranscript|>`."""
        return self._id("startoftranscript")

    @cached_property
    def sot_lm(self) -> int:
        """`<|startoflm|>`."""
        return self._id("startoflm")

    @cached_property
    def sot_prev(self) -> int:
        """`<|startofprev|>`."""
        return self._id("startofprev")

    @cached_property
    def eot(self) -> int:
        """`<|endoftext|>`; smaller ids are text."""
        return self._id("endoftext")

    @cached_property
    def no_timestamps(self) -> int:
        """`<|notimestamps|>`."""
        return self._id("notimestamps")

    @cached_property
    def no_speech(self) -> int:
        """`<|nospeech|>`, in older models `<|nocaptions|>`."""
        return self._id("nospeech")

    @property
    def timestamp_begin(self) -> int:
        """The token of 0.00 s."""
        return self.no_timestamps + 1

    @property
    def sot_sequence(self) -> list[int]:
        """What a transcript begins with: start, language, task."""
        return [self.sot, *(token for token in (self.language, self.task) if token is not None)]

    def encode(self, text: str) -> list[int]:
        """The tokens of a text, as it stands: Whisper's words begin with a blank."""
        return self.tokenizer.encode(text, add_special_tokens=False).ids

    def decode(self, tokens: list[int]) -> str:
        """The text of tokens, without special ones and timestamps."""
        return self.tokenizer.decode([token for token in tokens if token < self.eot])

    def decode_with_timestamps(self, tokens: list[int]) -> str:
        """The text of tokens, with timestamps as `<|1.50|>`."""
        text, pending = "", []
        for token in tokens:
            if token < self.timestamp_begin:
                pending.append(token)
                continue
            text += self.tokenizer.decode(pending) + f"<|{(token - self.timestamp_begin) * 0.02:.2f}|>"
            pending = []
        return text + self.tokenizer.decode(pending)

    @cached_property
    def non_speech_tokens(self) -> tuple[int, ...]:
        """Tokens of marks that nobody says: brackets, notes, dashes."""
        return tuple(self.tokenizer._native.non_speech_tokens())

    def split_to_word_tokens(self, tokens: list[int]) -> tuple[list[str], list[list[int]]]:
        """The words of tokens, each with its tokens."""
        if self.language_code in _WITHOUT_BLANKS:
            return self.split_tokens_on_unicode(tokens)
        return self.split_tokens_on_spaces(tokens)

    def split_tokens_on_unicode(self, tokens: list[int]) -> tuple[list[str], list[list[int]]]:
        """The smallest groups of tokens that are whole characters, with their texts."""
        whole = self.decode_with_timestamps(tokens)
        words: list[str] = []
        groups: list[list[int]] = []
        group: list[int] = []
        at = 0
        for token in tokens:
            group.append(token)
            text = self.decode_with_timestamps(group)
            broken = text.find("\ufffd")
            # A replacement character that the whole text has in this place is no sign of a cut.
            if broken < 0 or whole[at + broken : at + broken + 1] == "\ufffd":
                words.append(text)
                groups.append(group)
                at += len(text)
                group = []
        return words, groups

    def split_tokens_on_spaces(self, tokens: list[int]) -> tuple[list[str], list[list[int]]]:
        """Groups of tokens that begin with a blank, are a punctuation mark, or are special."""
        words: list[str] = []
        groups: list[list[int]] = []
        for text, group in zip(*self.split_tokens_on_unicode(tokens)):
            alone = group[0] >= self.eot or text.startswith(" ") or text.strip() in string.punctuation
            if alone or not words:
                words.append(text)
                groups.append(list(group))
            else:
                words[-1] += text
                groups[-1] += group
        return words, groups
