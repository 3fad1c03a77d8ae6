"""Whisper as other exporters write it (`tests/graphs/other`): each graph opens with every choice of the options, what the execution
provider leaves alone has a reason, and what it takes gives the CPU provider's numbers, step after step.

    python3 check_exporters.py EP_LIBRARY GRAPHS_DIRECTORY SCRATCH_DIRECTORY

The graphs come without weights and get seeded ones, with a smaller vocabulary. Needs onnxruntime, onnx, numpy.
"""

import gzip
import importlib.util
import json
import pathlib
import sys

import numpy
import onnx
import onnxruntime

from checks import EP_NAME, check, cosine

# Large tables are only time: so many tokens are enough.
VOCABULARY = {51864: 640, 51865: 640}
# Activations that a graph rounds to 8 bits are rounded to others after the least change: with inputs changed by a millionth the CPU
# provider's own results of the QDQ graph have a cosine of 0.985.
ROUNDED = ("int8pc", "qdq", "int4")
# Every node of these is taken, in one piece, also where nobody says what to claim; and attention of what a layer's own products
# make is computed in the precision that was asked for.
WHOLE = ("genai-tiny.en", "onnxruntime-tiny.en", "optimum-O2-tiny.en", "torch-dynamo-tiny.en")
# Operators with weights of a few bits: all of them are taken.
CODED = ("MatMulNBits", "MatMulBnb4", "GatherBlockQuantized", "MatMulInteger")
LEAST_COSINE = {"f32": 0.99999, "bf16": 0.99, "int8": 0.97}
LEAST_ROUNDED = {"f32": 0.97, "bf16": 0.96, "int8": 0.95}
SIZES = {"n_audio": 1, "batch_size": 1, "s6": 1, "T": 1500, "encoder_sequence_length": 1500,
         "encoder_sequence_length / 2": 1500}
# Tokens of a step, and those before it.
DECODER_STEPS = [(4, 0), (1, 4), (1, 5), (1, 200)]


def resized(graph):
    """Every axis of the vocabulary's length made shorter, in tensors and declarations."""
    for tensor in graph.initializer:
        if tensor.doc_string == "stripped":
            tensor.dims[:] = [VOCABULARY.get(dim, dim) for dim in tensor.dims]
    for value in [*graph.input, *graph.output, *graph.value_info]:
        for dim in value.type.tensor_type.shape.dim:
            if dim.dim_value in VOCABULARY:
                dim.dim_value = VOCABULARY[dim.dim_value]
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.type == onnx.AttributeProto.GRAPH:
                resized(attribute.g)


def prepared(source, target, fill):
    """The graph with weights, and its layer norms as further outputs where it ends in a single number."""
    model = onnx.load_from_string(gzip.decompress(source.read_bytes()))
    # Four-bit tables hold several entries in a byte, and their operators the table's length.
    if not {"MatMulNBits", "GatherBlockQuantized"} & operators(model.graph):
        resized(model.graph)
    fill(model.graph, 1)
    calm(model.graph, {})
    if "qdq" in str(source):
        for node in model.graph.node:
            if node.op_type == "LayerNormalization":
                model.graph.output.append(onnx.helper.make_tensor_value_info(node.output[0], 1, None))
    onnx.save(model, target)


def calm(graph, tensors):
    """Scales of four-bit weights that make matrices of variance 1 / rows, as the others are: larger ones saturate every soft-max."""
    tensors = tensors | {tensor.name: tensor for tensor in graph.initializer}
    for node in graph.node:
        if node.op_type == "MatMulNBits" and node.input[2] in tensors:
            (rows,) = (attribute.i for attribute in node.attribute if attribute.name == "K")
            tensor = tensors[node.input[2]]
            scales = numpy.abs(onnx.numpy_helper.to_array(tensor).astype(numpy.float64))
            # Sixteen values, evenly spread, have a standard deviation of 4.6.
            calmed = (scales / scales.mean() * rows**-0.5 / 4.6).astype(onnx.numpy_helper.to_array(tensor).dtype)
            tensor.CopyFrom(onnx.numpy_helper.from_array(calmed, tensor.name))
        for attribute in node.attribute:
            if attribute.type == onnx.AttributeProto.GRAPH:
                calm(attribute.g, tensors)


def operators(graph):
    found = {node.op_type for node in graph.node}
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.type == onnx.AttributeProto.GRAPH:
                found |= operators(attribute.g)
    return found


def session(path, devices, **options):
    settings = onnxruntime.SessionOptions()
    settings.intra_op_num_threads = 2
    settings.log_severity_level = 3
    if not options:
        # As the graph says it: ONNX Runtime's own fusions of quantised operators round elsewhere.
        if "qdq" in path.name:
            settings.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
        return onnxruntime.InferenceSession(path, settings, providers=["CPUExecutionProvider"])
    settings.add_provider_for_devices(devices, {"device": "host", **options})
    made = onnxruntime.InferenceSession(path, settings)
    made.disable_fallback()
    return made


