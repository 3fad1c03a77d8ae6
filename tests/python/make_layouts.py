"""The reference model in the layouts of other exporters, for tests: same weights, same words, other graphs.

    python make_layouts.py MODEL OUT

writes a folder of each layout into OUT:

- `static`: encoder and decoder without a cache and with fixed shapes, as NPUs want them;
- `whole`: ONNX Runtime's and onnxruntime-genai's interface: the encoder makes the cross-attention's keys and values, one decoder
  takes every step, ids are of 32 bits; no config.json;
- `shared-buffer`: the same with an input that only GPUs serve;
- `fixed`: sherpa-onnx's interface: a cache of 448 positions goes in and out whole; tokens.txt in base64 and no other small file;
- `external`, `external-many`: weights beside the graphs, in one file and in one for each tensor;
- `padded`: a vocabulary of more tokens than there are;
- `branches`: a merged decoder whose branches name their outputs otherwise than the decoder does, as ONNX allows;
- `equations`: an encoder whose products with weights are Einsum nodes;
- `positions`: a decoder that wants to be told where its tokens stand, as exports of 2024 do.
"""
import base64
import json
import pathlib
import shutil
import sys

import numpy as np
import onnx
from onnx import TensorProto, compose, helper, numpy_helper, utils

MODEL, OUT = map(pathlib.Path, sys.argv[1:3])
ENCODER, FIRST, LATER = "encoder_model.onnx", "decoder_model.onnx", "decoder_with_past_model.onnx"
SMALL = ["tokenizer.json", "config.json", "generation_config.json"]
CONFIG = json.loads((MODEL / "config.json").read_text())
LAYERS, HEADS, WIDTH = CONFIG["decoder_layers"], CONFIG["decoder_attention_heads"], CONFIG["d_model"]
VOCABULARY, POSITIONS = CONFIG["vocab_size"], CONFIG["max_target_positions"]


def folder(name, small):
    path = OUT / name
    path.mkdir(parents=True)
    for file in small:
        shutil.copy(MODEL / file, path)
    return path


def load(name):
    return onnx.load(MODEL / name)


def rename(model, names):
    """Gives values other names."""
    graph = model.graph
    for end in [*graph.input, *graph.output]:
        end.name = names.get(end.name, end.name)
    for node in graph.node:
        node.input[:] = [names.get(name, name) for name in node.input]
        node.output[:] = [names.get(name, name) for name in node.output]


def fix(ends, lengths):
    """Fixes the lengths of axes."""
    for end in ends:
        for axis, dim in enumerate(end.type.tensor_type.shape.dim):
            length = lengths.get(end.name, {}).get(axis)
            if length:
                dim.dim_value = length


def keys(of, past):
    """Names of a decoder's cached tensors, layer by layer."""
    start = "past_key_values" if past else "present"
    return [(layer, kind, f"{start}.{layer}.{of}.{kind}") for layer in range(LAYERS) for kind in ("key", "value")]


def encoder_with_cross():
    """The encoder, and what the decoder makes of its result once."""
    first = utils.Extractor(load(FIRST)).extract_model(
        ["input_ids", "encoder_hidden_states"], [name for _, _, name in keys("encoder", False)]
    )
    # Its shape alone is read: windows are encoded one at a time.
    first.graph.input.remove(next(end for end in first.graph.input if end.name == "input_ids"))
    first.graph.initializer.append(numpy_helper.from_array(np.zeros((1, 1), dtype=np.int64), "input_ids"))
    encoder = load(ENCODER)
    outputs = ["last_hidden_state"] + ["cross." + name for _, _, name in keys("encoder", False)]
    first = compose.add_prefix(first, "cross.")
    return compose.merge_models(
        encoder, first, [("last_hidden_state", "cross.encoder_hidden_states")], outputs=outputs
    )


def static():
    path = folder("static", SMALL)
    encoder, decoder = load(ENCODER), load(FIRST)
    fix(encoder.graph.input, {"input_features": {0: 1}})
    fix(decoder.graph.input, {"input_ids": {0: 1, 1: POSITIONS}, "encoder_hidden_states": {0: 1, 1: 1500}})
    del decoder.graph.output[1:]
    onnx.save(encoder, path / "encoder_model_static.onnx")
    onnx.save(decoder, path / "decoder_model_static.onnx")


