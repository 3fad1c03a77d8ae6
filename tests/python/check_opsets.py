"""Operators as each opset from 7 to 23 defines them: what was an attribute in an old one is an operand in a new one, and defaults
have changed. A graph opens and gives the CPU provider's numbers with every one.

    python3 check_opsets.py EP_LIBRARY

ONNX's conformance cases, which `check_operators.py` runs, are of the newest opset. Needs onnxruntime, onnx, numpy.
"""

import os
import sys
import tempfile

import numpy
import onnxruntime
from check_operators import EP_NAME, alike, claimed_nodes, session
from onnx import TensorProto, helper, numpy_helper

OPSETS = range(7, 24)
FUNCTIONS = ("Exp", "Sqrt", "Neg", "Abs", "Tanh", "Sigmoid", "Relu", "Reciprocal", "Log", "Identity")
random = numpy.random.default_rng(3)
X = random.standard_normal((2, 3, 4)).astype(numpy.float32)
COLUMN = random.standard_normal((3, 1)).astype(numpy.float32)


def node(operator, operands, result="y", **attributes):
    return helper.make_node(operator, operands.split(), [result], **attributes)


def integers(*values):
    return numpy.array(values, numpy.int64)


def noise(*shape):
    return random.standard_normal(shape).astype(numpy.float32)


def with_axes(operator, opset, operand_since, axes, result="y", operand="x"):
    """A node whose axes became an operand in opset `operand_since`, and the constants that it reads."""
    if opset < operand_since:
        return node(operator, operand, result, axes=list(axes)), {}
    return node(operator, f"{operand} {operator}_axes", result), {f"{operator}_axes": integers(*axes)}


def cases(opset):
    """Names, nodes from `x` to `y`, constants."""
    if opset < 10:
        yield "Slice", [node("Slice", "x", starts=[0, 1], ends=[2, 3], axes=[0, 2])], {}
        yield "Slice of the first axes", [node("Slice", "x", starts=[0, 1], ends=[2, 3])], {}
    else:
        bounds = {"starts": integers(0, 1), "ends": integers(2, 3), "axes": integers(0, 2)}
        yield "Slice", [node("Slice", "x starts ends axes")], bounds
    added, axes = with_axes("Unsqueeze", opset, 13, [0], result="t")
    removed, more = with_axes("Squeeze", opset, 13, [0], operand="t")
    yield "Unsqueeze and Squeeze", [added, removed], axes | more
    yield "Squeeze of all", [node("Squeeze", "x")], {}
    mean, axes = with_axes("ReduceMean", opset, 18, [1])
    yield "ReduceMean", [mean], axes
    yield "ReduceMean of all", [node("ReduceMean", "x")], {}
    if opset >= 18:
        yield "ReduceMean of nothing", [node("ReduceMean", "x", noop_with_empty_axes=1)], {}
    yield "Softmax", [node("Softmax", "x")], {}
    for axis in (0, 1, 2) if opset < 11 else (0, 1, 2, -1):
        yield f"Softmax over {axis}", [node("Softmax", "x", axis=axis)], {}
    yield "Reshape", [node("Reshape", "x shape")], {"shape": integers(0, -1)}
    yield "Tile", [node("Tile", "x repeats")], {"repeats": integers(1, 2, 1)}
    yield "Concat", [node("Concat", "x x", axis=1)], {}
    yield "Transpose", [node("Transpose", "x")], {}
    yield "Gather", [node("Gather", "x indices", axis=1)], {"indices": integers(0, 2)}
    for function in FUNCTIONS:
        yield function, [node(function, "x")], {}
    for operator in ("Add", "Sub", "Mul", "Div", "Pow") + (("Min", "Max") if opset >= 8 else ()):
        yield operator, [node(operator, "x column")], {"column": COLUMN}
    weights = {"rows": integers(6, 4), "w": noise(5, 4), "b": noise(5)}
    rows, gemm = node("Reshape", "x rows", "r"), {"alpha": 0.5, "beta": 2.0, "transB": 1}
    yield "Gemm", [rows, node("Gemm", "r w b", **gemm)], weights
    if opset >= 11:
        yield "Gemm without a bias", [rows, node("Gemm", "r w", **gemm)], weights
    yield "MatMul", [node("MatMul", "x w")], {"w": noise(4, 5)}
    yield "MatMul of two", [node("Transpose", "x", "t", perm=[0, 2, 1]), node("MatMul", "x t")], {}
    yield "Conv", [node("Conv", "x w", pads=[1, 1])], {"w": noise(5, 3, 3)}
    heads = [
        node("Reshape", "x heads", "q"),
        node("Transpose", "q", "k", perm=[0, 1, 3, 2]),
        node("MatMul", "q k", "scores"),
        node("Softmax", "scores", "p", axis=3),
        node("MatMul", "p q"),
    ]
    yield "attention", heads, {"heads": integers(2, 1, 3, 4)}
    compared = [node("Less", "x column", "m"), node("Not", "m", "n"), node("And", "n m", "both"), node("Or", "n both", "z")]
    yield "comparisons", [*compared, node("Cast", "z", to=TensorProto.FLOAT)], {"column": COLUMN}
    yield "Shape", [node("Shape", "x", "s"), node("Cast", "s", to=TensorProto.FLOAT)], {}
    if opset >= 8:
        yield "Expand", [node("Expand", "x shape")], {"shape": integers(5, 1, 1, 1)}
    if opset >= 9:
        yield "Erf", [node("Erf", "x")], {}
        yield "Where", [node("Greater", "x column", "m"), node("Where", "m x column")], {"column": COLUMN}
        two = numpy_helper.from_array(numpy.array([2], numpy.float32))
        filled = [node("ConstantOfShape", "shape", "twos", value=two), node("Add", "x twos")]
        yield "ConstantOfShape", filled, {"shape": integers(2, 1, 4)}
    if opset >= 10:
        quantised = {"q": numpy.arange(12, dtype=numpy.uint8).reshape(3, 4), "s": numpy.float32(0.5), "z": numpy.uint8(3)}
        yield "DequantizeLinear", [node("DequantizeLinear", "q s z", "d"), node("Mul", "x d")], quantised
    if opset >= 17:
        yield "LayerNormalization", [node("LayerNormalization", "x gain")], {"gain": noise(4)}


