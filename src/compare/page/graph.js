"use strict";
// The graph in the order of its file: a row for a layer or a node, a column for each configuration. Lines at the left
// are tensors.

// What the rows of a graph are made of: lists have an entry for each run that did not fail.
function rowsOf(graph) {
  const runs = graph.runs.filter(({ failed }) => !failed);
  const groups = withoutEmpty(groupsOf(graph), runs);
  const operators = runs.map((run) => operatorsOf(run, groups));
  const sums = operators.map((lists) => lists.map((list) => list.reduce((sum, { time }) => add(sum, time), nothing())));
  const readers = graph.nodes.map(() => []);
  const makers = graph.nodes.map(() => []);
  for (const [from, to] of graph.edges) {
    readers[from].push(to);
    makers[to].push(from);
  }
  return {
    graph,
    runs,
    groups,
    operators,
    sums,
    most: Math.max(...sums.flat().map(long), 0),
    firsts: runs.map(firstNodes),
    unlike: runs.map((run) => unlikeOthers(run, groups)),
    before: runs.map((run) => oldPlaces(graph, run.configuration)),
    readers,
    makers,
  };
}

// Those of the nodes that ran elsewhere in the older run.
function movedAmong({ before, runs }, column, nodes) {
  const places = before[column];
  if (!places) return [];
  return nodes.filter((node) => places[node] !== undefined && places[node] !== placeOf(runs[column], node));
}

function gridCell(shown, label, attributes = {}) {
  return make("span", { role: "gridcell", tabindex: "-1", "aria-label": label, ...attributes }, shown);
}

const placeCell = (...shown) => make("span", { class: "place" }, shown);
const figuresCell = (...shown) => make("span", { class: "figures" }, shown);
const movedMark = (text) => make("b", { class: "moved" }, ` ${text}`);

// A folded row: a layer, or nodes between layers.
function groupRow(all, group, index) {
  const likes = group.alike?.length;
  const letter = likes && [
    make("span", { class: "letter", title: `${likes} layers of the same operators` }, group.letter),
    hidden(`, like ${likes - 1} other layers,`),
    " ",
  ];
  const arrow = make("span", { class: "arrow", "aria-hidden": "true" });
  const title = [arrow, make("b", {}, group.title), " ", letter, small(plural(group.nodes.length, "node"))];
  const cells = all.runs.map((run, column) => {
    const [operators, sum] = [all.operators[column][index], all.sums[column][index]];
    const places = placesOf(run, group.nodes);
    const moved = movedAmong(all, column, group.nodes).length;
    const unlike = all.unlike[column].has(group) && movedMark(`≠ ${group.letter}`);
    const spoken = places.map(([place, count]) => `${plural(count, "node")} on ${place}`).join(", ");
    return gridCell(
      [
        placeCell(
          places.map(([place]) => shortOf(place)).join(" + ") || NONE,
          unlike,
          moved > 0 && movedMark(`${moved} moved`),
        ),
        figuresCell(operators.length ? timeShown(sum, isPredicted(run)) : NONE),
        bar(byPlace(operators), all.most, "bar thin"),
      ],
      `${run.configuration}: ${spoken || "nothing left to run"}, ${unlike ? "unlike others, " : ""}${timeSpoken(sum)}`,
      { style: shares(places) },
    );
  });
  const attributes = { "aria-level": "1", "aria-expanded": "false", tabindex: index ? "-1" : "0" };
  return make(
    "div",
    { role: "row", class: "row group", ...attributes },
    make("span", { role: "rowheader" }, title),
    cells,
  );
}

// The last row: operators that stand for no node of the file.
function ownRow(all) {
  const title = [make("b", {}, "added by ONNX Runtime"), " ", small("no node of the file")];
  const cells = all.runs.map((run, column) => {
    const [operators, sum] = [all.operators[column].at(-1), all.sums[column].at(-1)];
    const count = plural(operators.length, "operator");
    return gridCell(
      [placeCell(count), figuresCell(timeShown(sum, isPredicted(run))), bar(byPlace(operators), all.most, "bar thin")],
      `${run.configuration}: ${count}, ${timeSpoken(sum)}`,
    );
  });
  const attributes = { role: "row", class: "row group own", "aria-level": "1", tabindex: "-1" };
  return make("div", attributes, make("span", { role: "rowheader" }, title), cells);
}

// A node's row; `previous` is the node of the row above it, `prefix` how much of its name all nodes of the layer have.
function nodeRow(all, node, prefix, previous) {
  const { op_type: kind, name } = all.graph.nodes[node];
  const title = [make("b", {}, kind), " ", make("span", { class: "name" }, name.slice(prefix))];
  const cells = all.runs.map((run, column) => nodeCell(all, run, column, node, previous));
  const attributes = { role: "row", class: "row node", "aria-level": "2", tabindex: "-1" };
  return make("div", attributes, make("span", { role: "rowheader" }, title), cells);
}

