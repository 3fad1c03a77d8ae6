"""What the execution provider's report says of a graph's work, and its warning where much is left to others.

    python3 check_report.py EP_LIBRARY

Warnings go to standard error, as ONNX Runtime writes them; each session's are behind a line `# NAME`. Needs onnxruntime, onnx, numpy.
"""

import json
import pathlib
import sys
import tempfile

import numpy
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

from checks import EP_NAME, check

ROWS, INPUTS, OUTPUTS = 6, 64, 32
PRODUCT = 2 * ROWS * INPUTS * OUTPUTS / 1e9
random = numpy.random.default_rng(1)
W = random.standard_normal((INPUTS, OUTPUTS)).astype(numpy.float32)


def graph(nodes, constants, inputs=True):
    x, y = (helper.make_tensor_value_info(name, TensorProto.FLOAT, [ROWS, size]) for name, size in (("x", INPUTS), ("y", OUTPUTS)))
    initializers = [numpy_helper.from_array(value, name) for name, value in constants.items()]
    made = helper.make_graph(nodes, "g", [x] if inputs else [], [y], initializers)
    opsets = [helper.make_opsetid("", 18), helper.make_opsetid("com.microsoft", 1)]
    return helper.make_model(made, opset_imports=opsets, ir_version=8)


def four_bits():
    """A product of four bits with an index of groups, which is left."""
    blocks = {"g": (numpy.arange(INPUTS) // 32).astype(numpy.int32), "b": numpy.zeros((OUTPUTS, INPUTS // 32, 16), numpy.uint8), "s": numpy.ones(OUTPUTS * INPUTS // 32, numpy.float32)}
    sizes = {"K": INPUTS, "N": OUTPUTS, "bits": 4, "block_size": 32}
    nodes = [helper.make_node("MatMulNBits", ["x", "b", "s", "", "g"], ["y"], domain="com.microsoft", **sizes)]
    return graph(nodes, blocks)


def einsum():
    return graph([helper.make_node("Einsum", ["x", "w"], ["y"], equation="ab,bc->ac")], {"w": W})


def integers():
    """A product of integers by themselves, which nothing scales back."""
    x, y = helper.make_tensor_value_info("x", TensorProto.UINT8, [ROWS, INPUTS]), helper.make_tensor_value_info("y", TensorProto.INT32, [ROWS, OUTPUTS])
    made = helper.make_graph([helper.make_node("MatMulInteger", ["x", "w"], ["y"])], "g", [x], [y], [numpy_helper.from_array(W.astype(numpy.int8), "w")])
    return helper.make_model(made, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)


def one_of_two():
    """Half of the work is claimed."""
    products = [helper.make_node("MatMul", ["x", "w"], ["a"]), helper.make_node("Einsum", ["x", "w"], ["b"], equation="ab,bc->ac")]
    return graph([*products, helper.make_node("Mul", ["a", "b"], ["y"])], {"w": W})


def whole():
    return graph([helper.make_node("MatMul", ["x", "w"], ["y"])], {"w": W})


def folded():
    """Nothing is left of it when its constants are folded."""
    return graph([helper.make_node("Add", ["w", "w"], ["y"])], {"w": W[:ROWS]}, inputs=False)


def report_of(model, devices, path):
    settings = onnxruntime.SessionOptions()
    settings.add_provider_for_devices(devices, {"device": "host", "precision": "f32", "claim": "all", "report": str(path)})
    onnxruntime.InferenceSession(model.SerializeToString(), settings)
    return json.loads(path.read_text())


def main(library):
    onnxruntime.register_execution_provider_library("undertone", library)
    devices = [device for device in onnxruntime.get_ep_devices() if device.ep_name == EP_NAME]
    with tempfile.TemporaryDirectory() as scratch:
        for make, claimed, left in [
            (four_bits, 0, 1),
            (einsum, 0, 1),
            (integers, 0, 1),
            (one_of_two, 1, 1),
            (whole, 1, 0),
        ]:
            print(f"# {make.__name__}", file=sys.stderr, flush=True)
            onnx.checker.check_model(make())
            (found,) = report_of(make(), devices, pathlib.Path(scratch) / "report.json")["graphs"]
            work = found["gflop_claimed"], found["gflop_unclaimed"]
            wanted = claimed * PRODUCT, left * PRODUCT
            check(numpy.allclose(work, wanted, rtol=1e-6), f"{make.__name__}: work of {work}, not {wanted}")
        print("# folded", file=sys.stderr, flush=True)
        found = report_of(folded(), devices, pathlib.Path(scratch) / "another.json")
        check(found["graphs"] == [] and found["ep"] == EP_NAME, f"folded: {found}")
        print("work is counted wherever it is")


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    main(sys.argv[1])
