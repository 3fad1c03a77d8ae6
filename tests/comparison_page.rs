//! The page of `undertone partition --format html` in a browser: what it shows is what the JSON holds, it is reached with
//! the keyboard, it fits a phone, and it asks for nothing from elsewhere.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

mod common;
#[path = "comparison_page/fixture.rs"]
mod fixture;
// The form itself, so that what the tests write is what the command reads.
#[allow(dead_code, reason = "the page's reader is what is tested")]
#[path = "../src/compare/report.rs"]
mod report;

use common::browser::Browser;
use report::{Comparison, GraphComparison, GraphRun, Time};

/// The page that the command makes.
fn page(home: &Path, comparison: &Comparison, baseline: Option<&Comparison>) -> PathBuf {
    let write = |name: &str, comparison: &Comparison| {
        let path = home.join(name);
        fs::write(&path, serde_json::to_string(comparison).unwrap()).unwrap();
        path
    };
    let mut command = common::undertone();
    command.args(["partition", "--format", "html", "--from"]).arg(write("new.json", comparison));
    if let Some(baseline) = baseline {
        command.arg("--baseline").arg(write("old.json", baseline));
    }
    let page = home.join("page.html");
    fs::write(&page, common::stdout_of(&mut command)).unwrap();
    page
}

/// A browser that has opened the page, without complaint and without asking for anything else.
fn opened(home: &Path, comparison: &Comparison, baseline: Option<&Comparison>) -> Option<Browser> {
    let page = page(home, comparison, baseline);
    let mut browser = Browser::open("the page of a comparison in a browser")?;
    browser.size(1280, 900);
    browser.go(&page);
    assert_eq!(browser.problems(), [""; 0]);
    Some(browser)
}

/// Texts of what a selector finds, each with its inner parts' texts, in lines as they are shown. Rows out of sight are not
/// laid out, and have no lines.
fn texts(browser: &mut Browser, rows: &str, cells: &str) -> Vec<Vec<String>> {
    let expression = format!(
        "[...document.querySelectorAll({})].map((row) => [...row.querySelectorAll({})].map((cell) => (cell.innerText || cell.textContent).trim()))",
        json!(rows),
        json!(cells)
    );
    serde_json::from_value(browser.value(&expression)).unwrap()
}

/// That the text is the figure, to the text's own number of decimals.
#[track_caller]
fn assert_shows(text: &str, figure: Option<f64>) {
    let Some(figure) = figure else {
        assert_eq!(text, "–");
        return;
    };
    let plain = text.replace('−', "-");
    let shown: f64 = plain.parse().unwrap_or_else(|_| panic!("{text} is no figure; {figure} is"));
    let (mantissa, exponent) = plain.split_once('e').unwrap_or((&plain, "0"));
    let decimals = mantissa.split_once('.').map_or(0, |(_, decimals)| decimals.len());
    let unit = 10_f64.powi(exponent.parse::<i32>().unwrap() - i32::try_from(decimals).unwrap());
    assert!((shown - figure).abs() <= 0.5001 * unit, "{text} is not {figure}");
}

/// Sums of measured and predicted times, `None` where none of them is known.
fn sum<'a>(times: impl Iterator<Item = &'a Time> + Clone) -> [Option<f64>; 2] {
    let of = |part: fn(&Time) -> Option<f64>| times.clone().filter_map(part).reduce(|a, b| a + b);
    [of(|time| time.measured_ms), of(|time| time.predicted_ms)]
}

/// The figures of a cell that has a place for what is measured and one for what is predicted.
#[track_caller]
fn assert_times(cell: &[String], [measured, predicted]: [Option<f64>; 2]) {
    let shown = |part: &Option<f64>| part.filter(|part| *part > 0.0);
    if shown(&measured).is_some() || shown(&predicted).is_none() {
        assert_shows(&cell[0], measured.or(Some(0.0)));
    } else {
        assert_eq!(cell[0], "");
    }
    match shown(&predicted) {
        Some(predicted) => assert_shows(&cell[1], Some(predicted)),
        None => assert!(cell.get(1).is_none_or(String::is_empty), "{cell:?}"),
    }
}

fn ran(graph: &GraphComparison) -> Vec<&GraphRun> {
    graph.runs.iter().filter(|run| run.failed.is_none()).collect()
}

