"use strict";
// One run of each configuration on a common axis of time, a track for each place.

function timelineView(graph) {
  const blocks = [];
  for (const run of graph.runs.filter(({ failed }) => !failed)) {
    blocks.push({ title: run.configuration, run });
    const before = oldRun(graph, run.configuration);
    if (before) blocks.push({ title: `${run.configuration}, baseline`, run: before });
  }
  const end = blocks
    .flatMap(({ run }) => run.timeline.spans)
    .reduce((last, span) => Math.max(last, span.start_ms + span.ms), 0);
  if (!(end > 0)) return make("p", { class: "faint" }, "There is no timeline.");
  const order = Object.keys(PLACES);
  const tracks = blocks.flatMap((block) => {
    const names = [...new Set(block.run.timeline.spans.map(({ track }) => track))].sort(
      (a, b) => order.indexOf(a) - order.indexOf(b),
    );
    return names.map((name, index) => ({
      block,
      name,
      first: index === 0,
      spans: block.run.timeline.spans.filter(({ track }) => track === name).sort((a, b) => a.start_ms - b.start_ms),
    }));
  });

  const range = { from: 0, to: end };
  let chosen = { track: 0, span: 0 };
  const axis = make("div", { class: "axis", "aria-hidden": "true" });
  for (const track of tracks) track.element = make("div", { class: "spans" });
  const view = make(
    "div",
    {
      class: "timeline",
      tabindex: "0",
      role: "application",
      "aria-label":
        `Timeline of ${graph.name}: arrows go from operator to operator, up and down between tracks, plus and minus ` +
        "zoom, 0 shows all",
    },
    make("div", { class: "track" }, make("span", { class: "label faint" }, "ms"), axis),
    tracks.map((track) =>
      make(
        "div",
        { class: `track ${track.first ? "first" : ""}` },
        make(
          "span",
          { class: "label" },
          track.first && make("b", {}, track.block.title),
          make("span", { class: "faint" }, track.name),
        ),
        track.element,
      ),
    ),
  );

  const position = (time) => (100 * (time - range.from)) / (range.to - range.from);
  const show = () => {
    const width = axis.clientWidth || 600,
      scale = width / (range.to - range.from);
    const step = roundStep((range.to - range.from) / Math.max(2, width / 90));
    const digits = Math.max(0, -Math.floor(Math.log10(step)));
    const ticks = [];
    for (let tick = Math.ceil(range.from / step) * step; tick <= range.to; tick += step) {
      ticks.push(make("span", { style: { left: `${position(tick)}%` } }, tick.toFixed(digits)));
    }
    axis.replaceChildren(...ticks);
    tracks.forEach((track, row) => {
      const pieces = [];
      let thin = null;
      track.spans.forEach((span, index) => {
        if (span.start_ms + span.ms < range.from || span.start_ms > range.to) return;
        const isChosen = view.matches(":focus") && chosen.track === row && chosen.span === index;
        // Spans that are narrower than a pixel and touch are one piece: a thousand of them look the same.
        const touches =
          thin &&
          span.ms * scale < 1 &&
          !isChosen &&
          thin.predicted === span.predicted &&
          (span.start_ms - thin.to) * scale < 1;
        if (touches) {
          thin.to = Math.max(thin.to, span.start_ms + span.ms);
          return;
        }
        const piece = { from: span.start_ms, to: span.start_ms + span.ms, predicted: span.predicted, index, isChosen };
        pieces.push(piece);
        thin = span.ms * scale < 1 && !isChosen ? piece : null;
      });
      const shown = pieces.map(({ from, to, predicted, index, isChosen }) => {
        const [left, right] = [position(Math.max(from, range.from)), position(Math.min(to, range.to))];
        return make("span", {
          class: `fill ${colourOf(track.name)} ${predicted ? "hatched" : ""} ${isChosen ? "chosen" : ""}`,
          "data-span": index,
          style: { left: `${left}%`, width: `max(1px, ${right - left}% - 1px)` },
        });
      });
      track.element.replaceChildren(...shown);
    });
  };

  const zoom = (factor, around = (range.from + range.to) / 2) => {
    const width = Math.min(end, Math.max(end / 5000, (range.to - range.from) * factor));
    const part = (around - range.from) / (range.to - range.from);
    range.from = Math.min(Math.max(0, around - part * width), end - width);
    range.to = range.from + width;
    show();
  };
  const all = () => {
    range.from = 0;
    range.to = end;
    show();
  };

  const describe = (row, index, at, aloud) => {
    const track = tracks[row];
    const span = track.spans[index];
    const operator = track.block.run.operators[span.operator];
    tip.show(
      operator ? `${operator.kind} ${operator.name}` : track.name,
      [
        ["configuration", track.block.title],
        ["track", track.name],
        ["begins", `${fine(span.start_ms)} ms`],
        [span.predicted ? "predicted" : "measured", `${fine(span.ms)} ms`],
        operator?.shape && ["shape", operator.shape],
        operator?.precision && ["precision", operator.precision],
      ],
      at,
      aloud,
    );
  };
  const choose = (track, span) => {
    chosen = { track, span };
    const { start_ms: start, ms } = tracks[track].spans[span];
    const width = range.to - range.from;
    if (start < range.from || start + ms > range.to) {
      range.from = Math.min(Math.max(0, start + ms / 2 - width / 2), end - width);
      range.to = range.from + width;
    }
    show();
    const element = tracks[track].element.querySelector(".chosen") ?? tracks[track].element;
    describe(track, span, element.getBoundingClientRect(), true);
  };
  // The span of another track that goes on at the same time.
  const beside = (row) => {
    if (row < 0 || row >= tracks.length) return;
    const time = tracks[chosen.track].spans[chosen.span].start_ms;
    const after = tracks[row].spans.findIndex((span) => span.start_ms + span.ms > time);
    choose(row, after < 0 ? tracks[row].spans.length - 1 : after);
  };
  const middle = () => {
    const span = tracks[chosen.track].spans[chosen.span];
    return span.start_ms + span.ms / 2;
  };
  view.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.altKey || event.metaKey) return;
    const count = tracks[chosen.track].spans.length;
    const done = {
      ArrowRight: () => choose(chosen.track, Math.min(count - 1, chosen.span + 1)),
      ArrowLeft: () => choose(chosen.track, Math.max(0, chosen.span - 1)),
      ArrowDown: () => beside(chosen.track + 1),
      ArrowUp: () => beside(chosen.track - 1),
      Home: () => choose(chosen.track, 0),
      End: () => choose(chosen.track, count - 1),
      "+": () => zoom(0.5, middle()),
      "=": () => zoom(0.5, middle()),
      "-": () => zoom(2, middle()),
      0: all,
    }[event.key];
    if (done) {
      event.preventDefault();
      done();
    }
  });
  view.addEventListener("focus", () => view.matches(":focus-visible") && choose(chosen.track, chosen.span));
  view.addEventListener("blur", () => {
    tip.hide();
    show();
  });
  view.addEventListener("mousemove", (event) => {
    const element = event.target.closest("[data-span]");
    if (!element) {
      tip.hide();
      return;
    }
    const row = tracks.findIndex((track) => track.element === element.parentElement);
    const box = axis.getBoundingClientRect();
    const time = range.from + ((event.clientX - box.left) / box.width) * (range.to - range.from);
    // A piece may stand for many: the one below the pointer counts.
    let index = Number(element.dataset.span);
    while (tracks[row].spans[index + 1]?.start_ms <= time) index++;
    describe(row, index, { left: event.clientX + 12, top: event.clientY - 8, bottom: event.clientY + 8 }, false);
  });
  view.addEventListener("mouseleave", () => tip.hide());
  view.addEventListener(
    "wheel",
    (event) => {
      if (!event.ctrlKey && !event.metaKey) return;
      event.preventDefault();
      const box = axis.getBoundingClientRect();
      zoom(
        event.deltaY > 0 ? 1.25 : 0.8,
        range.from + ((event.clientX - box.left) / box.width) * (range.to - range.from),
      );
    },
    { passive: false },
  );
  // Dragging moves what is shown.
  view.addEventListener("pointerdown", (event) => {
    if (event.button !== 0 || range.to - range.from >= end || !event.target.closest(".spans, .axis")) return;
    const from = { ...range },
      start = event.clientX,
      width = axis.clientWidth;
    view.setPointerCapture(event.pointerId);
    const move = ({ clientX }) => {
      const length = from.to - from.from;
      range.from = Math.min(Math.max(0, from.from - ((clientX - start) / width) * length), end - length);
      range.to = range.from + length;
      show();
    };
    view.addEventListener("pointermove", move);
    view.addEventListener("pointerup", () => view.removeEventListener("pointermove", move), { once: true });
  });
  view.draw = show;
  new ResizeObserver(show).observe(axis);
  const laid = blocks.filter(({ run }) => run.timeline.kind !== "measured").map(({ title }) => title);
  const button = (text, label, action) => [
    make("button", { type: "button", "aria-label": label, onclick: action }, text),
    " ",
  ];
  return [
    make(
      "p",
      { class: "buttons" },
      button("+", "Zoom in", () => zoom(0.5)),
      button("−", "Zoom out", () => zoom(2)),
      button("Whole run", "Show the whole run", all),
      make(
        "span",
        { class: "faint keys" },
        " ← → operators, ↑ ↓ tracks, + − 0 zoom; Ctrl and the wheel zoom, dragging moves",
      ),
    ),
    view,
    laid.length > 0 &&
      make(
        "p",
        { class: "faint" },
        `${few(laid, 6)}: no run as it went, but its operators laid one after another, the NPU’s for as long as ` +
          "predicted, the others for as long as measured.",
      ),
  ];
}

// 1, 2 or 5 times a power of ten, at least `least`.
function roundStep(least) {
  const power = 10 ** Math.floor(Math.log10(least));
  return [1, 2, 5, 10].map((factor) => factor * power).find((step) => step >= least * 0.999);
}