def model(nodes, constants, opset):
    x, y = (helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in (("x", X.shape), ("y", None)))
    initializers = [numpy_helper.from_array(numpy.asarray(value), name) for name, value in constants.items()]
    # Before IR version 4 constants were inputs too.
    inputs = [x] if opset >= 9 else [x, *(helper.make_tensor_value_info(c.name, c.data_type, c.dims) for c in initializers)]
    graph = helper.make_graph(nodes, "g", inputs, [y], initializers)
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8 if opset >= 9 else 3)
    return made.SerializeToString()


def main(library):
    onnxruntime.register_execution_provider_library("undertone", library)
    devices = [device for device in onnxruntime.get_ep_devices() if device.ep_name == EP_NAME]
    wrong, claimed, count = [], 0, 0
    with tempfile.TemporaryDirectory() as scratch:
        report = os.path.join(scratch, "report.json")
        for opset in OPSETS:
            for name, nodes, constants in cases(opset):
                made, feed = model(nodes, constants, opset), {"x": X}
                (expected,) = session(made).run(None, feed)
                count += 1
                try:
                    (got,) = session(made, devices, report).run(None, feed)
                except Exception as error:  # noqa: BLE001
                    wrong.append(f"{name} of opset {opset}: {error}")
                    continue
                claimed += claimed_nodes(report) > 0
                if not alike(expected, got):
                    wrong.append(f"{name} of opset {opset}: {got} instead of {expected}")
    print(*wrong, sep="\n")
    print(f"{count} graphs, {claimed} with claimed nodes, {len(wrong)} wrong")
    if wrong or claimed < 500:
        sys.exit("graphs are wrong, or too few were claimed for the check to mean anything")


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    main(sys.argv[1])