#[test]
fn the_figures_are_those_of_the_json() {
    let home = tempfile::tempdir().unwrap();
    let comparison = fixture::comparison(1);
    let Some(mut browser) = opened(home.path(), &comparison, None) else { return };
    let requests = browser.requests();
    assert!(requests.len() == 1 && requests[0].ends_with("page.html"), "{requests:?}");
    // Names are texts, whatever they hold.
    assert_eq!(browser.value("document.querySelectorAll('img, body script[src], iframe, link').length"), 0);
    assert_eq!(
        browser.value("document.querySelector('h1').textContent"),
        format!("{}: where its graphs run", comparison.model)
    );
    let facts = browser.value("document.querySelector('.facts').textContent");
    for fact in ["test machine, 2 threads", "ONNX Runtime 1.32.0", "2026-11-28 18:00 UTC", "seed 1", "against cpu f32"]
    {
        assert!(facts.as_str().unwrap().contains(fact), "{fact} is not in {facts}");
    }

    for (index, graph) in comparison.graphs.iter().enumerate() {
        browser.click(&format!("document.querySelectorAll('[role=tab]')[{index}]"));
        let panel = format!("#graph-{index}");
        assert_eq!(browser.value(&format!("document.querySelector('{panel}').offsetParent !== null")), true);
        totals(&mut browser, &panel, graph);
        operators(&mut browser, &panel, graph);
        layers(&mut browser, &panel, graph);
        tables(&mut browser, &panel, graph);
    }
    // The words of each configuration, and the reason of a graph that failed.
    let overview = texts(&mut browser, ".overview tbody tr", "th, td");
    for (row, transcript) in overview.iter().zip(&comparison.transcripts) {
        assert!(row[0].starts_with(&transcript.configuration), "{row:?}");
        assert_eq!(row[row.len() - 2], format!("{} of {}", transcript.errors, transcript.words));
    }
    let failed = browser.value("document.querySelector('#graph-1 .totals').innerText");
    assert!(failed.as_str().unwrap().contains("failed: an <i>odd</i> reason"), "{failed}");
    assert_eq!(browser.problems(), [""; 0]);
}

fn totals(browser: &mut Browser, panel: &str, graph: &GraphComparison) {
    let rows = texts(browser, &format!("{panel} .totals tbody tr"), "th, td");
    assert_eq!(rows.len(), graph.runs.len());
    for (row, run) in rows.iter().zip(&graph.runs).filter(|(_, run)| run.failed.is_none()) {
        assert_eq!(row[0], run.configuration);
        let lines: Vec<&str> = row[1].lines().collect();
        assert_shows(lines[0], run.totals.time.measured_ms);
        if let Some([low, high]) = run.totals.range_ms {
            let (first, last) = lines[1].split_once(" to ").unwrap();
            assert_shows(first, Some(low));
            assert_shows(last, Some(high));
        }
        assert_shows(&row[2], run.totals.time.predicted_ms);
        assert!(
            row[4].starts_with(&format!("{:.1} %", 100.0 * run.totals.gflop_provider / run.totals.gflop)),
            "{row:?}"
        );
        assert_eq!(row[5], format!("{} / {}", run.totals.nodes_provider, run.totals.nodes_cpu_provider));
        let worst = run.accuracy.outputs[0].relative_l2;
        assert_shows(row[7].lines().next().unwrap(), worst);
    }
}

