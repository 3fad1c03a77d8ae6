"""Sessions with the provider in front, in each ONNX Runtime with plugin providers, and what was claimed in them."""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import tempfile
import threading
import weakref
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any, Literal, NoReturn, Union

from ._errors import EpError, NotClaimedError, OnnxRuntimeError, OptionsError
from ._library import EP_NAME
from ._options import EpOptions, words
from ._registration import register, runtime, takes_names

if TYPE_CHECKING:
    import onnxruntime
    from typing_extensions import Unpack

CPU_NAME = "CPUExecutionProvider"

Model = Union[str, bytes, "os.PathLike[str]"]
"""A path, or a model's bytes."""
Require = Union[Literal["some", "all"], float, None]
"""How much of a model the provider has to take: any, all of it, or a share of its work from 0 to 1."""
Provider = tuple[str, dict[str, str]]

# y = Identity(x), opset 13: what options are tried on.
_IDENTITY = bytes.fromhex(
    "08083a3e0a100a017812017922084964656e7469747912086964656e746974795a0f0a0178120a0a08080112040a0208"
    "01620f0a0179120a0a08080112040a0208014202100d"
)

# What ONNX Runtime adds itself, and what its packages list though it computes nothing without a library of operators.
_WITHOUT_WORK = (CPU_NAME, "AzureExecutionProvider")

_thread = threading.local()
_reports: weakref.WeakKeyDictionary[Any, dict[str, Any]] = weakref.WeakKeyDictionary()


def session(
    path_or_bytes: Model,
    *,
    options: onnxruntime.SessionOptions | None = None,
    require: Require = None,
    **ep_options: Unpack[EpOptions],
) -> onnxruntime.InferenceSession:
    """An ``onnxruntime.InferenceSession`` with this provider in front, or an error: never one on the CPU provider in
    its place.

    ``options`` is left as it is. The other arguments are the provider's options (``device="host"``,
    ``precision="int8"``, …); with neither ``device`` nor ``precision`` it computes in f32. Nodes that the provider does
    not take are the CPU provider's, as always; ``require`` says how many it has to take: ``"some"``, ``"all"``, or a
    share of the model's work from 0 to 1. A run that fails raises: ONNX Runtime's own fallback, which makes a session
    anew on the CPU provider and prints a line, is off.

    Raises :class:`OptionsError` for options that are not known or cannot be followed, :class:`NotClaimedError` where
    ``require`` is not met, what :func:`register` raises, and ONNX Runtime's own errors about the model.
    """
    if not (require is None or require in ("some", "all") or (isinstance(require, (int, float)) and 0 <= require <= 1)):
        raise ValueError(f"require={require!r}: use 'some', 'all', a share from 0 to 1, or None")
    register()
    chosen = words(ep_options)
    with contextlib.ExitStack() as stack:
        if "report" not in chosen:
            try:
                folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="ep-report-"))
                chosen["report"] = str(Path(folder) / "partition.json")
            except OSError as error:
                # Nothing can be written anywhere. The session needs no report; `require` does.
                if require is not None:
                    raise EpError(
                        f"require={require!r} needs a file for the report: {error}; name one, report=…"
                    ) from error
        try:
            made = open_session(runtime(), path_or_bytes, options, chosen)
        except Exception as error:
            raise_typed(error)
        if "report" in chosen:
            _reports[made] = json.loads(Path(chosen["report"]).read_text(encoding="utf-8"))
    if require is not None:
        _check_required(require, _reports[made], path_or_bytes)
    return made


def providers(**ep_options: Unpack[EpOptions]) -> list[Provider]:
    """What programs take as ``providers=``: the provider with its options. ONNX Runtime adds its CPU provider itself.

    The options are tried here, because a session that is made by somebody else would only print what is wrong with them
    and go on without the provider. What such a session does when a run fails is up to it too: give it
    ``enable_fallback=0``, or call its ``disable_fallback()``.

    Raises :class:`OptionsError` for options that are not known or cannot be followed, :class:`OnnxRuntimeError` where
    ONNX Runtime is older than 1.25 and does not understand such a list (inside :func:`everywhere` it does), and what
    :func:`register` raises.
    """
    from . import _everywhere

    chosen = words(ep_options)
    check(chosen)
    module = runtime()
    if not takes_names(module) and not _everywhere.active():
        raise OnnxRuntimeError(
            f"ONNX Runtime {module.__version__} does not take plugin providers by name, 1.25 and newer do:"
            " use session(), or call everywhere() first"
        )
    return [(EP_NAME, chosen)]


