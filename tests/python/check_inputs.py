"""Inputs that a graph is not defined for: the execution provider says that they are at fault, and the session goes on with it.

    python3 check_inputs.py EP_LIBRARY MODEL_DIRECTORY

After an EP_FAIL Python's `InferenceSession` would leave the provider for good and run on the CPU provider; so what an input causes is
INVALID_ARGUMENT. What the CPU provider computes of an unusual input is computed, and equal. Needs onnxruntime and numpy.
"""

import ctypes
import pathlib
import sys

import numpy
import onnxruntime
from onnxruntime.capi.onnxruntime_pybind11_state import InvalidArgument

from checks import EP_NAME, check

GRAPHS = ("encoder_model", "decoder_model", "decoder_with_past_model", "decoder_model_merged")
LENGTH = 1500


def session(path, devices):
    settings = onnxruntime.SessionOptions()
    settings.log_severity_level = 4
    if devices is None:
        return onnxruntime.InferenceSession(path, settings, providers=["CPUExecutionProvider"])
    settings.add_provider_for_devices(devices, {"device": "host", "precision": "f32"})
    return onnxruntime.InferenceSession(path, settings)


def operands(session, tokens=1, past=4, batch=1):
    rng = numpy.random.default_rng(3)
    found = {}
    for operand in session.get_inputs():
        def size(axis, dim, name=operand.name):
            if isinstance(dim, int):
                return dim
            if axis == 0:
                return batch
            return tokens if name == "input_ids" else past if ".decoder." in name else LENGTH

        shape = [size(axis, dim) for axis, dim in enumerate(operand.shape)]
        if operand.type == "tensor(int64)":
            found[operand.name] = rng.integers(50000, size=shape)
        elif operand.type == "tensor(bool)":
            found[operand.name] = numpy.array([True])
        else:
            found[operand.name] = rng.standard_normal(shape, dtype=numpy.float32) * 0.5
    return found


def unusual(session):
    """Inputs that no Whisper is given on purpose, by what is odd about them."""
    good = operands(session)
    yield "an empty batch", operands(session, batch=0)
    if "input_ids" in good:
        for token in (10**6, -(10**6), 2**62, -1):
            yield f"token {token}", dict(good, input_ids=numpy.array([[token]]))
        yield "no token", dict(good, input_ids=numpy.zeros((1, 0), numpy.int64))
        yield "more batch items of tokens", dict(good, input_ids=numpy.zeros((2, 1), numpy.int64))
        yield "448 positions", operands(session, past=447)
        yield "449 positions after a cache", operands(session, past=448)
        yield "449 positions at once", operands(session, tokens=449, past=0)
        yield "no past", operands(session, past=0)
        yield "several tokens after a past", operands(session, tokens=3)
    for name, value in good.items():
        # One layer's cache is as good as another's.
        if value.ndim >= 3 and ("past" not in name or ".0." in name):
            shorter, wider, empty = (list(value.shape) for _ in range(3))
            shorter[-2] -= 1
            wider[-1] += 1
            empty[-2] = 0
            yield f"{name} of {shorter}", dict(good, **{name: value[..., :-1, :].copy()})
            yield f"{name} of {wider}", dict(good, **{name: numpy.zeros(wider, numpy.float32)})
            yield f"{name} of {empty}", dict(good, **{name: numpy.zeros(empty, numpy.float32)})


def attempt(session, feed):
    try:
        return session.run(None, feed)
    except Exception as error:  # noqa: BLE001
        return error


def alike(a, b):
    return a.shape == b.shape and numpy.allclose(a, b, rtol=1e-3, atol=2e-4, equal_nan=True)


def main(library, model):
    counter = ctypes.CDLL(library).onnxruntime_ep_xdna_counter
    counter.argtypes, counter.restype = [ctypes.c_char_p], ctypes.c_uint64
    onnxruntime.register_execution_provider_library("undertone", library)
    devices = [device for device in onnxruntime.get_ep_devices() if device.ep_name == EP_NAME]
    for graph in GRAPHS:
        path = str(pathlib.Path(model) / f"{graph}.onnx")
        cpu, ours = session(path, None), session(path, devices)
        good = operands(cpu)
        usual = cpu.run(None, good)
        refused, computed = 0, 0
        for what, feed in unusual(cpu):
            expected, got = attempt(cpu, feed), attempt(ours, feed)
            check(ours.get_providers()[0] == EP_NAME, f"{graph}: {what} made the session leave the provider: {got}")
            if isinstance(expected, Exception):
                check(isinstance(got, InvalidArgument), f"{graph}: {what}: {got!r}, on the CPU provider {expected!r}")
                refused += 1
            else:
                check(not isinstance(got, Exception), f"{graph}: {what}: {got!r}")
                check(all(map(alike, expected, got)), f"{graph}: {what}: other numbers than the CPU provider's")
                computed += 1
            before = counter(b"fused_nodes_executed")
            check(all(map(alike, usual, ours.run(None, good))), f"{graph}: other numbers after {what}")
            check(counter(b"fused_nodes_executed") > before, f"{graph}: after {what} the provider executes nothing")
        check(refused > 0, f"{graph}: nothing was refused")
        print(f"{graph}: {refused} refused as invalid arguments, {computed} computed", flush=True)


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    main(*sys.argv[1:])