// The operator that carried a node out. Where one carried out several, its time stands at the first of them.
function nodeCell(all, run, column, node, previous) {
  const at = run.carried_out_by[node];
  if (!known(at))
    return gridCell(placeCell(NONE), `${run.configuration}: no operator is left of it`, { class: "none" });
  const operator = run.operators[at];
  const above = previous === undefined ? undefined : run.carried_out_by[previous];
  const begins = above !== at;
  const first = all.firsts[column].get(at) === node;
  const border = begins && known(above) && run.operators[above].part !== operator.part;
  const time = add(nothing(), operator.time);
  const moved = movedAmong(all, column, [node]).length > 0;
  const words = first ? [shortOf(operator.place), " ", small(operator.kind)] : small("↑ ", operator.kind);
  return gridCell(
    [
      placeCell(begins && words, moved && movedMark(`was ${shortOf(all.before[column][node] ?? "gone")}`)),
      figuresCell(first && timeShown(time, isPredicted(run))),
    ],
    `${run.configuration}: ${operator.place}, ${operator.kind}, ${first ? timeSpoken(time) : "with a node above"}`,
    { class: `${colourOf(operator.place)} ${begins ? "begins" : ""} ${border ? "border" : ""}` },
  );
}

function graphView(graph) {
  const all = rowsOf(graph);
  const { runs, groups } = all;
  const shownIn = new Map(); // What each row shows: `{ group, index }`, `{ group, node }`, or nothing of the file.
  const open = new Set();
  const canvas = draw("svg", { class: "edges", "aria-hidden": "true" });
  const body = make("div", { role: "rowgroup", class: "rows" }, canvas);
  const unit = (run) => (isPredicted(run) ? ["ms ", make("i", { class: "predicted" }, "pred.")] : "ms");
  const heads = make(
    "div",
    { role: "row", class: "row heads" },
    make("span", { role: "columnheader" }, "Layer or node"),
    runs.map((run) => make("span", { role: "columnheader" }, named(run.configuration), small(unit(run)))),
  );
  const attributes = { class: "graph", role: "treegrid", "aria-label": `Graph of ${graph.name}` };
  const view = make("div", { ...attributes, style: { "--runs": runs.length } }, heads, body);

  const unfold = (row, on) => {
    const { group } = shownIn.get(row);
    row.setAttribute("aria-expanded", on);
    if (!on) {
      open.delete(group);
      while (shownIn.get(row.nextElementSibling)?.group === group) row.nextElementSibling.remove();
    } else if (!open.has(group)) {
      open.add(group);
      const prefix = commonPrefix(group.nodes.map((node) => graph.nodes[node].name));
      const rows = group.nodes.map((node, place) => {
        const inner = nodeRow(all, node, prefix, group.nodes[place - 1]);
        shownIn.set(inner, { group, node });
        return inner;
      });
      row.after(...rows);
    }
  };
  const drawEdges = () => {
    const rows = [...body.querySelectorAll('[role="row"]')];
    if (!rows[0]?.offsetHeight) return;
    const place = new Map();
    rows.forEach((row, index) => {
      const { group, node } = shownIn.get(row);
      if (known(node)) place.set(node, index);
      else if (group && !open.has(group) && !group.isEmpty) group.nodes.forEach((inner) => place.set(inner, index));
    });
    const width = drawLines(canvas, rows, place, graph.edges, view.clientWidth < 600 ? 6 : 9);
    view.style.setProperty("--edges", `${width}px`);
  };
  const setAll = (on, of = () => true) => {
    for (const row of view.querySelectorAll(".row.group[aria-expanded]")) {
      if (of(shownIn.get(row).group)) unfold(row, on);
    }
    drawEdges();
  };
  const about = (target) => {
    const row = target.closest('[role="row"]');
    const shown = shownIn.get(row);
    const at = target === row ? row.firstElementChild : target.closest('[role="gridcell"], [role="rowheader"]');
    if (!shown || !at) return null;
    const { group, index = groups.length, node } = shown;
    const column = [...row.children].indexOf(at) - 1;
    if (column < 0)
      return known(node) ? [at, ...aboutNode(all, node)] : group?.alike ? [at, ...aboutLikes(group)] : null;
    if (known(node)) return [at, ...aboutOperator(all, column, node)];
    return [at, ...aboutGroup(all, column, index)];
  };

  groups.forEach((group, index) => {
    const row = groupRow(all, group, index);
    shownIn.set(row, { group, index });
    body.append(row);
  });
  if (all.operators.some((lists) => lists.at(-1).length)) {
    const row = ownRow(all);
    shownIn.set(row, {});
    body.append(row);
  }
  const toggle = (row) => {
    unfold(row, row.getAttribute("aria-expanded") === "false");
    drawEdges();
  };
  walkable(view, { toggle, cells: (row) => [...row.querySelectorAll('[role="gridcell"]')] });
  explain(view, about);
  new ResizeObserver(drawEdges).observe(view);
  view.draw = drawEdges;
  // Printed, one layer of each pattern is unfolded; then it is as before.
  view.print = (on) => {
    if (on) view.screen = new Set(open);
    setAll(false);
    setAll(true, (group) => (on ? group.alike?.[0] === group : view.screen.has(group)));
  };
  const button = (title, on) => make("button", { type: "button", onclick: () => setAll(on) }, title);
  const keys = make(
    "span",
    { class: "faint keys" },
    " ↑ ↓ rows, → unfolds and goes to the columns, ← back, Enter folds",
  );
  return [make("p", { class: "buttons" }, button("Unfold all", true), " ", button("Fold all", false), keys), view];
}

// How much of their names all nodes have, up to a separator.
function commonPrefix(list) {
  let prefix = list[0] ?? "";
  for (const name of list) while (!name.startsWith(prefix)) prefix = prefix.slice(0, -1);
  return list.length > 1 ? Math.max(prefix.lastIndexOf("/"), prefix.lastIndexOf(".")) + 1 : 0;
}