def partition_report(
    path_or_session: Model | onnxruntime.InferenceSession,
    *,
    options: onnxruntime.SessionOptions | None = None,
    **ep_options: Unpack[EpOptions],
) -> dict[str, Any]:
    """What the provider takes of a model, and why not the rest: the provider's partition report as a dictionary.

    Of a session that :func:`session` made, the report of its making; else a session of the model is made for it, with
    these options. Raises what :func:`session` raises, and :class:`EpError` for a session that was made otherwise.
    """
    if not isinstance(path_or_session, (str, bytes, os.PathLike)):
        if options is not None or ep_options:
            raise TypeError("a session has its options already: give a path to try others")
        report = _reports.get(path_or_session)
        if report is None:
            raise EpError(
                "this session has no report: give the model's path, or make it by session() where a file can be written"
            )
        return report
    return partition_report(session(path_or_session, options=options, **ep_options))


def check(options: Mapping[str, str]) -> None:
    """Whether these options can be followed here. Raises :class:`OptionsError`, and what :func:`register` raises."""
    register()
    # The files are the real session's.
    tried = {name: value for name, value in options.items() if name not in ("report", "trace")}
    try:
        open_session(runtime(), _IDENTITY, None, tried)
    except Exception as error:
        raise_typed(error)


def words_of(error: Exception) -> str:
    """The provider's own words in an error of ONNX Runtime's, or the whole of it."""
    return str(error).rpartition(f"{EP_NAME}: ")[2].strip()


def raise_typed(error: Exception) -> NoReturn:
    """Raises what the provider says against options as an error of this package, and everything else as it is."""
    said = words_of(error)
    if said.startswith(("EP option ", "unknown EP option ")):
        raise OptionsError(said) from error
    raise error


def open_session(
    module: ModuleType,
    model: Model,
    options: onnxruntime.SessionOptions | None,
    chosen: Mapping[str, str],
    make: Any = None,
    before: Sequence[Provider] = (),
    after: Sequence[Provider] = (),
    **keywords: Any,
) -> Any:
    """A session with the provider between others, and before the CPU provider; ``options`` is not changed.

    ``make`` is ``InferenceSession``, or what takes the same arguments.
    """
    keywords["enable_fallback"] = 0
    if make is None:
        with _own():
            return open_session(module, model, options, chosen, module.InferenceSession, before, after, **keywords)
    if takes_names(module):
        return make(model, options, providers=[*before, (EP_NAME, dict(chosen)), *after], **keywords)
    # ONNX Runtime 1.23 and 1.24 take the provider through the options alone, and no other one beside it.
    others = [name for name, _ in (*before, *after) if name not in _WITHOUT_WORK]
    if others:
        raise OnnxRuntimeError(
            f"ONNX Runtime {module.__version__} cannot put {EP_NAME} beside {', '.join(others)}: 1.25 and newer can"
        )
    own = copy_of(module, options)
    own.add_provider_for_devices([register()], dict(chosen))
    return make(model, own, **keywords)


@contextlib.contextmanager
def _own() -> Iterator[None]:
    """While this thread makes a session of this package's own, which has its options already."""
    before = getattr(_thread, "own", False)
    _thread.own = True
    try:
        yield
    finally:
        _thread.own = before


def is_own() -> bool:
    """Whether the session that this thread makes has its options already."""
    return bool(getattr(_thread, "own", False))


def copy_of(module: ModuleType, options: onnxruntime.SessionOptions | None) -> Any:
    """Options like these: ONNX Runtime copies them when it makes a session. Operators of the program's own
    (``register_custom_ops_library``) are not among what it copies."""
    if options is None:
        return module.SessionOptions()
    bindings = importlib.import_module("onnxruntime.capi._pybind_state")
    return bindings.InferenceSession(options, _IDENTITY, False, False).session_options


def _check_required(require: Require, report: Mapping[str, Any], model: Model) -> None:
    graphs = report["graphs"]
    nodes, claimed = (sum(graph[count] for graph in graphs) for count in ("nodes", "claimed"))
    mine, left = (sum(graph[work] for graph in graphs) for work in ("gflop_claimed", "gflop_unclaimed"))
    share = mine / (mine + left) if mine + left > 0 else float(nodes == claimed)
    if claimed > 0 and (require == "some" or (require == "all" and nodes == claimed)):
        return
    if isinstance(require, (int, float)) and share >= require:
        return
    reasons: dict[str, int] = {}
    for graph in graphs:
        for node in graph["unclaimed"]:
            reason = f"{node['op_type']}: {node['reason']}"
            reasons[reason] = reasons.get(reason, 0) + 1
    most = sorted(reasons.items(), key=lambda reason: -reason[1])[:3]
    why = "; ".join(f"{reason} ({count} node{'s' * (count > 1)})" for reason, count in most) or "no node was left"
    name = "the model" if isinstance(model, bytes) else os.fspath(model)
    raise NotClaimedError(
        f"{name}: {EP_NAME} takes {claimed} of {nodes} nodes, {100 * share:.0f} % of the work, and require={require!r}"
        f" asks for more. {why}. Leave require out to have the rest computed by the CPU provider"
    )
