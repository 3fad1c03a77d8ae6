"""Every exported graph of `tests/graphs`: how the execution provider partitions it, and that what it claims computes what ONNX
Runtime's CPU provider computes.

    python3 check_graphs.py EP_LIBRARY GRAPHS_DIRECTORY SCRATCH_DIRECTORY

The graphs come without weights. For the partition their tensors are zeros, most of them read from one sparse file; for the numbers whisper-tiny gets the seeded weights of `materialize.py`. Needs onnxruntime, onnx, numpy.
"""

import ctypes
import importlib.util
import json
import pathlib
import sys

import numpy
import onnx
import onnxruntime

EP_NAME = "XdnaExecutionProvider"
MOST_GROUPS = {"encoder": 1, "decoder": 3}
LEAST_COSINE = 0.99999


def check(condition, what):
    if not condition:
        sys.exit(what)


def with_zeros(source, target):
    """The graph with every emptied tensor read from a file of zeros beside it."""
    model = onnx.load(source, load_external_data=False)
    # ONNX Runtime 1.32 cannot give an EP the tensors of an outer graph that lie in a file of their own.
    external = "merged" not in source.name
    most = 0
    graphs = [model.graph]
    for graph in graphs:
        for tensor in graph.initializer:
            if tensor.doc_string == "stripped":
                size = onnx.helper.tensor_dtype_to_np_dtype(tensor.data_type).itemsize * int(numpy.prod(tensor.dims))
                if not external:
                    tensor.raw_data = bytes(size)
                    continue
                most = max(most, size)
                tensor.data_location = onnx.TensorProto.EXTERNAL
                for key, value in (("location", "zeros"), ("offset", "0"), ("length", str(size))):
                    tensor.external_data.add(key=key, value=value)
        graphs.extend(a.g for node in graph.node for a in node.attribute if a.type == onnx.AttributeProto.GRAPH)
    target.write_bytes(model.SerializeToString())
    zeros = target.parent / "zeros"
    if not zeros.exists() or zeros.stat().st_size < most:
        with open(zeros, "ab") as file:
            file.truncate(most)


def session(path, devices, **options):
    settings = onnxruntime.SessionOptions()
    settings.intra_op_num_threads = 2
    settings.log_severity_level = 3
    if not options:
        return onnxruntime.InferenceSession(path, settings, providers=["CPUExecutionProvider"])
    settings.add_provider_for_devices(devices, {"device": "host", **options})
    return onnxruntime.InferenceSession(path, settings)


def partition(path, devices, scratch, **options):
    report = scratch / "report.json"
    report.unlink(missing_ok=True)
    session(path, devices, report=str(report), **options)
    # A model's own main graph is of no interest where all that it holds is an `If`.
    graphs = json.loads(report.read_text())["graphs"]
    return [graph for graph in graphs if graph["nodes"] > 1]


def check_partitions(graphs, devices, scratch):
    for source in sorted(graphs.glob("*/*.onnx")):
        name = f"{source.parent.name}/{source.stem}"
        kind = "encoder" if "encoder_model" in source.stem else "decoder"
        path = scratch / "graph.onnx"
        with_zeros(source, path)
        found = partition(path, devices, scratch, claim="all", precision="int8")
        check(len(found) == (2 if "merged" in name else 1), f"{name}: {len(found)} graphs in the report")
        for graph in found:
            groups, left = len(graph["fused"]), graph["unclaimed"]
            check(1 <= groups <= MOST_GROUPS[kind], f"{name} {graph['within']}: {groups} fused nodes")
            check(all(node["reason"] for node in left), f"{name}: a node is left out without a reason")
            check(kind != "encoder" or not left, f"{name}: {left} left to the CPU provider")
            print(f"{name} {graph['within']}: {graph['claimed']} of {graph['nodes']} nodes in {groups}", flush=True)


