//! Comparisons that were stored as JSON: the older one that a page sets beside the new, or one of another machine that
//! is only drawn here.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};
use clap::Args;
use serde_json::Value;

use super::report::{Comparison, FORMAT, VERSION};

/// What comparisons are read from files.
#[derive(Args, Debug, Default)]
pub struct Stored {
    /// A comparison that was stored with --format json, on this machine or another: it is shown, and nothing is run
    #[arg(long, value_name = "FILE", help_heading = "Comparison")]
    pub from: Option<PathBuf>,
    /// An older comparison, set beside the new one on the page (--format html)
    #[arg(long, value_name = "FILE", help_heading = "Comparison")]
    pub baseline: Option<PathBuf>,
}

impl Stored {
    /// The older comparison, if one is named.
    ///
    /// # Errors
    /// As [`read`].
    pub fn older(&self) -> Result<Option<Comparison>> {
        self.baseline.as_deref().map(read).transpose()
    }
}

/// The comparison in a file.
///
/// # Errors
/// If the file cannot be read, holds something else, or is of a version that this command does not know.
pub fn read(path: &Path) -> Result<Comparison> {
    let text = std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    let way_out = "name a file that `undertone partition MODEL --compare … --format json` wrote";
    let value: Value =
        serde_json::from_str(&text).with_context(|| format!("{} is not JSON: {way_out}", path.display()))?;
    if value.get("format").and_then(Value::as_str) != Some(FORMAT) {
        bail!("{} is JSON, but no comparison: {way_out}", path.display());
    }
    let version = value.get("version").and_then(Value::as_u64).unwrap_or_default();
    if version != u64::from(VERSION) {
        bail!(
            "{} is a comparison of version {version}, and this command reads version {VERSION}: make it again with this command",
            path.display()
        );
    }
    let comparison: Comparison = serde_json::from_value(value)
        .with_context(|| format!("{} is a comparison with parts that do not fit: {way_out}", path.display()))?;
    check(&comparison).with_context(|| format!("{} contradicts itself", path.display()))?;
    Ok(comparison)
}

/// What is referred to by index is there: a page and a table need not ask again.
fn check(comparison: &Comparison) -> Result<()> {
    for graph in &comparison.graphs {
        let within = |what: &str, index: usize, length: usize| -> Result<()> {
            if index >= length {
                bail!("graph {} names {what} {index} of {length}", graph.name);
            }
            Ok(())
        };
        let layer = |index: Option<usize>| index.map_or(Ok(()), |index| within("layer", index, graph.layers.len()));
        let node = |index: usize| within("node", index, graph.nodes.len());
        graph.nodes.iter().try_for_each(|node| layer(node.layer))?;
        graph.edges.iter().flatten().try_for_each(|index| node(*index))?;
        for run in graph.runs.iter().filter(|run| run.failed.is_none()) {
            let operator = |index: usize| within("operator", index, run.operators.len());
            for one in &run.operators {
                layer(one.layer)?;
                one.nodes.iter().try_for_each(|index| node(*index))?;
                one.part.map_or(Ok(()), |part| within("fused node", part, run.parts.len()))?;
            }
            run.carried_out_by.iter().flatten().try_for_each(|index| operator(*index))?;
            run.timeline.spans.iter().try_for_each(|span| operator(span.operator))?;
            for tensor in run.accuracy.outputs.iter().chain(&run.accuracy.inner) {
                layer(tensor.layer)?;
                tensor.node.map_or(Ok(()), node)?;
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::report::{GraphComparison, GraphRun, Node, Span, Timeline};
    use super::*;

    fn said(value: &Value) -> String {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), value.to_string()).unwrap();
        read(file.path()).map_or_else(|error| format!("{error:#}"), |comparison| comparison.model)
    }

    #[test]
    fn what_is_no_comparison_of_this_version_is_said() {
        let whole =
            Comparison { format: FORMAT.into(), version: VERSION, model: "base".into(), ..Comparison::default() };
        let value = serde_json::to_value(&whole).unwrap();
        assert_eq!(said(&value), "base");
        let with = |name: &str, part: Value| {
            let mut changed = value.clone();
            changed[name] = part;
            said(&changed)
        };
        assert!(with("version", 7.into()).contains("version 7, and this command reads version 1"));
        assert!(with("format", "other".into()).contains("no comparison"));
        assert!(with("graphs", "none".into()).contains("parts that do not fit"));
        assert!(said(&Value::String("{".into())).contains("no comparison"));
        let missing = read(Path::new("no/such.json")).unwrap_err().to_string();
        assert!(missing.contains("cannot read no/such.json"), "{missing}");
    }

    #[test]
    fn an_index_that_leads_nowhere_is_an_error() {
        let span = Span { operator: 3, ..Span::default() };
        let run = GraphRun { timeline: Timeline { spans: vec![span], ..Timeline::default() }, ..GraphRun::default() };
        let of = |graph| {
            check(&Comparison { graphs: vec![graph], ..Comparison::default() }).map_err(|error| error.to_string())
        };
        let graph = GraphComparison { name: "g".into(), ..GraphComparison::default() };
        assert_eq!(of(graph.clone()), Ok(()));
        assert_eq!(
            of(GraphComparison { runs: vec![run], ..graph.clone() }),
            Err("graph g names operator 3 of 0".into())
        );
        assert_eq!(
            of(GraphComparison { edges: vec![[0, 0]], ..graph.clone() }),
            Err("graph g names node 0 of 0".into())
        );
        let node = Node { layer: Some(2), ..Node::default() };
        assert_eq!(of(GraphComparison { nodes: vec![node], ..graph }), Err("graph g names layer 2 of 0".into()));
    }
}
