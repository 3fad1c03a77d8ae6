"""The functions of the installed wheel `onnxruntime-ep-xdna` with stock ONNX Runtime, and a check of each's promises.

    python3 check_sessions.py MODEL_DIRECTORY MEL.npy EXPECTED_ORT_VERSION

Prints one line for each function and exits with 0 only if all is as promised.
"""

import contextlib
import io
import json
import logging
import pathlib
import sys
import tempfile
import threading

import numpy
import onnxruntime
import onnxruntime_ep_xdna as ep
from onnxruntime.capi.onnxruntime_pybind11_state import EPFail

from checks import EP_NAME, check, cosine

CPU = "CPUExecutionProvider"
# What nobody can follow here, and a word that the error has to have.
WRONG = [
    ({"devce": "host"}, "devce"),
    ({"precision": "int7"}, "int7"),
    ({"device": "npu"}, "no NPU"),
    ({"threads": 0}, "4096"),
]


def raised(kind, function, *arguments, **keywords):
    """What a call says when it raises this error; that it says nothing on the standard output, where ONNX Runtime
    prints when it goes on with the CPU provider."""
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        try:
            function(*arguments, **keywords)
        except kind as error:
            check(printed.getvalue() == "", f"printed: {printed.getvalue()}")
            return str(error)
    check(False, f"{function} with {keywords} did not raise {kind}")


def devices():
    return [device for device in onnxruntime.get_ep_devices() if device.ep_name == EP_NAME]


