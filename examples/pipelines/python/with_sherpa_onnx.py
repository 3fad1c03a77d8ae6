"""Whisper with sherpa-onnx.

    pip install sherpa-onnx numpy
    python with_sherpa_onnx.py MODEL PRECISION RECORDING.wav...      (see shared.py)

MODEL is a folder as sherpa-onnx's exporter writes it: encoder.onnx, decoder.onnx, tokens.txt. English, 30 seconds at most.
"""

import sherpa_onnx

import shared


def load(model, precision):
    recognizer = sherpa_onnx.OfflineRecognizer.from_whisper(
        encoder=str(model / "encoder.onnx"), decoder=str(model / "decoder.onnx"), tokens=str(model / "tokens.txt"), language="en", num_threads=2
    )

    def transcribe(samples):
        stream = recognizer.create_stream()
        stream.accept_waveform(16000, samples)
        recognizer.decode_stream(stream)
        return stream.result.text

    return transcribe


if __name__ == "__main__":
    shared.run(load, timed=None)
