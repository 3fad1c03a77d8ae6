"use strict";
// What all parts of the page use: the data, elements, figures as text, the tooltip, moving with the arrow keys.

// Lists of objects are stored by columns, and lists of words that repeat as indices: a third of the size.
function unpacked(value) {
  if (Array.isArray(value)) return value.map(unpacked);
  if (value === null || typeof value !== "object") return value;
  if (value.words && value.at) return value.at.map((index) => value.words[index]);
  if (value.columns && "rows" in value) {
    const rows = Array.from({ length: value.rows }, () => ({}));
    for (const [name, column] of Object.entries(value.columns)) {
      // What is null is left out: every reader takes it as absent.
      unpacked(column).forEach((cell, row) => {
        if (cell !== null) rows[row][name] = cell;
      });
    }
    return rows;
  }
  return Object.fromEntries(Object.entries(value).map(([name, part]) => [name, unpacked(part)]));
}

// `now` is the comparison, `old` the older one that it is set beside, or null.
const { now, old } = unpacked(JSON.parse(document.getElementById("report").textContent));

// An element. Texts are never read as HTML: names in models may hold anything.
function make(tag, attributes = {}, ...children) {
  return fill(document.createElement(tag), attributes, children);
}

function draw(tag, attributes = {}, ...children) {
  return fill(document.createElementNS("http://www.w3.org/2000/svg", tag), attributes, children);
}

function fill(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (value === undefined || value === null || value === false) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (name === "style")
      for (const [property, setting] of Object.entries(value)) element.style.setProperty(property, setting);
    else element.setAttribute(name, value === true ? "" : value);
  }
  element.append(
    ...children.flat(Infinity).filter((child) => child !== null && child !== undefined && child !== false),
  );
  return element;
}

const small = (...children) => make("small", {}, ...children);
const hidden = (text) => make("span", { class: "hidden" }, text);

// Figures as text. A column has one number of decimals, so that its points stand below each other.
const NONE = "–";
const known = (value) => value !== null && value !== undefined;
const fixed = (digits) => (value) => (known(value) ? value.toFixed(digits).replace("-", "−") : NONE);
const milliseconds = fixed(2);
const fine = fixed(3);
const percent = (part, whole) => (whole > 0 ? `${((100 * part) / whole).toFixed(1)} %` : NONE);
const scientific = (value) => (!known(value) ? NONE : value === 0 ? "0" : value.toExponential(2).replace("-", "−"));
const cosines = fixed(6);
const plural = (count, word) => `${count} ${word}${count === 1 ? "" : "s"}`;

function bytes(count) {
  if (!known(count)) return NONE;
  if (count < 1e4) return `${count} B`;
  return count < 1e7 ? `${(count / 1e3).toFixed(0)} kB` : `${(count / 1e6).toFixed(1)} MB`;
}

// Places and tracks: the class that colours them, and the short word that stands in cells.
const PLACES = {
  "cpu provider": ["cpu", "CPU"],
  host: ["host", "host"],
  sim: ["npu", "sim"],
  npu: ["npu", "NPU"],
  packing: ["packing", "packing"],
};
const colourOf = (place) => (PLACES[place] ?? ["other"])[0];
const shortOf = (place) => (PLACES[place] ?? ["", place])[1];

// Times. Measured and predicted ones are summed apart.
const nothing = () => ({ measured: 0, predicted: 0 });

function add(sum, time) {
  sum.measured += time?.measured_ms ?? 0;
  sum.predicted += time?.predicted_ms ?? 0;
  return sum;
}

const long = (time) => time.measured + time.predicted;

function timeSpoken(time, digits = fine) {
  const parts = [];
  if (time.measured > 0 || time.predicted === 0) parts.push(`${digits(time.measured)} ms measured`);
  if (time.predicted > 0) parts.push(`${digits(time.predicted)} ms predicted`);
  return parts.join(", ");
}

// `7.910`, and what is predicted apart and slanted, in a column of its own where there is `room` for one.
function timeShown(time, room = time.predicted > 0) {
  return [
    make("span", {}, time.measured > 0 || time.predicted === 0 ? fine(time.measured) : null),
    room && make("i", { class: "predicted" }, time.predicted > 0 ? fine(time.predicted) : null),
  ];
}

const isPredicted = (run) => known(run.totals.time.predicted_ms);

// A bar of pieces `[place, time]` to the scale of `most` milliseconds: measured is filled, predicted hatched.
function bar(pieces, most, className = "bar") {
  const width = (value) => ({ width: `${most > 0 ? (100 * value) / most : 0}%` });
  return make(
    "span",
    { class: className, "aria-hidden": "true" },
    pieces.flatMap(([place, time]) => [
      time.measured > 0 && make("span", { class: `fill ${colourOf(place)}`, style: width(time.measured) }),
      time.predicted > 0 && make("span", { class: `fill hatched ${colourOf(place)}`, style: width(time.predicted) }),
    ]),
  );
}

// Time of operators by place, in a steady order.
function byPlace(operators) {
  const sums = new Map();
  for (const operator of operators) {
    if (!sums.has(operator.place)) sums.set(operator.place, nothing());
    add(sums.get(operator.place), operator.time);
  }
  const order = Object.keys(PLACES);
  return [...sums].sort(([a], [b]) => order.indexOf(a) - order.indexOf(b));
}

