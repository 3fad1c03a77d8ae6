"""Packed models from Python: ONNX Runtime writes an EP context model with the execution provider, and opens it again.

    python3 check_packed.py EP_LIBRARY MODEL_DIRECTORY EXPECTED_ORT_VERSION

Prints one line for each model that was packed, and exits with 0 only if packed models compute the same bits and bad ones are
refused with a reason.
"""

import pathlib
import shutil
import sys
import tempfile

import numpy
import onnxruntime

from checks import EP_NAME, check


def options(ep_options, entries):
    devices = [device for device in onnxruntime.get_ep_devices() if device.ep_name == EP_NAME]
    made = onnxruntime.SessionOptions()
    # Errors are what is tested for, and come back as exceptions.
    made.log_severity_level = 4
    made.add_provider_for_devices(devices[:1], {"device": "host", **ep_options})
    for key, value in entries.items():
        made.add_session_config_entry(key, value)
    return made


def session(path, ep_options={}, **entries):
    entries = {"ep." + key: str(value) for key, value in entries.items()}
    return onnxruntime.InferenceSession(str(path), sess_options=options(ep_options, entries))


def refusal(path, ep_options={}, **entries):
    try:
        session(path, ep_options, **entries)
    except Exception as error:
        return str(error)
    return sys.exit(f"ONNX Runtime {onnxruntime.__version__}: {path} was opened with {ep_options} {entries}")


def inputs(opened):
    """Something for each input: five cached tokens, one new one, a whole window."""
    random = numpy.random.default_rng(7)

    def size(axis):
        if isinstance(axis, int):
            return axis
        return 5 if "past_decoder" in axis else 1 if "batch" in axis or "decoder_sequence" in axis else 1500

    def value(declared):
        shape = [size(axis) for axis in declared.shape]
        if declared.type == "tensor(int64)":
            return random.integers(0, 1000, shape)
        if declared.type == "tensor(bool)":
            return numpy.ones(shape, bool)
        return random.standard_normal(shape).astype(numpy.float32)

    return {declared.name: value(declared) for declared in opened.get_inputs()}


def same_bits(a, b):
    return all(x.dtype == y.dtype and x.tobytes() == y.tobytes() for x, y in zip(a, b, strict=True))


def packs_and_opens(model, home, ep_options):
    name = "-".join([model.stem, *ep_options.values()])
    plain = session(model, ep_options)
    fed = inputs(plain)
    expected = plain.run(None, fed)
    packed = home / f"{name}.onnx"
    writing = session(model, ep_options, context_enable=1, context_file_path=packed)
    check(same_bits(expected, writing.run(None, fed)), f"{name} computes something else while it is packed")
    container = packed.with_suffix(".xdna")
    check(packed.is_file() and container.is_file(), f"{name} was not packed")
    # What is not claimed keeps its weights in the model.
    check("claim" in ep_options or packed.stat().st_size < 10_000, f"{name} still holds weights: {packed.stat().st_size} bytes")
    for _ in range(2):
        opened = session(packed, ep_options)
        check(same_bits(expected, opened.run(None, fed)), f"{name} computes something else from its packed form")
        check(opened.get_providers()[0] == EP_NAME, f"{name} is run by {opened.get_providers()}")
    print(f"{name}: {packed.stat().st_size} + {container.stat().st_size} bytes for {model.stat().st_size}")
    return packed


def main():
    library, directory, version = sys.argv[1:]
    check(onnxruntime.__version__ == version, f"{version} was expected")
    onnxruntime.register_execution_provider_library("undertone", str(pathlib.Path(library).resolve()))
    models = pathlib.Path(directory)
    with tempfile.TemporaryDirectory() as home:
        home = pathlib.Path(home)
        encoder = packs_and_opens(models / "encoder_model.onnx", home, {})
        packs_and_opens(models / "encoder_model.onnx", home, {"precision": "bf16"})
        packs_and_opens(models / "decoder_with_past_model.onnx", home, {})
        packs_and_opens(models / "decoder_with_past_model.onnx", home, {"claim": "matmul"})
        packs_and_opens(models / "decoder_model.onnx", home, {"claim": "attention", "precision": "f32"})

        # In a control flow's bodies nothing is packed; the model runs all the same, and is no packed one.
        merged = models / "decoder_model_merged.onnx"
        opened = session(merged, {}, context_enable=1, context_file_path=home / "merged.onnx")
        check(not (home / "merged.xdna").exists(), "a merged decoder was packed")
        del opened

        # Moved together the two files are as good as before; apart they are not.
        elsewhere = home / "elsewhere"
        elsewhere.mkdir()
        shutil.copy(encoder, elsewhere)
        check("cannot read the packed weights" in refusal(elsewhere / encoder.name), "a container is missing")
        container = encoder.with_suffix(".xdna")
        shutil.copy(container, elsewhere)
        session(elsewhere / encoder.name)

        check("precision" in refusal(encoder, {"precision": "bf16"}), "int8 weights were opened as bf16")
        check("packed already" in refusal(encoder, {}, context_enable=1, context_file_path=home / "twice.onnx"), "twice")
        within = refusal(models / "encoder_model.onnx", {}, context_enable=1, context_embed_mode=1,
                         context_file_path=home / "within.onnx")
        check("ep.context_embed_mode" in within, within)
        unwritable = refusal(models / "encoder_model.onnx", {}, context_enable=1, context_file_path=home / "no/such/a.onnx")
        check("cannot write the packed weights" in unwritable, unwritable)
        bytes = bytearray(container.read_bytes())
        for at, what in [(0, "damaged"), (100, "damaged"), (len(bytes) * 2 // 3, "damaged")]:
            bytes[at] ^= 1
            (elsewhere / container.name).write_bytes(bytes)
            error = refusal(elsewhere / encoder.name)
            check(what in error and "pack the model anew" in error, f"byte {at}: {error}")
            bytes[at] ^= 1


main()
