"""Real graphs with their weights quantised as exporters do it, by ONNX Runtime's own tools, for tests.

    python make_quantised.py MODEL FEATURES OUT

FEATURES is a window of 80 bands × 3000 frames as raw fp32, to calibrate with. Writes one folder, OUT, with these sets of encoder,
decoder and decoder with past: MODEL's own; `_int8`, `_uint8` (quantised as they run); `_q4`, `_bnb4` (weights of 4 bits, in
blocks); `_qdq` (products and their activations between QuantizeLinear and DequantizeLinear).
"""
import logging
import pathlib
import shutil
import sys

import numpy as np
import onnx
import onnxruntime
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_dynamic, quantize_static
from onnxruntime.quantization.matmul_bnb4_quantizer import MatMulBnb4Quantizer
from onnxruntime.quantization.matmul_nbits_quantizer import MatMulNBitsQuantizer

logging.disable(logging.WARNING)
MODEL, FEATURES, OUT = map(pathlib.Path, sys.argv[1:4])
ENCODER, FIRST, LATER = "encoder_model", "decoder_model", "decoder_with_past_model"
NF4 = 1


def named_outputs(name, feed):
    session = onnxruntime.InferenceSession(str(MODEL / f"{name}.onnx"), providers=["CPUExecutionProvider"])
    return dict(zip([output.name for output in session.get_outputs()], session.run(None, feed)))


def calibration():
    """What each graph is fed when it hears the window and has written its first two tokens."""
    features = np.fromfile(FEATURES, dtype=np.float32).reshape(1, 80, 3000)
    feeds = {ENCODER: {"input_features": features}}
    hidden = named_outputs(ENCODER, feeds[ENCODER])["last_hidden_state"]
    start = np.array([[50257, 50362]], dtype=np.int64)
    feeds[FIRST] = {"input_ids": start, "encoder_hidden_states": hidden}
    made = named_outputs(FIRST, feeds[FIRST])
    past = {name.replace("present", "past_key_values"): value for name, value in made.items() if name != "logits"}
    feeds[LATER] = {"input_ids": made["logits"][:, -1:].argmax(-1).astype(np.int64), **past}
    return feeds


class Reader(CalibrationDataReader):
    def __init__(self, feed):
        self.feeds = iter([feed])

    def get_next(self):
        return next(self.feeds, None)


def save(quantiser, path):
    quantiser.process()
    onnx.save(quantiser.model.model if hasattr(quantiser.model, "model") else quantiser.model, path)


shutil.copytree(MODEL, OUT)
for name, feed in calibration().items():
    source = MODEL / f"{name}.onnx"

    def to(suffix):
        return OUT / f"{name}_{suffix}.onnx"

    products = {"op_types_to_quantize": ["MatMul"], "per_channel": True}
    quantize_dynamic(source, to("int8"), weight_type=QuantType.QInt8, **products)
    quantize_dynamic(source, to("uint8"), weight_type=QuantType.QUInt8, **products)
    save(MatMulNBitsQuantizer(onnx.load(source), block_size=32, is_symmetric=True), to("q4"))
    save(MatMulBnb4Quantizer(onnx.load(source), NF4, 64), to("bnb4"))
    quantize_static(
        source, to("qdq"), Reader(feed), quant_format=QuantFormat.QDQ, weight_type=QuantType.QInt8,
        activation_type=QuantType.QUInt8, **products,
    )