/// Kinds, and what they unfold to.
fn operators(browser: &mut Browser, panel: &str, graph: &GraphComparison) {
    for (index, run) in ran(graph).into_iter().enumerate() {
        let list = format!("{panel} .panel:nth-of-type({}) .operators", index + 1);
        let kinds = texts(browser, &format!("{list} .level-1"), "[role=rowheader], .figures > *");
        let of = |kind: &str| {
            let of_kind = run.operators.iter().filter(|operator| operator.kind == kind);
            of_kind.map(|operator| &operator.time).collect::<Vec<_>>()
        };
        assert!(!kinds.is_empty());
        let mut counted = 0;
        for row in &kinds {
            let (kind, count) = row[0].split_once(" × ").unwrap();
            assert_eq!(of(kind).len(), count.parse::<usize>().unwrap(), "{kind}");
            assert_times(&row[1..], sum(of(kind).into_iter()));
            counted += of(kind).len();
        }
        assert_eq!(counted, run.operators.len());
        // The longest comes first, and unfolds by a click.
        browser.click(&format!("document.querySelector('{list} .level-1')"));
        let kind = kinds[0][0].split(" × ").next().unwrap();
        let rows = texts(browser, &format!("{list} .level-2"), ".name, .figures > *");
        assert_eq!(rows.len(), of(kind).len());
        for row in rows {
            let operator = run.operators.iter().find(|operator| operator.name == row[0]).unwrap();
            assert_times(&row[1..], [operator.time.measured_ms, operator.time.predicted_ms]);
        }
        browser.click(&format!("document.querySelector('{list} .level-1')"));
        assert_eq!(texts(browser, &format!("{list} .level-2"), "b").len(), 0);
    }
}

/// Layers, folded and unfolded.
fn layers(browser: &mut Browser, panel: &str, graph: &GraphComparison) {
    let rows = texts(browser, &format!("{panel} .graph .group"), "[role=rowheader] b");
    let runs = ran(graph);
    let mut seen = 0;
    for (index, row) in rows.iter().enumerate() {
        let Some(layer) = graph.layers.iter().position(|layer| layer.name == row[0]) else { continue };
        seen += 1;
        let element = format!("document.querySelectorAll('{panel} .graph .group')[{index}]");
        for (column, run) in runs.iter().enumerate() {
            let expression = format!(
                "[...{element}.children[{}].querySelectorAll('.figures > *')].map((part) => part.textContent)",
                column + 1
            );
            let cell: Vec<String> = serde_json::from_value(browser.value(&expression)).unwrap();
            assert_times(
                &cell,
                sum(run
                    .operators
                    .iter()
                    .filter(|operator| operator.layer == Some(layer))
                    .map(|operator| &operator.time)),
            );
        }
        browser.click(&element);
        let nodes = texts(browser, &format!("{panel} .graph .node"), "[role=rowheader] b, [role=rowheader] .name");
        let expected: Vec<_> = graph.nodes.iter().filter(|node| node.layer == Some(layer)).collect();
        assert_eq!(nodes.len(), expected.len());
        for (shown, node) in nodes.iter().zip(expected) {
            assert!(shown[0] == node.op_type && node.name.ends_with(&shown[1]), "{shown:?} {}", node.name);
        }
        // Every operator's time stands once.
        for (column, run) in runs.iter().enumerate() {
            let expression = format!(
                "[...document.querySelectorAll('{panel} .graph .node')].map((row) => [...row.children[{}].querySelectorAll('.figures > *')].map((part) => part.textContent)).filter((cell) => cell.length)",
                column + 1
            );
            let cells: Vec<Vec<String>> = serde_json::from_value(browser.value(&expression)).unwrap();
            let operators: Vec<_> = run.operators.iter().filter(|operator| operator.layer == Some(layer)).collect();
            assert_eq!(cells.len(), operators.len(), "{} {}", run.configuration, row[0]);
            for (cell, operator) in cells.iter().zip(operators) {
                assert_times(cell, [operator.time.measured_ms, operator.time.predicted_ms]);
            }
        }
        browser.click(&element);
    }
    assert_eq!(seen, graph.layers.len());
}

