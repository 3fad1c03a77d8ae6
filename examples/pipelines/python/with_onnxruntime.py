"""Whisper with ONNX Runtime alone: features, greedy decoding with a cache of keys and values, text.

    pip install onnxruntime onnxruntime-ep-xdna numpy tokenizers
    python with_onnxruntime.py MODEL PRECISION RECORDING.wav...      (see shared.py)

MODEL is a folder as optimum and `undertone model convert` write it: encoder_model.onnx, decoder_model.onnx,
decoder_with_past_model.onnx, tokenizer.json. English, 30 seconds at most.
"""

import json

import numpy
import onnxruntime
import onnxruntime_ep_xdna
import tokenizers

import shared

MELS, FRAMES, WINDOW, HOP = 80, 3000, 400, 160
MOST_TOKENS = 224


def session(path, precision):
    if precision == "cpu":
        return onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    return onnxruntime_ep_xdna.session(path, device="host", precision=precision)


def load(model, precision):
    names = ("encoder_model", "decoder_model", "decoder_with_past_model")
    encoder, first, later = (session(model / f"{name}.onnx", precision) for name in names)
    tokenizer = tokenizers.Tokenizer.from_file(str(model / "tokenizer.json"))
    prompt = [tokenizer.token_to_id(f"<|{word}|>") for word in ("startoftranscript", "en", "transcribe", "notimestamps")]
    if not json.loads((model / "generation_config.json").read_text())["is_multilingual"]:
        prompt = [prompt[0], prompt[3]]
    end = tokenizer.token_to_id("<|endoftext|>")

    def transcribe(samples):
        hidden, = encoder.run(None, {"input_features": log_mel(samples)})
        names = [output.name.replace("present", "past_key_values") for output in first.get_outputs()]
        logits, *cache = first.run(None, {"input_ids": numpy.array([prompt]), "encoder_hidden_states": hidden})
        cache, tokens = dict(zip(names[1:], cache)), []
        names = [output.name.replace("present", "past_key_values") for output in later.get_outputs()]
        while (token := int(logits[0, -1].argmax())) != end and len(tokens) < MOST_TOKENS:
            tokens.append(token)
            logits, *new = later.run(None, {"input_ids": numpy.array([[token]]), **cache})
            # The encoder's keys and values stay as they are.
            cache.update(zip(names[1:], new))
        return tokenizer.decode(tokens)

    return transcribe


def log_mel(samples):
    """Whisper's features of 30 seconds, `[1, 80, 3000]`."""
    samples = numpy.pad(samples[: FRAMES * HOP], (0, max(0, FRAMES * HOP - len(samples))))
    frames = numpy.lib.stride_tricks.sliding_window_view(numpy.pad(samples, WINDOW // 2, "reflect"), WINDOW)[:-1:HOP]
    power = numpy.abs(numpy.fft.rfft(frames * numpy.hanning(WINDOW + 1)[:-1])) ** 2
    mel = numpy.log10(numpy.maximum(power @ mel_filters(), 1e-10))
    return ((numpy.maximum(mel, mel.max() - 8) + 4) / 4).T[None].astype(numpy.float32)


def mel_filters():
    """Triangles of equal area, equally wide in Slaney's mel: linear below 1000 Hz, logarithmic above."""
    def hertz(mel):
        return numpy.where(mel < 15, mel * 200 / 3, 1000 * 6.4 ** ((mel - 15) / 27))

    edges = hertz(numpy.linspace(0, 15 + 27 * numpy.log(8) / numpy.log(6.4), MELS + 2))
    bins = numpy.fft.rfftfreq(WINDOW, 1 / 16000)[:, None]
    rising, falling = (bins - edges[:-2]) / (edges[1:-1] - edges[:-2]), (edges[2:] - bins) / (edges[2:] - edges[1:-1])
    return numpy.maximum(0, numpy.minimum(rising, falling)) * 2 / (edges[2:] - edges[:-2])


if __name__ == "__main__":
    shared.run(load)
