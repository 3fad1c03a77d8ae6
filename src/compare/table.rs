//! A comparison as text, within a terminal's hundred columns: configurations beside each other, then what each carried
//! out.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use super::operators::add;
use super::report::{Comparison, GraphComparison, GraphRun, Operator, TensorAccuracy, Time};

/// Columns of a row's name.
const NAME: usize = 34;
/// Columns of a configuration.
const COLUMN: usize = 16;
/// Configurations beside each other; more go below.
const BESIDE: usize = 4;
/// Kinds of operators that are shown of a configuration.
const KINDS: usize = 10;
/// Inputs of a graph that are shown.
const INPUTS: usize = 6;
/// Reasons for nodes that were left, of a configuration.
const REASONS: usize = 8;

/// The whole. `every`: each operator, not only the sums of those alike.
pub fn text(comparison: &Comparison, every: bool) -> String {
    let machine = &comparison.machine;
    let mut text = format!(
        "{}\n{}, {} threads, ONNX Runtime {}\ninput: {}\n",
        comparison.model, machine.processor, machine.threads, comparison.ort, comparison.input.what
    );
    for configuration in &comparison.configurations {
        let _ = writeln!(text, "  {:<16}{}", configuration.id, configuration.about);
    }
    text += "Times are milliseconds";
    if machine.runs > 1 {
        let _ = write!(text, ", medians of {} runs", machine.runs);
    }
    text += ".\n";
    text += "~ marks what is predicted for an NPU; all other times were measured on this machine.\n";
    for graph in &comparison.graphs {
        text += &graph_as_text(graph, &comparison.reference, every);
    }
    text += &transcripts(comparison);
    for note in &comparison.notes {
        let _ = writeln!(text, "note: {note}");
    }
    text.lines().map(wrapped).collect()
}

/// Columns of a terminal.
const COLUMNS: usize = 100;

/// A line that is too long goes on below, farther in.
fn wrapped(line: &str) -> String {
    if line.chars().count() <= COLUMNS {
        return format!("{line}\n");
    }
    let indent = line.len() - line.trim_start().len();
    let (mut text, mut column) = (String::new(), 0);
    for word in line.split_whitespace() {
        let width = word.chars().count();
        if column == 0 || column + 1 + width > COLUMNS {
            let inner = if text.is_empty() { indent } else { indent + 2 };
            text += if text.is_empty() { "" } else { "\n" };
            text += &" ".repeat(inner);
            column = inner + width;
        } else {
            text += " ";
            column += 1 + width;
        }
        text += word;
    }
    text + "\n"
}

fn graph_as_text(graph: &GraphComparison, reference: &str, every: bool) -> String {
    let weights = megabytes(graph.weight_bytes);
    let mut text =
        format!("\n{}  {}\n  {} nodes, {weights} MB of weights\n", graph.name, graph.path.display(), graph.nodes.len());
    for input in graph.inputs.iter().take(INPUTS) {
        let _ = writeln!(text, "  input {}: {} {:?}, {}", input.name, input.dtype, input.shape, input.source);
    }
    if graph.inputs.len() > INPUTS {
        let _ = writeln!(text, "  and {} more inputs (--format json lists them)", graph.inputs.len() - INPUTS);
    }
    for runs in graph.runs.chunks(BESIDE) {
        text += &beside(graph, runs, reference);
    }
    for run in &graph.runs {
        text += &of_one(graph, run, every);
    }
    text
}