/// What was left, fused nodes, tensors between layers, the timeline.
fn tables(browser: &mut Browser, panel: &str, graph: &GraphComparison) {
    let table = |browser: &mut Browser, label: &str| {
        texts(browser, &format!("{panel} [aria-label='{label}'] tbody tr"), "th, td")
    };
    let runs = ran(graph);
    let left = table(browser, "Left on the CPU provider");
    assert_eq!(left.len(), runs.iter().map(|run| run.unclaimed.len()).sum::<usize>());
    for row in &left {
        let run = runs.iter().find(|run| run.configuration == row[0]).unwrap();
        let one = run.unclaimed.iter().find(|one| one.op_type == row[1]).unwrap();
        assert_eq!((&row[2], row[3].parse()), (&one.reason, Ok(one.names.len())));
        assert_shows(&row[6], one.time.measured_ms);
    }
    let parts: Vec<_> = runs.iter().flat_map(|run| run.parts.iter().map(move |part| (run, part))).collect();
    let shown = table(browser, "Fused nodes");
    assert_eq!(shown.len(), parts.len());
    for (row, (run, part)) in shown.iter().zip(parts) {
        assert_eq!((&row[0], &row[1]), (&run.configuration, &part.name));
        assert_shows(&row[4], part.time.measured_ms);
        assert_shows(&row[5], part.time.predicted_ms);
    }
    browser.click(&format!("[...document.querySelectorAll('{panel} details summary')].find((summary) => summary.innerText.includes('as a table'))"));
    let tensors = table(browser, "Tensors between layers");
    assert_eq!(tensors.len(), runs[0].accuracy.inner.len());
    for (row, tensor) in tensors.iter().zip(0..) {
        for (cell, run) in row[1..].iter().zip(&runs) {
            let lines: Vec<&str> = cell.lines().collect();
            let tensor = &run.accuracy.inner[tensor];
            assert!(row[0].starts_with(&tensor.name));
            assert_shows(lines[0], tensor.relative_l2);
            assert_shows(lines[1], tensor.cosine);
            assert_shows(lines[2], tensor.largest_error);
        }
    }
    // All spans are wide enough to stand alone.
    let spans: usize = runs.iter().map(|run| run.timeline.spans.len()).sum();
    assert_eq!(browser.value(&format!("document.querySelectorAll('{panel} [data-span]').length")), spans);
    let predicted: usize = runs.iter().flat_map(|run| &run.timeline.spans).filter(|span| span.predicted).count();
    assert_eq!(browser.value(&format!("document.querySelectorAll('{panel} [data-span].hatched').length")), predicted);
    browser.value(&format!("document.querySelector('{panel} .timeline').focus({{ focusVisible: true }})"));
    browser.key("ArrowRight");
    let (operator, span) = {
        let run = runs[0];
        (&run.operators[run.timeline.spans[1].operator], &run.timeline.spans[1])
    };
    let said = browser.value("document.querySelector('#spoken').textContent");
    assert!(said.as_str().unwrap().contains(&format!("{} {}", operator.kind, operator.name)), "{said}");
    assert!(said.as_str().unwrap().contains(&format!("measured: {:.3} ms", span.ms)), "{said}");
    browser.key("+");
    assert!(
        browser.value(&format!("document.querySelectorAll('{panel} [data-span]').length")).as_u64().unwrap()
            < spans as u64
    );
}

