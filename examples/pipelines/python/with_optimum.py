"""Whisper with optimum and transformers' pipeline, which cuts long recordings into overlapping chunks.

    pip install "optimum-onnx[onnxruntime]" onnxruntime-ep-xdna
    python with_optimum.py MODEL PRECISION RECORDING.wav...      (see shared.py)

MODEL is a folder as `optimum-cli export onnx` writes it. English, of any length.
"""

import onnxruntime_ep_xdna
import transformers
from optimum.onnxruntime import ORTModelForSpeechSeq2Seq

import shared


def load(model, precision):
    provider, options = "CPUExecutionProvider", {}
    if precision != "cpu":
        ((provider, options),) = onnxruntime_ep_xdna.providers(device="host", precision=precision)
    processor = transformers.AutoProcessor.from_pretrained(model)
    pipeline = transformers.pipeline(
        "automatic-speech-recognition",
        model=ORTModelForSpeechSeq2Seq.from_pretrained(model, provider=provider, provider_options=options),
        tokenizer=processor.tokenizer,
        feature_extractor=processor.feature_extractor,
        chunk_length_s=30,
    )
    return lambda samples: pipeline(samples, generate_kwargs={"language": "en"})["text"]


if __name__ == "__main__":
    shared.run(load)