def feed(model, past, length, cached, seed=1):
    """Operands of a decoder or an encoder, of a batch of one."""
    rng = numpy.random.default_rng(seed)
    sizes = {"batch_size": 1, "encoder_sequence_length": 1500, "encoder_sequence_length_out": 1500,
             "past_decoder_sequence_length": past, "decoder_sequence_length": length}
    operands = {}
    for operand in model.get_inputs():
        shape = [size if isinstance(size, int) else sizes[size] for size in operand.shape]
        if operand.type == "tensor(int64)":
            operands[operand.name] = rng.integers(50000, size=shape)
        elif operand.type == "tensor(bool)":
            operands[operand.name] = numpy.array([cached])
        else:
            operands[operand.name] = rng.standard_normal(shape, dtype=numpy.float32) * 0.5
    return operands


def check_numbers(model, devices, scratch, kernels):
    for path in sorted(model.glob("*.onnx")):
        cpu = session(path, devices)
        steps = {"decoder_model_merged": [(1, 4, False), (9, 1, True)], "decoder_model": [(0, 4, None)],
                 "decoder_with_past_model": [(9, 1, None), (3, 5, None)]}.get(path.stem, [(0, 1, None)])
        for claim in ("all", "attention", "matmul"):
            report = partition(path, devices, scratch, claim=claim, precision="f32")
            operators = {kind for graph in report for group in graph["fused"] for kind in group["steps"]}
            if claim != "all":
                allowed = {"attention"} if claim == "attention" else {"linear", "matmul"}
                check(operators and operators <= allowed, f"{path.stem}: claim={claim} claimed {operators}")
            ours = session(path, devices, claim=claim, precision="f32")
            if claim == "attention" and len(steps) == 1:
                before = kernels(b"kernel_calls.host")
                ours.run(None, feed(cpu, *steps[0]))
                ran, planned = kernels(b"kernel_calls.host") - before, sum(len(graph["fused"]) for graph in report)
                check(ran == planned, f"{path.stem}: {planned} attentions were claimed, {ran} kernels ran")
            for past, length, cached in steps:
                operands = feed(cpu, past, length, cached)
                for expected, got, output in zip(cpu.run(None, operands), ours.run(None, operands), cpu.get_outputs()):
                    check(got.shape == expected.shape, f"{path.stem} {output.name}: {got.shape}, not {expected.shape}")
                    if expected.any():
                        a, b = got.astype(numpy.float64).ravel(), expected.astype(numpy.float64).ravel()
                        similar = a @ b / numpy.sqrt((a @ a) * (b @ b))
                        check(similar > LEAST_COSINE, f"{path.stem} claim={claim} {output.name}: cosine {similar}")
            print(f"{model.name}/{path.stem} claim={claim}: as on the CPU provider", flush=True)


def main(library, graphs, scratch):
    graphs, scratch = pathlib.Path(graphs), pathlib.Path(scratch)
    scratch.mkdir(parents=True, exist_ok=True)
    onnxruntime.register_execution_provider_library("undertone", library)
    devices = [device for device in onnxruntime.get_ep_devices() if device.ep_name == EP_NAME]
    check_partitions(graphs, devices, scratch)

    spec = importlib.util.spec_from_file_location("materialize", graphs / "materialize.py")
    materialize = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(materialize)
    tiny = scratch / "whisper-tiny"
    tiny.mkdir(exist_ok=True)
    for source in (graphs / "whisper-tiny").glob("*.onnx"):
        model = onnx.load(source, load_external_data=False)
        materialize.fill(model.graph, 1)
        onnx.save(model, tiny / source.name)
    kernels = ctypes.CDLL(library).onnxruntime_ep_xdna_counter
    kernels.argtypes, kernels.restype = [ctypes.c_char_p], ctypes.c_uint64
    check_numbers(tiny, devices, scratch, kernels)


if __name__ == "__main__":
    if len(sys.argv) != 4:
        sys.exit(__doc__)
    main(*sys.argv[1:])