#[test]
fn keys_theme_phone_and_print() {
    let home = tempfile::tempdir().unwrap();
    let comparison = fixture::comparison(2);
    let Some(mut browser) = opened(home.path(), &comparison, None) else { return };
    // Keys: the skip link first, then rows of the graph.
    browser.key("Tab");
    assert_eq!(browser.value("document.activeElement.className"), "skip");
    browser.value("document.querySelector('.graph [tabindex=\"0\"]').focus()");
    let state = "(({ activeElement: row }) => [row.querySelector('b').textContent, row.getAttribute('aria-expanded'), document.querySelectorAll('.graph .node').length])(document)";
    let first = comparison.graphs[0].nodes.iter().take_while(|node| node.layer.is_none()).count();
    assert_eq!(browser.value(state), json!(["before layers.0", "false", 0]));
    browser.key("ArrowRight");
    assert_eq!(browser.value(state), json!(["before layers.0", "true", first]));
    browser.key("ArrowDown");
    assert_eq!(browser.value(state)[1], Value::Null, "a node");
    browser.key("ArrowRight");
    let spoken = browser.value("document.querySelector('#spoken').textContent");
    assert!(spoken.as_str().unwrap().contains("configuration: cpu"), "{spoken}");
    assert_eq!(browser.value("document.querySelector('#tip').hidden"), false);
    browser.key("Escape");
    assert_eq!(browser.value("document.querySelector('#tip').hidden"), true);
    browser.key("ArrowLeft");
    browser.key("ArrowLeft");
    assert_eq!(browser.value(state), json!(["before layers.0", "true", first]), "the row that holds it");
    browser.key("Enter");
    assert_eq!(browser.value(state), json!(["before layers.0", "false", 0]));
    // One row is in the order of tabs, whichever it is.
    browser.key("End");
    assert_eq!(browser.value("document.querySelectorAll('.graph')[0].querySelectorAll('[tabindex=\"0\"]').length"), 1);
    // Kinds of operators by the same keys.
    browser.value("document.querySelector('.operators [tabindex=\"0\"]').focus()");
    browser.key("Enter");
    assert_ne!(browser.value("document.querySelectorAll('.operators .level-2').length"), 0);
    browser.key("ArrowLeft");
    assert_eq!(browser.value("document.querySelectorAll('.operators .level-2').length"), 0);
    // The curve.
    browser.value("document.querySelector('.curve').focus({ focusVisible: true })");
    browser.key("End");
    let last = comparison.graphs[0].runs[0].accuracy.inner.last().unwrap();
    assert!(browser.value("document.querySelector('#spoken').textContent").as_str().unwrap().starts_with(&last.name));
    // Tabs.
    browser.value("document.querySelector('[role=tab]').focus()");
    browser.key("ArrowRight");
    assert_eq!(browser.value("document.querySelector('[role=tabpanel]:not([hidden])').id"), "graph-1");
    browser.key("ArrowLeft");

    // Themes: the system's, and the one that is chosen.
    let back = |browser: &mut Browser| browser.value("getComputedStyle(document.body).backgroundColor");
    browser.scheme("light");
    let light = back(&mut browser);
    browser.picture("light.png");
    browser.scheme("dark");
    let dark = back(&mut browser);
    browser.picture("dark.png");
    assert_ne!(light, dark);
    let choose = |theme: &str| {
        format!(
            "(({{ theme }}) => {{ theme.value = '{theme}'; theme.dispatchEvent(new Event('change')); }})({{ theme: document.querySelector('#theme') }})"
        )
    };
    browser.value(&choose("light"));
    assert_eq!(back(&mut browser), light);
    browser.value(&choose("auto"));
    assert_eq!(back(&mut browser), dark);

    // Printed, all graphs are there, with one layer of each pattern unfolded; then it is as before.
    let counts = "[[...document.querySelectorAll('[role=tabpanel]')].filter((panel) => !panel.hidden).length, document.querySelectorAll('.graph .node').length, document.querySelectorAll('details:not([open])').length]";
    let before = browser.value(counts);
    browser.value("window.dispatchEvent(new Event('beforeprint'))");
    let printed = browser.value(counts);
    assert_eq!([&printed[0], &printed[2]], [&json!(2), &json!(0)], "{printed}");
    assert!(printed[1].as_u64() > Some(0), "{printed}");
    browser.value("window.dispatchEvent(new Event('afterprint'))");
    assert_eq!(browser.value(counts), before);
    let pdf = browser.call("Page.printToPDF", &json!({ "printBackground": true, "preferCSSPageSize": true }));
    assert!(pdf["data"].as_str().unwrap().len() > 10_000);

    phone(&mut browser);
    assert_eq!(browser.problems(), [""; 0]);
}

/// Nothing sticks out of a window of 400 pixels.
fn phone(browser: &mut Browser) {
    browser.size(400, 800);
    let tabs = browser.value("document.querySelectorAll('[role=tab]').length").as_u64().unwrap();
    for tab in 0..tabs {
        browser.click(&format!("document.querySelectorAll('[role=tab]')[{tab}]"));
        browser.value(&format!(
            "document.querySelectorAll('#graph-{tab} [role=row][aria-expanded=false]').forEach((row) => row.click())"
        ));
        assert_eq!(
            browser.value("[document.documentElement.scrollWidth, window.innerWidth]"),
            json!([400, 400]),
            "tab {tab}"
        );
    }
    browser.picture("phone.png");
}

