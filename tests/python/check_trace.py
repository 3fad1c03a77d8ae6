"""What a person sees of the execution provider on a line of time: in ONNX Runtime's own profile where it takes events of plugins
(1.25 and newer), and in the file of the EP option `trace` everywhere.

    python3 check_trace.py EP_LIBRARY MODEL_DIRECTORY FOLDER

Both are JSON in Chrome's trace format. Steps lie one after another within the run of their fused node, on its thread; stages of an
NPU within the step that they are of. Prints a line for each trace. Needs onnxruntime and numpy.
"""

import json
import pathlib
import sys

import numpy
import onnxruntime

from checks import EP_NAME, check

TAKES_EVENTS = tuple(map(int, onnxruntime.__version__.split(".")[:2])) >= (1, 25)
# ONNX Runtime writes whole microseconds, and begins to count a little before the provider does.
SLACK = 2.0
RUNS = 2


def session(model, devices, folder, options):
    settings = onnxruntime.SessionOptions()
    settings.intra_op_num_threads = 2
    settings.enable_profiling = True
    settings.profile_file_prefix = str(folder / "profile")
    settings.add_provider_for_devices(devices, options)
    return onnxruntime.InferenceSession(str(model), settings, enable_fallback=0)


def events(path):
    parsed = json.loads(pathlib.Path(path).read_text())
    found = parsed["traceEvents"] if isinstance(parsed, dict) else parsed
    return [event for event in found if event["ph"] == "X"], [event for event in found if event["ph"] == "M"]


def within(inner, outer):
    end = inner["ts"] + inner["dur"]
    return outer["ts"] - SLACK <= inner["ts"] and end <= outer["ts"] + outer["dur"] + SLACK


def check_trace(what, path, is_node, npu):
    """`is_node` tells the runs of fused nodes; `npu` is whether a simulated one takes part."""
    found, _ = events(path)
    nodes = [event for event in found if is_node(event)]
    kernels = [event for event in found if event["cat"] == "Kernel"]
    stages = [event for event in kernels if event["tid"] >= 2 * 10**9]
    steps = [event for event in kernels if event["tid"] < 2 * 10**9]
    check(len(nodes) == RUNS, f"{what}: {len(nodes)} runs of fused nodes, {RUNS} were")
    check(len({event["pid"] for event in nodes + kernels}) == 1, f"{what}: events of several processes")
    check(len(steps) >= 10 * RUNS, f"{what}: {len(steps)} steps")
    for node in nodes:
        of_node = [step for step in steps if step["tid"] == node["tid"] and within(step, node)]
        check(len(of_node) >= 10, f"{what}: {len(of_node)} steps within a run")
        total = sum(step["dur"] for step in of_node)
        check(total <= node["dur"] + SLACK, f"{what}: steps of {total} us in a run of {node['dur']} us")
        check(total > node["dur"] / 2, f"{what}: steps of {total} us in a run of {node['dur']} us")
        of_node.sort(key=lambda step: (step["ts"], step["dur"]))
        for step, following in zip(of_node, of_node[1:]):
            check(step["ts"] + step["dur"] <= following["ts"] + 1e-3, f"{what}: {step} overlaps {following}")
    homeless = [step for step in steps if not any(within(step, node) for node in nodes)]
    check(not homeless, f"{what}: steps outside of runs: {homeless[:2]}")
    products = [step for step in steps if "gflop" in step["args"]]
    names = {"name", "kind", "shape", "precision", "device"}
    for step in products:
        check(names <= {"name", *step["args"]}, f"{what}: {step} does not say {names}")
    gflop = sum(float(step["args"]["gflop"]) for step in products) / RUNS
    devices = {step["args"]["device"] for step in products}
    tracks = {event["name"].split(":")[0] if "track" not in event["args"] else event["args"]["track"] for event in stages}
    wanted = {"NPU packing", "NPU queue", "NPU dispatch"} if npu else set()
    check(tracks == wanted, f"{what}: tracks {tracks}, wanted {wanted}")
    check(("sim" in devices) == npu and "host" in devices | {"host"}, f"{what}: on {devices}")
    for stage in stages:
        check(any(within(stage, step) for step in steps), f"{what}: {stage} is in no step")
    print(f"{what}: {len(steps)} steps, {len(stages)} stages, {gflop:.3f} GFLOP a run")
    return gflop


def main(library, model, folder):
    model, folder = pathlib.Path(model), pathlib.Path(folder)
    onnxruntime.register_execution_provider_library("undertone", library)
    devices = [device for device in onnxruntime.get_ep_devices() if device.ep_name == EP_NAME]
    feed = {"input_features": numpy.random.default_rng(1).standard_normal((1, 80, 3000)).astype(numpy.float32)}
    version, work = onnxruntime.__version__, []
    for options in ({"device": "host", "precision": "f32"}, {"device": "host", "precision": "int8"}, {"device": "sim", "precision": "bf16"}):
        name = "-".join(options.values())
        own = folder / f"{name}.json"
        made = session(model / "encoder_model.onnx", devices, folder, {**options, "trace": str(own)})
        for _ in range(RUNS):
            made.run(None, feed)
        profile = made.end_profiling()
        del made
        npu = options["device"] == "sim"
        if TAKES_EVENTS:
            def is_node(event):
                return event["cat"] == "Node" and event["args"].get("provider") == EP_NAME and event["name"].endswith("kernel_time")

            work.append(check_trace(f"ONNX Runtime {version} profile {name}", profile, is_node, npu))
        work.append(check_trace(f"ONNX Runtime {version} trace {name}", own, lambda event: event["cat"] == "Node", npu))
        named = {event["args"]["name"] for event in events(own)[1]}
        check(EP_NAME in named and ("NPU queue" in named) == npu, f"lines are called {named}")
    check(max(work) - min(work) < 1e-3 * max(work), f"the work differs: {work}")

    # Sessions that name the same file write it together, and one that cannot be written is no session.
    own = str(folder / "both.json")
    both = [session(model / "encoder_model.onnx", devices, folder, {"device": "host", "trace": own}) for _ in range(2)]
    for made in both:
        made.run(None, feed)
    del both, made
    runs = [event for event in events(own)[0] if event["cat"] == "Node"]
    check(len(runs) == 2, f"{len(runs)} runs of two sessions")
    try:
        session(model / "encoder_model.onnx", devices, folder, {"device": "host", "trace": str(folder)})
    except Exception as error:
        check("EP option trace: cannot write" in str(error), str(error))
    else:
        check(False, "a trace was written to a folder")


if __name__ == "__main__":
    if len(sys.argv) != 4:
        sys.exit(__doc__)
    main(*sys.argv[1:])
