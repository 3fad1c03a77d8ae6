"""Graphs that take sound: a log-mel front end before Whisper's encoder, written as exporters write it, and the front ends of the
package onnx-asr (of GigaAM, Kaldi, NeMo, WeSpeaker and Whisper, and its resamplers) as they are. In every precision the features are
the CPU provider's, and only what follows them is narrow.

    python3 check_front_ends.py EP_LIBRARY ENCODER.onnx PREPROCESSORS_DIRECTORY

Needs onnxruntime, onnx, numpy.
"""

import json
import pathlib
import sys
import tempfile

import numpy
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

from checks import EP_NAME, check, cosine

RATE, WINDOW, HOP, FRAMES, BINS, MELS = 16000, 400, 160, 3000, 201, 80
SAMPLES = (FRAMES - 1) * HOP + WINDOW
LEAST_COSINE = {"f32": 0.99999, "bf16": 0.999, "int8": 0.99}


def fourier():
    """Rows of a window, columns of cosines and then sines."""
    angles = 2 * numpy.pi / WINDOW * numpy.outer(numpy.arange(WINDOW), numpy.arange(BINS))
    return numpy.concatenate([numpy.cos(angles), -numpy.sin(angles)], axis=1) * hann()[:, None]


def hann():
    return 0.5 - 0.5 * numpy.cos(2 * numpy.pi / WINDOW * numpy.arange(WINDOW))


def filters():
    """Triangles over bins, evenly spaced on the mel scale: `[BINS, MELS]`."""
    edges = 700 * (10 ** (numpy.linspace(0, 2840, MELS + 2) / 2595) - 1)
    frequencies = numpy.arange(BINS) * RATE / WINDOW
    rising = (frequencies[:, None] - edges[:-2]) / (edges[1:-1] - edges[:-2])
    falling = (edges[2:] - frequencies[:, None]) / (edges[2:] - edges[1:-1])
    return numpy.maximum(0, numpy.minimum(rising, falling)) * 2 / (edges[2:] - edges[:-2])


class Writer:
    """Nodes and constants of a graph."""

    def __init__(self):
        self.nodes, self.constants = [], []

    def constant(self, value, dtype=numpy.float32):
        name = f"front_constant_{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(numpy.asarray(value, dtype), name))
        return name

    def integers(self, *values):
        return self.constant(values, numpy.int64)

    def __call__(self, operator, *inputs, output=None, **attributes):
        output = output or f"front_{operator}_{len(self.nodes)}"
        self.nodes.append(helper.make_node(operator, list(inputs), [output], name=f"front/{output}", **attributes))
        return output

    def power(self, real, imaginary):
        return self("Add", self("Mul", real, real), self("Mul", imaginary, imaginary))

    def part(self, spectrum, start, end, axis):
        return self("Slice", spectrum, self.integers(start), self.integers(end), self.integers(axis))


# Each makes mel energies `[1, MELS, FRAMES]` of `sound`, `[1, SAMPLES]`.


def by_convolution(write):
    """The Fourier transform and the filters as convolutions."""
    kernel = fourier().T.reshape(2 * BINS, 1, WINDOW)
    sound = write("Unsqueeze", "sound", write.integers(1))
    spectrum = write("Conv", sound, write.constant(kernel), strides=[HOP])
    power = write.power(write.part(spectrum, 0, BINS, 1), write.part(spectrum, BINS, 2 * BINS, 1))
    return write("Conv", power, write.constant(filters().T[:, :, None]))


def by_matrices(write):
    """Frames gathered, and both as products with constant matrices."""
    places = numpy.arange(FRAMES)[:, None] * HOP + numpy.arange(WINDOW)
    frames = write("Gather", "sound", write.constant(places, numpy.int64), axis=1)
    spectrum = write("MatMul", frames, write.constant(fourier()))
    power = write.power(write.part(spectrum, 0, BINS, 2), write.part(spectrum, BINS, 2 * BINS, 2))
    return write("Transpose", write("MatMul", power, write.constant(filters())), perm=[0, 2, 1])