def whole():
    path = folder("whole", ["tokenizer.json"])
    encoder, decoder = encoder_with_cross(), load(LATER)
    names = {"input_features": "audio_features", "last_hidden_state": "hidden_states"}
    names |= {f"cross.{name}": f"present_{kind}_cross_{layer}" for layer, kind, name in keys("encoder", False)}
    rename(encoder, names)
    names = {name: f"past_{kind}_self_{layer}" for layer, kind, name in keys("decoder", True)}
    names |= {name: f"past_{kind}_cross_{layer}" for layer, kind, name in keys("encoder", True)}
    names |= {name: f"present_{kind}_self_{layer}" for layer, kind, name in keys("decoder", False)}
    rename(decoder, names | {"input_ids": "wide_ids"})
    ids = next(end for end in decoder.graph.input if end.name == "wide_ids")
    ids.name, ids.type.tensor_type.elem_type = "input_ids", TensorProto.INT32
    decoder.graph.node.insert(0, helper.make_node("Cast", ["input_ids"], ["wide_ids"], to=TensorProto.INT64))
    onnx.save(encoder, path / "whisper-reference_encoder.onnx")
    onnx.save(decoder, path / "whisper-reference_decoder.onnx")
    (path / "genai_config.json").write_text("{}")
    # As exports for GPUs have it.
    path = folder("shared-buffer", ["tokenizer.json"])
    decoder.graph.input.append(helper.make_tensor_value_info("cache_indirection", TensorProto.INT32, ["n", 1, "T"]))
    onnx.save(encoder, path / "encoder.onnx")
    onnx.save(decoder, path / "decoder.onnx")


def equations():
    path = folder("equations", SMALL)
    encoder = load(ENCODER)
    # The reference model's matrices are stored as fp16.
    matrices = {node.output[0] for node in encoder.graph.node if node.op_type == "Cast"}
    for node in encoder.graph.node:
        if node.op_type == "MatMul" and node.input[1] in matrices:
            node.op_type = "Einsum"
            node.attribute.append(helper.make_attribute("equation", "abi,io->abo"))
    onnx.save(encoder, path / ENCODER)
    for name in [FIRST, LATER]:
        shutil.copy(MODEL / name, path)


