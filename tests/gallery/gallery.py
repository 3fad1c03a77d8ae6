"""Runs each model of `models.py` through ONNX Runtime's CPU provider and through the execution provider, and writes a
table.

    python3 gallery.py EP_LIBRARY PACKAGES [NAME]...

`run.sh` beside this file calls it and says what it needs. Each model is opened as a program does that adds the provider
and says nothing (`default`), with one of its precisions, and, where the answers only are looked at, with everything
claimed (`claim=all`).
The sessions take turns, and the median of the turns' ratios is the speed.
"""

import json
import os
import pathlib
import statistics
import sys
import tempfile
import time
from dataclasses import dataclass

import numpy
import onnxruntime

from models import MODELS, ROOT

EP_NAME = "XdnaExecutionProvider"
DOCUMENT = ROOT / "docs/gallery.md"
MOST_DIFFERENT, LEAST_SPEED = 1e-4, 0.95
TURNS, SECONDS_A_TURN, PAUSE = 20, 0.01, 0.002
# What seems slow is measured again, and all turns count: other programs of the machine can slow one session down for
# seconds.
MOST_MEASUREMENTS = 2
MODES = {
    "default": {},
    "f32": {"precision": "f32"},
    "bf16": {"precision": "bf16"},
    "int8": {"precision": "int8"},
    "claim=all, f32": {"precision": "f32", "claim": "all"},
}
# What a precision asks for is not exact; what claims more than is worth it is not fast.
EXACT, FAST = ("default", "f32", "claim=all, f32"), ("default", "f32", "bf16", "int8")


@dataclass
class Result:
    """What one way to open a model gave."""

    pieces: int
    share: float
    difference: float
    speed: float = 1.0

    def faults(self, mode, quantised):
        # What a graph computes in integers differs from the real product that stands behind it.
        if mode in EXACT and not (quantised and mode not in FAST) and not self.difference <= MOST_DIFFERENT:
            yield f"{mode}: differs by {self.difference:.1e}"
        if mode in FAST and self.speed < LEAST_SPEED:
            yield f"{mode}: {self.speed:.2f} of the CPU provider's speed"


def open_session(path, devices=None, options=None):
    settings = onnxruntime.SessionOptions()
    settings.log_severity_level = 4
    if devices is None:
        return onnxruntime.InferenceSession(path, settings, providers=["CPUExecutionProvider"])
    settings.add_provider_for_devices(devices, options)
    session = onnxruntime.InferenceSession(path, settings)
    # Python would quietly run the model again on the CPU provider.
    session.disable_fallback()
    return session


def claimed(report):
    """Pieces, and the share of the work that they have; of a model without products the share of the nodes."""
    graphs = json.loads(report.read_text())["graphs"]
    total = lambda key: sum(graph[key] for graph in graphs)  # noqa: E731
    work = total("gflop_claimed"), total("gflop_claimed") + total("gflop_unclaimed")
    pieces = sum(len(graph["fused"]) for graph in graphs)
    if work[1] == 0:
        work = total("claimed"), max(1, total("nodes"))
    return pieces, work[0] / work[1]


def difference(expected, got):
    """The largest difference of an output's entries, as a share of its largest entry; integers are the same, or differ
    by 1."""
    largest = 0.0
    for a, b in zip(expected, got, strict=True):
        if a.shape != b.shape or a.dtype != b.dtype:
            return float("inf")
        if a.dtype.kind != "f":
            largest = max(largest, float((a != b).any()))
        elif a.size:
            a, b = a.astype(numpy.float64), b.astype(numpy.float64)
            if (numpy.isfinite(a) != numpy.isfinite(b)).any():
                return float("inf")
            kept = numpy.isfinite(a)
            scale = numpy.abs(a[kept]).max(initial=1e-30)
            largest = max(largest, float(numpy.abs(a - b)[kept].max(initial=0) / scale))
    return largest


def times(sessions, feeds):
    """Seconds that all feeds take through each session, turn for turn. Other programs disturb single runs: of those of a
    turn the fastest counts."""

    def once(session):
        start = time.perf_counter()
        for feed in feeds:
            session.run(None, feed)
        return time.perf_counter() - start

    names, found = list(sessions), {name: [] for name in sessions}
    count = max(1, int(SECONDS_A_TURN / min(once(sessions["cpu"]) for _ in range(3))))
    for turn in range(TURNS):
        first = turn % len(names)
        for name in names[first:] + names[:first]:
            # ONNX Runtime's threads of the session before spin for a while.
            time.sleep(PAUSE)
            once(sessions[name])
            found[name].append(min(once(sessions[name]) for _ in range(count)))
    return found


