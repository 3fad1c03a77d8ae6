"""One Whisper model as today's tools write it: makes the graphs with the real tools and real weights, and measures what the
execution provider makes of each beside ONNX Runtime's CPU provider and beside its own work on the plain export.

    python3 tool_graphs.py make MODEL_FOLDER GRAPHS
    python3 tool_graphs.py measure EP_LIBRARY GRAPHS [--features MEL.npy] [--precision f32,int8] [--only WORD] [--rounds N]

MODEL_FOLDER is a model that `undertone` has converted. `make` needs torch, transformers, onnxscript, optimum-onnx, onnx and
onnxruntime; a tool that is not installed is passed over, and said. `measure` needs onnxruntime, onnx, numpy, and prints a
Markdown table. GRAPHS/plain is the plain export that the others are compared with. `--features` is a window of speech as the
model's encoder takes it; an encoder that is given noise differs more than one that hears.
"""

import argparse
import json
import pathlib
import statistics
import tempfile
import time

EP_NAME = "XdnaExecutionProvider"
# A decoder's step: one token behind so many.
PAST = 96
KINDS = ("encoder", "decoder_with_past", "decoder")


# What the tools write.


def hugging_face(folder):
    """The model as transformers has it, with the weights of the converted one."""
    import onnx
    import torch
    from transformers import WhisperConfig, WhisperForConditionalGeneration

    model = WhisperForConditionalGeneration(WhisperConfig(**json.loads((folder / "config.json").read_text())))
    tensors = {}
    for name in ("encoder_model", "decoder_model"):
        for tensor in onnx.load(folder / f"{name}.onnx").graph.initializer:
            if tensor.name.startswith("model."):
                value = torch.from_numpy(onnx.numpy_helper.to_array(tensor).astype("float32"))
                is_matrix = value.dim() == 2 and "embed" not in tensor.name
                tensors[tensor.name] = value.T.contiguous() if is_matrix else value
    tensors["proj_out.weight"] = tensors["model.decoder.embed_tokens.weight"]
    model.load_state_dict(tensors)
    return model.eval()


