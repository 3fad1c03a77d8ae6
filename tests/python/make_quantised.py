"""Real graphs with their weights quantised as exporters do it, by ONNX Runtime's own tools, for tests.

    python make_quantised.py MODEL FEATURES OUT

FEATURES is a window of 80 bands × 3000 frames as raw fp32, to calibrate with. Writes one folder, OUT, with these sets of encoder,
decoder and decoder with past: MODEL's own; `_int8`, `_uint8` (quantised as they run); `_q4`, `_bnb4` (weights of 4 bits, in
blocks); and `encoder_model_qdq` (products and their activations between QuantizeLinear and DequantizeLinear).
"""
import logging
import pathlib
import shutil
import sys

import numpy as np
import onnx
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_dynamic, quantize_static
from onnxruntime.quantization.matmul_bnb4_quantizer import MatMulBnb4Quantizer
from onnxruntime.quantization.matmul_nbits_quantizer import MatMulNBitsQuantizer

logging.disable(logging.WARNING)
MODEL, FEATURES, OUT = map(pathlib.Path, sys.argv[1:4])
NF4 = 1


class Window(CalibrationDataReader):
    def __init__(self):
        self.feeds = iter([{"input_features": np.fromfile(FEATURES, dtype=np.float32).reshape(1, 80, 3000)}])

    def get_next(self):
        return next(self.feeds, None)


def save(quantiser, path):
    quantiser.process()
    onnx.save(quantiser.model.model if hasattr(quantiser.model, "model") else quantiser.model, path)


shutil.copytree(MODEL, OUT)
PRODUCTS = {"op_types_to_quantize": ["MatMul"], "per_channel": True}
for name in ["encoder_model", "decoder_model", "decoder_with_past_model"]:
    source = MODEL / f"{name}.onnx"
    to = {suffix: OUT / f"{name}_{suffix}.onnx" for suffix in ["int8", "uint8", "q4", "bnb4", "qdq"]}
    quantize_dynamic(source, to["int8"], weight_type=QuantType.QInt8, **PRODUCTS)
    quantize_dynamic(source, to["uint8"], weight_type=QuantType.QUInt8, **PRODUCTS)
    save(MatMulNBitsQuantizer(onnx.load(source), block_size=32, is_symmetric=True), to["q4"])
    save(MatMulBnb4Quantizer(onnx.load(source), NF4, 64), to["bnb4"])
    if name == "encoder_model":
        kinds = {"weight_type": QuantType.QInt8, "activation_type": QuantType.QUInt8}
        quantize_static(source, to["qdq"], Window(), quant_format=QuantFormat.QDQ, **kinds, **PRODUCTS)
