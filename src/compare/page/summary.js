"use strict";
// The head of the page, and the tables that are about whole runs.

function head() {
  const element = document.getElementById("head");
  const facts = [
    ["Machine", (one) => `${one.machine.processor}, ${plural(one.machine.threads, "thread")}`],
    ["Times", (one) => `medians of ${plural(one.machine.runs, "run")}`],
    ["Versions", (one) => `Undertone ${one.undertone}, ONNX Runtime ${one.ort}`],
    ["Made", (one) => one.made.replace("T", " ").replace(/:\d\dZ$/, " UTC")],
    ["Input", (one) => one.input.what],
    ["Accuracy", (one) => `against ${one.reference}`],
  ];
  const before = (of) =>
    old &&
    make(
      "dd",
      { class: of(now) === of(old) ? "faint" : "other" },
      of(now) === of(old) ? "the same" : of(old),
      make("span", { class: "hidden" }, " in the baseline"),
    );
  element.append(
    themeChoice(),
    make(
      "p",
      { class: "lead" },
      `${plural(now.graphs.length, "graph")} under ${plural(now.configurations.length, "configuration")}`,
      old && ", beside an older run (the baseline)",
    ),
    make(
      "dl",
      { class: old ? "facts beside" : "facts" },
      old &&
        make(
          "div",
          { class: "heading", "aria-hidden": "true" },
          make("dt", {}),
          make("dd", {}, "This run"),
          make("dd", {}, "Baseline"),
        ),
      facts.map(([name, of]) => make("div", {}, make("dt", {}, name), make("dd", {}, of(now)), before(of))),
    ),
  );
}

// Light, dark, or as the system has it.
function themeChoice() {
  const root = document.documentElement;
  const choose = (theme) => {
    root.style.colorScheme = theme === "auto" ? "" : theme;
    // A page that was opened from a file may have no storage.
    try {
      localStorage.setItem("undertone-theme", theme);
    } catch {
      /* the choice lasts as long as the page */
    }
  };
  let chosen = "auto";
  try {
    chosen = localStorage.getItem("undertone-theme") ?? chosen;
  } catch {
    /* as above */
  }
  choose(chosen);
  return make(
    "label",
    { class: "theme" },
    "Theme ",
    make(
      "select",
      { id: "theme", onchange: ({ target }) => choose(target.value) },
      ["auto", "light", "dark"].map((theme) => make("option", { value: theme, selected: theme === chosen }, theme)),
    ),
  );
}

// How places look, and how measured differs from predicted.
function legend() {
  const used = new Set(
    now.graphs.flatMap((graph) => graph.runs.flatMap((run) => run.operators.map(({ place }) => place))),
  );
  const words = {
    "cpu provider": "ONNX Runtime’s CPU provider",
    host: "host device",
    sim: "NPU, simulated",
    npu: "NPU",
  };
  const swatch = (className, text) => make("li", {}, make("span", { class: `swatch ${className}` }), text);
  const predicted = now.configurations.some((configuration) => configuration.predicted);
  return make(
    "ul",
    { class: "legend", "aria-label": "Colours" },
    [...used].map((place) => swatch(`fill ${colourOf(place)}`, words[place] ?? place)),
    predicted && [
      swatch("fill ink", "measured"),
      swatch(
        "fill hatched ink",
        make("span", {}, "predicted; as a figure ", make("i", { class: "predicted" }, "slanted")),
      ),
    ],
  );
}

// One line for each configuration over all graphs: times, words, what it is.
function overview() {
  const texts = new Map(now.transcripts.map((transcript) => [transcript.configuration, transcript]));
  const oldTexts = new Map((old?.transcripts ?? []).map((transcript) => [transcript.configuration, transcript]));
  const heads = ["Configuration", ...now.graphs.map(({ name }) => `#${name}, ms`)];
  if (texts.size) heads.push("#Words that differ", "#Mean log-probability");
  const rows = now.configurations.map((configuration) => {
    const cells = [
      [named(configuration.id), small(configuration.about), isNew(configuration.id) && small("not in the baseline")],
    ];
    for (const graph of now.graphs) {
      const run = graph.runs.find((one) => one.configuration === configuration.id);
      cells.push(!run ? NONE : run.failed ? "failed" : runTime(run, oldRun(graph, configuration.id)));
    }
    if (!texts.size) return cells;
    const [text, before] = [texts.get(configuration.id), oldTexts.get(configuration.id)];
    if (!text) return [...cells, NONE, NONE];
    if (text.failed) return [...cells, "failed", NONE];
    return [
      ...cells,
      [`${text.errors} of ${text.words}`, old && change(text.errors, before?.errors, String)],
      [fixed(3)(text.mean_logprob), old && change(text.mean_logprob, before?.mean_logprob, fixed(3))],
    ];
  });
  return [table("Overview", heads, rows, "overview"), transcripts(), notes()];
}

const isNew = (id) => old && !old.configurations.some((configuration) => configuration.id === id);
const named = (id) => make("span", { class: "configuration" }, id);

