"""Whisper with onnxruntime-genai.

    pip install onnxruntime-genai onnxruntime-ep-xdna
    python with_genai.py MODEL PRECISION RECORDING.wav...      (see shared.py)

MODEL is a folder as `python -m onnxruntime_genai.models.builder` writes it. English, 30 seconds at most.
"""

import io
import wave

import onnxruntime_ep_xdna
import onnxruntime_genai as genai

import shared

PROMPT = "<|startoftranscript|><|en|><|transcribe|><|notimestamps|>"


def load(model, precision):
    config = genai.Config(str(model))
    config.clear_providers()
    if precision != "cpu":
        # The library has an ONNX Runtime environment of its own, in which the provider is registered.
        genai.register_execution_provider_library("undertone", onnxruntime_ep_xdna.get_library_path())
        provider = onnxruntime_ep_xdna.get_ep_name()
        config.append_provider(provider)
        for name, value in {"device": "host", "precision": precision}.items():
            config.set_provider_option(provider, name, value)
    model = genai.Model(config)
    processor = model.create_multimodal_processor()

    def transcribe(samples):
        parameters = genai.GeneratorParams(model)
        parameters.set_search_options(do_sample=False, num_beams=1, batch_size=1, max_length=228)
        generator = genai.Generator(model, parameters)
        generator.set_inputs(processor([PROMPT], audios=genai.Audios.open_bytes(as_wav(samples))))
        while not generator.is_done():
            generator.generate_next_token()
        return processor.decode(generator.get_sequence(0))

    return transcribe


def as_wav(samples):
    """The library reads files, not samples."""
    bytes_ = io.BytesIO()
    with wave.open(bytes_, "wb") as file:
        file.setparams((1, 2, 16000, len(samples), "NONE", ""))
        file.writeframes((samples * 32768).astype("<i2").tobytes())
    return bytes_.getvalue()


if __name__ == "__main__":
    shared.run(load, timed=None)