class Nodes:
    """Nodes that are added to a graph."""

    def __init__(self, graph):
        self.graph, self.all, self.count = graph, [], 0

    def constant(self, values):
        name = f"added.{self.count}"
        self.count += 1
        self.graph.initializer.append(numpy_helper.from_array(np.asarray(values, dtype=np.int64), name))
        return name

    def add(self, kind, inputs, output=None, **attributes):
        output = output or f"added.{self.count}"
        self.count += 1
        self.all.append(helper.make_node(kind, inputs, [output], **attributes))
        return output

    def flat(self, name):
        """`[n, heads, positions, 64]` → `[1, n, positions, width]`."""
        name = self.add("Transpose", [name], perm=[0, 2, 1, 3])
        name = self.add("Reshape", [name, self.constant([0, 0, WIDTH])])
        return self.add("Unsqueeze", [name, self.constant([0])])

    def of_layer(self, name, layer, output):
        """`[layers, n, positions, width]` → `[n, heads, positions, 64]`."""
        name = self.add("Gather", [name, self.constant(layer)], axis=0)
        name = self.add("Reshape", [name, self.constant([0, 0, HEADS, WIDTH // HEADS])])
        self.add("Transpose", [name], output, perm=[0, 2, 1, 3])


def float_end(name, shape):
    return helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)


def fixed():
    path = folder("fixed", [])
    encoder = encoder_with_cross()
    rename(encoder, {"input_features": "mel"})
    del encoder.graph.output[:]
    nodes = Nodes(encoder.graph)
    for short, kind in (("k", "key"), ("v", "value")):
        parts = [nodes.flat(f"cross.{name}") for _, of, name in keys("encoder", False) if of == kind]
        nodes.add("Concat", parts, f"n_layer_cross_{short}", axis=0)
        encoder.graph.output.append(float_end(f"n_layer_cross_{short}", [LAYERS, "n", "T", WIDTH]))
    encoder.graph.node.extend(nodes.all)

    decoder = load(LATER)
    rename(decoder, {"input_ids": "tokens"})
    del decoder.graph.input[1:], decoder.graph.output[1:]
    before, after = Nodes(decoder.graph), Nodes(decoder.graph)
    after.count = 10_000
    for short, kind in (("k", "key"), ("v", "value")):
        cache, cross = f"n_layer_self_{short}_cache", f"n_layer_cross_{short}"
        filled = before.add("Slice", [f"in_{cache}", before.constant([0]), "offset", before.constant([2])])
        for layer in range(LAYERS):
            before.of_layer(filled, layer, f"past_key_values.{layer}.decoder.{kind}")
            before.of_layer(cross, layer, f"past_key_values.{layer}.encoder.{kind}")
        parts = [after.flat(f"present.{layer}.decoder.{kind}") for layer in range(LAYERS)]
        grown = after.add("Concat", parts, axis=0)
        length = after.add("Shape", [grown], start=2, end=3)
        rest = after.add("Slice", [f"in_{cache}", length, after.constant([POSITIONS]), after.constant([2])])
        after.add("Concat", [grown, rest], f"out_{cache}", axis=2)
        decoder.graph.input.append(float_end(f"in_{cache}", [LAYERS, "n", POSITIONS, WIDTH]))
        decoder.graph.input.append(float_end(cross, [LAYERS, "n", "T", WIDTH]))
        decoder.graph.output.append(float_end(f"out_{cache}", [LAYERS, "n", POSITIONS, WIDTH]))
    decoder.graph.input.append(helper.make_tensor_value_info("offset", TensorProto.INT64, [1]))
    nodes = [*before.all, *decoder.graph.node, *after.all]
    del decoder.graph.node[:]
    decoder.graph.node.extend(nodes)
    onnx.save(encoder, path / "reference-encoder.onnx")
    onnx.save(decoder, path / "reference-decoder.onnx")
    tokens(path / "reference-tokens.txt")


def tokens(path):
    """The text tokens as openai/whisper's own files have them."""
    plain = [*range(ord("!"), ord("~") + 1), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    letters = {chr(byte): byte for byte in plain}
    letters |= {chr(0x100 + i): byte for i, byte in enumerate(b for b in range(256) if b not in plain)}
    lines = []
    for text, number in json.loads((MODEL / "vocab.json").read_text()).items():
        if not text.startswith("<|"):
            coded = base64.b64encode(bytes(letters[letter] for letter in text)).decode()
            lines.append(f"{coded or '='} {number}\n")
    path.write_text("".join(lines))


def external(name, how):
    path = folder(name, SMALL)
    for graph in (ENCODER, FIRST, LATER):
        onnx.save(load(graph), path / graph, save_as_external_data=True, size_threshold=1024, **how(graph))


def padded():
    path = folder("padded", SMALL)
    shutil.copy(MODEL / ENCODER, path)
    more = 103
    for name in (FIRST, LATER):
        model = load(name)
        (last,) = (node for node in model.graph.node if "logits" in node.output)
        last.output[0] = "unpadded"
        rows = helper.make_node("Shape", ["unpadded"], ["rows"], start=0, end=2)
        width = numpy_helper.from_array(np.array([more], dtype=np.int64), "more")
        shape = helper.make_node("Concat", ["rows", "more"], ["padding_shape"], axis=0)
        # Likelier than anything: they must not be written all the same.
        fill = helper.make_node(
            "ConstantOfShape", ["padding_shape"], ["padding"], value=helper.make_tensor("v", TensorProto.FLOAT, [1], [99.0])
        )
        join = helper.make_node("Concat", ["unpadded", "padding"], ["logits"], axis=2)
        model.graph.initializer.append(width)
        model.graph.node.extend([rows, shape, fill, join])
        fix(model.graph.output, {"logits": {2: VOCABULARY + more}})
        onnx.save(model, path / name)


def positions():
    path = folder("positions", SMALL)
    for name in (ENCODER, FIRST):
        shutil.copy(MODEL / name, path)
    model = load(LATER)
    # It goes into the ids as zero times itself: needed, and without effect.
    rename(model, {"input_ids": "told_ids"})
    model.graph.input[0].name = "input_ids"
    model.graph.input.append(helper.make_tensor_value_info("cache_position", TensorProto.INT64, ["tokens"]))
    model.graph.initializer.append(numpy_helper.from_array(np.array(0, dtype=np.int64), "zero"))
    model.graph.node.insert(0, helper.make_node("Mul", ["cache_position", "zero"], ["nothing"]))
    model.graph.node.insert(1, helper.make_node("Add", ["input_ids", "nothing"], ["told_ids"]))
    onnx.save(model, path / LATER)


def branches():
    path = folder("branches", SMALL)
    shutil.copy(MODEL / ENCODER, path)
    model = load("decoder_model_merged.onnx")
    choice = next(node for node in model.graph.node if node.op_type == "If")
    for branch in choice.attribute:
        ends = {value.name: f"{branch.name}.{value.name}" for value in branch.g.output}
        for value in branch.g.output:
            value.name = ends[value.name]
        for node in branch.g.node:
            node.input[:] = [ends.get(name, name) for name in node.input]
            node.output[:] = [ends.get(name, name) for name in node.output]
    onnx.save(model, path / "decoder_model_merged.onnx")


def main():
    branches()
    static()
    whole()
    fixed()
    external("external", lambda graph: {"all_tensors_to_one_file": True, "location": f"{graph}_data"})
    external("external-many", lambda graph: {"all_tensors_to_one_file": False})
    padded()
    positions()
    equations()


if __name__ == "__main__":
    main()