def measure(model, packages, devices):
    path = str(packages / model.package / model.file)
    feeds = model.feeds()
    cpu = open_session(path)
    expected = [cpu.run(None, feed) for feed in feeds]
    sessions, results = {"cpu": cpu}, {}
    with tempfile.TemporaryDirectory() as scratch:
        for number, (mode, options) in enumerate(MODES.items()):
            report = pathlib.Path(scratch) / f"{number}.json"
            session = open_session(path, devices, options | {"report": str(report)})
            pieces, share = claimed(report)
            different = max(difference(a, session.run(None, feed)) for a, feed in zip(expected, feeds))
            results[mode] = Result(pieces, share, different)
            # Without a piece each session is the default one.
            if pieces or mode == "default":
                sessions[mode] = session
    found = {name: [] for name in sessions}
    for _ in range(MOST_MEASUREMENTS):
        for name, taken in times(sessions, feeds).items():
            found[name].extend(taken)
        for mode in results:
            pairs = zip(found["cpu"], found.get(mode, found["default"]))
            results[mode].speed = statistics.median(cpu / ours for cpu, ours in pairs)
        if all(results[mode].speed >= LEAST_SPEED for mode in FAST):
            break
    return statistics.median(found["cpu"]) * 1e3 / len(feeds), results


def row(model, milliseconds, results):
    def exact(mode):
        result = results[mode]
        if result.pieces == 0:
            return f"nothing | {result.difference:.0e} | {result.speed:.2f}"
        return f"{result.pieces}, {100 * result.share:.0f} % | {result.difference:.0e} | {result.speed:.2f}"

    def narrow(mode):
        result = results[mode]
        return f"{result.difference:.0e}, {result.speed:.2f}" if result.pieces else ""

    cells = [exact("default"), narrow("bf16"), narrow("int8"), exact("claim=all, f32")]
    cells = [model.name, f"{milliseconds:.3g}", *cells]
    return f"| {' | '.join(cells)} |"


HEAD = """\
| model | CPU provider, ms | by default: pieces, share of the work | difference | speed | `bf16`: difference, speed | \
`int8` | `claim=all`, `f32`: pieces, share | difference | speed |
|---|---|---|---|---|---|---|---|---|---|"""

TEXT = """\
# Models of other kinds

What an execution provider is added to is not always Whisper. These models are carried by packages of PyPI; each is run
through ONNX Runtime's CPU provider and through this provider: as a program does that registers it, gives it to the
session and names no option (`default`), with a precision, and with `claim=all`, which takes everything that it can
compute. The limits: in f32 (by default, and with `claim=all`) no entry of an output differs by more than 1e-4 of the
largest one; without `claim` no model runs at less than 0.95 of the CPU provider's speed. Graphs that are quantised
themselves (smart-turn, text2tashkeel, ddddocr's older one) are computed in integers by the CPU provider; `claim=all` in
f32 computes the real products behind them, and there the limit says nothing. Where nothing is claimed the
session is the CPU provider's, and what stands there for its speed is the scatter of the measurement.

`tests/gallery/run.sh` makes this table: {machine}, ONNX Runtime {version}, {date}; the speed is the
median of {turns} turns' ratios, in each of which every session has its turn; what seems too slow gets as many turns
again.

{table}

{faults}"""


def machine():
    models = [line.split(":", 1)[1].strip() for line in open("/proc/cpuinfo") if line.startswith("model name")]
    return f"{os.cpu_count()} cores of a shared {models[0].removesuffix(' Processor')}"


def main(library, packages, *names):
    onnxruntime.register_execution_provider_library("undertone", library)
    devices = [device for device in onnxruntime.get_ep_devices() if device.ep_name == EP_NAME]
    packages = pathlib.Path(packages)
    known = packages / "rows.json"
    found = json.loads(known.read_text()) if names and known.exists() else {}
    print(HEAD, flush=True)
    for model in MODELS:
        if not names or any(name in model.name for name in names):
            milliseconds, results = measure(model, packages, devices)
            faults = [fault for mode in results for fault in results[mode].faults(mode, model.quantised)]
            faults = [f"{model.name}, {fault}" for fault in faults]
            found[model.name] = {"row": row(model, milliseconds, results), "faults": faults}
            known.write_text(json.dumps(found))
            print(found[model.name]["row"], flush=True)
    measured = [found[model.name] for model in MODELS if model.name in found]
    faults = [fault for of in measured for fault in of["faults"]]
    said = "Every model keeps within the limits." if not faults else "Beyond the limits:\n\n- " + "\n- ".join(faults)
    print(said)
    if len(measured) == len(MODELS):
        table = "\n".join([HEAD, *(of["row"] for of in measured)])
        values = {"machine": machine(), "version": onnxruntime.__version__, "date": time.strftime("%Y-%m-%d")}
        DOCUMENT.write_text(TEXT.format(table=table, faults=said, turns=TURNS, **values) + "\n")
    sys.exit(bool(faults))


if __name__ == "__main__":
    if len(sys.argv) < 3:
        sys.exit(__doc__)
    main(*sys.argv[1:])
