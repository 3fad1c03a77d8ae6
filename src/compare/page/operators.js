"use strict";
// Time by kind of operator, unfolded to single ones; a panel for each configuration, all to one scale.

function operatorsView(graph) {
  const runs = graph.runs.filter(({ failed }) => !failed);
  const kinds = runs.map((run) => kindsOf(run));
  const before = runs.map((run) => {
    const earlier = oldRun(graph, run.configuration);
    return earlier && new Map(kindsOf(earlier).map((kind) => [kind.name, kind]));
  });
  const most = Math.max(0, ...kinds.flat().map(({ sum }) => long(sum)));
  const single = runs
    .flatMap((run) => run.operators)
    .reduce((most, { time }) => Math.max(most, long(add(nothing(), time))), 0);
  const predicted = runs.some(isPredicted);
  const panels = runs.map((run, index) => panel(graph, run, kinds[index], before[index], most, single, predicted));
  return [
    make(
      "p",
      { class: "faint" },
      "Times of a whole run in milliseconds. The bars of kinds share one scale over all configurations, those of " +
        "single operators another.",
    ),
    make("div", { class: predicted ? "panels with-predicted" : "panels" }, panels),
  ];
}

// Kinds with their operators, the longest first.
function kindsOf(run) {
  const kinds = new Map();
  run.operators.forEach((operator, index) => {
    if (!kinds.has(operator.kind)) kinds.set(operator.kind, { name: operator.kind, operators: [], sum: nothing() });
    const kind = kinds.get(operator.kind);
    kind.operators.push({ ...operator, index });
    add(kind.sum, operator.time);
  });
  return [...kinds.values()].sort((a, b) => long(b.sum) - long(a.sum));
}

function panel(graph, run, kinds, before, most, single, predicted) {
  const shown = new Map();
  const row = (level, attributes, title, pieces, time, scale, beside, label) =>
    make(
      "div",
      {
        role: "row",
        class: `row level-${level}`,
        "aria-level": level,
        tabindex: "-1",
        "aria-label": label,
        ...attributes,
      },
      make("span", { role: "rowheader" }, title),
      make("span", { role: "gridcell" }, bar(pieces, scale)),
      make("span", { role: "gridcell", class: "figures" }, timeShown(time, predicted)),
      beside && make("span", { role: "gridcell", class: "beside" }, beside),
    );
  const earlier = (kind) => before?.get(kind.name);
  const list = make(
    "div",
    { role: "treegrid", class: "operators", "aria-label": `Operators under ${run.configuration}` },
    kinds.map((kind) => {
      const was = earlier(kind)?.sum;
      const beside = before && (was ? timeChanges(kind.sum, was) : small("not in the baseline"));
      const element = row(
        1,
        { "aria-expanded": "false" },
        [
          make("span", { class: "arrow", "aria-hidden": "true" }),
          make("b", {}, breakable(kind.name)),
          small(` × ${kind.operators.length}`),
        ],
        byPlace(kind.operators),
        kind.sum,
        most,
        beside,
        `${kind.name}, ${plural(kind.operators.length, "operator")}, ${timeSpoken(kind.sum)}`,
      );
      shown.set(element, kind);
      return element;
    }),
  );
  list.firstElementChild?.setAttribute("tabindex", "0");
  const gone = before ? [...before.values()].filter(({ name }) => !kinds.some((kind) => kind.name === name)) : [];
  const toggle = (element) => {
    const kind = shown.get(element);
    const on = element.getAttribute("aria-expanded") === "false";
    element.setAttribute("aria-expanded", on);
    if (!on) return kind.rows.forEach((inner) => inner.remove());
    const wasOf = new Map((earlier(kind)?.operators ?? []).map((operator) => [operator.name, operator]));
    kind.rows = [...kind.operators]
      .sort((a, b) => long(add(nothing(), b.time)) - long(add(nothing(), a.time)))
      .map((operator) => {
        const time = add(nothing(), operator.time);
        const was = wasOf.get(operator.name);
        const inner = row(
          2,
          {},
          [
            make("span", { class: "name" }, operator.name),
            small(` ${[operator.shape, operator.precision].filter(Boolean).join(" ")}`),
          ],
          [[operator.place, time]],
          time,
          single,
          was && timeChanges(time, add(nothing(), was.time)),
          `${operator.name}, ${timeSpoken(time)}`,
        );
        shown.set(inner, operator);
        return inner;
      });
    element.after(...kind.rows);
    return null;
  };
  walkable(list, { toggle });
  explain(list, (target) => {
    const element = target.closest('[role="row"]');
    const what = shown.get(element);
    if (!what) return null;
    if (what.operators)
      return [
        element,
        `${run.configuration}: ${what.name}`,
        [
          ["operators", String(what.operators.length)],
          ...byPlace(what.operators).map(([place, time]) => [place, timeSpoken(time)]),
          ["work", `${fine(what.operators.reduce((sum, { gflop }) => sum + gflop, 0))} GFLOP`],
        ],
      ];
    return [
      element,
      `${what.kind} ${what.name}`,
      [
        ["configuration", run.configuration],
        known(what.layer) && ["layer", graph.layers[what.layer].name],
        ...operatorLines(what),
      ],
    ];
  });
  return make(
    "section",
    { class: "panel" },
    make("h4", {}, named(run.configuration), " ", make("span", { class: "figures" }, runTotal(run))),
    list,
    known(run.totals.between_ms) &&
      make("p", { class: "faint" }, `Between operators: ${fine(run.totals.between_ms)} ms`),
    gone.length > 0 &&
      make(
        "p",
        { class: "faint" },
        `In the baseline alone: ${gone.map(({ name, sum }) => `${name} (${timeSpoken(sum)})`).join(", ")}`,
      ),
  );
}

function runTotal(run) {
  const { measured_ms: measured, predicted_ms: predicted } = run.totals.time;
  return [
    known(measured) && make("span", {}, `${milliseconds(measured)} ms`),
    known(predicted) && make("i", { class: "predicted" }, ` ${milliseconds(predicted)} ms`, hidden(" predicted")),
  ];
}