def by_stft(write):
    """ONNX's operator, which the CPU provider has, and the filters from the left."""
    sound = write("Unsqueeze", "sound", write.integers(2))
    steps = (write.constant(HOP, numpy.int64), write.constant(hann()), write.constant(WINDOW, numpy.int64))
    spectrum = write("STFT", sound, *steps, onesided=1)
    real, imaginary = (
        write("Squeeze", write.part(spectrum, part, part + 1, 3), write.integers(3)) for part in (0, 1)
    )
    power = write("Transpose", write.power(real, imaginary), perm=[0, 2, 1])
    return write("MatMul", write.constant(filters().T), power)


def by_magnitudes(write):
    """The spectrum's size instead of its power, and the filters as a Gemm of all frames at once."""
    places = numpy.arange(FRAMES)[:, None] * HOP + numpy.arange(WINDOW)
    frames = write("Gather", write("Squeeze", "sound", write.integers(0)), write.constant(places, numpy.int64), axis=0)
    spectrum = write("Gemm", frames, write.constant(fourier()))
    power = write.power(write.part(spectrum, 0, BINS, 1), write.part(spectrum, BINS, 2 * BINS, 1))
    mel = write("Gemm", write("Sqrt", power), write.constant(filters().T), transB=1)
    return write("Unsqueeze", write("Transpose", mel, perm=[1, 0]), write.integers(0))


def with_front_end(encoder, front_end):
    """The encoder with sound for its features, which are a second output."""
    model = onnx.load(encoder)
    write = Writer()
    mel = write("Max", front_end(write), write.constant(1e-10))
    log = write("Mul", write("Log", mel), write.constant(1 / numpy.log(10)))
    peak = write("ReduceMax", log, write.integers(1, 2), keepdims=1)
    log = write("Max", log, write("Sub", peak, write.constant(8)))
    features = model.graph.input[0].name
    write("Div", write("Add", log, write.constant(4)), write.constant(4), output=features)
    graph = helper.make_graph(
        [*write.nodes, *model.graph.node],
        "with a front end",
        [helper.make_tensor_value_info("sound", TensorProto.FLOAT, [1, SAMPLES])],
        [*model.graph.output, helper.make_tensor_value_info(features, TensorProto.FLOAT, [1, MELS, FRAMES])],
        [*write.constants, *model.graph.initializer],
    )
    return helper.make_model(graph, opset_imports=model.opset_import, ir_version=model.ir_version)


def sound():
    """Gliding tones, loud and soft, over noise that is 80 dB below them: most bins are far below the loudest."""
    time = numpy.arange(SAMPLES) / RATE
    rng = numpy.random.default_rng(5)
    glides = sum(0.3 / n * numpy.sin(2 * numpy.pi * n * (120 * time + 8 * numpy.sin(time))) for n in (1, 3, 8, 21))
    loudness = 0.05 + numpy.clip(numpy.sin(0.7 * time), 0, 1)
    return (glides * loudness + 3e-5 * rng.standard_normal(SAMPLES)).astype(numpy.float32)[None]


def products(report):
    for graph in json.loads(report.read_text())["graphs"]:
        for group in graph["fused"]:
            yield from group["products"]


