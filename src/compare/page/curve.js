"use strict";
// Curves of errors over the tensors of a graph, on a logarithmic axis. Configurations differ by colour, dash and mark.

const MARKS = [
  "M-4 0a4 4 0 1 0 8 0a4 4 0 1 0 -8 0",
  "M-3.5 -3.5h7v7h-7z",
  "M0 -4.5L4.5 3.5H-4.5z",
  "M0 -5L5 0L0 5L-5 0z",
  "M-4.5 -3.5H4.5L0 4.5z",
  "M-1.5 -4.5h3v3h3v3h-3v3h-3v-3h-3v-3h3z",
];
const DASHES = ["", "6 3", "2 3", "8 3 2 3", "12 4", "4 2"];

// Pixels: the figure's height, what its axes take, and the line of errors that are zero.
const HEIGHT = 260;
const LEFT = 52;
const RIGHT = 12;
const TOP = 10;
const BOTTOM = 34;
const ZERO = 22;

const lineOf = (curve, d) =>
  draw("path", {
    class: `line ${colourOf(curve.place)} ${curve.isOld ? "old" : ""}`,
    "stroke-dasharray": DASHES[curve.index % DASHES.length],
    d,
  });

// The older run's curve has no marks.
function markOf(curve, x, y) {
  if (curve.isOld) return null;
  const transform = `translate(${x.toFixed(1)} ${y.toFixed(1)})`;
  return draw("path", { class: `mark ${colourOf(curve.place)}`, d: MARKS[curve.index % MARKS.length], transform });
}