/// Configurations beside each other.
fn beside(graph: &GraphComparison, runs: &[GraphRun], reference: &str) -> String {
    let mut text = String::from("\n");
    let mut row = |name: &str, cell: &dyn Fn(&GraphRun) -> String| {
        let cells: Vec<String> =
            runs.iter().map(|run| if run.failed.is_some() { "failed".to_owned() } else { cell(run) }).collect();
        // A row that says nothing is left out.
        if cells.iter().any(|cell| cell != NOTHING && cell != "failed") {
            text += &line(name, &cells);
        }
    };
    row("", &|run| run.configuration.clone());
    let first = graph.runs.first().and_then(|run| whole(run.totals.time));
    row("whole run", &|run| time(run.totals.time));
    row("  times as fast as the first", &|run| {
        first.zip(whole(run.totals.time)).map_or(NOTHING.into(), |(first, ms)| {
            let mark = if run.totals.time.predicted_ms.is_some() { "~" } else { "" };
            format!("{mark}{:.2}", first / ms.max(1e-9))
        })
    });
    row("a traced run", &|run| {
        if run.timeline.kind == "measured" { milliseconds(run.timeline.ms) } else { NOTHING.into() }
    });
    row("  on the CPU provider", &|run| time(run.totals.cpu_provider));
    row("  in the execution provider", &|run| time(run.totals.provider));
    row("  ONNX Runtime between nodes", &|run| run.totals.between_ms.map_or(NOTHING.into(), milliseconds));
    row("work, GFLOP", &|run| number(run.totals.gflop));
    row("  in the execution provider", &|run| share(run.totals.gflop_provider, run.totals.gflop));
    row("  on an NPU", &|run| share(run.totals.gflop_npu, run.totals.gflop));
    row("nodes on the CPU provider", &|run| run.totals.nodes_cpu_provider.to_string());
    row("nodes in the execution provider", &|run| count(run.totals.nodes_provider));
    row("fused nodes", &|run| count(run.parts.len()));
    row("MB over the border, in and out", &|run| {
        if run.parts.is_empty() {
            return NOTHING.into();
        }
        format!("{} and {}", megabytes(run.totals.bytes_in), megabytes(run.totals.bytes_out))
    });
    row("processor's energy, J", &|run| {
        run.energy.processor_joules.map_or(NOTHING.into(), |joules| format!("{joules:.2}"))
    });
    text += &accuracies(graph, runs, reference);
    text += &by_layer(graph, runs);
    text
}

/// Of the outputs, the one that is farthest off where there are many.
fn accuracies(graph: &GraphComparison, runs: &[GraphRun], reference: &str) -> String {
    let worst = |run: &GraphRun| -> Option<TensorAccuracy> {
        let off = |tensor: &&TensorAccuracy| tensor.relative_l2.map(|off| (off * 1e12) as u64);
        run.accuracy.outputs.iter().filter(|tensor| tensor.cosine.is_some()).max_by_key(off).cloned()
    };
    let outputs = graph.runs.iter().map(|run| run.accuracy.outputs.len()).max().unwrap_or(0);
    if outputs == 0 {
        return String::new();
    }
    let which = if outputs > 1 { format!("the farthest of {outputs} outputs") } else { "the output".to_owned() };
    let mut text = format!("  {which} beside {reference}:\n");
    let mut row = |name: &str, of: &dyn Fn(&TensorAccuracy) -> String| {
        let cells: Vec<String> =
            runs.iter().map(|run| worst(run).map_or(NOTHING.into(), |tensor| of(&tensor))).collect();
        if cells.iter().any(|cell| cell != NOTHING) {
            text += &line(name, &cells);
        }
    };
    if outputs > 1 {
        row("  which", &|tensor| shortened(&tensor.name, COLUMN - 1));
    }
    row("  cosine", &|tensor| tensor.cosine.map_or(NOTHING.into(), |cosine| format!("{cosine:.6}")));
    row("  relative L2", &|tensor| tensor.relative_l2.map_or(NOTHING.into(), error));
    row("  largest error", &|tensor| tensor.largest_error.map_or(NOTHING.into(), error));
    row("  (largest value)", &|tensor| tensor.largest_value.map_or(NOTHING.into(), number));
    row("  not finite", &|tensor| count(tensor.not_finite));
    let logits: Vec<String> = runs
        .iter()
        .map(|run| {
            let same = run.accuracy.outputs.iter().find_map(|tensor| tensor.same_largest);
            same.map_or(NOTHING.into(), |same| format!("{:.1} %", same * 100.0))
        })
        .collect();
    if logits.iter().any(|cell| cell != NOTHING) {
        text += &line("  logits with the same likeliest", &logits);
    }
    text
}

