"""Decoding with a key-value cache that stays in the execution provider, from Python, beside decoding with one that the program
carries from run to run as any program does.

    python3 check_kv_cache.py EP_LIBRARY MODEL_DIRECTORY EXPECTED_ORT_VERSION

Prints one line for each precision and exits with 0 only if both ways agree.
"""

import ctypes
import json
import pathlib
import sys

import numpy
import onnxruntime

from checks import EP_NAME, check, cosine

KEY = "ep.xdnaexecutionprovider.kv_cache"
# Kept in fp32 it is the same cache; narrower ones are rounded.
LEAST_COSINE = {"f32": 0.9999999, "bf16": 0.9999, "int8": 0.999}
STEPS = 20


def last(logits):
    return logits[:, -1]


class BestToken(ctypes.Structure):
    _fields_ = [("token", ctypes.c_uint32), ("logit", ctypes.c_float), ("sum", ctypes.c_float)]


class Carried:
    """The cache as a program carries it: presents become pasts."""

    def __init__(self, first, with_past, hidden):
        self.first, self.with_past, self.hidden = first, with_past, hidden

    def _keep(self, session, results):
        names = [output.name for output in session.get_outputs()]
        for name, result in zip(names, results):
            if name.startswith("present."):
                self.pasts[name.replace("present", "past_key_values")] = result
        return last(results[names.index("logits")])

    def start(self, tokens):
        self.pasts = {}
        return self._keep(self.first, self.first.run(None, {"input_ids": tokens, "encoder_hidden_states": self.hidden}))

    def step(self, tokens):
        return self._keep(self.with_past, self.with_past.run(None, {"input_ids": tokens, **self.pasts}))

    def select(self, rows):
        self.pasts = {name: past[rows] for name, past in self.pasts.items()}


class Resident:
    """The cache as the execution provider keeps it."""

    def __init__(self, library, heads, first, with_past, hidden):
        self.library, self.first, self.with_past, self.hidden = library, first, with_past, hidden
        self.cache = library.onnxruntime_ep_xdna_kv_cache_new()
        self.options = onnxruntime.RunOptions()
        self.options.add_run_config_entry(KEY, str(self.cache))
        nothing = numpy.zeros((1, heads, 0, 64), numpy.float32)
        pasts = [i.name for i in with_past.get_inputs() if i.name.startswith("past_key_values.")]
        self.pasts = dict.fromkeys(pasts, nothing)

    def start(self, tokens):
        feeds = {"input_ids": tokens, "encoder_hidden_states": self.hidden}
        return last(self.first.run(["logits"], feeds, self.options)[0])

    def step(self, tokens):
        return last(self.with_past.run(["logits"], {"input_ids": tokens, **self.pasts}, self.options)[0])

    def best(self, tokens, count, split, forbidden):
        """The `count` likeliest of each row below `split` and from it on, as (token, logit)."""
        rows = len(tokens)
        ends = (ctypes.c_size_t * rows)(*range(1, rows + 1))
        pairs = (ctypes.c_uint32 * (2 * rows))(*forbidden * rows)
        asked = self.library.onnxruntime_ep_xdna_kv_cache_ask_best(self.cache, rows, ends, pairs, split, count)
        check(asked == 0, "ask_best failed")
        logits, = self.with_past.run(["logits"], {"input_ids": tokens, **self.pasts}, self.options)
        check(logits.shape[1] == 0, f"logits {logits.shape} were given out")
        found = (BestToken * (2 * count * rows))()
        check(self.library.onnxruntime_ep_xdna_kv_cache_best(self.cache, rows, count, found) == 0, "best failed")
        check(self.library.onnxruntime_ep_xdna_kv_cache_best(self.cache, rows, count + 1, found) != 0, "of another count")
        of = lambda row, which: [found[2 * (row * count + rank) + which] for rank in range(count)]
        return [[[(best.token, best.logit) for best in of(row, which)] for which in (0, 1)] for row in range(rows)]

    def select(self, rows):
        rows = (ctypes.c_size_t * len(rows))(*rows)
        check(self.library.onnxruntime_ep_xdna_kv_cache_select(self.cache, rows, len(rows)) == 0, "select failed")

    def free(self):
        return self.library.onnxruntime_ep_xdna_kv_cache_free(self.cache)


