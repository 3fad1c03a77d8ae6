"use strict";
// Puts the page together: a tab for each graph, all of them in print.

function graphPanel(graph, index) {
  const content = [
    make("h2", {}, graph.name),
    section("Totals", totals(graph)),
    section(
      "Where each node runs",
      make(
        "p",
        { class: "faint" },
        "Background: where nodes ran. Bars: their time, to one scale. Layers with the same letter have the same " +
          "operators; ≠ stands where one of them ran otherwise than most. Lines at the left are tensors between rows.",
      ),
      graphView(graph),
    ),
    old && section("What moved since the baseline", movedTable(graph)),
    section("Time by operator", operatorsView(graph)),
    section("Timeline of one run", timelineView(graph)),
    section("Accuracy", accuracyView(graph)),
    section("Left on the CPU provider", leftTable(graph)),
    section("Fused nodes", partsTable(graph)),
    section("Energy, inputs, notes", restTables(graph)),
  ];
  return make(
    "div",
    {
      id: `graph-${index}`,
      class: "panel-of-graph",
      role: "tabpanel",
      "aria-labelledby": `tab-${index}`,
      hidden: index > 0,
    },
    content.flat(Infinity).filter(Boolean),
  );
}

function start() {
  document.getElementById("main").append(make("section", { "aria-label": "Overview" }, legend(), overview()));
  head();
  const panels = now.graphs.map(graphPanel);
  const tabs = now.graphs.map((graph, index) =>
    make(
      "button",
      {
        type: "button",
        role: "tab",
        id: `tab-${index}`,
        "aria-controls": `graph-${index}`,
        "aria-selected": String(index === 0),
        tabindex: index ? "-1" : "0",
        onclick: () => select(index),
      },
      graph.name,
    ),
  );
  // What is hidden has no size: it is drawn when it is seen.
  const redraw = (panel) => panel.querySelectorAll(".graph, .timeline, .curve").forEach((view) => view.draw());
  const select = (chosen) => {
    tabs.forEach((tab, index) => {
      tab.setAttribute("aria-selected", String(index === chosen));
      tab.setAttribute("tabindex", index === chosen ? "0" : "-1");
      panels[index].hidden = index !== chosen;
    });
    redraw(panels[chosen]);
  };
  const list = make("div", { role: "tablist", "aria-label": "Graphs", class: "tabs" }, tabs);
  list.addEventListener("keydown", (event) => {
    const at = tabs.indexOf(document.activeElement);
    const to = {
      ArrowRight: (at + 1) % tabs.length,
      ArrowLeft: (at + tabs.length - 1) % tabs.length,
      Home: 0,
      End: tabs.length - 1,
    }[event.key];
    if (to === undefined) return;
    event.preventDefault();
    select(to);
    tabs[to].focus();
  });
  document
    .getElementById("main")
    .append(make("div", { id: "graphs", tabindex: "-1" }, tabs.length > 1 && list, panels), saveLink());
  if (panels.length) redraw(panels[0]);
  document.addEventListener("keydown", ({ key }) => key === "Escape" && tip.hide());
  document.addEventListener("scroll", () => tip.hide(), { passive: true });
  window.addEventListener("beforeprint", () => print(true));
  window.addEventListener("afterprint", () => print(false));
  // Printed, tabs are chapters, and what is folded by the browser is open.
  const print = (on) => {
    tip.hide();
    panels.forEach((panel, index) => {
      panel.hidden = !on && tabs[index].getAttribute("aria-selected") !== "true";
    });
    document.querySelectorAll("details").forEach((folded) => {
      if (on) {
        folded.dataset.open = folded.open;
        folded.open = true;
      } else folded.open = folded.dataset.open === "true";
    });
    document.querySelectorAll(".graph").forEach((view) => view.print(on));
    panels.forEach(redraw);
  };
}

// The data as a file, for `--baseline` of a later page.
function saveLink() {
  const save = () => {
    const link = make("a", {
      href: URL.createObjectURL(new Blob([JSON.stringify(now)], { type: "application/json" })),
      download: `${now.model.replace(/[^\w.-]+/g, "-")}.json`,
    });
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 1000);
  };
  return make(
    "p",
    { class: "buttons save" },
    make("button", { type: "button", onclick: save }, "Save the data (JSON)"),
    make("span", { class: "faint" }, " for undertone partition --baseline"),
  );
}

start();
