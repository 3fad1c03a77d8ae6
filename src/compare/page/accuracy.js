"use strict";
// How far tensors are from the reference's: those between layers as curves and as a table, the outputs as a table.

function accuracyView(graph) {
  const runs = graph.runs.filter(({ failed }) => !failed);
  const outputs = runs.flatMap((run) =>
    run.accuracy.outputs.map((tensor) => {
      const before = oldRun(graph, run.configuration)?.accuracy.outputs.find(({ name }) => name === tensor.name);
      return [
        named(run.configuration),
        make("span", { class: "name" }, tensor.name),
        [scientific(tensor.relative_l2), old && change(tensor.relative_l2, before?.relative_l2, scientific)],
        cosines(tensor.cosine),
        [
          scientific(tensor.largest_error),
          small(`of ${known(tensor.largest_value) ? tensor.largest_value.toPrecision(3) : NONE}`),
          notFinite(tensor) && small(notFinite(tensor)),
        ],
        known(tensor.same_largest) ? `${(100 * tensor.same_largest).toFixed(1)} %` : NONE,
      ];
    }),
  );
  const curves = curvesOf(graph, runs);
  const unlike = [...new Set(runs.map((run) => run.accuracy.inner_note).filter(Boolean))];
  return [
    curves.tensors.length > 0 && chart(graph, curves),
    curves.tensors.length > 0 &&
      make(
        "details",
        {},
        make("summary", {}, `All ${plural(curves.tensors.length, "tensor")} between layers as a table`),
        tensorTable(curves),
      ),
    outputs.length > 0 &&
      table(
        `Outputs of ${graph.name}`,
        ["Configuration", "Output", "#Relative L2", "#Cosine", "#Largest error", "#Same largest element"],
        outputs,
      ),
    unlike.map((note) => make("p", { class: "faint" }, `Between layers: ${note}.`)),
  ];
}

// Elements that no figure can tell of.
const notFinite = (tensor) => (tensor?.not_finite ? `${tensor.not_finite} not finite` : "");

// The tensors of all runs in their order, and for each run (and its older one) what it has of them.
function curvesOf(graph, runs) {
  const tensors = new Map();
  const curves = [];
  const take = (run, title, index, isOld) => {
    if (!run.accuracy.inner.length) return;
    if (!isOld)
      for (const tensor of run.accuracy.inner) if (!tensors.has(tensor.name)) tensors.set(tensor.name, tensor);
    const place = now.configurations.find(({ id }) => id === run.configuration)?.device ?? "host";
    curves.push({
      title,
      index,
      isOld,
      place: place === "cpu" ? "cpu provider" : place,
      points: new Map(run.accuracy.inner.map((tensor) => [tensor.name, tensor])),
    });
  };
  runs.forEach((run, index) => {
    take(run, run.configuration, index, false);
    const before = oldRun(graph, run.configuration);
    if (before) take(before, `${run.configuration}, baseline`, index, true);
  });
  return { tensors: [...tensors.values()], curves };
}

function tensorTable({ tensors, curves }) {
  const heads = ["Tensor", ...curves.map(({ title }) => `#${title}`)];
  return [
    make("p", { class: "faint" }, "Relative L2 error; below it cosine, and the largest error of an element."),
    table(
      "Tensors between layers",
      heads,
      tensors.map((tensor) => [
        [make("span", { class: "name" }, tensor.name), small(tensor.shape.join("×"))],
        ...curves.map(({ points }) => {
          const point = points.get(tensor.name);
          return [
            scientific(point?.relative_l2),
            small(cosines(point?.cosine)),
            small(scientific(point?.largest_error)),
            notFinite(point) && small(notFinite(point)),
          ];
        }),
      ]),
      "tensors",
    ),
  ];
}