def dynamo(model, graphs):
    """torch.onnx's exporter: attention as `scaled_dot_product_attention` and spelt out, in three opsets."""
    import torch
    from transformers.cache_utils import DynamicCache, EncoderDecoderCache

    layers, heads = model.config.decoder_layers, model.config.decoder_attention_heads

    class Encoder(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.encoder = model.model.encoder

        def forward(self, input_features):
            return self.encoder(input_features).last_hidden_state

    class Decoder(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.model = model

        def forward(self, input_ids, encoder_hidden_states, past):
            own, cross = DynamicCache(), DynamicCache()
            for layer in range(layers):
                own.update(past[4 * layer], past[4 * layer + 1], layer)
                cross.update(past[4 * layer + 2], past[4 * layer + 3], layer)
            cache = EncoderDecoderCache(own, cross)
            cache.is_updated = {layer: True for layer in range(layers)}
            made = self.model.model.decoder(input_ids=input_ids, encoder_hidden_states=encoder_hidden_states,
                                            past_key_values=cache, use_cache=True)
            presents = [part for layer in own.layers for part in (layer.keys, layer.values)]
            return self.model.proj_out(made.last_hidden_state), *presents

    auto, batch, width = torch.export.Dim.AUTO, 2, model.config.d_model
    past = [torch.randn(batch, heads, length, width // heads) for _ in range(layers) for length in (7, 7, 1500, 1500)]
    parts = ["decoder.key", "decoder.value", "encoder.key", "encoder.value"]
    names = [f"past_key_values.{layer}.{part}" for layer in range(layers) for part in parts]
    presents = [f"present.{layer}.{part}" for layer in range(layers) for part in parts[:2]]
    open_axes = [{0: auto} | ({2: auto} if "decoder" in name else {}) for name in names]
    for attention in ("sdpa", "eager"):
        model.set_attn_implementation(attention)
        for opset in (18, 20, 23):
            folder = graphs / f"torch-{attention}-opset{opset}"
            folder.mkdir(parents=True, exist_ok=True)
            torch.onnx.export(
                Encoder(), (torch.zeros(1, model.config.num_mel_bins, 3000),), folder / "encoder_model.onnx", dynamo=True,
                opset_version=opset, input_names=["input_features"], output_names=["last_hidden_state"], verbose=False)
            torch.onnx.export(
                Decoder(), (torch.ones(batch, 3, dtype=torch.int64), torch.randn(batch, 1500, width), past),
                folder / "decoder_with_past_model.onnx", dynamo=True, opset_version=opset, verbose=False,
                input_names=["input_ids", "encoder_hidden_states", *names], output_names=["logits", *presents],
                dynamic_shapes=({0: auto, 1: auto}, {0: auto}, open_axes))


def optimum(model, tokens, graphs):
    """optimum's export, and its optimisation levels."""
    import shutil

    from optimum.exporters.onnx import main_export
    from optimum.onnxruntime import ORTModelForSpeechSeq2Seq, ORTOptimizer
    from optimum.onnxruntime.configuration import AutoOptimizationConfig

    plain = graphs / "plain"
    with tempfile.TemporaryDirectory() as source:
        model.save_pretrained(source)
        for name in ("tokenizer.json", "preprocessor_config.json", "generation_config.json"):
            if (tokens / name).exists():
                shutil.copy(tokens / name, source)
        main_export(source, output=plain, task="automatic-speech-recognition-with-past", do_validation=False)
    whole = ORTModelForSpeechSeq2Seq.from_pretrained(plain, use_merged=False)
    for level in ("O1", "O2", "O3"):
        folder = graphs / f"optimum-{level}"
        config = getattr(AutoOptimizationConfig, level)()
        ORTOptimizer.from_pretrained(whole).optimize(save_dir=folder, optimization_config=config, file_suffix="")


def transformers_optimizer(model, graphs):
    """ONNX Runtime's own optimiser of transformers, with Attention as one operator."""
    from onnxruntime.transformers import optimizer
    from onnxruntime.transformers.fusion_options import FusionOptions

    folder = graphs / "onnxruntime-transformers"
    folder.mkdir(parents=True, exist_ok=True)
    for name in ("encoder_model", "decoder_model", "decoder_with_past_model"):
        made = optimizer.optimize_model(
            str(graphs / "plain" / f"{name}.onnx"), "bart", num_heads=model.config.encoder_attention_heads,
            hidden_size=model.config.d_model, optimization_options=FusionOptions("bart"), opt_level=1, use_gpu=False)
        made.save_model_to_file(str(folder / f"{name}.onnx"))


def quantised(graphs):
    """ONNX Runtime's dynamic quantisation, a scale for each column."""
    from onnxruntime.quantization import QuantType, quantize_dynamic

    folder = graphs / "quantize_dynamic"
    folder.mkdir(parents=True, exist_ok=True)
    for name in ("encoder_model", "decoder_with_past_model", "decoder_model_merged"):
        source = graphs / "plain" / f"{name}.onnx"
        if source.exists():
            quantize_dynamic(source, folder / f"{name}.onnx", per_channel=True, weight_type=QuantType.QInt8,
                             op_types_to_quantize=["MatMul"], extra_options={"EnableSubgraph": True})


def make(source, graphs):
    model = hugging_face(source)
    steps = [lambda: optimum(model, source, graphs), lambda: transformers_optimizer(model, graphs),
             lambda: quantised(graphs), lambda: dynamo(model, graphs)]
    for name, step in zip(("optimum", "onnxruntime.transformers", "onnxruntime.quantization", "torch.onnx"), steps):
        try:
            step()
            print(f"{name}: made")
        except ImportError as error:
            print(f"{name}: not made, {error}")


# What the execution provider makes of them.


def session(path, devices=None, **options):
    import onnxruntime

    settings = onnxruntime.SessionOptions()
    settings.intra_op_num_threads = 2
    settings.log_severity_level = 3
    if devices is None:
        return onnxruntime.InferenceSession(path, settings, providers=["CPUExecutionProvider"])
    settings.add_provider_for_devices(devices[:1], {"device": "host", **options})
    made = onnxruntime.InferenceSession(path, settings)
    made.disable_fallback()
    return made


def operands(model, features):
    """One token behind `PAST` others, or a window of audio; of a batch of one."""
    import numpy

    random, found = numpy.random.default_rng(1), {}
    for operand in model.get_inputs():
        name, shape = operand.name, [size if isinstance(size, int) else None for size in operand.shape]
        is_cross = any(word in name for word in ("cross", ".encoder.", "encoder_hidden", "n_layer_cross"))
        shape = [1 if size is None and axis == 0 else size for axis, size in enumerate(shape)]
        if operand.type in ("tensor(int64)", "tensor(int32)"):
            shape = [size or 1 for size in shape]
            value = numpy.array([PAST]) if name == "offset" else random.integers(600, size=shape)
        elif operand.type == "tensor(bool)":
            value = numpy.array([True])
        elif name in ("input_features", "audio_features", "mel"):
            value = features.reshape(1, -1, 3000)
        else:
            # The only open axis behind the batch's is that of positions.
            shape = [size or (1500 if is_cross else PAST) for size in shape]
            value = random.standard_normal(shape) * 0.5
        kinds = {"tensor(int32)": "int32", "tensor(float)": "float32", "tensor(float16)": "float16"}
        found[name] = value.astype(kinds.get(operand.type, value.dtype))
    return found


def difference(expected, got):
    """The largest difference of an output, relative to its largest value."""
    import numpy

    def of(a, b):
        a, b = a.astype(numpy.float64), b.astype(numpy.float64)
        return float(numpy.abs(a - b).max() / max(numpy.abs(a).max(), 1e-9)) if a.size else 0.0

    return max(map(of, expected, got))


def left_nodes(report):
    """What was left, and why, in a few words."""
    counted = {}
    for graph in report["graphs"]:
        for node in graph["unclaimed"]:
            key = f"{node['op_type']}: {node['reason']}"
            counted[key] = counted.get(key, 0) + 1
    return "; ".join(f"{count} {key}" for key, count in sorted(counted.items(), key=lambda item: -item[1])[:2]) or "nothing"


def found_graphs(folder):
    """A folder's graphs by what they are."""
    graphs = {}
    for path in sorted(folder.glob("*.onnx")):
        kind = next((kind for kind in KINDS if path.name.startswith(kind)), None)
        kind = "decoder_merged" if "merged" in path.name else kind
        if kind:
            graphs[kind] = path
    return graphs


def comparison(kind, plain):
    """The plain graph that another of this kind is compared with."""
    return plain.get("decoder_with_past" if kind == "decoder_merged" and kind not in plain else kind)


def milliseconds(runs, rounds):
    """The median of each of `runs`, which take turns. Threads of the session before spin for a while: a run of its own comes
    before each that counts."""
    times = [[] for _ in runs]
    for _ in range(rounds):
        for run, kept in zip(runs, times):
            run()
            start = time.perf_counter()
            run()
            kept.append(1e3 * (time.perf_counter() - start))
    return [statistics.median(kept) for kept in times]


def measure(library, graphs, features, precisions, only, rounds):
    import numpy
    import onnxruntime

    features = numpy.load(features)

    onnxruntime.register_execution_provider_library("undertone", str(library.resolve()))
    devices = [device for device in onnxruntime.get_ep_devices() if device.ep_name == EP_NAME]
    plain = found_graphs(graphs / "plain")
    heads = [f"{precision} {what}" for precision in precisions for what in ("largest difference", "ms", "plain ms")]
    print("| graph | work taken | left | CPU provider ms | " + " | ".join(heads) + " |")
    print("|---|---|---|---|" + "---|" * len(heads))
    report = pathlib.Path(tempfile.mkdtemp()) / "report.json"
    for folder in sorted(folder for folder in graphs.iterdir() if folder.is_dir()):
        for kind, path in found_graphs(folder).items():
            name = f"{folder.name} {kind}"
            if only and only not in name:
                continue
            try:
                made = row(name, path, comparison(kind, plain), features, devices, precisions, report, rounds)
                print(made, flush=True)
            except Exception as error:  # A tool's graph that ONNX Runtime itself refuses is a line, not the end.
                print(f"| {name} | {str(error).splitlines()[0][:200]} |", flush=True)


def row(name, path, plain, features, devices, precisions, report, rounds):
    """A line of the table."""
    cpu = session(path)
    feed = operands(cpu, features)
    expected = cpu.run(None, feed)
    ours = {precision: session(path, devices, precision=precision, report=str(report)) for precision in precisions}
    partition = json.loads(report.read_text())
    work = [sum(graph[key] for graph in partition["graphs"]) for key in ("gflop_claimed", "gflop_unclaimed")]
    share = f"{100 * work[0] / max(sum(work), 1e-12):.0f} %"
    beside = {} if plain in (None, path) else {precision: session(plain, devices, precision=precision) for precision in precisions}
    plain_feed = operands(next(iter(beside.values())), features) if beside else {}
    runs = [lambda: cpu.run(None, feed)]
    runs += [lambda of=of: of.run(None, feed) for of in ours.values()]
    runs += [lambda of=of: of.run(None, plain_feed) for of in beside.values()]
    times = milliseconds(runs, rounds * (10 if "decoder" in name else 1))
    cells = []
    for at, (precision, of) in enumerate(ours.items()):
        compared = f"{times[1 + len(ours) + at]:.2f}" if beside else ""
        cells += [f"{difference(expected, of.run(None, feed)):.1e}", f"{times[1 + at]:.2f}", compared]
    return f"| {name} | {share} | {left_nodes(partition)} | {times[0]:.2f} | " + " | ".join(cells) + " |"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    making = commands.add_parser("make")
    making.add_argument("model", type=pathlib.Path)
    making.add_argument("graphs", type=pathlib.Path)
    measuring = commands.add_parser("measure")
    measuring.add_argument("library", type=pathlib.Path)
    measuring.add_argument("graphs", type=pathlib.Path)
    speech = pathlib.Path(__file__).parents[1] / "vectors" / "mel-short-000-en.npy"
    measuring.add_argument("--features", type=pathlib.Path, default=speech)
    measuring.add_argument("--precision", default="f32,int8")
    measuring.add_argument("--only", default="")
    measuring.add_argument("--rounds", type=int, default=5)
    asked = parser.parse_args()
    if asked.command == "make":
        make(asked.model, asked.graphs)
    else:
        measure(asked.library, asked.graphs, asked.features, asked.precision.split(","), asked.only, asked.rounds)


if __name__ == "__main__":
    main()
