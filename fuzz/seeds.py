"""Writes ONNX models as the texts that the target `graph` takes (src/text.rs): the smallest conformance case of each operator that
comes with the package onnx, and models that are named.

    python3 fuzz/seeds.py FOLDER [MODEL.onnx ...]

Needs onnx and numpy.
"""

import pathlib
import sys

import numpy
import onnx
from onnx import TensorProto, numpy_helper, shape_inference
from onnx.backend.test.case.node import collect_testcases

TYPES = {
    TensorProto.FLOAT: "f32", TensorProto.UINT8: "u8", TensorProto.INT8: "i8", TensorProto.UINT16: "u16", TensorProto.INT16: "i16",
    TensorProto.INT32: "i32", TensorProto.INT64: "i64", TensorProto.BOOL: "bool", TensorProto.FLOAT16: "f16", TensorProto.DOUBLE: "f64",
    TensorProto.UINT32: "u32", TensorProto.UINT64: "u64", TensorProto.BFLOAT16: "bf16", TensorProto.STRING: "text",
}
MOST = 900


def word(name):
    return name.replace(" ", "_").replace("=", "_") or "_"


def number(value):
    return str(int(value)) if float(value).is_integer() else f"{float(value):.6g}"


def typed(kind, value):
    tensor = value.type.tensor_type
    if not value.type.HasField("tensor_type"):
        return None
    dims = "*"
    if tensor.HasField("shape"):
        dims = " ".join(str(d.dim_value) if d.HasField("dim_value") else word(d.dim_param or "?") for d in tensor.shape.dim)
    return f"{kind} {word(value.name)} {TYPES.get(tensor.elem_type, 'none')} {dims}".rstrip()


def constant(name, tensor):
    array = numpy_helper.to_array(tensor)
    dims = " ".join(map(str, array.shape))
    numbers = ""
    if 0 < array.size <= 16 and array.dtype != object:
        numbers = " = " + " ".join(map(number, array.ravel().astype(numpy.float64)))
    return f"const {word(name)} {TYPES.get(tensor.data_type, 'none')} {dims}{numbers}".replace("  ", " ")


def attribute(made, lines, node, at):
    value = onnx.helper.get_attribute_value(made)
    if made.type == onnx.AttributeProto.TENSOR:
        lines.append(constant(f"{node}_{made.name}", value))
        return f"{made.name}=${node}_{made.name}"
    if made.type in (onnx.AttributeProto.INTS, onnx.AttributeProto.FLOATS):
        return f"{made.name}=[{','.join(map(number, value))}]"
    if made.type == onnx.AttributeProto.INT:
        return f"{made.name}={value}"
    if made.type == onnx.AttributeProto.FLOAT:
        return f"{made.name}={float(value):.6}"
    if made.type == onnx.AttributeProto.STRING:
        return f"{made.name}=s:{word(value.decode())}"
    return ""


def text(model):
    try:
        model = shape_inference.infer_shapes(model)
    except Exception:
        pass
    graph = model.graph
    opset = {imported.domain: imported.version for imported in model.opset_import}
    fixed = {tensor.name for tensor in graph.initializer}
    lines = ["option precision f32", "option claim all"]
    lines += [constant(tensor.name, tensor) for tensor in graph.initializer]
    lines += filter(None, (typed("input", value) for value in graph.input if value.name not in fixed))
    for at, node in enumerate(graph.node):
        version = opset.get(node.domain, 1)
        if not node.domain:
            version = onnx.defs.get_schema(node.op_type, version).since_version
        operator = f"{node.domain}:{node.op_type}" if node.domain else node.op_type
        attributes = [attribute(made, lines, f"n{at}", at) for made in node.attribute]
        words = [operator + f"@{version}", *map(word, node.input), ">", *map(word, node.output), *attributes]
        lines.append("node " + " ".join(filter(None, words)))
    lines += filter(None, (typed("type", value) for value in [*graph.value_info, *graph.output]))
    lines += [f"output {word(value.name)}" for value in graph.output]
    return "\n".join(lines) + "\n"


def main(folder, *models):
    folder = pathlib.Path(folder)
    for model in map(pathlib.Path, models):
        (folder / model.stem).write_text(text(onnx.load(model)))
    smallest = {}
    for case in collect_testcases(None):
        graph = case.model.graph
        if any(made.type in (onnx.AttributeProto.GRAPH, onnx.AttributeProto.GRAPHS) for node in graph.node for made in node.attribute):
            continue
        operators = {node.op_type for node in graph.node}
        if len(operators) > 1 or not operators:
            continue
        try:
            made = text(case.model)
        except Exception as error:
            print(f"{case.name}: {error}", file=sys.stderr)
            continue
        (operator,) = operators
        if len(made) < MOST and len(made) < len(smallest.get(operator, "x" * MOST)):
            smallest[operator] = made
    for operator, made in smallest.items():
        (folder / f"onnx-{operator}").write_text(made)
    print(f"{len(smallest)} operators")


if __name__ == "__main__":
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    main(*sys.argv[1:])
