"use strict";
// What tooltips tell of nodes, operators and layers: `[title, lines]`.

// Shows a tooltip for what the pointer is over or the focus is on; `about` gives `[element, title, lines]` or null.
function explain(view, about) {
  const show = (target, aloud) => {
    const found = about(target);
    if (!found) return tip.hide();
    const [element, title, lines] = found;
    return tip.show(title, lines, element.getBoundingClientRect(), aloud);
  };
  view.addEventListener("mouseover", ({ target }) => show(target, false));
  view.addEventListener("focusin", ({ target }) => show(target, true));
  view.addEventListener("mouseleave", () => tip.hide());
  view.addEventListener("focusout", () => tip.hide());
}

function aboutNode({ graph, makers, readers }, node) {
  const called = (index) => `${graph.nodes[index].op_type} ${graph.nodes[index].name}`;
  const { within, layer } = graph.nodes[node];
  const from = makers[node].map(called);
  const to = readers[node].map(called);
  const lines = [
    known(layer) && ["layer", graph.layers[layer].name],
    within && ["within", within],
    from.length > 0 && ["reads from", few(from, 4)],
    to.length > 0 && ["is read by", few(to, 4)],
  ];
  return [called(node), lines];
}

function aboutLikes(group) {
  const titles = group.alike.map(({ title }) => title);
  return [group.title, [`layers of the same operators: ${few(titles, 8)}`]];
}

function operatorLines(operator) {
  const { time } = operator;
  return [
    ["place", operator.place],
    operator.precision && ["precision", operator.precision],
    operator.shape && ["shape", operator.shape],
    known(time.measured_ms) && ["measured", `${fine(time.measured_ms)} ms`],
    known(time.predicted_ms) && ["predicted", `${fine(time.predicted_ms)} ms`],
    operator.calls > 1 && ["calls", String(operator.calls)],
    operator.gflop > 0 && ["work", `${fine(operator.gflop)} GFLOP`],
    ["reads, writes", `${bytes(operator.bytes_in)}, ${bytes(operator.bytes_out)}`],
    operator.bytes_weights > 0 && ["weights", bytes(operator.bytes_weights)],
    operator.reason && ["why", operator.reason],
  ];
}

const NO_OPERATOR =
  "No operator is left of this node: it was folded into constants, its branch was not taken, or its result was still " +
  "valid from the run before.";

function aboutOperator({ graph, runs, before }, column, node) {
  const run = runs[column];
  const at = run.carried_out_by[node];
  if (!known(at)) return [run.configuration, [NO_OPERATOR]];
  const operator = run.operators[at];
  const others = operator.nodes.filter((other) => other !== node).map((other) => graph.nodes[other].op_type);
  const was = before[column]?.[node];
  const lines = [
    ["configuration", run.configuration],
    ...operatorLines(operator),
    known(operator.part) && ["fused node", run.parts[operator.part]?.name],
    others.length > 0 && ["with", few(others, 8)],
    was !== undefined && was !== operator.place && ["in the baseline", was ?? "no operator"],
  ];
  return [`${operator.kind} ${operator.name}`, lines];
}

function aboutGroup(all, column, index) {
  const run = all.runs[column];
  const group = all.groups[index];
  const operators = all.operators[column][index];
  const kinds = kindsOf({ operators });
  const parts = [...new Set(operators.map(({ part }) => part).filter(known))].map((part) => run.parts[part]?.name);
  const places = group && placesOf(run, group.nodes).map(([place, count]) => `${count} on ${place}`);
  const lines = [
    places && ["nodes", places.join(", ") || "none is left"],
    all.unlike[column].has(group) && `Not as most layers ${group.letter}: other places or precisions.`,
    ...byPlace(operators).map(([place, time]) => [place, timeSpoken(time)]),
    ...kinds.slice(0, 6).map(({ name, operators: list, sum }) => [`${list.length} ${name}`, timeSpoken(sum)]),
    kinds.length > 6 && `and ${kinds.length - 6} more kinds`,
    parts.length > 0 && ["fused nodes", few(parts, 3)],
  ];
  return [`${run.configuration}: ${group?.title ?? "added by ONNX Runtime"}`, lines];
}