def functions(path):
    library = ctypes.CDLL(path)
    library.onnxruntime_ep_xdna_kv_cache_new.restype = ctypes.c_uint64
    library.onnxruntime_ep_xdna_kv_cache_free.argtypes = [ctypes.c_uint64]
    library.onnxruntime_ep_xdna_kv_cache_bytes.argtypes = [ctypes.c_uint64]
    library.onnxruntime_ep_xdna_kv_cache_bytes.restype = ctypes.c_uint64
    size, numbers = ctypes.c_size_t, ctypes.c_void_p
    library.onnxruntime_ep_xdna_kv_cache_ask_best.argtypes = [ctypes.c_uint64, size, numbers, numbers, ctypes.c_uint32, size]
    library.onnxruntime_ep_xdna_kv_cache_best.argtypes = [ctypes.c_uint64, size, size, numbers]
    library.onnxruntime_ep_xdna_kv_cache_select.argtypes = [ctypes.c_uint64, ctypes.POINTER(ctypes.c_size_t), ctypes.c_size_t]
    return library


def main(path, model, version):
    check(onnxruntime.__version__ == version, f"this is not {version} but comes from {onnxruntime.__file__}")
    onnxruntime.register_execution_provider_library("undertone", path)
    devices = [device for device in onnxruntime.get_ep_devices() if device.ep_name == EP_NAME]
    library = functions(path)
    config = json.loads((pathlib.Path(model) / "config.json").read_text())
    heads, width = config["decoder_attention_heads"], config["d_model"]
    hidden = numpy.random.default_rng(1).standard_normal((3, 1500, width)).astype(numpy.float32)
    prompt = numpy.tile(numpy.array([[50258, 50259, 50359, 50363]]), (3, 1))

    for precision, least in LEAST_COSINE.items():
        def session(file):
            options = onnxruntime.SessionOptions()
            options.intra_op_num_threads = 2
            options.add_provider_for_devices(devices, {"device": "host", "precision": precision})
            return onnxruntime.InferenceSession(str(pathlib.Path(model) / file), sess_options=options)

        first, with_past = session("decoder_model.onnx"), session("decoder_with_past_model.onnx")
        carried = Carried(first, with_past, hidden)
        resident = Resident(library, heads, first, with_past, hidden)
        worst = 1.0
        # Twice: the second sequence must know nothing of the first.
        for _ in range(2):
            a, b = carried.start(prompt), resident.start(prompt)
            for step in range(STEPS):
                check(a.shape == b.shape, f"{precision}: logits {b.shape} instead of {a.shape}")
                worst = min([worst] + [cosine(x, y) for x, y in zip(a, b)])
                tokens = a.argmax(axis=-1)[:, None]
                if step == STEPS // 2:
                    # The first row is over, the other two change places.
                    carried.select([2, 1])
                    resident.select([2, 1])
                    tokens = tokens[[2, 1]]
                a, b = carried.step(tokens), resident.step(tokens)
        # Beams: one row goes on in three ways, and the likeliest tokens take the place of the logits.
        carried.select([1, 0, 1, 1])
        resident.select([1, 0, 1, 1])
        tokens, split, forbidden = tokens[[1, 0, 1, 1]] + numpy.arange(4)[:, None], 50364, (100, 20000)
        logits = carried.step(tokens)
        for row, classes in enumerate(resident.best(tokens, 6, split, forbidden)):
            allowed = logits[row].copy()
            allowed[slice(*forbidden)] = -numpy.inf
            for found, first, end in zip(classes, (0, split), (split, len(allowed))):
                order = first + numpy.argsort(-allowed[first:end], kind="stable")[:6]
                logit = [logit for _, logit in found]
                check(logit == sorted(logit, reverse=True), f"{precision}: {found} are not in order")
                check(all(abs(allowed[token] - logit) < 0.3 for token, logit in found), f"{precision}: {found}")
                if precision == "f32":
                    check([token for token, _ in found] == list(order), f"{found} instead of {order}")
        check(worst > least, f"{precision}: cosine {worst:.8f} between both ways, wanted more than {least}")
        bytes_kept = library.onnxruntime_ep_xdna_kv_cache_bytes(resident.cache)
        in_fp32 = sum(past.nbytes for past in carried.pasts.values())
        check(bytes_kept > 0, f"{precision}: nothing is kept")
        if precision == "int8":
            check(bytes_kept < 0.3 * in_fp32, f"{precision}: {bytes_kept} bytes are kept of {in_fp32}")
        check(resident.free() == 0 and resident.free() != 0, "a cache ends once")
        try:
            resident.step(tokens)
        except Exception as error:
            check("does not exist" in str(error), f"the error is {error}")
        else:
            check(False, "a run with a cache that is gone did not fail")
        print(f"ONNX Runtime {version} {precision}: cosine {worst:.9f}, {bytes_kept} bytes kept, {in_fp32} carried")
    onnxruntime.unregister_execution_provider_library("undertone")


if __name__ == "__main__":
    if len(sys.argv) != 4:
        sys.exit(__doc__)
    main(*sys.argv[1:])
