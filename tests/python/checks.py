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
