"""The installed wheel `onnxruntime-ep-xdna` with stock ONNX Runtime, and a check of each of its promises.

    python3 check_wheel.py FOLDER_OF_THE_WHEEL EXPECTED_VERSION MODEL_DIRECTORY MEL.npy

Prints one line and exits with 0 only if all is as promised: what is in the package, what it says, and that the library
it hands to ONNX Runtime executed the encoder.
"""

import ctypes
import importlib.metadata
import pathlib
import sys

import onnxruntime_ep_xdna

# Before anything else imports it.
IMPORTED_ONNXRUNTIME = "onnxruntime" in sys.modules

import numpy
import onnxruntime

from check_ep import EP_NAME, check, cosine

DISTRIBUTION = "onnxruntime-ep-xdna"


def check_package(folder, version):
    check(not IMPORTED_ONNXRUNTIME, "the package imports onnxruntime")
    metadata = importlib.metadata.distribution(DISTRIBUTION)
    check(metadata.version == version, f"{DISTRIBUTION} is {metadata.version} instead of {version}")
    check(not metadata.requires, f"{DISTRIBUTION} depends on {metadata.requires}")

    library = pathlib.Path(onnxruntime_ep_xdna.get_library_path())
    package = pathlib.Path(folder).resolve() / "onnxruntime_ep_xdna"
    check(library.is_absolute() and library.parent == package, f"{library} is not in {package}")
    files = {file.name for file in metadata.files if file.parts[0] == package.name and "__pycache__" not in file.parts}
    modules = {file for file in files if file.endswith(".py")}
    check({"__init__.py", "__main__.py"} < modules, f"the package holds {sorted(files)}")
    # The shim is there where it was built beside the library.
    check(files - modules - {"libundertone_xrt.so"} == {"py.typed", library.name}, f"the package holds {sorted(files)}")

    check(onnxruntime_ep_xdna.get_ep_name() == EP_NAME, onnxruntime_ep_xdna.get_ep_name())
    check(onnxruntime_ep_xdna.get_ep_names() == [EP_NAME], onnxruntime_ep_xdna.get_ep_names())
    return str(library)


def check_run(library, model, mel):
    encoder = str(pathlib.Path(model) / "encoder_model.onnx")
    feeds = {"input_features": numpy.load(mel).astype(numpy.float32).reshape(1, -1, 3000)}
    expected = onnxruntime.InferenceSession(encoder, providers=["CPUExecutionProvider"]).run(None, feeds)[0]

    onnxruntime.register_execution_provider_library("undertone", library)
    devices = [device for device in onnxruntime.get_ep_devices() if device.ep_name == onnxruntime_ep_xdna.get_ep_name()]
    check(len(devices) == 1, f"{len(devices)} devices of {EP_NAME} instead of one")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 2
    options.add_session_config_entry("session.disable_cpu_ep_fallback", "1")
    options.add_provider_for_devices(devices, {"device": "host", "precision": "int8"})
    session = onnxruntime.InferenceSession(encoder, sess_options=options)

    # The library that ONNX Runtime has open under this path, so these are its counters.
    counter = ctypes.CDLL(library).onnxruntime_ep_xdna_counter
    counter.argtypes, counter.restype = [ctypes.c_char_p], ctypes.c_uint64
    nodes, calls = counter(b"fused_nodes_executed"), counter(b"kernel_calls.host")
    got = session.run(None, feeds)[0]
    nodes, calls = counter(b"fused_nodes_executed") - nodes, counter(b"kernel_calls.host") - calls
    check(nodes == 1 and calls > 0, f"{nodes} fused nodes executed instead of 1, {calls} kernel calls")
    check(got.shape == expected.shape, f"the output is {got.shape} instead of {expected.shape}")
    similar = cosine(got, expected)
    check(similar > 0.99, f"cosine {similar:.6f} to the CPU provider, wanted more than 0.99")
    print(f"{DISTRIBUTION} with ONNX Runtime {onnxruntime.__version__}: cosine {similar:.7f}, {calls} kernel calls")


def main(folder, version, model, mel):
    check_run(check_package(folder, version), model, mel)


if __name__ == "__main__":
    if len(sys.argv) != 5:
        sys.exit(__doc__)
    main(*sys.argv[1:])
