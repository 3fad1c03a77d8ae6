"""Prints which part of a graph's products, by their work, the execution provider takes: 0 to 1.

    python share.py EP_LIBRARY GRAPH.onnx
"""

import json
import pathlib
import sys
import tempfile

import onnxruntime


def main(library, graph):
    onnxruntime.register_execution_provider_library("undertone", library)
    devices = [device for device in onnxruntime.get_ep_devices() if device.ep_name == "XdnaExecutionProvider"]
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder) / "report.json"
        options = onnxruntime.SessionOptions()
        options.add_provider_for_devices(devices[:1], {"device": "host", "precision": "int8", "report": str(path)})
        onnxruntime.InferenceSession(graph, sess_options=options)
        graphs = json.loads(path.read_text())["graphs"]
    claimed, left = (sum(graph[key] for graph in graphs) for key in ("gflop_claimed", "gflop_unclaimed"))
    print(claimed / (claimed + left) if claimed + left else 0.0)


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    main(*sys.argv[1:])