/// Times of the layers, and how far off their ends are.
fn by_layer(graph: &GraphComparison, runs: &[GraphRun]) -> String {
    if graph.layers.is_empty() {
        return String::new();
    }
    let mut text = "  by layer: time, and relative L2 of the tensor at its end\n".to_owned();
    let mut row = |name: &str, layer: Option<usize>| {
        let cells: Vec<String> = runs
            .iter()
            .map(|run| {
                let mut sum = Time::default();
                run.operators.iter().filter(|op| op.layer == layer).for_each(|op| add(&mut sum, op.time));
                if whole(sum).is_none() {
                    return NOTHING.to_owned();
                }
                let end = run.accuracy.inner.iter().rfind(|tensor| layer.is_some() && tensor.layer == layer);
                let off = end.and_then(|tensor| tensor.relative_l2).map_or(String::new(), |off| format!("  {off:.0e}"));
                let time = if sum.predicted_ms.is_some() {
                    format!("~{}", milliseconds(whole(sum).unwrap_or(0.0)))
                } else {
                    time(sum)
                };
                format!("{time}{off}")
            })
            .collect();
        text += &line(name, &cells);
    };
    for (at, layer) in graph.layers.iter().enumerate() {
        row(&format!("  {}", layer.name), Some(at));
    }
    row("  outside of layers", None);
    text
}

/// What one configuration carried out, and what it left.
fn of_one(graph: &GraphComparison, run: &GraphRun, every: bool) -> String {
    let mut text = format!("\n  {}\n", run.configuration);
    if let Some(reason) = &run.failed {
        let _ = writeln!(text, "    failed: {reason}");
        return text;
    }
    for part in run.parts.iter().take(REASONS) {
        let nodes = if part.nodes > 0 { format!("{} nodes, ", part.nodes) } else { String::new() };
        let (bytes_in, bytes_out) = (megabytes(part.bytes_in), megabytes(part.bytes_out));
        let _ = writeln!(
            text,
            "    fused: {nodes}{}, {} GFLOP, {bytes_in} MB in, {bytes_out} MB out",
            time(part.time),
            number(part.gflop)
        );
    }
    if run.parts.len() > REASONS {
        let _ = writeln!(text, "    and {} more fused nodes (--format json lists them)", run.parts.len() - REASONS);
    }
    let head = if every { "operator" } else { "operators" };
    let _ =
        writeln!(text, "    {head:<38}{:<13}{:<6}{:>5}{:>16}{:>7}{:>9}", "where", "", "count", "ms", "share", "GFLOP");
    let all = whole(run.totals.cpu_provider).unwrap_or(0.0) + whole(run.totals.provider).unwrap_or(0.0);
    let groups = grouped(&run.operators, every);
    let shown = if every { groups.len() } else { KINDS };
    for group in groups.iter().take(shown) {
        let part = whole(group.time).unwrap_or(0.0) / all.max(1e-9);
        let _ = writeln!(
            text,
            "    {:<38}{:<13}{:<6}{:>5}{:>16}{:>7}{:>9}",
            shortened(&group.name, 37),
            group.place,
            group.precision,
            group.count,
            time(group.time),
            format!("{:.0} %", part * 100.0),
            number(group.gflop)
        );
    }
    if groups.len() > shown {
        let mut rest = Time::default();
        groups[shown..].iter().for_each(|group| add(&mut rest, group.time));
        let _ = writeln!(text, "    and {} other kinds: {} ms", groups.len() - shown, time(rest));
    }
    let mut reasons: BTreeMap<(&str, &str), usize> = BTreeMap::new();
    for operator in run.operators.iter().filter(|operator| !operator.reason.is_empty()) {
        *reasons.entry((&operator.reason, &operator.precision)).or_default() += 1;
    }
    for ((reason, precision), count) in reasons {
        let _ = writeln!(text, "    {count} in {precision} on the host: {reason}");
    }
    for left in run.unclaimed.iter().take(REASONS) {
        let first =
            left.names.first().filter(|name| !name.is_empty()).map_or(String::new(), |name| format!(" ({name} …)"));
        let _ = writeln!(text, "    left: {} {}{first}: {}", left.names.len(), left.op_type, left.reason);
    }
    if run.unclaimed.len() > REASONS {
        let rest: usize = run.unclaimed[REASONS..].iter().map(|left| left.names.len()).sum();
        let _ = writeln!(text, "    left: {rest} more nodes (--format json lists them)");
    }
    if !graph.layers.is_empty() && !run.accuracy.inner_note.is_empty() {
        let _ = writeln!(text, "    accuracy by layer: {}", run.accuracy.inner_note);
    }
    for note in run.notes.iter().chain(std::iter::once(&run.energy.note)).filter(|note| !note.is_empty()) {
        let _ = writeln!(text, "    {note}");
    }
    text
}

