#!/usr/bin/env python3
"""Writes `silero_vad.onnx`, the voice activity detector that the runner holds, from the one in the package `silero-vad`.

    pip download --no-deps silero-vad==6.2.3
    python -m zipfile -e silero_vad-6.2.3-py3-none-any.whl unpacked
    pip install onnx numpy
    python runner/assets/silero-vad/make.py unpacked/silero_vad/data/silero_vad_16k_sequence.onnx

The weights and the result are the package's (512 samples at a time, 64 before them as context); only the convolutions become
matrix products over many pieces at once: each of them has one to four positions, and ONNX Runtime's convolution takes one piece
after another. That takes a third of the time. Nothing else is changed, and a test compares the probabilities with the package's.
"""
import hashlib
import pathlib
import sys

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

SOURCE_SHA256 = "9ccdacc4719d8aa7e45a77536bfabec45a03ba1f2fad5e241ab4060b24238a85"
INPUT, HOP, BINS, HIDDEN = 576, 128, 129, 128


class Graph:
    def __init__(self):
        self.nodes, self.constants = [], []

    def constant(self, name, array):
        self.constants.append(numpy_helper.from_array(np.ascontiguousarray(array), name))
        return name

    def node(self, kind, inputs, name, **attributes):
        self.nodes.append(helper.make_node(kind, inputs, [name], name=name, **attributes))
        return name


def unfold(weight, inputs, outputs, stride):
    """A convolution of three taps with padding 1 over so many positions as one matrix: `[inputs * channels in, outputs * channels
    out]`. Taps that would lie outside are left out."""
    channels_out, channels_in, _ = weight.shape
    matrix = np.zeros((inputs, channels_in, outputs, channels_out), np.float32)
    for out in range(outputs):
        for tap in range(3):
            at = out * stride + tap - 1
            if 0 <= at < inputs:
                matrix[at, :, out] = weight[:, :, tap].T
    return matrix.reshape(inputs * channels_in, outputs * channels_out)


def main():
    source = pathlib.Path(sys.argv[1]).read_bytes()
    if hashlib.sha256(source).hexdigest() != SOURCE_SHA256:
        sys.exit(f"{sys.argv[1]} is not the file of silero-vad 6.2.3")
    held = {w.name: numpy_helper.to_array(w) for w in onnx.load_from_string(source).graph.initializer}
    graph = Graph()

    # Four frames of 256 samples, 128 apart, over 576 samples and 64 more that mirror the last ones.
    padded = graph.node("Pad", ["input", graph.constant("mirrored", np.array([0, 0, 0, 64]))], "padded", mode="reflect")
    hops = graph.node("Reshape", [padded, graph.constant("hops_shape", np.array([-1, 5, HOP]))], "hops")

    def part(of, name, axis, begin, end):
        bounds = [graph.constant(f"{name}_{word}", np.array([value])) for word, value in (("begin", begin), ("end", end), ("axis", axis))]
        return graph.node("Slice", [of, *bounds], name)

    frames = graph.node("Concat", [part(hops, "firsts", 1, 0, 4), part(hops, "seconds", 1, 1, 5)], "frames", axis=2)
    flat = graph.node("Reshape", [frames, graph.constant("frames_shape", np.array([-1, 2 * HOP]))], "flat_frames")
    basis = held["stft.forward_basis_buffer"][:, 0].T
    spectrum = graph.node("MatMul", [flat, graph.constant("basis", basis)], "spectrum")
    squared = graph.node("Mul", [spectrum, spectrum], "squared")
    power = graph.node("Add", [part(squared, "real", 1, 0, BINS), part(squared, "imaginary", 1, BINS, 2 * BINS)], "power")
    magnitude = graph.node("Sqrt", [power], "magnitude")
    spectra = graph.node("Reshape", [magnitude, graph.constant("spectra_shape", np.array([-1, 4, BINS]))], "spectra")

    # The first layer's positions see the spectrum before them, their own, and the one after.
    around = graph.node("Pad", [spectra, graph.constant("around_pads", np.array([0, 1, 0, 0, 1, 0]))], "around")
    seen = graph.node("Concat", [part(around, f"tap_{tap}", 1, tap, tap + 4) for tap in range(3)], "seen", axis=2)
    x = graph.node("Reshape", [seen, graph.constant("seen_shape", np.array([-1, 3 * BINS]))], "flat_seen")
    weight = graph.constant("encoder_0", held["encoder.0.weight"].transpose(2, 1, 0).reshape(3 * BINS, -1))
    x = graph.node("Gemm", [x, weight, graph.constant("encoder_0_bias", held["encoder.0.bias"])], "product_0")
    x = graph.node("Relu", [x], "positions_0")
    x = graph.node("Reshape", [x, graph.constant("encoded_shape", np.array([-1, 4 * HIDDEN]))], "encoded_0")
    # Those of the later ones see all or most that there are.
    for layer, (inputs, outputs, stride) in enumerate([(4, 2, 2), (2, 1, 2), (1, 1, 1)], start=1):
        weight, bias = held[f"encoder.{layer}.weight"], held[f"encoder.{layer}.bias"]
        matrix = graph.constant(f"encoder_{layer}", unfold(weight, inputs, outputs, stride))
        offset = graph.constant(f"encoder_{layer}_bias", np.tile(bias, outputs))
        x = graph.node("Relu", [graph.node("Gemm", [x, matrix, offset], f"product_{layer}")], f"encoded_{layer}")

    sequence = graph.node("Unsqueeze", [x, graph.constant("middle", np.array([1]))], "sequence")
    lstm = [graph.constant(f"lstm_{word}", held[f"onnx::LSTM_{number}"]) for word, number in (("input", 209), ("recurrent", 210), ("bias", 211))]
    graph.nodes.append(helper.make_node("LSTM", [sequence, *lstm, "", "h", "c"], ["states", "hn", "cn"], name="lstm", hidden_size=HIDDEN))
    states = graph.node("Reshape", ["states", graph.constant("states_shape", np.array([-1, HIDDEN]))], "flat_states")
    logits = graph.node("Gemm", [graph.node("Relu", [states], "active"), graph.constant("output", held["output.weight"][0]),
                                 graph.constant("output_bias", held["output.bias"])], "logits")
    sigmoid = graph.node("Sigmoid", [logits], "sigmoid")
    graph.node("Reshape", [sigmoid, graph.constant("line", np.array([-1]))], "speech_probs")

    def value(name, shape):
        return helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)

    state = [1, 1, HIDDEN]
    made = helper.make_graph(
        graph.nodes, "silero_vad", [value("input", ["pieces", INPUT]), value("h", state), value("c", state)],
        [value("speech_probs", ["pieces"]), value("hn", state), value("cn", state)], graph.constants,
        doc_string="Silero VAD 6.2.3, MIT, Copyright (c) 2020-present Silero Team; convolutions written as matrix products")
    model = helper.make_model(made, opset_imports=[helper.make_opsetid("", 16)], producer_name="silero-vad", ir_version=8)
    onnx.checker.check_model(model, full_check=True)
    target = pathlib.Path(__file__).with_name("silero_vad.onnx")
    target.write_bytes(model.SerializeToString())
    print(target, target.stat().st_size, hashlib.sha256(target.read_bytes()).hexdigest())


if __name__ == "__main__":
    main()
