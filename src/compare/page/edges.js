"use strict";
// Lines between the rows of a graph: tensors, from the row that makes one down to the rows that read it.

// More columns than this are not drawn: the tooltip of a row names all that it reads.
const MOST_LANES = 12;

// Columns for lines between rows: `edges` are pairs of rows. Gives each row's column, and the lines as
// `[column, from row, to row]`. A line keeps its column from the row that makes a tensor to the last that reads it.
function lanes(count, edges) {
  const into = Array.from({ length: count }, () => []);
  const end = new Array(count).fill(-1);
  for (const [a, b] of edges) {
    // A layer's nodes may stand on both sides of a node of another: the line then goes up.
    const [from, to] = a < b ? [a, b] : [b, a];
    into[to].push(from);
    end[from] = Math.max(end[from], to);
  }
  const taken = [],
    dots = [],
    lines = [];
  for (let row = 0; row < count; row++) {
    const sources = new Set(into[row]);
    const incoming = taken.flatMap((source, lane) => (sources.has(source) ? [lane] : []));
    const ending = incoming.filter((lane) => end[taken[lane]] === row);
    let dot = ending[0] ?? taken.findIndex((source) => source === undefined);
    if (dot < 0) dot = taken.length;
    for (const lane of incoming) lines.push([lane, taken[lane], row]);
    for (const lane of ending) taken[lane] = undefined;
    taken[dot] = end[row] > row ? row : undefined;
    dots.push(dot);
  }
  return { dots, lines };
}

// Draws the lines between `rows`, of which `place` says where each node is shown. Gives the width that they take.
function drawLines(canvas, rows, place, edges, step) {
  const height = rows[0].offsetHeight;
  const pairs = new Map();
  for (const [from, to] of edges) {
    const [a, b] = [place.get(from), place.get(to)];
    if (a !== b && known(a) && known(b)) pairs.set(`${a} ${b}`, [a, b]);
  }
  const { dots, lines } = lanes(rows.length, pairs.values());
  const columns = Math.min(MOST_LANES, dots.reduce((most, dot) => Math.max(most, dot), 0) + 1);
  const x = (lane) => 8 + step * Math.min(lane, MOST_LANES);
  const y = (row) => (row + 0.5) * height;
  const line = ([lane, from, to]) => {
    const [begin, across, end] = [x(dots[from]), x(lane), x(dots[to])];
    const leave = begin === across ? `M${across} ${y(from)}` : `M${begin} ${y(from)}L${across} ${y(from + 1)}`;
    if (end === across) return `${leave}V${y(to)}`;
    const bend = `C${across} ${y(to) - height * 0.2} ${end} ${y(to) - height * 0.4} ${end} ${y(to)}`;
    return `${leave}V${y(to) - height * 0.6}${bend}`;
  };
  const shown = new Set(place.values());
  const dot = (row, index) => {
    if (!shown.has(index) || dots[index] >= MOST_LANES) return null;
    return draw("circle", { cx: x(dots[index]), cy: y(index), r: row.classList.contains("group") ? 3.5 : 2.5 });
  };
  const drawn = lines.filter(([lane]) => lane < MOST_LANES).map(line);
  canvas.setAttribute("height", rows.length * height);
  canvas.setAttribute("width", columns * step + 10);
  canvas.replaceChildren(draw("path", { d: drawn.join("") }), ...rows.map(dot).filter(Boolean));
  return columns * step + 10;
}
