//! The partition report of a session, kept up to date in its file while ONNX Runtime shows the EP one graph after
//! another.

use std::{
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
};

pub use undertone_boundary::partition::{ByKind, Fused, GraphReport, MUCH_LEFT, Product, Report, Unclaimed};
use undertone_kernels::DeviceKind;

use crate::{
    file::write_whole,
    options::{Key, Options, OptionsError},
};

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
    /// For a session with these options. Its file has no graphs yet: ONNX Runtime shows none if nothing is left of the
    /// model when its constants are folded. An error if the file cannot be written; one in `GetCapability` would only
    /// make ONNX Runtime go on without this EP.
    pub fn new(options: &Options) -> Result<Self, OptionsError> {
        let report = Report {
            ep: crate::NAME.to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            device: options.device.to_string(),
            target: (options.device != DeviceKind::Host).then(|| options.npu_settings().target.to_string()),
            precision: options.precision.to_string(),
            claim: options.claim.to_string(),
            graphs: Vec::new(),
        };
        if let Some(path) = &options.report {
            write(path, &report).map_err(|error| OptionsError::Unwritable {
                key: Key::Report.word(),
                path: path.clone(),
                reason: error.to_string(),
            })?;
        }
        Ok(Self { path: options.report.clone(), report: Mutex::new(report) })
    }

    /// Notes a graph's partition, in the place of an earlier one of the same graph: ONNX Runtime asks more than once,
    /// and the later times show it graphs whose claimed nodes are fused already. The one with the most nodes is kept;
    /// gives whether that is this one. An error if the file cannot be written.
    pub fn record(&self, graph: GraphReport) -> Result<bool, ReportError> {
        // A panic elsewhere leaves the list whole, so a poisoned lock is as good as another.
        let mut report = self.report.lock().unwrap_or_else(PoisonError::into_inner);
        match report.graphs.iter_mut().find(|known| known.name == graph.name && known.within == graph.within) {
            Some(known) if known.nodes >= graph.nodes => return Ok(false),
            Some(known) => *known = graph,
            None => report.graphs.push(graph),
        }
        if let Some(path) = &self.path {
            write(path, &report).map_err(|source| ReportError { path: path.clone(), source })?;
        }
        Ok(true)
    }
}

fn write(path: &Path, report: &Report) -> std::io::Result<()> {
    let mut text = serde_json::to_string_pretty(report)?;
    text.push('\n');
    write_whole(path, |file| file.write_all(text.as_bytes()))
}