#[test]
fn two_runs_beside_each_other() {
    let home = tempfile::tempdir().unwrap();
    let new = fixture::comparison(3);
    let old = fixture::older(&new);
    let Some(mut browser) = opened(home.path(), &new, Some(&old)) else { return };
    let notes = browser.value("document.querySelector('#notes').innerText");
    for note in [
        "Only in this run: configuration sim:npu1:int8.",
        "Only in the baseline: configuration host:bf16.",
        "Only in the baseline: graph joint.",
    ] {
        assert!(notes.as_str().unwrap().contains(note), "{note} is not in {notes}");
    }
    let rows = texts(&mut browser, "#graph-0 .totals tbody tr", "td:nth-child(2) .change");
    let was = |run: usize, configuration: &str| {
        let old = old.graphs[0].runs.iter().find(|run| run.configuration == configuration).unwrap();
        let (new, old) =
            (new.graphs[0].runs[run].totals.time.measured_ms.unwrap(), old.totals.time.measured_ms.unwrap());
        let words: Vec<&str> = rows[run][0].split_whitespace().collect();
        assert_eq!((words[0], words[2]), ("was", if new < old { "▼" } else { "▲" }), "{rows:?}");
        assert_shows(words[1], Some(old));
        let at = words.iter().position(|word| *word == "%").unwrap();
        assert_shows(words[at - 1], Some(100.0 * (new / old - 1.0).abs()));
    };
    was(0, "cpu");
    was(1, "host:int8");
    assert!(rows[2].is_empty(), "what is not in the baseline has no difference");
    // A difference within the runs' own spread is not stressed, a greater one is.
    let stressed = browser.value("[...document.querySelectorAll('#graph-0 .totals td:nth-child(2) .change')].map((change) => change.classList.contains('stressed'))");
    assert_eq!(stressed, json!([false, true]));
    // Kinds of operators, each with what it was.
    let kinds = texts(&mut browser, "#graph-0 .panel:nth-of-type(2) .level-1", "[role=rowheader], .beside .change");
    assert!(!kinds.is_empty());
    for row in kinds {
        let kind = row[0].split(" × ").next().unwrap();
        let operators = old.graphs[0].runs[1].operators.iter().filter(|operator| operator.kind == kind);
        assert_shows(row[1].split_whitespace().nth(1).unwrap(), sum(operators.map(|operator| &operator.time))[0]);
        assert!(row[1].contains('▼') && row[1].ends_with("33.3 %"), "{row:?}");
    }
    let moved = texts(&mut browser, "#graph-0 [aria-label='Nodes that moved'] tbody tr", "th, td");
    assert_eq!(moved.len(), 1, "{moved:?}");
    assert_eq!(moved[0][..4], ["host:int8", "cpu provider", "host", "1"].map(str::to_owned));
    let left = texts(&mut browser, "#graph-0 [aria-label='Left on the CPU provider'] tbody tr", "td:nth-child(2)");
    let left: Vec<String> = left.concat();
    assert!(left.contains(&"Erf in the baseline alone".to_owned()) && left.contains(&"Shape".to_owned()), "{left:?}");
    let tracks = texts(&mut browser, "#graph-0 .track.first", "b").concat();
    assert_eq!(tracks, ["cpu", "cpu, baseline", "host:int8", "host:int8, baseline", "sim:npu1:int8"]);
    browser.picture("baseline.png");
    phone(&mut browser);
    assert_eq!(browser.problems(), [""; 0]);
}

#[test]
fn a_graph_of_thousands_of_nodes_is_folded() {
    let home = tempfile::tempdir().unwrap();
    let comparison = fixture::long(6000);
    let Some(mut browser) = opened(home.path(), &comparison, None) else { return };
    assert_eq!(browser.value("document.querySelectorAll('.graph .group').length"), 60);
    assert_eq!(browser.value("document.querySelectorAll('.graph .node').length"), 0);
    assert!(
        browser.value("document.querySelectorAll('[data-span]').length").as_u64() < Some(4000),
        "thin spans are one"
    );
    browser.click("document.querySelector('.graph .group')");
    assert_eq!(browser.value("document.querySelectorAll('.graph .node').length"), 100);
    assert_eq!(browser.problems(), [""; 0]);
}

#[test]
fn what_cannot_be_shown_is_one_line() {
    let home = tempfile::tempdir().unwrap();
    let file = home.path().join("other.json");
    fs::write(&file, "{\"ort\": \"1.32.0\"}").unwrap();
    let line =
        common::bad::error_line(common::undertone().args(["partition", "--format", "html", "--from"]).arg(&file));
    assert!(line.contains("other.json is JSON, but no comparison"), "{line}");
    let line = common::bad::error_line(
        common::undertone().args(["partition", "base", "--format", "html", "--from"]).arg(&file),
    );
    assert!(line.contains("leave the model out"), "{line}");
}
