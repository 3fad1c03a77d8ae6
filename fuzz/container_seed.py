"""Writes the seed `whole` of the target `container`: the index and the blobs of a packed model that the library itself has written.

    python3 fuzz/container_seed.py EP_LIBRARY FILE

Needs onnxruntime, onnx and numpy. To be run again when the container's format changes.
"""

import pathlib
import sys
import tempfile

import numpy
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

PAGE, PREAMBLE = 4096, 64


def main(library, target):
    weights = [numpy_helper.from_array(numpy.ones(shape, numpy.float32), name) for name, shape in [("w", (3, 5)), ("b", (5,))]]
    nodes = [helper.make_node("MatMul", ["x", "w"], ["m"]), helper.make_node("Add", ["m", "b"], ["y"])]
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["b", 3])
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, ["b", 5])
    graph = helper.make_graph(nodes, "g", [x], [y], weights)
    onnxruntime.register_execution_provider_library("undertone", library)
    devices = [device for device in onnxruntime.get_ep_devices() if device.ep_name == "XdnaExecutionProvider"]
    with tempfile.TemporaryDirectory() as folder:
        model, packed = pathlib.Path(folder) / "model.onnx", pathlib.Path(folder) / "packed.onnx"
        onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), model)
        options = onnxruntime.SessionOptions()
        options.add_provider_for_devices(devices, {"device": "host", "precision": "int8", "claim": "all"})
        options.add_session_config_entry("ep.context_enable", "1")
        options.add_session_config_entry("ep.context_file_path", str(packed))
        onnxruntime.InferenceSession(str(model), options)
        (partition,) = [
            attribute.s for node in onnx.load(packed).graph.node for attribute in node.attribute if attribute.name == "partition_name"]
        container = packed.with_suffix(".xdna").read_bytes()
    length = int.from_bytes(container[16:24], "little")
    description, at = container[PREAMBLE:PREAMBLE + length], 0
    # The origin: five strings, each its length in a byte and its text.
    for _ in range(5):
        at += 1 + description[at]
    # The harness calls the group so.
    index = description[at:].replace(bytes([len(partition)]) + partition, b"\x05group", 1)
    blobs = container[(PREAMBLE + length + PAGE - 1) // PAGE * PAGE:]
    pathlib.Path(target).write_bytes(bytes([1, 1, 0]) + len(index).to_bytes(2, "little") + index + blobs)
    print(len(index), len(blobs))


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    main(*sys.argv[1:])
