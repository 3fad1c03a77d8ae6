"use strict";
// A graph's nodes as rows: layers, and what ran in them. Nothing here draws.

// Nodes that are in no layer are folded in pieces of this many.
const PIECE = 100;

// What is folded into one row: a layer, or nodes between layers. In the order of their first nodes.
function groupsOf(graph) {
  const groups = new Map();
  const last = new Map();
  graph.nodes.forEach((node, index) => {
    const within = node.within ?? "";
    let key = `${within}\nlayer ${node.layer}`;
    if (known(node.layer)) last.set(within, node.layer);
    else key = `${within}\nafter ${last.get(within) ?? "nothing"}`;
    let group = groups.get(key);
    if (!known(node.layer) && group?.nodes.length === PIECE) {
      groups.set(`${key}\n${index}`, group);
      groups.delete(key);
      group = undefined;
    }
    if (!group) groups.set(key, (group = { within, layer: node.layer, after: last.get(within), nodes: [] }));
    group.nodes.push(index);
  });
  const list = [...groups.values()].sort((a, b) => a.nodes[0] - b.nodes[0]);
  const title = (group) => {
    if (known(group.layer)) return graph.layers[group.layer].name;
    if (!graph.layers.length) return `nodes ${group.nodes[0] + 1} to ${group.nodes.at(-1) + 1}`;
    const next = list.find(
      (other) => known(other.layer) && other.within === group.within && other.nodes[0] > group.nodes[0],
    );
    if (!known(group.after)) return next ? `before ${graph.layers[next.layer].name}` : "nodes in no layer";
    return `after ${graph.layers[group.after].name}`;
  };
  for (const group of list) {
    group.title = (group.within && `${group.within}: `) + title(group);
    group.pattern = group.nodes.map((node) => graph.nodes[node].op_type).join(" ");
  }
  // Layers of the same operators in the same order have a letter.
  const alike = new Map();
  for (const group of list.filter(({ layer }) => known(layer)))
    alike.set(group.pattern, [...(alike.get(group.pattern) ?? []), group]);
  [...alike.values()]
    .filter((layers) => layers.length > 1)
    .forEach((layers, index) =>
      layers.forEach((group) => {
        group.letter = index < 26 ? String.fromCharCode(65 + index) : `A${index - 25}`;
        group.alike = layers;
      }),
    );
  return list;
}

// Nodes in no layer of which nothing is left in any run (most often made into constants) are one group at the end: a
// row between every two layers would tell nothing.
function withoutEmpty(groups, runs) {
  const isEmpty = (group) =>
    !known(group.layer) &&
    runs.length > 0 &&
    group.nodes.every((node) => runs.every((run) => !known(run.carried_out_by[node])));
  const empty = groups.filter(isEmpty);
  if (empty.length < 2) return groups;
  const nodes = empty.flatMap((group) => group.nodes);
  return [
    ...groups.filter((group) => !isEmpty(group)),
    { within: "", title: "between layers, nothing left to run", nodes, isEmpty: true },
  ];
}

// The operators of each group under one configuration. Those that stand for no node of the file are the last list's.
function operatorsOf(run, groups) {
  const groupOf = new Map(groups.flatMap((group, index) => group.nodes.map((node) => [node, index])));
  const lists = Array.from({ length: groups.length + 1 }, () => []);
  for (const operator of run.operators) {
    const places = operator.nodes.map((node) => groupOf.get(node));
    // One that reaches over several layers counts in the layer that it is said to be of.
    const own = places.find((place) => known(operator.layer) && groups[place]?.layer === operator.layer);
    lists[own ?? places[0] ?? groups.length].push(operator);
  }
  return lists;
}

// Layers whose nodes ran elsewhere, or at another precision, than those of most layers of the same operators.
function unlikeOthers(run, groups) {
  const how = (node) => {
    const operator = run.operators[run.carried_out_by[node]];
    return operator ? `${operator.place} ${operator.precision}` : "";
  };
  const unlike = new Set();
  for (const first of groups.filter((group) => group.alike?.[0] === group)) {
    const bySigns = new Map();
    for (const group of first.alike) {
      const signs = group.nodes.map(how).join("\n");
      bySigns.set(signs, [...(bySigns.get(signs) ?? []), group]);
    }
    const [, ...rest] = [...bySigns.values()].sort((a, b) => b.length - a.length);
    rest.flat().forEach((group) => unlike.add(group));
  }
  return unlike;
}

// The first node of each operator, in the order of the file: there its time stands.
function firstNodes(run) {
  const first = new Map();
  run.carried_out_by.forEach((operator, node) => {
    if (known(operator) && !first.has(operator)) first.set(operator, node);
  });
  return first;
}

// Where nodes ran: `[place, count]`, in the order of places.
function placesOf(run, nodes) {
  const counts = new Map();
  for (const node of nodes) {
    const place = placeOf(run, node);
    if (known(place)) counts.set(place, (counts.get(place) ?? 0) + 1);
  }
  const order = Object.keys(PLACES);
  return [...counts].sort(([a], [b]) => order.indexOf(a) - order.indexOf(b));
}

// The background of a folded row: the share of its nodes that each place has.
function shares(places) {
  const whole = places.reduce((sum, [, count]) => sum + count, 0);
  let at = 0;
  const stops = places.map(([place, count]) => {
    const from = at;
    at += (100 * count) / whole;
    return `var(--${colourOf(place)}-back) ${from.toFixed(1)}% ${at.toFixed(1)}%`;
  });
  return stops.length ? { background: `linear-gradient(to right, ${stops.join(", ")})` } : {};
}