// Both times of a whole run.
function runTime(run, before) {
  const { measured_ms: measured, predicted_ms: predicted } = run.totals.time;
  return [
    known(measured) &&
      make(
        "div",
        {},
        milliseconds(measured),
        hidden(" ms measured"),
        old && change(measured, before?.totals.time.measured_ms, milliseconds, sameSpread(run, before)),
      ),
    known(predicted) &&
      make(
        "div",
        { class: "predicted" },
        milliseconds(predicted),
        hidden(" ms predicted"),
        old && change(predicted, before?.totals.time.predicted_ms, milliseconds),
      ),
    !known(measured) && !known(predicted) && NONE,
  ];
}

function transcripts() {
  if (!now.transcripts.length) return null;
  const same = now.transcripts.every(({ text, failed }) => !failed && text === now.transcripts[0].text);
  const lines = same
    ? [["every configuration", now.transcripts[0]]]
    : now.transcripts.map((one) => [one.configuration, one]);
  return make(
    "details",
    { open: now.transcripts[0].text?.length < 400 },
    make("summary", {}, "Transcripts"),
    make(
      "dl",
      { class: "texts" },
      lines.map(([name, { text, failed, language }]) =>
        make(
          "div",
          {},
          make("dt", {}, name),
          make("dd", { lang: language }, failed ? `failed: ${failed}` : text.trim()),
        ),
      ),
    ),
  );
}

function notes() {
  const found = [...notInBoth(), ...now.notes];
  return found.length
    ? make(
        "ul",
        { class: "notes", id: "notes" },
        found.map((note) => make("li", {}, note)),
      )
    : null;
}

// What a graph takes under each configuration.
function totals(graph) {
  const ran = graph.runs.filter(({ failed }) => !failed);
  const predicted = ran.some(isPredicted);
  const most = Math.max(0, ...ran.map(({ totals: { time } }) => long(add(nothing(), time))));
  const onNpu = ran.some((run) => run.totals.gflop_npu > 0);
  const heads = [
    "Configuration",
    "#Measured, ms",
    ...(predicted ? ["#Predicted, ms"] : []),
    "Time by place",
    "#Work on the provider",
    "#Nodes, provider / CPU",
    "#Into it, out of it",
    "#Relative L2, cosine",
  ];
  const rows = graph.runs.map((run) => {
    if (run.failed)
      return [named(run.configuration), make("td", { colspan: heads.length - 1 }, `failed: ${run.failed}`)];
    const sum = run.totals;
    const before = oldRun(graph, run.configuration);
    const than = before?.totals;
    const beside = (value, earlier, digits, same) => old && change(value, earlier, digits, same);
    const worst = worstOutput(run);
    const worstBefore = before && worstOutput(before);
    // In percent.
    const share = (one) => (one?.gflop > 0 ? (100 * one.gflop_provider) / one.gflop : undefined);
    return [
      named(run.configuration),
      [
        milliseconds(sum.time.measured_ms),
        sum.range_ms && small(`${milliseconds(sum.range_ms[0])} to ${milliseconds(sum.range_ms[1])}`),
        beside(sum.time.measured_ms, than?.time.measured_ms, milliseconds, sameSpread(run, before)),
      ],
      ...(predicted
        ? [
            make(
              "td",
              { class: "number predicted" },
              milliseconds(sum.time.predicted_ms),
              beside(sum.time.predicted_ms, than?.time.predicted_ms, milliseconds),
            ),
          ]
        : []),
      bar(byPlace(run.operators), most),
      [
        percent(sum.gflop_provider, sum.gflop),
        small(`${sum.gflop_provider.toFixed(2)} of ${sum.gflop.toFixed(2)} GFLOP`),
        onNpu && small(`${percent(sum.gflop_npu, sum.gflop)} on an NPU`),
        beside(share(sum), share(than), (value) => (known(value) ? `${value.toFixed(1)} %` : NONE)),
      ],
      [`${sum.nodes_provider} / ${sum.nodes_cpu_provider}`, beside(sum.nodes_provider, than?.nodes_provider, String)],
      [
        bytes(sum.bytes_in),
        make("div", {}, bytes(sum.bytes_out)),
        beside(sum.bytes_in + sum.bytes_out, than && than.bytes_in + than.bytes_out, bytes),
      ],
      [
        scientific(worst?.relative_l2),
        small(cosines(worst?.cosine)),
        beside(worst?.relative_l2, worstBefore?.relative_l2, scientific),
      ],
    ];
  });
  return [
    table(`Totals of ${graph.name}`, heads, rows, "totals"),
    old &&
      make(
        "p",
        { class: "faint" },
        "▼ lower and ▲ higher than in the baseline; stressed where the ranges of the runs do not meet. What has no " +
          "mark is the same, or not in the baseline.",
      ),
    make(
      "p",
      { class: "faint" },
      predicted &&
        "Where a part is predicted, a run is the sum of both columns: what the NPU is predicted to take, and what " +
          "this machine’s processor took for the rest. ",
      "“Into it, out of it” are bytes that cross the border from ONNX Runtime into the provider’s fused nodes, and " +
        "back, in a run. Accuracy is that of the worst output, against the reference.",
    ),
  ];
}

// The output that is farthest from the reference's.
function worstOutput(run) {
  return run.accuracy.outputs.reduce(
    (worst, one) => (!worst || (one.relative_l2 ?? -1) > (worst.relative_l2 ?? -1) ? one : worst),
    null,
  );
}
