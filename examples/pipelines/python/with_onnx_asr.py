"""Whisper with onnx-asr.

    pip install "onnx-asr[cpu]" onnxruntime-ep-xdna
    python with_onnx_asr.py MODEL PRECISION RECORDING.wav...      (see shared.py)

MODEL is a folder as optimum exports it, with the merged decoder: encoder_model.onnx, decoder_model_merged.onnx, config.json,
vocab.json, added_tokens.json. English, 30 seconds at most.
"""

import onnx_asr
import onnxruntime_ep_xdna

import shared


def load(model, precision):
    providers = ["CPUExecutionProvider"]
    if precision != "cpu":
        providers = onnxruntime_ep_xdna.providers(device="host", precision=precision)
    # The model's sessions alone: the features stay numpy's.
    asr = onnx_asr.load_model("whisper", model, asr_config={"providers": providers}, providers=["CPUExecutionProvider"])
    return lambda samples: asr.recognize(samples, language="en")


if __name__ == "__main__":
    shared.run(load)