def foreign(folder, devices):
    """Every front end of a folder in every precision, all that can be claimed of it claimed."""
    recording = sound()[:, : 3 * RATE]
    feed = {"waveforms": recording, "waveforms_lens": numpy.array([recording.shape[1]], numpy.int64)}
    for path in sorted(pathlib.Path(folder).glob("*.onnx")):
        settings = onnxruntime.SessionOptions()
        settings.log_severity_level = 4
        expected = onnxruntime.InferenceSession(str(path), settings, providers=["CPUExecutionProvider"]).run(None, feed)
        worst = {}
        for precision in ("f32", "bf16", "int8"):
            settings = onnxruntime.SessionOptions()
            settings.log_severity_level = 4
            with tempfile.TemporaryDirectory() as scratch:
                report = pathlib.Path(scratch) / "report.json"
                options = {"device": "host", "precision": precision, "claim": "all", "report": str(report)}
                settings.add_provider_for_devices(devices, options)
                ours = onnxruntime.InferenceSession(str(path), settings)
                claimed = sum(graph["claimed"] for graph in json.loads(report.read_text())["graphs"])
                check(claimed > 0, f"{path.name}: nothing is claimed")
                found = {product["precision"] for product in products(report)}
                check(found <= {"f32"}, f"{path.name} {precision}: products in {found}")
            ours.disable_fallback()
            got = ours.run(None, feed)
            check(numpy.array_equal(expected[1], got[1]), f"{path.name} {precision}: {got[1]} frames, not {expected[1]}")
            worst[precision] = float(numpy.abs(expected[0] - got[0]).max() / numpy.abs(expected[0]).max())
            check(worst[precision] < 2e-3, f"{path.name} {precision}: features differ by {worst[precision]}")
        print(f"{path.stem} as on the CPU provider: {max(worst.values()):.1e}", flush=True)


def main(library, encoder, preprocessors):
    onnxruntime.register_execution_provider_library("undertone", library)
    devices = [device for device in onnxruntime.get_ep_devices() if device.ep_name == EP_NAME]
    foreign(preprocessors, devices)
    feed = {"sound": sound()}
    for front_end in (by_convolution, by_matrices, by_stft, by_magnitudes):
        model = with_front_end(encoder, front_end).SerializeToString()
        settings = onnxruntime.SessionOptions()
        settings.log_severity_level = 3
        cpu = onnxruntime.InferenceSession(model, settings, providers=["CPUExecutionProvider"])
        hidden, features = cpu.run(None, feed)
        check(features.std() > 0.2, "the features are all alike")
        for claim, precision in [("all", "f32"), ("all", "bf16"), ("all", "int8"), ("matmul", "int8")]:
            what = f"{front_end.__name__} claim={claim} {precision}"
            with tempfile.TemporaryDirectory() as scratch:
                report = pathlib.Path(scratch) / "report.json"
                settings = onnxruntime.SessionOptions()
                settings.log_severity_level = 3
                options = {"device": "host", "precision": precision, "claim": claim, "report": str(report)}
                settings.add_provider_for_devices(devices, options)
                ours = onnxruntime.InferenceSession(model, settings)
                found = list(products(report))
            front = [product for product in found if product["name"].startswith("front/")]
            # Convolutions are no matrix products.
            mere = claim == "matmul" and front_end is by_convolution
            check(front or mere, f"{what}: none of the front end's products is claimed")
            for product in front:
                check(product["precision"] == "f32", f"{what}: {product}")
                known = ("as asked", "reaches a Log", "only when it runs")
                check(any(reason in product["reason"] for reason in known), f"{what}: {product}")
            narrow = [product for product in found if product["precision"] == precision]
            check(len(narrow) >= 18, f"{what}: of the encoder {len(narrow)} products are {precision}")
            got_hidden, got_features = ours.run(None, feed)
            worst = numpy.abs(got_features - features).max()
            check(worst < 2e-3, f"{what}: features differ by {worst}")
            similar = cosine(got_hidden, hidden)
            check(similar > LEAST_COSINE[precision], f"{what}: cosine {similar}")
            if precision != "f32":
                check(numpy.abs(got_hidden - hidden).max() > 1e-4, f"{what}: the encoder is not narrow")
            print(f"{what}: features differ by {worst:.1e}, cosine {similar:.7f}", flush=True)


if __name__ == "__main__":
    if len(sys.argv) != 4:
        sys.exit(__doc__)
    main(*sys.argv[1:])
