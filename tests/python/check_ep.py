"""What a Python user of the execution provider does, with nothing but `onnxruntime` and `numpy`, and a check of each step.

    python3 check_ep.py EP_LIBRARY MODEL_DIRECTORY MEL.npy EXPECTED_ORT_VERSION

Prints one line for each precision and exits with 0 only if all is as promised: the encoder's output agrees with the CPU
provider's, no node of it is left to the CPU provider, and the library itself counted the work.
"""

import contextlib
import ctypes
import io
import json
import pathlib
import sys

import numpy
import onnxruntime

from checks import EP_NAME, check, cosine

LEAST_COSINE = {"f32": 0.9999, "bf16": 0.999, "int8": 0.99}


def check_refused(encoder, devices):
    """What the provider refuses is an error where Python's fallback is off, however the provider was asked for. Where it
    is on, most versions print a line and make a session on the CPU provider."""
    for wrong, word in (({"devce": "host"}, "devce"), ({"device": "npu"}, "no NPU can be used")):
        options = onnxruntime.SessionOptions()
        options.add_provider_for_devices(devices, wrong)
        ways = [{"sess_options": options}]
        if EP_NAME in onnxruntime.get_available_providers():
            ways.append({"providers": [(EP_NAME, wrong)]})
        for way in ways:
            try:
                onnxruntime.InferenceSession(encoder, enable_fallback=0, **way)
                check(False, f"{wrong} made a session")
            except Exception as error:
                check(word in str(error), f"{wrong}: {error}")
            printed = io.StringIO()
            with contextlib.redirect_stdout(printed):
                try:
                    providers = onnxruntime.InferenceSession(encoder, **way).get_providers()
                except Exception as error:
                    check(word in str(error), f"{wrong}: {error}")
                    continue
            # As the README says of it: when this changes, so can the README.
            said = printed.getvalue()
            check(providers == ["CPUExecutionProvider"] and word in said, f"{providers}, {said}")


def main(library, model, mel, version):
    check(onnxruntime.__version__ == version, f"this is not {version} but comes from {onnxruntime.__file__}")
    encoder = str(pathlib.Path(model) / "encoder_model.onnx")
    features = numpy.load(mel).astype(numpy.float32).reshape(1, -1, 3000)
    reference = onnxruntime.InferenceSession(encoder, providers=["CPUExecutionProvider"])
    expected = reference.run(None, {"input_features": features})[0]

    # The same name as a library that the process has open gives the same library, with its counters.
    counter = ctypes.CDLL(library).onnxruntime_ep_xdna_counter
    counter.argtypes, counter.restype = [ctypes.c_char_p], ctypes.c_uint64

    # A name of the caller's own: the provider keeps its name whatever its library is registered as.
    onnxruntime.register_execution_provider_library("undertone", library)
    devices = [device for device in onnxruntime.get_ep_devices() if device.ep_name == EP_NAME]
    check(len(devices) == 1, f"{len(devices)} devices of {EP_NAME} instead of one")

    for precision, least in LEAST_COSINE.items():
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 2
        # From here on a node that is left to the CPU provider is an error.
        options.add_session_config_entry("session.disable_cpu_ep_fallback", "1")
        options.add_session_config_entry("session.record_ep_graph_assignment_info", "1")
        options.add_provider_for_devices(devices, {"device": "host", "precision": precision})
        session = onnxruntime.InferenceSession(encoder, sess_options=options)
        check(session.get_providers()[0] == EP_NAME, f"the session's providers are {session.get_providers()}")
        if hasattr(session, "get_provider_graph_assignment_info"):
            owners = [part.ep_name for part in session.get_provider_graph_assignment_info()]
            check(owners == [EP_NAME], f"{precision}: the encoder's parts belong to {owners} instead of one to {EP_NAME}")

        nodes, calls = counter(b"fused_nodes_executed"), counter(b"kernel_calls.host")
        got = session.run(None, {"input_features": features})[0]
        nodes, calls = counter(b"fused_nodes_executed") - nodes, counter(b"kernel_calls.host") - calls
        check(nodes == 1, f"{precision}: {nodes} fused nodes executed instead of 1")
        check(calls > 0, f"{precision}: the host device counted no kernel call")
        check(counter(b"kernel_calls.npu") == 0, f"{precision}: NPU calls counted on a run of the host device")

        check(got.shape == expected.shape and got.dtype == expected.dtype, f"{precision}: {got.dtype}{got.shape}")
        similar = cosine(got, expected)
        check(similar > least, f"{precision}: cosine {similar:.6f} to the CPU provider, wanted more than {least}")
        print(f"ONNX Runtime {version} {precision}: cosine {similar:.7f}, {nodes} fused node, {calls} kernel calls")
        del session
    # The same through the simulated NPU; what it counts is in a description of its own, too.
    options = onnxruntime.SessionOptions()
    options.add_provider_for_devices(devices, {"device": "sim", "target": "npu1", "precision": "int8"})
    session = onnxruntime.InferenceSession(encoder, sess_options=options)
    calls = counter(b"kernel_calls.sim")
    got = session.run(None, {"input_features": features})[0]
    calls = counter(b"kernel_calls.sim") - calls
    similar = cosine(got, expected)
    check(similar > LEAST_COSINE["int8"], f"sim: cosine {similar:.6f} to the CPU provider")
    describe = ctypes.CDLL(library).onnxruntime_ep_xdna_npu
    describe.restype = ctypes.c_char_p
    (npu,) = json.loads(describe())["devices"]
    check((npu["device"], npu["target"]) == ("sim", "npu1"), f"the NPU is {npu}")
    executed = sum(operator["calls"] for operator in npu["operators"].values())
    check(calls == executed > 0, f"{calls} kernel calls counted, and {executed} executed by the simulator")
    check(npu["fallbacks"] == {"calls": 0, "retried": 0, "refused": 0, "reason": None}, f"fallbacks: {npu['fallbacks']}")
    print(f"ONNX Runtime {version} simulated npu1: similar by {similar:.7f}, {calls} kernel calls")
    del session
    check(counter(b"no such counter") == 2**64 - 1, "an unknown counter has a value")
    check_refused(encoder, devices)
    onnxruntime.unregister_execution_provider_library("undertone")


if __name__ == "__main__":
    if len(sys.argv) != 5:
        sys.exit(__doc__)
    main(*sys.argv[1:])
