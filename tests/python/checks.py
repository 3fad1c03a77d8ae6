"""What the checks of this folder share: the provider's name, how a check ends a script, how alike two arrays are."""

import sys

import numpy
import onnxruntime

EP_NAME = "XdnaExecutionProvider"


def check(condition, what):
    if not condition:
        sys.exit(f"ONNX Runtime {onnxruntime.__version__}: {what}")


def cosine(a, b):
    a, b = a.astype(numpy.float64).ravel(), b.astype(numpy.float64).ravel()
    return float(a @ b / (numpy.linalg.norm(a) * numpy.linalg.norm(b)))


def session(model, devices=None, report=None):
    """A session on the CPU provider, or on the execution provider's host device in f32 with all that it can compute."""
    settings = onnxruntime.SessionOptions()
    settings.log_severity_level = 4
    if devices is None:
        return onnxruntime.InferenceSession(model, settings, providers=["CPUExecutionProvider"])
    # Whether it is worth it or not.
    settings.add_provider_for_devices(devices, {"device": "host", "precision": "f32", "claim": "all", "report": report})
    made = onnxruntime.InferenceSession(model, settings)
    # Python would quietly run the model again on the CPU provider.
    made.disable_fallback()
    return made
