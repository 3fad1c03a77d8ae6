"""whisper-tiny.en as sherpa-onnx's own exporter writes it: the exporter's graphs (tests/graphs/other/sherpa-tiny.en, which are
there without weights) with the weights of a folder that Undertone converted.

    python sherpa.py MODEL OUT

The exporter itself wants openai/whisper's checkpoint, which no registry has. Needs numpy and onnx.
"""

import base64
import gzip
import json
import pathlib
import sys

import numpy
import onnx
from onnx import numpy_helper

import layouts

GRAPHS = pathlib.Path(__file__).resolve().parents[1] / "graphs/other/sherpa-tiny.en"
# openai/whisper's names beside Hugging Face's.
NAMES = {
    "attn_ln": "self_attn_layer_norm", "cross_attn_ln": "encoder_attn_layer_norm", "mlp_ln": "final_layer_norm",
    "ln_post": "layer_norm", "ln": "layer_norm", "positional_embedding": "embed_positions.weight", "token_embedding": "embed_tokens",
}
ATTENTION = ["q_proj.bias", "q_proj.weight", "k_proj.weight", "v_proj.bias", "v_proj.weight", "out_proj.bias", "out_proj.weight"]
PERCEPTRON = ["fc1.bias", "fc1.weight", "fc2.bias", "fc2.weight"]


def unnamed(part, layers):
    """The tensors that the exporter leaves without names, in its order. Products' weights are [inputs, outputs] on both sides."""
    if part == "encoder":
        yield from (f"model.encoder.conv{number}.{kind}" for number in (1, 2) for kind in ("weight", "bias"))
        for layer in range(layers):
            yield from (f"model.encoder.layers.{layer}.{name}" for name in [*(f"self_attn.{name}" for name in ATTENTION), *PERCEPTRON])
        # The keys and values of the cross-attention are made in the encoder's graph.
        for names in (ATTENTION[2:3], ATTENTION[3:5]):
            yield from (f"model.decoder.layers.{layer}.encoder_attn.{name}" for layer in range(layers) for name in names)
    else:
        for layer in range(layers):
            cross = [f"encoder_attn.{name}" for name in ATTENTION[:2] + ATTENTION[5:]]
            yield from (f"model.decoder.layers.{layer}.{name}" for name in [*(f"self_attn.{name}" for name in ATTENTION), *cross, *PERCEPTRON])


def named(part, name):
    words = name.split(".")[1:]
    if words[0] == "blocks":
        return f"model.{part}.layers.{words[1]}.{NAMES[words[2]]}.{words[3]}"
    return ".".join([f"model.{part}", NAMES[words[0]], *words[1:]])


def filled(part, weights, layers):
    model = onnx.load_from_string(gzip.decompress((GRAPHS / f"{part}.onnx.gz").read_bytes()))
    rest = unnamed(part, layers)
    for tensor in model.graph.initializer:
        if tensor.doc_string != "stripped":
            continue
        source = next(rest) if tensor.name.startswith("onnx::") else named(part, tensor.name)
        values = weights[source].astype(numpy.float32)
        if list(values.shape) != list(tensor.dims):
            raise SystemExit(f"{tensor.name} has the shape {list(tensor.dims)}, {source} has {list(values.shape)}")
        tensor.CopyFrom(numpy_helper.from_array(values, tensor.name))
    if left := list(rest):
        raise SystemExit(f"nothing in the {part} takes {left}")
    return model


def main(source, out):
    out.mkdir(parents=True)
    config, tokenizer = (json.loads((source / name).read_text()) for name in ("config.json", "tokenizer.json"))
    ids = {token["content"]: token["id"] for token in tokenizer["added_tokens"]} | tokenizer["model"]["vocab"]
    weights = {tensor.name: numpy_helper.to_array(tensor) for part in ("encoder", "decoder") for tensor in onnx.load(source / f"{part}_model.onnx").graph.initializer}
    sizes = {"n_mels": config["num_mel_bins"], "n_audio_ctx": config["max_source_positions"], "n_audio_state": config["d_model"],
             "n_audio_head": config["encoder_attention_heads"], "n_audio_layer": config["encoder_layers"], "n_vocab": config["vocab_size"],
             "n_text_ctx": config["max_target_positions"], "n_text_state": config["d_model"], "n_text_head": config["decoder_attention_heads"],
             "n_text_layer": config["decoder_layers"]}
    start = ids["<|startoftranscript|>"]
    tokens = {"sot": start, "sot_index": 0, "eot": ids["<|endoftext|>"], "blank_id": ids["Ġ"], "is_multilingual": 0, "no_speech": ids["<|nocaptions|>"],
              "translate": ids["<|translate|>"], "transcribe": ids["<|transcribe|>"], "sot_prev": ids["<|startofprev|>"], "sot_lm": ids["<|startoflm|>"],
              "no_timestamps": ids["<|notimestamps|>"], "sot_sequence": start, "non_speech_tokens": "", "all_language_tokens": start + 1, "all_language_codes": "en"}
    for part in ("encoder", "decoder"):
        model = filled(part, weights, config["decoder_layers"])
        if part == "encoder":
            onnx.helper.set_model_props(model, {key: str(value) for key, value in ({"model_type": "whisper-tiny.en", "version": "1", "maintainer": "k2-fsa"} | sizes | tokens).items()})
        onnx.save(model, out / f"{part}.onnx")
    words = layouts.token_bytes(tokenizer)
    lines = (f"{base64.b64encode(words[number]).decode()} {number}\n" for number in sorted(tokenizer["model"]["vocab"].values()))
    (out / "tokens.txt").write_text("".join(lines))


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    main(*map(pathlib.Path, sys.argv[1:]))
