"use strict";
// The older run: what of it belongs to what of the new one. Graphs, layers and nodes belong together by their names,
// configurations by what was asked for.

const oldGraphs = new Map((old?.graphs ?? []).map((graph) => [graph.name, graph]));

function oldRun(graph, configuration) {
  const run = oldGraphs.get(graph.name)?.runs.find((other) => other.configuration === configuration);
  return run?.failed ? null : run;
}

// Whether two measured runs differ by no more than each of them varies; by little, where that is not known.
function sameSpread(run, before) {
  const [a, b] = [run?.totals.range_ms, before?.totals.range_ms];
  if (a && b) return a[0] <= b[1] && b[0] <= a[1];
  return Boolean(before) && slight(run.totals.time.measured_ms, before.totals.time.measured_ms);
}

const nodeKey = (node) => `${node.within ?? ""}\n${node.name}`;

// Where each node of a graph ran in the older run, by the new run's index of the node; undefined where there is no such
// node.
function oldPlaces(graph, configuration) {
  const before = oldRun(graph, configuration);
  if (!before) return null;
  const places = new Map(oldGraphs.get(graph.name).nodes.map((node, index) => [nodeKey(node), placeOf(before, index)]));
  return graph.nodes.map((node) => places.get(nodeKey(node)));
}

// Where a node ran; null where nothing is left of it.
function placeOf(run, node) {
  const operator = run.carried_out_by[node];
  return known(operator) ? run.operators[operator].place : null;
}

// What is in one of the two comparisons alone, in words.
function notInBoth() {
  if (!old) return [];
  const found = [];
  const both = (what, ours, theirs) => {
    const [mine, other] = [new Set(ours), new Set(theirs)];
    const only = (list, set) => list.filter((name) => !set.has(name));
    for (const [names, where] of [
      [only([...mine], other), "in this run"],
      [only([...other], mine), "in the baseline"],
    ]) {
      if (names.length) found.push(`Only ${where}: ${what} ${few(names, 6)}.`);
    }
  };
  if (now.model !== old.model)
    found.push(`The models are not the same: ${now.model}, and ${old.model} in the baseline.`);
  if (now.input.what !== old.input.what)
    found.push("The inputs are not the same: accuracies and times are not of the same work.");
  if (now.machine.processor !== old.machine.processor)
    found.push("The machines are not the same: times tell of the machines too.");
  else if (now.machine.threads !== old.machine.threads) found.push("The numbers of threads are not the same.");
  if (now.reference !== old.reference)
    found.push(`Accuracies are against ${now.reference}, and against ${old.reference} in the baseline.`);
  both(
    "configuration",
    now.configurations.map(({ id }) => id),
    old.configurations.map(({ id }) => id),
  );
  both(
    "graph",
    now.graphs.map(({ name }) => name),
    old.graphs.map(({ name }) => name),
  );
  for (const graph of now.graphs) {
    const before = oldGraphs.get(graph.name);
    if (!before) continue;
    both(
      `layer of ${graph.name}`,
      graph.layers.map(({ name }) => name),
      before.layers.map(({ name }) => name),
    );
    const [ours, theirs] = [new Set(graph.nodes.map(nodeKey)), new Set(before.nodes.map(nodeKey))];
    const counts = [
      [ours, theirs, "this run"],
      [theirs, ours, "the baseline"],
    ];
    for (const [names, others, where] of counts) {
      const count = [...names].filter((name) => !others.has(name)).length;
      if (count)
        found.push(`${plural(count, "node")} of ${graph.name} ${count === 1 ? "is" : "are"} in ${where} alone.`);
    }
  }
  return found;
}

// The first names of a list, and how many more there are.
function few(names, most) {
  return names.slice(0, most).join(", ") + (names.length > most ? ` and ${names.length - most} more` : "");
}

// Nodes that ran elsewhere in the older run, by where from and where to.
function movedTable(graph) {
  const rows = [];
  for (const run of graph.runs.filter(({ failed }) => !failed)) {
    const before = oldPlaces(graph, run.configuration);
    if (!before) continue;
    const moves = new Map();
    graph.nodes.forEach((node, index) => {
      const place = placeOf(run, index);
      if (before[index] === undefined || before[index] === place) return;
      const move = [before[index], place].map((one) => one ?? "no operator").join("\n");
      moves.set(move, [...(moves.get(move) ?? []), node]);
    });
    for (const [move, nodes] of moves) {
      const [from, to] = move.split("\n");
      rows.push([
        run.configuration,
        from,
        to,
        String(nodes.length),
        names(nodes.map((node) => `${node.op_type} ${node.name}`)),
      ]);
    }
  }
  if (!rows.length) return make("p", { class: "faint" }, "Every node that is in both runs ran in the same place.");
  return table("Nodes that moved", ["Configuration", "From", "To", "#Nodes", "Which"], rows);
}

// A list of names, folded where it is long.
function names(list) {
  if (list.length === 1) return make("span", { class: "name" }, list[0]);
  return make(
    "details",
    {},
    make("summary", {}, few(list, 1)),
    make(
      "ul",
      { class: "names" },
      list.map((name) => make("li", {}, name)),
    ),
  );
}