def operands(session, tokens, past):
    """What a step reads: `tokens` tokens after `past` of them."""
    rng = numpy.random.default_rng(past + 1)
    sizes = dict(SIZES, n_tokens=tokens, sequence_length=tokens, decoder_sequence_length=tokens,
                 past_sequence_length=past, past_decoder_sequence_length=past)
    found = {}
    for operand in session.get_inputs():
        shape = [size if isinstance(size, int) else sizes[size] for size in operand.shape]
        if operand.name == "mel":
            shape[2] = 3000
        if operand.name == "offset":
            value = numpy.array([past])
        elif operand.type in ("tensor(int64)", "tensor(int32)"):
            value = rng.integers(600, size=shape)
        elif operand.type == "tensor(bool)":
            value = numpy.array([past > 0])
        else:
            value = rng.standard_normal(shape) * 0.5
        types = {"tensor(int32)": numpy.int32, "tensor(float)": numpy.float32, "tensor(float16)": numpy.float16}
        found[operand.name] = value.astype(types.get(operand.type, value.dtype))
    return found


def compare(what, outputs, expected, got, least):
    for output, a, b in zip(outputs, expected, got):
        same = a.shape == b.shape and a.dtype == b.dtype
        check(same, f"{what}: {output.name} is {b.dtype}{b.shape}, not {a.dtype}{a.shape}")
        if a.size and a.any():
            similar = cosine(a, b)
            check(similar > least, f"{what}: {output.name} has cosine {similar}")


def check_whole(what, graphs, precision):
    """One piece, nothing left; attention in a precision, if one is given."""
    for graph in graphs:
        check(not graph["unclaimed"] and len(graph["fused"]) == 1, f"{what}: {len(graph['fused'])} pieces, {graph['unclaimed']}")
        used = graph["fused"][0]["precision"]["attention"]
        check(precision is None or list(used) == [precision], f"{what}: attention in {used}")


def check_graph(name, path, devices, scratch):
    cpu = session(path, devices)
    steps = DECODER_STEPS if "decoder" in name else [(1, 5)]
    rounded = any(word in name for word in ROUNDED)
    feeds = [operands(cpu, *step) for step in steps]
    expected = [cpu.run(None, feed) for feed in feeds]
    report = scratch / "report.json"
    for claim in ("all", "attention", "matmul"):
        for precision in ("f32", "bf16", "int8"):
            what = f"{name} claim={claim} precision={precision}"
            report.unlink(missing_ok=True)
            ours = session(path, devices, claim=claim, precision=precision, report=str(report))
            graphs = json.loads(report.read_text())["graphs"]
            for graph in graphs:
                check(all(node["reason"] for node in graph["unclaimed"]), f"{what}: a node is left without a reason")
                for group in graph["fused"]:
                    check(all(product["reason"] for product in group["products"]), f"{what}: {group['products']}")
            if claim == "all":
                check(sum(graph["claimed"] for graph in graphs) > 40, f"{what}: nothing is claimed")
                if name.startswith(WHOLE):
                    check_whole(what, graphs, precision if "encoder" in name else None)
                left = {node["op_type"] for graph in graphs for node in graph["unclaimed"]} & set(CODED)
                check(not left, f"{what}: {left} are left")
            least = (LEAST_ROUNDED if rounded else LEAST_COSINE)[precision]
            if "qdq" in name and claim != "all":
                # The rest is ONNX Runtime's, with its fusions: 0.953 to the graph as it stands, without this provider too.
                least = 0.9
            # All steps where all is ours and the arithmetic the CPU provider's; elsewhere the last one shows that the session runs.
            shown = len(steps) if (claim, precision) == ("all", "f32") else int(precision != "bf16")
            for step, feed, wanted in list(zip(steps, feeds, expected))[len(steps) - shown :]:
                compare(f"{what} {step}", cpu.get_outputs(), wanted, ours.run(None, feed), least)
    claimed = " + ".join(str(graph["claimed"]) for graph in graphs)
    print(f"{name}: as on the CPU provider ({claimed} nodes with claim=matmul)", flush=True)


def main(library, graphs, scratch):
    graphs, scratch = pathlib.Path(graphs), pathlib.Path(scratch)
    scratch.mkdir(parents=True, exist_ok=True)
    onnxruntime.register_execution_provider_library("undertone", library)
    devices = [device for device in onnxruntime.get_ep_devices() if device.ep_name == EP_NAME]
    spec = importlib.util.spec_from_file_location("materialize", graphs / "materialize.py")
    materialize = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(materialize)
    for source in sorted((graphs / "other").glob("*/*.onnx.gz")):
        name = f"{source.parent.name}/{source.name.removesuffix('.onnx.gz')}"
        path = scratch / name.replace("/", "-")
        prepared(source, path, materialize.fill)
        check_graph(name, path, devices, scratch)
        path.unlink()


if __name__ == "__main__":
    if len(sys.argv) != 4:
        sys.exit(__doc__)
    main(*sys.argv[1:])