/// Operators that are alike.
struct Group {
    name: String,
    place: String,
    precision: String,
    count: usize,
    time: Time,
    gflop: f64,
}

/// Longest first; each by itself and in its order if `every` one is wanted.
fn grouped(operators: &[Operator], every: bool) -> Vec<Group> {
    let mut groups: Vec<Group> = Vec::new();
    for operator in operators {
        let name = if every { format!("{} {}", operator.kind, operator.name) } else { operator.kind.clone() };
        let is_same = |group: &&mut Group| {
            !every && group.name == name && group.place == operator.place && group.precision == operator.precision
        };
        if let Some(group) = groups.iter_mut().find(is_same) {
            group.count += operator.calls;
            group.gflop += operator.gflop;
            add(&mut group.time, operator.time);
            continue;
        }
        groups.push(Group {
            name,
            place: operator.place.clone(),
            precision: operator.precision.clone(),
            count: operator.calls,
            time: operator.time,
            gflop: operator.gflop,
        });
    }
    if !every {
        groups.sort_by(|a, b| whole(b.time).unwrap_or(0.0).total_cmp(&whole(a.time).unwrap_or(0.0)));
    }
    groups
}

fn transcripts(comparison: &Comparison) -> String {
    let Some(first) = comparison.transcripts.first() else { return String::new() };
    let mut text = format!("\ntranscripts: words that differ from the CPU provider's {}\n", first.words);
    for transcript in &comparison.transcripts {
        if let Some(reason) = &transcript.failed {
            let _ = writeln!(text, "  {:<16}failed: {reason}", transcript.configuration);
            continue;
        }
        let taken = transcript.time.measured_ms.map_or(String::new(), |ms| format!(", {} ms", milliseconds(ms)));
        let _ = writeln!(text, "  {:<16}{} differ{taken}", transcript.configuration, transcript.errors);
        let _ = writeln!(text, "    {}", shortened(transcript.text.trim(), 92));
    }
    text
}

/// A cell without anything.
const NOTHING: &str = "-";

fn line(name: &str, cells: &[String]) -> String {
    let mut text = format!("  {name:<NAME$}");
    cells.iter().for_each(|cell| {
        let _ = write!(text, "{cell:>COLUMN$}");
    });
    text.truncate(text.trim_end().len());
    text + "\n"
}

/// All of a time, measured and predicted; `None` if there is nothing.
fn whole(time: Time) -> Option<f64> {
    match (time.measured_ms, time.predicted_ms) {
        (None, None) => None,
        (measured, predicted) => Some(measured.unwrap_or(0.0) + predicted.unwrap_or(0.0)),
    }
}

/// `12.3`, or `4.5 + ~7.8`: measured, and predicted.
fn time(time: Time) -> String {
    match (time.measured_ms, time.predicted_ms) {
        (None, None) => NOTHING.to_owned(),
        (Some(ms), None) => milliseconds(ms),
        (None, Some(ms)) => format!("~{}", milliseconds(ms)),
        (Some(measured), Some(predicted)) => format!("{} + ~{}", milliseconds(measured), milliseconds(predicted)),
    }
}

fn milliseconds(ms: f64) -> String {
    match ms {
        _ if ms >= 99.95 => format!("{ms:.0}"),
        _ if ms >= 9.995 => format!("{ms:.1}"),
        _ if ms >= 0.9995 => format!("{ms:.2}"),
        _ => format!("{ms:.3}"),
    }
}

fn number(value: f64) -> String {
    match value.abs() {
        0.0 => "0".to_owned(),
        size if size >= 99.5 => format!("{value:.0}"),
        size if size >= 9.95 => format!("{value:.1}"),
        size if size >= 0.01 => format!("{value:.2}"),
        _ => format!("{value:.0e}"),
    }
}

fn error(value: f64) -> String {
    if value == 0.0 { "0".to_owned() } else { format!("{value:.1e}") }
}

fn megabytes(bytes: u64) -> String {
    number(bytes as f64 / 1e6)
}

fn share(part: f64, all: f64) -> String {
    if part > 0.0 && all > 0.0 { format!("{:.1} %", part / all * 100.0) } else { NOTHING.to_owned() }
}

fn count(count: usize) -> String {
    if count == 0 { NOTHING.to_owned() } else { count.to_string() }
}

