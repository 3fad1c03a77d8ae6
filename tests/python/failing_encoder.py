"""Makes an encoder that opens on the execution provider and fails when it runs there: a detour over nine axes, one more than the
provider's plans take, which ONNX Runtime's CPU provider carries out.

    python3 failing_encoder.py ENCODER.onnx FAILING.onnx
"""

import sys

import numpy
import onnx


def main(source, target):
    model = onnx.load(source)
    graph = model.graph
    name = graph.output[0].name
    for node in graph.node:
        node.output[:] = ["before the detour" if output == name else output for output in node.output]
    shape = [axis.dim_value or 1 for axis in graph.output[0].type.tensor_type.shape.dim]
    for tensor, sizes in (("nine axes", [1] * (9 - len(shape)) + shape), ("three axes", shape)):
        graph.initializer.append(onnx.numpy_helper.from_array(numpy.array(sizes, numpy.int64), tensor))
    # What lies between keeps ONNX Runtime from joining the two into one.
    graph.node.append(onnx.helper.make_node("Reshape", ["before the detour", "nine axes"], ["detour"]))
    graph.node.append(onnx.helper.make_node("Abs", ["detour"], ["size"]))
    graph.node.append(onnx.helper.make_node("Sign", ["detour"], ["sign"]))
    graph.node.append(onnx.helper.make_node("Mul", ["size", "sign"], ["again"]))
    graph.node.append(onnx.helper.make_node("Reshape", ["again", "three axes"], [name]))
    onnx.save(model, target)


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    main(*sys.argv[1:])
