"""Defaults that both ways to transcribe share: faster-whisper's."""

# Punctuation that belongs to the word after it, and to the word before it.
_PREPENDED = "\"'“¿([{-"
_APPENDED = "\"'.。,，!！?？:：”)]}、"
_TEMPERATURES = [0.0, 0.2, 0.4, 0.6, 0.8, 1.0]