/// The end of a name tells more than its beginning.
fn shortened(text: &str, width: usize) -> String {
    let count = text.chars().count();
    if count <= width {
        return text.to_owned();
    }
    if text.contains(' ') && !text.contains('/') {
        return format!("{}…", text.chars().take(width - 1).collect::<String>());
    }
    format!("…{}", text.chars().skip(count + 1 - width).collect::<String>())
}

#[cfg(test)]
mod tests {
    use super::super::report::{Accuracy, Configuration, Machine, Totals};
    use super::*;

    #[test]
    fn measured_and_predicted_are_told_apart() {
        let of = |measured_ms, predicted_ms| time(Time { measured_ms, predicted_ms, simulating_ms: Some(9.0) });
        assert_eq!(of(Some(252.04), None), "252");
        assert_eq!(of(None, Some(0.0712)), "~0.071");
        assert_eq!(of(Some(1.5), Some(54.321)), "1.50 + ~54.3");
        assert_eq!(of(None, None), "-");
    }

    #[test]
    fn names_keep_what_tells_them_apart() {
        assert_eq!(shortened("/model/layers.0/fc1/MatMul", 12), "…/fc1/MatMul");
        assert_eq!(shortened("layer_norm + 3 linear", 12), "layer_norm …");
        assert_eq!(shortened("short", 12), "short");
    }

    #[test]
    fn long_lines_go_on_below() {
        let line = format!("    left: {}", "word ".repeat(40));
        let lines = wrapped(&line);
        assert!(lines.lines().all(|line| line.chars().count() <= COLUMNS), "{lines}");
        assert_eq!(lines.split_whitespace().count(), 41);
        assert!(lines.lines().skip(1).all(|line| line.starts_with("      word")), "{lines}");
        assert_eq!(wrapped("  short  and  as it was"), "  short  and  as it was\n");
    }

    #[test]
    fn a_table_fits_a_hundred_columns() {
        let operator = |kind: &str, layer, measured, predicted| Operator {
            name: "/model/encoder/layers.0/self_attn/out_proj/MatMul".into(),
            kind: kind.into(),
            layer,
            part: Some(0),
            place: "cpu provider".into(),
            precision: "int8".into(),
            calls: 1,
            time: Time { measured_ms: Some(measured), predicted_ms: predicted, simulating_ms: None },
            gflop: 88.123,
            ..Operator::default()
        };
        let run = |id: &str, predicted: Option<f64>| GraphRun {
            configuration: id.into(),
            totals: Totals {
                time: Time { measured_ms: Some(12_345.6), predicted_ms: predicted, simulating_ms: None },
                gflop: 88.1,
                bytes_in: 9_999_999,
                bytes_out: 99_999_999,
                ..Totals::default()
            },
            parts: vec![super::super::report::Part::default()],
            operators: vec![
                operator("layer_norm + 4 linear + attention + softmax + more", Some(0), 1234.5, predicted),
                operator("linear", None, 0.001, None),
            ],
            accuracy: Accuracy {
                outputs: vec![TensorAccuracy {
                    cosine: Some(0.999_999),
                    relative_l2: Some(1e-3),
                    largest_error: Some(0.1),
                    largest_value: Some(40.0),
                    ..TensorAccuracy::default()
                }],
                ..Accuracy::default()
            },
            ..GraphRun::default()
        };
        let graph = GraphComparison {
            name: "encoder".into(),
            layers: vec![super::super::report::Layer { name: "layers.0".into(), ..Default::default() }],
            runs: vec![
                run("cpu", None),
                run("host:bf16", None),
                run("sim:npu1:int8", Some(54_321.0)),
                run("sim:npu4:bf16", Some(1.0)),
            ],
            ..GraphComparison::default()
        };
        let comparison = Comparison {
            model: "base".into(),
            machine: Machine { processor: "A processor".into(), threads: 2, runs: 5 },
            configurations: vec![Configuration {
                id: "sim:npu1:int8".into(),
                about: "about".into(),
                ..Default::default()
            }],
            graphs: vec![graph],
            ..Comparison::default()
        };
        for every in [false, true] {
            let text = text(&comparison, every);
            let wide: Vec<&str> = text.lines().filter(|line| line.chars().count() > 100).collect();
            assert!(wide.is_empty(), "{wide:#?}");
            assert!(text.contains("~") && text.contains("12346 + ~54321"), "{text}");
        }
    }
}
