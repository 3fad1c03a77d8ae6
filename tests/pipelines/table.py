"""The table of docs/pipelines.md, out of the results."""

from __future__ import annotations

import check
from pipelines import PIPELINES
from prepare import ROOT

PAGE = ROOT / "docs/pipelines.md"
BEGIN, END = "<!-- made by tests/pipelines/run.sh --table -->", "<!-- until here -->"


def write(results):
    page = PAGE.read_text()
    before, rest = page.split(BEGIN)
    _, after = rest.split(END)
    PAGE.write_text(f"{before}{BEGIN}\n\n{made(results)}\n{END}{after}")


def made(results):
    known = {line["pipeline"] for line in results}
    rows = [
        "| pipeline | same text, of all: f32, bf16, int8 | words that differ, %: bf16, int8 | word errors, %: without, int8 "
        "| share: encoder, decoder | speed in ONNX Runtime: f32, bf16, int8 | the whole call, int8 |",
        "|---|---|---|---|---|---|---|",
    ]
    for pipeline in PIPELINES:
        if pipeline.name not in known:
            continue
        figures = check.of(results, pipeline.name)
        f32, bf16, int8 = (figures[precision] for precision in check.MOST_DIFFERENT)
        errors = f"{figures['cpu']['errors']:.1f}, {int8['errors']:.1f}" if int8["errors"] is not None else "–"
        speeds = ", ".join(check.number(one["speed"]) for one in (f32, bf16, int8))
        rows.append(
            f"| {pipeline.what} | {f32['same']}, {bf16['same']}, {int8['same']} of {f32['texts']} | {bf16['different']:.1f}, {int8['different']:.1f} | {errors} "
            f"| {figures['share']['encoder']:.2f}, {figures['share']['decoder']:.2f} | {speeds} | {check.number(int8['whole'])} |"
        )
    return "\n".join(rows) + "\n"
