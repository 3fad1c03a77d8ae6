"""Many sessions with the execution provider, one after another in one process: when they are gone, so are their memory, their
threads and their files.

    python3 check_lifetime.py EP_LIBRARY FOLDER SESSIONS

The graph is one layer of a decoder, small enough for a session in milliseconds, written to FOLDER. Sessions of every kind take
turns: each precision, the simulator, packed models written and read, a key-value cache that stays in the provider, reports,
runs that fail, sessions that cannot be made, two at once, and the library registered anew. Needs onnxruntime, onnx and numpy.
"""

import ctypes
import gc
import itertools
import os
import pathlib
import sys
import threading

import numpy
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

from checks import EP_NAME, check

# Allocators and ONNX Runtime have filled what they keep after so many.
WARM = 150
# Bytes in use on the heap that a session may leave behind. ONNX Runtime 1.32 keeps some kilobytes of a failed run for a while,
# with its own CPU provider too.
MOST_LEFT = 64 if onnxruntime.__version__ < "1.30" else 2048
# What the process may grow by on the whole, which allocators decide.
MOST_GROWTH = 24 << 20
HEADS, WIDTH, VOCABULARY = 2, 64, 300
HIDDEN = HEADS * WIDTH


def decoder(path, has_past):
    """A decoder's first step, or a later one that has a cache."""
    random = numpy.random.default_rng(5)

    def constant(name, *shape):
        return numpy_helper.from_array(random.standard_normal(shape).astype(numpy.float32) * 0.1, name)

    def value(name, shape, kind=TensorProto.FLOAT):
        return helper.make_tensor_value_info(name, kind, shape)

    constants = [constant("table", VOCABULARY, HIDDEN), constant("gain", HIDDEN), constant("scale", 1)]
    constants += [constant(f"w_{name}", HIDDEN, HIDDEN) for name in "qkvo"]
    constants += [constant(f"b_{name}", HIDDEN) for name in "qkvo"]
    constants += [constant("w_out", HIDDEN, VOCABULARY)]
    constants += [numpy_helper.from_array(numpy.array(shape, numpy.int64), name)
                  for name, shape in [("parts", [0, 0, HEADS, WIDTH]), ("whole", [0, 0, HIDDEN])]]
    nodes = [
        helper.make_node("Gather", ["table", "input_ids"], ["x"]),
        helper.make_node("LayerNormalization", ["x", "gain"], ["n"]),
    ]
    for name in "qkv":
        nodes += [
            helper.make_node("MatMul", ["n", f"w_{name}"], [f"{name}_product"]),
            helper.make_node("Add", [f"{name}_product", f"b_{name}"], [f"{name}_sum"]),
            helper.make_node("Reshape", [f"{name}_sum", "parts"], [f"{name}_parts"]),
            helper.make_node("Transpose", [f"{name}_parts"], [f"{name}_new"], perm=[0, 2, 1, 3]),
        ]
    for name, kind in [("k", "key"), ("v", "value")]:
        present = f"present.0.decoder.{kind}"
        nodes.append(helper.make_node("Concat", [f"past_key_values.0.decoder.{kind}", f"{name}_new"], [present], axis=2)
                     if has_past else helper.make_node("Identity", [f"{name}_new"], [present]))
    nodes += [
        helper.make_node("Transpose", ["present.0.decoder.key"], ["keys"], perm=[0, 1, 3, 2]),
        helper.make_node("MatMul", ["q_new", "keys"], ["scores"]),
        helper.make_node("Mul", ["scores", "scale"], ["scaled"]),
        helper.make_node("Softmax", ["scaled"], ["weights"], axis=-1),
        helper.make_node("MatMul", ["weights", "present.0.decoder.value"], ["heads"]),
        helper.make_node("Transpose", ["heads"], ["beside"], perm=[0, 2, 1, 3]),
        helper.make_node("Reshape", ["beside", "whole"], ["attended"]),
        helper.make_node("MatMul", ["attended", "w_o"], ["o_product"]),
        helper.make_node("Add", ["o_product", "b_o"], ["o_sum"]),
        helper.make_node("Add", ["x", "o_sum"], ["y"]),
        helper.make_node("MatMul", ["y", "w_out"], ["logits"]),
    ]
    past = [value(f"past_key_values.0.decoder.{kind}", ["batch", HEADS, "past", WIDTH]) for kind in ("key", "value")]
    present = [value(f"present.0.decoder.{kind}", ["batch", HEADS, "all", WIDTH]) for kind in ("key", "value")]
    past = past if has_past else []
    ids = value("input_ids", ["batch", "tokens"], TensorProto.INT64)
    graph = helper.make_graph(
        nodes, "step", [ids, *past], [value("logits", ["batch", "tokens", VOCABULARY]), *present], constants)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)


IDS = {"input_ids": numpy.array([[7, 3]])}


def feeds(past=3, **other):
    ones = numpy.ones((1, HEADS, past, WIDTH), numpy.float32)
    pasts = {f"past_key_values.0.decoder.{kind}": ones for kind in ("key", "value")}
    return IDS | pasts | other


