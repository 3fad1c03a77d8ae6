//! The partition report of a session, kept up to date in its file while ONNX Runtime shows the EP one graph after
//! another.

use std::{
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
};

pub use undertone_boundary::partition::{ByKind, Fused, GraphReport, Product, Report, Unclaimed};
use undertone_kernels::DeviceKind;

use crate::{file::write_whole, options::Options};

/// The report file cannot be written.
#[derive(Debug, thiserror::Error)]
#[error("cannot write the partition report {path}: {source}; give another path in the EP option report")]
pub struct ReportError {
    pub path: PathBuf,
    pub source: std::io::Error,
}

/// Collects one session's partitions and keeps the file of the EP option `report` up to date.
pub struct Reporter {
    path: Option<PathBuf>,
    report: Mutex<Report>,
}

impl Reporter {
    /// For a session with these options.
    pub fn new(options: &Options) -> Self {
        let report = Report {
            ep: crate::NAME.to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            device: options.device.to_string(),
            target: (options.device != DeviceKind::Host).then(|| options.npu_settings().target.to_string()),
            precision: options.precision.to_string(),
            claim: options.claim.to_string(),
            graphs: Vec::new(),
        };
        Self { path: options.report.clone(), report: Mutex::new(report) }
    }

    /// Notes a graph's partition, in the place of an earlier one of the same graph: ONNX Runtime asks more than once,
    /// and the later times show it graphs whose claimed nodes are fused already. The one with the most nodes is kept.
    /// An error if the file cannot be written.
    pub fn record(&self, graph: GraphReport) -> Result<(), ReportError> {
        // A panic elsewhere leaves the list whole, so a poisoned lock is as good as another.
        let mut report = self.report.lock().unwrap_or_else(PoisonError::into_inner);
        match report.graphs.iter_mut().find(|known| known.name == graph.name && known.within == graph.within) {
            Some(known) if known.nodes >= graph.nodes => return Ok(()),
            Some(known) => *known = graph,
            None => report.graphs.push(graph),
        }
        match &self.path {
            Some(path) => write(path, &report).map_err(|source| ReportError { path: path.clone(), source }),
            None => Ok(()),
        }
    }
}

fn write(path: &Path, report: &Report) -> std::io::Result<()> {
    let mut text = serde_json::to_string_pretty(report)?;
    text.push('\n');
    write_whole(path, |file| file.write_all(text.as_bytes()))
}
