"""The pipelines: what each is made of, what it reads, and how its example is started."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable


@dataclasses.dataclass(frozen=True)
class Pipeline:
    name: str
    # For the table: the library and what it brings.
    what: str
    # Packages at fixed versions, of PyPI or, for a program of Node.js, of npm.
    packages: tuple[str, ...]
    # The example's program in examples/pipelines.
    program: str
    # The model's layout (`LAYOUTS` in run.py).
    layout: str = "converted"
    # The graphs that count for the share: of the encoder and of a decoder's step.
    graphs: tuple[str, str] = ("encoder_model.onnx", "decoder_with_past_model.onnx")
    # The one model that there are files of, whichever is asked for.
    model: str | None = None
    # Whether it takes recordings of more than 30 s.
    long: bool = False


MERGED = ("encoder_model.onnx", "decoder_model_merged.onnx")
PLAIN = ("numpy==2.4.6", "tokenizers==0.23.3")

PIPELINES = [
    *(
        Pipeline(f"onnxruntime-{version[:4]}", f"onnxruntime {version}, Python", (f"onnxruntime=={version}", *PLAIN), "python/with_onnxruntime.py")
        for version in ("1.23.2", "1.26.0", "1.32.0")
    ),
    Pipeline("c", "C, onnxruntime 1.32.0", ("onnxruntime==1.32.0", *PLAIN), "c/transcribe.c"),
    Pipeline("cpp", "C++, onnxruntime 1.32.0", ("onnxruntime==1.32.0", *PLAIN), "cpp/transcribe.cpp"),
    Pipeline("rust", "Rust, ort 2.0.0-rc.15, onnxruntime 1.32.0", ("onnxruntime==1.32.0", *PLAIN), "rust/main.rs"),
    Pipeline("onnx-asr", "onnx-asr 0.12.0, onnxruntime 1.32.0", ("onnx-asr==0.12.0", "onnxruntime==1.32.0", "numpy==2.4.6"),
             "python/with_onnx_asr.py", layout="exported", graphs=MERGED),
    Pipeline("optimum", "optimum-onnx 0.1.0, transformers 4.57.6, onnxruntime 1.32.0",
             ("optimum-onnx==0.1.0", "transformers==4.57.6", "onnxruntime==1.32.0", "torch==2.15.0"),
             "python/with_optimum.py", layout="exported", graphs=MERGED, long=True),
    Pipeline("genai", "onnxruntime-genai 0.18.0, onnxruntime 1.32.0", ("onnxruntime-genai==0.18.0", "onnxruntime==1.32.0", "numpy==2.4.6"),
             "python/with_genai.py", layout="genai", graphs=("encoder.onnx", "decoder.onnx")),
    Pipeline("sherpa-onnx", "sherpa-onnx 2.0.1, its onnxruntime 1.28.2 (tiny.en)", ("sherpa-onnx==2.0.1", "numpy==2.4.6"),
             "python/with_sherpa_onnx.py", layout="sherpa", graphs=("encoder.onnx", "decoder.onnx"), model="tiny.en"),
    Pipeline("transformers.js", "transformers.js 4.3.2, onnxruntime-node 1.30.0", ("@huggingface/transformers@4.3.2",),
             "node/with_transformers.mjs", layout="exported", graphs=MERGED, long=True),
]
BY_NAME = {pipeline.name: pipeline for pipeline in PIPELINES}
