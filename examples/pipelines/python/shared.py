"""What the Python examples share: their command line, reading a recording, and what they print.

    python WITH_LIBRARY.py MODEL PRECISION RECORDING.wav...

PRECISION is `f32`, `bf16` or `int8` in Undertone's execution provider, or `cpu`: without it. Recordings are WAV files of
16 kHz, one channel, 16 bits. Each becomes a line of its file, the seconds that it took, the seconds of them inside ONNX
Runtime, and its text; after them come the provider's counters, before and after. All fields are parted by tabs.
"""

import argparse
import functools
import pathlib
import time
import wave

import numpy
import onnxruntime_ep_xdna

def read(path):
    """A recording's samples, from -1 to 1."""
    with wave.open(path) as file:
        kind = (file.getframerate(), file.getnchannels(), file.getsampwidth())
        if kind != (16000, 1, 2):
            raise SystemExit(f"{path} has {kind[0]} Hz, {kind[1]} channels, {8 * kind[2]} bits; give one of 16 kHz, one channel, 16 bits")
        return numpy.frombuffer(file.readframes(file.getnframes()), numpy.int16).astype(numpy.float32) / 32768


class InSessions:
    """Adds up the time of all sessions of ONNX Runtime in this process, whoever made them."""

    def __init__(self):
        import onnxruntime

        self.seconds = 0.0
        for name in ("run", "run_with_iobinding", "run_with_ort_values"):
            setattr(onnxruntime.InferenceSession, name, self.timed(getattr(onnxruntime.InferenceSession, name)))

    def timed(self, run):
        @functools.wraps(run)
        def wrapped(*arguments, **named):
            begin = time.perf_counter()
            try:
                return run(*arguments, **named)
            finally:
                self.seconds += time.perf_counter() - begin

        return wrapped


def run(load, timed=InSessions):
    """Runs an example: `load(model, precision)` gives a function from samples to text.

    `timed` is None where the library has an ONNX Runtime that Python does not see.
    """
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("model", type=pathlib.Path)
    arguments.add_argument("precision", choices=["cpu", "f32", "bf16", "int8"])
    arguments.add_argument("recordings", nargs="+")
    arguments = arguments.parse_args()
    inside = timed and timed()
    transcribe = load(arguments.model, arguments.precision)
    # The first run of a session also lays out its memory.
    transcribe(read(arguments.recordings[0]))
    before = onnxruntime_ep_xdna.counters()
    for path in arguments.recordings:
        samples = read(path)
        begin, sessions = time.perf_counter(), inside and inside.seconds
        text = transcribe(samples)
        seconds = time.perf_counter() - begin
        print("text", path, f"{seconds:.4f}", f"{inside.seconds - sessions if inside else seconds:.4f}", " ".join(text.split()), sep="\t")
    for name, count in onnxruntime_ep_xdna.counters().items():
        print("counter", name, before[name], count, sep="\t")
