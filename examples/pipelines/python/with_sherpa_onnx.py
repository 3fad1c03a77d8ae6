"""Whisper with sherpa-onnx.

    pip install sherpa-onnx numpy onnxruntime-ep-xdna
    python with_sherpa_onnx.py MODEL PRECISION RECORDING.wav...      (see shared.py)

sherpa-onnx has an ONNX Runtime of its own and no way to register a provider. So this program starts itself again with the
library that the dynamic linker loads before it (Linux; ep/preload); `UNDERTONE_PRELOAD` names that library.
MODEL is a folder as sherpa-onnx's exporter writes it: encoder.onnx, decoder.onnx, tokens.txt. English, 30 seconds at most.
"""

import os
import sys

import onnxruntime_ep_xdna
import sherpa_onnx

import shared


def load(model, precision):
    if precision != "cpu" and "UNDERTONE_EP" not in os.environ:
        preload = {"LD_PRELOAD": os.environ["UNDERTONE_PRELOAD"], "UNDERTONE_EP": f"device=host,precision={precision}",
                   "UNDERTONE_EP_LIBRARY": onnxruntime_ep_xdna.get_library_path()}
        os.execve(sys.executable, [sys.executable, *sys.argv], os.environ | preload)
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
