"""Makes an encoder that opens on the execution provider and fails when it runs there: a detour over nine axes, one more than the
provider's plans take, which ONNX Runtime's CPU provider carries out. The number of axes is computed in the graph, so that nobody can
tell it before the run.

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
    elements = int(numpy.prod(shape))
    for tensor, values in (("a sixth", [elements // 6]), ("three axes", shape)):
        graph.initializer.append(onnx.numpy_helper.from_array(numpy.array(values, numpy.int64), tensor))
    one = onnx.numpy_helper.from_array(numpy.array([1], numpy.int64))
    graph.node.append(onnx.helper.make_node("Size", ["before the detour"], ["elements"]))
    graph.node.append(onnx.helper.make_node("Div", ["elements", "a sixth"], ["six"]))
    graph.node.append(onnx.helper.make_node("ConstantOfShape", ["six"], ["ones"], value=one))
    graph.node.append(onnx.helper.make_node("Concat", ["ones", "three axes"], ["nine axes"], axis=0))
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
