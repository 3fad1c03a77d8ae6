"use strict";
// What stayed on ONNX Runtime's CPU provider and why, the fused nodes, energy, inputs.

function leftTable(graph) {
  const runs = graph.runs.filter((run) => !run.failed && run.unclaimed.length);
  if (!runs.length) return make("p", { class: "faint" }, "The execution provider left no node that it was asked for.");
  const key = (one) => `${one.op_type}\n${one.reason}`;
  const rows = runs.flatMap((run) => {
    const before = oldRun(graph, run.configuration);
    const earlier = before && new Map(before.unclaimed.map((one) => [key(one), one]));
    const ours = new Set(run.unclaimed.map(key));
    const sorted = [...run.unclaimed].sort(
      (a, b) => b.gflop - a.gflop || long(add(nothing(), b.time)) - long(add(nothing(), a.time)),
    );
    const row = (one, mark) => [
      named(run.configuration),
      [make("b", {}, one.op_type), mark && [" ", make("b", { class: "moved" }, mark)]],
      make("td", { class: "why" }, one.reason),
      String(one.names.length),
      names(one.names),
      one.gflop > 0 ? fine(one.gflop) : NONE,
      fine(one.time?.measured_ms),
    ];
    return [
      ...sorted.map((one) => row(one, earlier && !earlier.has(key(one)) && "new")),
      ...[...(earlier?.values() ?? [])]
        .filter((one) => !ours.has(key(one)))
        .map((one) => row(one, "in the baseline alone")),
    ];
  });
  return table(
    "Left on the CPU provider",
    ["Configuration", "Operator", "Why", "#Nodes", "Which", "#GFLOP", "#Measured, ms"],
    rows,
  );
}

function partsTable(graph) {
  const rows = graph.runs
    .filter(({ failed }) => !failed)
    .flatMap((run) =>
      run.parts.map((part) => [
        named(run.configuration),
        make("span", { class: "name" }, part.name),
        String(part.nodes),
        String(part.calls),
        fine(part.time.measured_ms),
        make("td", { class: "number predicted" }, fine(part.time.predicted_ms)),
        fine(part.gflop),
        bytes(part.bytes_in),
        bytes(part.bytes_out),
      ]),
    );
  if (!rows.length) return make("p", { class: "faint" }, "There are no fused nodes.");
  return table(
    "Fused nodes",
    [
      "Configuration",
      "Fused node",
      "#Nodes",
      "#Calls",
      "#Measured, ms",
      "#Predicted, ms",
      "#GFLOP",
      "#Into it",
      "#Out of it",
    ],
    rows,
  );
}

function restTables(graph) {
  const runs = graph.runs.filter(({ failed }) => !failed);
  const readable = runs.some(({ energy }) => known(energy.processor_joules) || known(energy.npu_joules));
  const simulated = runs.filter(({ totals: { time } }) => known(time.simulating_ms));
  const remarks = [...new Set(runs.flatMap((run) => run.notes.map((note) => `${run.configuration}: ${note}`)))];
  const unread = [...new Set(runs.map(({ energy }) => energy.note).filter(Boolean))];
  return [
    readable
      ? table(
          "Energy of a run",
          ["Configuration", "#Processor, J", "#NPU, J", "How"],
          runs.map(({ configuration, energy }) => [
            named(configuration),
            fine(energy.processor_joules),
            fine(energy.npu_joules),
            energy.note,
          ]),
        )
      : make("p", {}, make("b", {}, "Energy"), ` was not read: ${few(unread, 3) || "no reason given"}.`),
    simulated.length > 0 &&
      make(
        "p",
        {},
        make("b", {}, "Simulating"),
        " the NPU took ",
        simulated.map(
          (run, index) =>
            `${index ? ", " : ""}${run.totals.time.simulating_ms.toFixed(0)} ms under ${run.configuration}`,
        ),
        ". That is no speed of anything, and part of no other time here.",
      ),
    graph.inputs.length > 0 &&
      table(
        "Inputs",
        ["Input", "Type", "Shape", "What it held"],
        graph.inputs.map((input) => [
          make("span", { class: "name" }, input.name),
          input.dtype,
          input.shape.join("×") || "scalar",
          input.source,
        ]),
      ),
    remarks.length > 0 &&
      make(
        "ul",
        { class: "notes" },
        remarks.map((remark) => make("li", {}, remark)),
      ),
    make(
      "p",
      { class: "faint" },
      make("span", { class: "name" }, graph.path),
      `, ${bytes(graph.weight_bytes)} of weights`,
    ),
  ];
}