def check_register():
    library = ep.get_library_path()
    onnxruntime.register_execution_provider_library("of the program", library)
    check(ep.register().ep_name == EP_NAME and len(devices()) == 1, "registered a second time")
    onnxruntime.unregister_execution_provider_library("of the program")
    threads = [threading.Thread(target=ep.register) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    check(len(devices()) == 1, f"{len(devices())} devices after registering from eight threads")
    print("register: once")


def check_wrong_options(encoder):
    for options, word in WRONG:
        for function in (ep.session, ep.partition_report):
            check(word in raised(ep.OptionsError, function, encoder, **options), f"{options}: {word} is not said")
        for function in (ep.providers, ep.everywhere):
            check(word in raised(ep.OptionsError, function, **options), f"{options}: {word} is not said")
    check(issubclass(ep.OptionsError, ValueError), "options are values")
    check("devce" in raised(ValueError, ep.session, encoder, devce="host"), "the same as a ValueError")
    check(not onnxruntime.InferenceSession(encoder, providers=[CPU]).get_providers()[1:], "sessions were changed")
    print("wrong options: raise")


def ran(session, feeds):
    """The first output, and how many kernels of the host device it took."""
    before = ep.counters()
    output = session.run(None, feeds)[0]
    after = ep.counters()
    check(set(after) >= {"fused_nodes_executed", "kernel_calls.host", "kernel_calls.npu"}, f"the counters are {after}")
    check(after["kernel_calls.npu"] == 0, "an NPU was used")
    return output, after["kernel_calls.host"] - before["kernel_calls.host"]


def check_session(encoder, feeds, expected):
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 2
    options.add_session_config_entry("session.disable_cpu_ep_fallback", "1")
    for precision, close in ((None, 0.999999), ("bf16", 0.999), ("int8", 0.99)):
        session = ep.session(encoder, options=options, require="all", precision=precision)
        output, calls = ran(session, feeds)
        check(calls > 0 and cosine(output, expected) > close, f"{precision}: {calls} calls, {cosine(output, expected)}")
        report = ep.partition_report(session)
        check(report["precision"] == (precision or "f32"), f"computed in {report['precision']} instead of {precision}")
    check(not options.has_providers(), "the SessionOptions have a provider now")
    raised(RuntimeError, options.get_session_config_entry, f"ep.{EP_NAME.lower()}.precision")
    check(onnxruntime.InferenceSession(encoder, sess_options=None).get_providers() == [CPU], "others got it too")
    model = pathlib.Path(encoder).read_bytes()
    check(ran(ep.session(model, require=0.9), feeds)[1] > 0, "a model's bytes were not executed")

    # ONNX Runtime would go on with the CPU provider.
    class Failing:
        def __init__(self, session):
            self.session = session

        def run(self, *_):
            raise EPFail("as if a kernel had failed")

        def __getattr__(self, name):
            return getattr(self.session, name)

    session._sess = Failing(session._sess)
    raised(EPFail, session.run, None, feeds)
    check(session.get_providers()[0] == EP_NAME, "the session moved to the CPU provider")
    raised(Exception, ep.session, "no such model.onnx")
    raised(ValueError, ep.session, encoder, require="none")
    print("session: computes, or raises")


def check_report(encoder, nothing, folder):
    file = pathlib.Path(folder) / "report.json"
    report = ep.partition_report(encoder, precision="bf16", report=file)
    check(report == json.loads(file.read_text()) and report["graphs"][0]["claimed"] > 0, "not the report")
    check(report == ep.partition_report(ep.session(encoder, precision="bf16")), "a session has another report")
    raised(ep.EpError, ep.partition_report, onnxruntime.InferenceSession(encoder, providers=[CPU]))
    raised(TypeError, ep.partition_report, ep.session(encoder), precision="bf16")
    # Nothing can be written.
    usual, tempfile.tempdir = tempfile.tempdir, str(pathlib.Path(folder) / "missing")
    session = ep.session(encoder)
    check(session.get_providers()[0] == EP_NAME, "no session without a folder for temporary files")
    raised(ep.EpError, ep.partition_report, session)
    check("needs a file" in raised(ep.EpError, ep.session, encoder, require="some"), "require without a report")
    tempfile.tempdir = usual
    for require in ("some", "all", 0.5):
        said = raised(ep.NotClaimedError, ep.session, nothing, require=require)
        check("0 of 1 nodes" in said and "Identity" in said and repr(require) in said, said)
    check(ep.session(nothing).get_providers()[-1] == CPU, "it was not required")
    print("partition_report, require: as claimed")


def check_providers(encoder, feeds, version):
    if version.startswith(("1.23.", "1.24.")):
        said = raised(ep.OnnxRuntimeError, ep.providers)
        check("1.25" in said and "session()" in said, said)
        with ep.everywhere():
            listed = ep.providers(precision="bf16")
            session = onnxruntime.InferenceSession(encoder, providers=listed)
    else:
        listed = ep.providers(precision="bf16")
        session = onnxruntime.InferenceSession(encoder, providers=listed)
    check(listed == [(EP_NAME, {"precision": "bf16"})], f"the list is {listed}")
    check(ran(session, feeds)[1] > 0, "a list of providers computed nothing")
    print("providers: understood")


def check_everywhere(encoder, feeds, expected, folder):
    class Subclass(onnxruntime.InferenceSession):
        def __init__(self, *arguments, **keywords):
            super().__init__(*arguments, **keywords)

    constructor = onnxruntime.InferenceSession
    lines = []
    log = logging.getLogger("onnxruntime_ep_xdna")
    log.propagate = False
    handler = logging.Handler()
    handler.emit = lambda record: lines.append(record.getMessage())
    log.addHandler(handler)

    options = onnxruntime.SessionOptions()
    asked = [
        {},
        {"providers": [CPU]},
        {"providers": [(CPU, {"arena_extend_strategy": "kSameAsRequested"})]},
        {"providers": [CPU], "provider_options": [{}], "enable_fallback": 0},
        {"providers": onnxruntime.get_available_providers()},
        {"sess_options": options},
    ]
    with ep.everywhere() as made:
        check(onnxruntime.InferenceSession is constructor, "the class is another one")
        for keywords in asked:
            session = Subclass(encoder, **keywords)
            check(isinstance(session, constructor), "a session is of another class")
            output, calls = ran(session, feeds)
            check(calls > 0 and cosine(output, expected) > 0.999999, f"{keywords}: {calls} calls")
            check(session._enable_fallback == (keywords.get("enable_fallback", 1) == 1), f"{keywords}: fallback")
        check(made.sessions == len(asked) and not made.without, f"{made.sessions} sessions, {made.without}")
        check(not options.has_providers(), "the SessionOptions have a provider now")

        # What the program decided itself.
        own = onnxruntime.SessionOptions()
        own.add_provider_for_devices(devices(), {"precision": "bf16"})
        onnxruntime.InferenceSession(encoder, sess_options=own)
        for _ in range(2):
            listed = onnxruntime.InferenceSession(encoder, providers=["AzureExecutionProvider"])
        check(len([line for line in lines if "Azure" in line]) == 1, f"the log says {lines}")
        check(ran(listed, feeds)[1] == 0 and EP_NAME not in listed.get_providers(), "asked for another one alone")
        check(made.sessions == len(asked) and len(made.without) == 2, f"{made.without}")
        # Errors of the program's own are ONNX Runtime's.
        for wrong in ({"providers": 7}, {"providers": [(CPU,)]}):
            raised(Exception, onnxruntime.InferenceSession, encoder, enable_fallback=0, **wrong)
        raised(Exception, onnxruntime.InferenceSession, "no such model.onnx", enable_fallback=0)

        # The innermost one counts; session() has its own options.
        with ep.everywhere(precision="int8") as inner:
            for listed in (None, [EP_NAME], [(EP_NAME, {"precision": "f32"})]):
                output, calls = ran(onnxruntime.InferenceSession(encoder, providers=listed), feeds)
                exact = cosine(output, expected) > 0.999999
                check(calls > 0 and exact == isinstance((listed or [0])[0], tuple), f"{listed}: {calls} calls, {exact}")
            check(ep.partition_report(ep.session(encoder))["precision"] == "f32", "session() took other options")
            check(inner.sessions == 3 and not inner.without, f"{inner.sessions} sessions, {inner.without}")
        output, calls = ran(onnxruntime.InferenceSession(encoder), feeds)
        check(calls > 0 and cosine(output, expected) > 0.999999, "the outer one is not back")
    session = onnxruntime.InferenceSession(encoder, providers=[CPU])
    check(session.get_providers() == [CPU] and ran(session, feeds)[1] == 0, "it was not undone")
    check(len([line for line in lines if "was changed" in line]) == 2, f"the log says {lines}")

    # A report that cannot be written once the program goes: its session is made as it asked.
    lines.clear()
    gone = pathlib.Path(folder) / "gone"
    gone.mkdir()
    with ep.everywhere(report=gone / "report.json") as made:
        gone.rmdir()
        session = onnxruntime.InferenceSession(encoder, providers=[CPU])
        check(session.get_providers() == [CPU], "it has the provider")
        check(numpy.array_equal(ran(session, feeds)[0], expected), "another answer than the CPU provider's")
    check(made.sessions == 0 and sum(made.without.values()) == 1, f"{made.without}")
    check(len([line for line in lines if "cannot write" in line]) == 1, f"the log says {lines}")
    made.undo()
    print("everywhere: in front, and undone")


def main(model, mel, version):
    check(onnxruntime.__version__ == version, f"this is not {version} but comes from {onnxruntime.__file__}")
    encoder = str(pathlib.Path(model) / "encoder_model.onnx")
    feeds = {"input_features": numpy.load(mel).astype(numpy.float32).reshape(1, -1, 3000)}
    expected = onnxruntime.InferenceSession(encoder, providers=[CPU]).run(None, feeds)[0]
    check(ep.describe()["name"] == EP_NAME, "another library")
    check(set(ep.EpOptions.__annotations__) == set(ep.describe()["options"]), "other options than the library's")
    check_register()
    check_wrong_options(encoder)
    check_session(encoder, feeds, expected)
    with tempfile.TemporaryDirectory() as folder:
        from onnxruntime_ep_xdna._sessions import _IDENTITY as nothing

        check_report(encoder, nothing, folder)
        check_providers(encoder, feeds, version)
        check_everywhere(encoder, feeds, expected, folder)
    check(ep.npu() == {"devices": []}, f"NPUs: {ep.npu()}")


if __name__ == "__main__":
    if len(sys.argv) != 4:
        sys.exit(__doc__)
    main(*sys.argv[1:])
