"""Uses of `onnxruntime_ep_xdna` for a type checker, never run: right ones, and wrong ones that have to be found."""

from pathlib import Path

import onnxruntime_ep_xdna as ep

session = ep.session("model.onnx", device="host", precision="int8", threads=2, require="some")
report: dict[str, object] = ep.partition_report(Path("model.onnx"), claim="all", report=Path("report.json"))
listed: list[tuple[str, dict[str, str]]] = ep.providers(precision="bf16")
executed: int = ep.counters()["fused_nodes_executed"]
with ep.everywhere(precision=None) as made:
    sessions: int = made.sessions

# mypy says where one of these is no error any more.
ep.session("model.onnx", devce="host")  # type: ignore[call-arg]
ep.providers(precision="int7")  # type: ignore[arg-type]
ep.everywhere(threads="two")  # type: ignore[arg-type]
ep.session("model.onnx", require="none")  # type: ignore[arg-type]
ep.session("model.onnx", "cpu")  # type: ignore[call-arg]