// What a figure was in the older run, and by how much it is lower (▼) or higher (▲) now; nothing where both are the
// same. Differences that are `faint` are not stressed: no more than runs differ among themselves.
function change(value, before, digits, faint = false) {
  if (!known(before) || digits(value) === digits(before)) return null;
  const was = `was ${digits(before)}`;
  if (!known(value)) return small(was);
  const lower = value < before;
  const by = before !== 0 && ` ${(100 * Math.abs(value / before - 1)).toFixed(1)} %`;
  return make(
    "small",
    { class: faint ? "change" : "change stressed" },
    was,
    " ",
    make("span", { "aria-hidden": "true" }, lower ? "▼" : "▲"),
    hidden(lower ? "lower by" : "higher by"),
    by,
  );
}

// Single operators have no spread of their own: less than this part is not stressed.
const slight = (value, before) => Math.abs(value - before) < 0.05 * before;

// The same of both times of something, each by itself.
function timeChanges(time, was) {
  const one = (part) => change(time[part] || null, was[part] || null, fine, slight(time[part], was[part]));
  const predicted = one("predicted");
  return [one("measured"), predicted && make("i", { class: "predicted" }, predicted)];
}

// A word of several parts, which may end a line after each.
const breakable = (word) =>
  word.split(/(?<=\+)|(?<=[a-z])(?=[A-Z])/).flatMap((part, index) => (index ? [make("wbr"), part] : [part]));

// The table of a section; wide ones scroll by themselves, also by the keyboard.
function table(label, heads, rows, className = "") {
  const head = heads.map((title) =>
    make("th", { scope: "col", class: title.startsWith("#") && "number" }, title.replace(/^#/, "")),
  );
  const body = rows.map((cells) =>
    make(
      "tr",
      {},
      cells.map((cell, column) => {
        if (cell instanceof HTMLTableCellElement) return cell;
        if (column === 0) return make("th", { scope: "row" }, cell);
        return make("td", { class: heads[column].startsWith("#") && "number" }, cell);
      }),
    ),
  );
  return make(
    "div",
    { class: `wide ${className}`, tabindex: "0", role: "region", "aria-label": label },
    make("table", {}, make("thead", {}, make("tr", {}, head)), make("tbody", {}, body)),
  );
}

// A section with a heading of the third rank.
function section(title, ...content) {
  return make("section", {}, make("h3", {}, title), ...content);
}

// One tooltip for all figures, which is also what a screen reader says.
const tip = {
  element: document.getElementById("tip"),
  spoken: document.getElementById("spoken"),
  // `lines` are texts or `[name, text]`; `at` is what it stands beside, a rectangle of the window.
  show(title, lines, at, aloud = false) {
    const rows = lines
      .filter(Boolean)
      .map((line) =>
        Array.isArray(line)
          ? make("div", {}, make("dt", {}, line[0]), make("dd", {}, line[1]))
          : make("div", {}, make("dd", { class: "whole" }, line)),
      );
    this.element.replaceChildren(make("strong", {}, title), make("dl", {}, rows));
    this.element.hidden = false;
    const { width, height } = this.element.getBoundingClientRect();
    const left = Math.min(Math.max(8, at.left), document.documentElement.clientWidth - width - 8);
    const below = at.bottom + 8 + height < window.innerHeight;
    this.element.style.left = `${Math.max(8, left)}px`;
    this.element.style.top = `${below ? at.bottom + 8 : Math.max(8, at.top - height - 8)}px`;
    if (aloud)
      this.spoken.textContent = [title, ...lines.filter(Boolean).map((line) => [line].flat().join(": "))].join("; ");
  },
  hide() {
    this.element.hidden = true;
  },
};

// Rows of which one is in the tab order; the arrows go among them, right and Enter unfold, left folds.
function walkable(container, { toggle, cells = () => [] }) {
  const rows = () =>
    [...container.querySelectorAll('[role="row"][aria-level]')].filter((row) => row.offsetParent !== null);
  const focus = (target) => {
    if (!target) return;
    container.querySelectorAll('[tabindex="0"]').forEach((other) => other.setAttribute("tabindex", "-1"));
    target.setAttribute("tabindex", "0");
    target.focus();
  };
  container.addEventListener("focusin", ({ target }) => {
    if (target.getAttribute("tabindex") === "-1") focus(target);
  });
  container.addEventListener("click", ({ target }) => {
    const row = target.closest('[role="row"][aria-expanded]');
    if (row) {
      toggle(row);
      focus(row);
    }
  });
  container.addEventListener("keydown", (event) => {
    const row = event.target.closest('[role="row"]');
    if (!row || event.ctrlKey || event.altKey || event.metaKey) return;
    const all = rows(),
      place = all.indexOf(row);
    const inner = cells(row),
      cell = inner.indexOf(event.target);
    const expanded = row.getAttribute("aria-expanded");
    const up = () =>
      all
        .slice(0, place)
        .reverse()
        .find((other) => Number(other.getAttribute("aria-level")) < Number(row.getAttribute("aria-level")));
    const to = (target) => (cell >= 0 && target ? (cells(target)[cell] ?? target) : target);
    const done = {
      ArrowDown: () => focus(to(all[place + 1])),
      ArrowUp: () => focus(to(all[place - 1])),
      Home: () => focus(all[0]),
      End: () => focus(all.at(-1)),
      Enter: () => expanded && toggle(row),
      " ": () => expanded && toggle(row),
      ArrowRight: () => (cell < 0 && expanded === "false" ? toggle(row) : focus(inner[cell + 1])),
      ArrowLeft: () =>
        cell >= 0 ? focus(cell > 0 ? inner[cell - 1] : row) : expanded === "true" ? toggle(row) : focus(up()),
    }[event.key];
    if (done) {
      event.preventDefault();
      done();
    }
  });
}