class Process:
    """What sessions of one process hold."""

    def __init__(self):
        class Heap(ctypes.Structure):
            _fields_ = [(name, ctypes.c_size_t) for name in
                        "arena ordblks smblks hblks hblkhd usmblks fsmblks uordblks fordblks keepcost".split()]

        libc = ctypes.CDLL(None)
        self.heap, self.trim = libc.mallinfo2, libc.malloc_trim
        self.heap.restype = Heap

    def measure(self):
        gc.collect()
        self.trim(0)
        heap = self.heap()
        resident = int(pathlib.Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
        return heap.uordblks + heap.hblkhd, resident

    @staticmethod
    def threads():
        return len(os.listdir("/proc/self/task"))

    @staticmethod
    def files():
        links = pathlib.Path("/proc/self/fd").iterdir()
        return sorted(os.readlink(link) for link in links if link.is_symlink())

    @staticmethod
    def maps(folder):
        return [line for line in pathlib.Path("/proc/self/maps").read_text().splitlines() if str(folder) in line]


class Sessions:
    def __init__(self, library, folder):
        self.library_path, self.folder = library, folder
        self.first, self.graph, self.packed = (folder / f"{name}.onnx" for name in ("first", "step", "packed"))
        self.library = ctypes.CDLL(library)
        self.library.onnxruntime_ep_xdna_kv_cache_new.restype = ctypes.c_uint64
        self.library.onnxruntime_ep_xdna_kv_cache_free.argtypes = [ctypes.c_uint64]
        decoder(self.first, has_past=False)
        decoder(self.graph, has_past=True)
        self.made = self.runs = 0
        self.register()

    def register(self):
        onnxruntime.register_execution_provider_library("undertone", self.library_path)
        self.devices = [device for device in onnxruntime.get_ep_devices() if device.ep_name == EP_NAME]

    def anew(self):
        self.devices = None
        gc.collect()
        onnxruntime.unregister_execution_provider_library("undertone")
        self.register()
        self.whole(precision="int8")

    def session(self, path=None, entries={}, **options):
        self.made += 1
        settings = onnxruntime.SessionOptions()
        settings.log_severity_level = 4
        settings.intra_op_num_threads = 2
        # These graphs are so small that they are taken only where somebody says so.
        settings.add_provider_for_devices(self.devices, {"device": "host", "claim": "all", **options})
        for key, value in entries.items():
            settings.add_session_config_entry(key, str(value))
        return onnxruntime.InferenceSession(str(path or self.graph), settings, enable_fallback=0)

    def run(self, session, *arguments):
        result = session.run(None, *arguments)[0]
        check(numpy.isfinite(result).all() and result.any(), "a run gave nothing")
        self.runs += 1

    def whole(self, **options):
        self.run(self.session(**options), feeds())

    def never_run(self):
        self.session(precision="f32")

    def writes(self):
        entries = {"ep.context_enable": 1, "ep.context_file_path": self.packed}
        self.packed.unlink(missing_ok=True)
        self.session(entries=entries)

    def reads(self):
        self.run(self.session(self.packed), feeds())

    def cached(self):
        cache = self.library.onnxruntime_ep_xdna_kv_cache_new()
        options = onnxruntime.RunOptions()
        options.add_run_config_entry("ep.xdnaexecutionprovider.kv_cache", str(cache))
        first, step = (self.session(path, precision="bf16") for path in (self.first, self.graph))
        self.run(first, IDS, options)
        self.run(step, feeds(past=0), options)
        check(self.library.onnxruntime_ep_xdna_kv_cache_free(cache) == 0, "a cache was gone")

    def report(self):
        self.whole(precision="int8", report=str(self.folder / "report.json"))

    def bad_run(self):
        session = self.session(precision="f32")
        narrow = {"past_key_values.0.decoder.key": numpy.ones((1, HEADS, 3, 8), numpy.float32)}
        for bad in (feeds(input_ids=numpy.array([[10**6]])), feeds(**narrow)):
            try:
                session.run(None, bad)
            except Exception:
                continue
            sys.exit("a bad run was no error")
        self.run(session, feeds())

    def refused(self):
        for options in ({"precision": "int3"}, {"device": "npu"}, {"report": str(self.folder)}, {"core_costs": "none"}):
            try:
                self.session(**options)
            except Exception:
                continue
            sys.exit(f"a session was made with {options}")

    def two_at_once(self):
        threads = [threading.Thread(target=self.whole, kwargs={"precision": precision}) for precision in ("f32", "int8")]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    def kinds(self):
        """Each makes one session or more."""
        yield from (lambda precision=precision: self.whole(precision=precision) for precision in ("f32", "bf16", "int8"))
        yield from (lambda claim=claim: self.whole(precision="int8", claim=claim) for claim in ("attention", "matmul"))
        yield from (self.never_run, self.writes, self.reads, self.cached, self.report, self.bad_run, self.refused)
        yield from (self.two_at_once, self.anew)
        yield lambda: self.whole(device="sim", precision="int8")


def main(library, folder, wanted):
    process, sessions = Process(), Sessions(library, pathlib.Path(folder))
    kinds = itertools.cycle(list(sessions.kinds()))
    before = None
    while sessions.made < int(wanted):
        if before is None and sessions.made >= WARM:
            warm, threads, files, before = sessions.made, process.threads(), process.files(), process.measure()
        next(kinds)()
    after = process.measure()
    left, growth = (after[0] - before[0]) / (sessions.made - warm), after[1] - before[1]
    print(f"{sessions.made} sessions, {sessions.runs} runs: {left:.1f} bytes left by each, {growth >> 10} KiB more in memory")
    check(process.threads() == threads, f"{process.threads()} threads are there, {threads} were")
    check(process.files() == files, f"open: {process.files()}, before: {files}")
    check(not process.maps(folder), f"mapped: {process.maps(folder)}")
    check(left < MOST_LEFT, f"each session leaves {left:.1f} bytes")
    check(growth < MOST_GROWTH, f"{growth} bytes more in memory")


if __name__ == "__main__":
    if len(sys.argv) != 4:
        sys.exit(__doc__)
    main(*sys.argv[1:])
