"""ONNX's own conformance cases, one small graph for each corner of each operator: what the execution provider claims of them must
give what ONNX Runtime's CPU provider gives.

    python3 check_operators.py EP_LIBRARY

Whisper needs few of these operators and few of their corners; but the provider may be given any graph, and must leave alone what
it does not carry out exactly. Needs onnxruntime, onnx, numpy.
"""

import collections
import json
import os
import sys
import tempfile
import warnings

import numpy
import onnxruntime

from checks import EP_NAME, session

warnings.filterwarnings("ignore")
from onnx.backend.test.case.node import collect_testcases  # noqa: E402


def claimed_nodes(report):
    with open(report) as file:
        return sum(graph["claimed"] for graph in json.load(file)["graphs"])


def alike(a, b):
    if a.shape != b.shape or a.dtype != b.dtype:
        return False
    if a.dtype.kind != "f":
        return bool((a == b).all())
    near = 2e-3 if a.dtype == numpy.float16 else 1e-5
    return numpy.allclose(a.astype(numpy.float64), b.astype(numpy.float64), rtol=10 * near, atol=near, equal_nan=True)


def check(case, devices, report):
    """What became of a case: a word, or a sentence that says what is wrong."""
    model = case.model.SerializeToString()
    operands = [value for value in case.model.graph.input]
    if any(not operand.type.HasField("tensor_type") for operand in operands):
        return "no tensors"
    values = [value for value, _ in zip(case.data_sets[0][0], operands)]
    if any(not isinstance(value, numpy.ndarray) for value in values):
        return "no tensors"
    feed = {operand.name: value for operand, value in zip(operands, values)}
    try:
        expected = session(model).run(None, feed)
    except Exception:
        return "not for this ONNX Runtime"
    try:
        ours = session(model, devices, report)
        if claimed_nodes(report) == 0:
            return "not claimed"
        got = ours.run(None, feed)
    except Exception as error:
        return f"{case.name}: {error}"
    return "same" if all(map(alike, expected, got)) else f"{case.name}: {got} instead of {expected}"


def main(library):
    onnxruntime.register_execution_provider_library("undertone", library)
    devices = [device for device in onnxruntime.get_ep_devices() if device.ep_name == EP_NAME]
    with tempfile.TemporaryDirectory() as scratch:
        report = os.path.join(scratch, "report.json")
        results = [check(case, devices, report) for case in collect_testcases(None)]
    counts = collections.Counter(result if ":" not in result else "wrong" for result in results)
    for result in results:
        if ":" in result:
            print(result)
    print(", ".join(f"{count} {what}" for what, count in sorted(counts.items())))
    if counts["wrong"] or counts["same"] < 300:
        sys.exit("cases are wrong, or too few were claimed for the check to mean anything")


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    main(sys.argv[1])