function chart(graph, { tensors, curves }) {
  const errors = curves.flatMap(({ points }) =>
    [...points.values()].map((point) => point.relative_l2).filter((value) => value > 0),
  );
  const powers = errors.map(Math.log10);
  const low = Math.floor(powers.length ? Math.min(...powers) : -1);
  const high = Math.max(low + 1, Math.ceil(Math.max(low, ...powers)));
  const exact = curves.some(({ points }) => [...points.values()].some((point) => point.relative_l2 === 0));
  const canvas = draw("svg", {
    class: "curve",
    tabindex: "0",
    role: "application",
    "aria-label":
      `Relative L2 error of ${plural(tensors.length, "tensor")} of ${graph.name}: left and right go from tensor to ` +
      "tensor; the table below has all figures",
  });
  const bottom = HEIGHT - BOTTOM - (exact ? ZERO : 0);
  let chosen = null;
  let width = 0;
  const x = (index) => LEFT + 10 + ((width - LEFT - RIGHT - 20) * index) / Math.max(1, tensors.length - 1);
  const y = (value) =>
    value > 0 ? TOP + ((bottom - TOP) * (high - Math.log10(value))) / (high - low) : HEIGHT - BOTTOM - 4;
  const text = (attributes, content) => draw("text", { class: "faint", ...attributes }, content);

  const show = () => {
    width = canvas.parentElement?.clientWidth || 700;
    canvas.setAttribute("viewBox", `0 0 ${width} ${HEIGHT}`);
    const parts = [];
    const every = Math.ceil((high - low) / 7);
    for (let power = low; power <= high; power += every) {
      parts.push(
        draw("line", { x1: LEFT, x2: width - RIGHT, y1: y(10 ** power), y2: y(10 ** power) }),
        text(
          { x: LEFT - 8, y: y(10 ** power) + 4, "text-anchor": "end" },
          power === 0 ? "1" : `1e${power}`.replace("-", "−"),
        ),
      );
    }
    if (exact)
      parts.push(
        draw("line", { x1: LEFT, x2: width - RIGHT, y1: y(0), y2: y(0) }),
        text({ x: LEFT - 8, y: y(0) + 4, "text-anchor": "end" }, "0"),
      );
    // Where layers begin; names where there is room.
    let free = -Infinity;
    tensors.forEach((tensor, index) => {
      if (!known(tensor.layer) || tensors[index - 1]?.layer === tensor.layer) return;
      const at = index > 0 ? (x(index - 1) + x(index)) / 2 : LEFT;
      parts.push(draw("line", { x1: at, x2: at, y1: TOP, y2: HEIGHT - BOTTOM + 6 }));
      const name = graph.layers[tensor.layer].name;
      if (at + 4 < free || at + 4 + name.length * 7 > width) return;
      parts.push(text({ x: at + 4, y: HEIGHT - 12 }, name));
      free = at + 4 + name.length * 7 + 12;
    });
    for (const curve of curves) {
      const at = tensors.flatMap((tensor, index) => {
        const value = curve.points.get(tensor.name)?.relative_l2;
        return known(value) ? [[x(index), y(value)]] : [];
      });
      parts.push(
        lineOf(curve, at.map(([a, b], index) => `${index ? "L" : "M"}${a.toFixed(1)} ${b.toFixed(1)}`).join("")),
        ...at.map(([a, b]) => markOf(curve, a, b)).filter(Boolean),
      );
    }
    if (chosen !== null)
      parts.push(draw("line", { class: "cursor", x1: x(chosen), x2: x(chosen), y1: TOP, y2: HEIGHT - BOTTOM }));
    canvas.replaceChildren(...parts);
  };
  const choose = (index, aloud, at) => {
    chosen = index;
    show();
    const tensor = tensors[index];
    const box = canvas.getBoundingClientRect();
    const where = at ?? { left: box.left + x(index) + 12, top: box.top + TOP, bottom: box.top + TOP + 20 };
    tip.show(
      tensor.name,
      [
        ["shape", tensor.shape.join("×")],
        ...curves
          .filter(({ points }) => points.has(tensor.name))
          .map(({ title, points }) => {
            const point = points.get(tensor.name);
            const figures = [
              `relative L2 ${scientific(point.relative_l2)}`,
              `cosine ${cosines(point.cosine)}`,
              `largest error ${scientific(point.largest_error)}`,
              notFinite(point),
            ];
            return [title, figures.filter(Boolean).join(", ")];
          }),
      ],
      where,
      aloud,
    );
  };
  const leave = () => {
    chosen = null;
    tip.hide();
    show();
  };
  canvas.addEventListener("keydown", (event) => {
    const done = {
      ArrowRight: () => Math.min(tensors.length - 1, (chosen ?? -1) + 1),
      ArrowLeft: () => Math.max(0, (chosen ?? 1) - 1),
      Home: () => 0,
      End: () => tensors.length - 1,
    }[event.key];
    if (done) {
      event.preventDefault();
      choose(done(), true);
    }
  });
  canvas.addEventListener("focus", () => canvas.matches(":focus-visible") && choose(chosen ?? 0, true));
  canvas.addEventListener("blur", leave);
  canvas.addEventListener("mousemove", (event) => {
    const at = event.clientX - canvas.getBoundingClientRect().left;
    const nearest = tensors.reduce(
      (best, _, index) => (Math.abs(x(index) - at) < Math.abs(x(best) - at) ? index : best),
      0,
    );
    choose(nearest, false, { left: event.clientX + 16, top: event.clientY - 8, bottom: event.clientY + 8 });
  });
  canvas.addEventListener("mouseleave", leave);
  const figure = make(
    "figure",
    {},
    make("figcaption", {}, "Relative L2 error of the tensors between layers, in the order of the graph"),
    make(
      "ul",
      { class: "legend" },
      curves.map((curve) =>
        make(
          "li",
          {},
          draw(
            "svg",
            { class: "sample", viewBox: "0 -8 36 16", "aria-hidden": "true" },
            lineOf(curve, "M0 0H36"),
            markOf(curve, 18, 0),
          ),
          curve.title,
        ),
      ),
    ),
    canvas,
  );
  canvas.draw = show;
  new ResizeObserver(() => canvas.parentElement.clientWidth !== width && show()).observe(figure);
  return figure;
}
