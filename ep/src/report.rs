//! The partition as a person or a program reads it: what is claimed, what is not and why, and how much work lies on each side.
//!
//! It is a plan and an estimate: what was executed is counted elsewhere, by the code that executed it.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
};

use serde::Serialize;
use undertone_kernels::DeviceKind;

use crate::{file::write_whole, options::Options};

/// A node that stays with ONNX Runtime's other providers.
#[derive(Clone, Debug, Serialize, PartialEq)]
pub struct Unclaimed {
    /// Its name; empty if the model gives none.
    pub name: String,
    /// Its operator.
    pub op_type: String,
    /// Why it is not claimed.
    pub reason: String,
}

/// A group of nodes that becomes one.
#[derive(Clone, Debug, Serialize, PartialEq)]
pub struct Fused {
    /// Nodes of the graph that it stands for.
    pub nodes: usize,
    /// What it carries out: kernels and other steps, by kind.
    pub steps: BTreeMap<String, usize>,
    /// Number format of the operands of its products, by kind; `f32` where it differs from what was asked.
    pub precision: BTreeMap<String, BTreeMap<String, usize>>,
    /// Of int8 the linear layers' arithmetic and the reason for it, by shape, and how many there are.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub arithmetic: BTreeMap<String, usize>,
    /// The device that its products and attention are prepared for, by kind.
    pub device: BTreeMap<String, BTreeMap<String, usize>>,
    /// Why products and attention are the host device's though there is an NPU, by kind, and how many.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub on_host: BTreeMap<String, BTreeMap<String, usize>>,
    /// Estimated work of its products, in 10⁹ floating-point operations.
    pub gflop: f64,
    /// Estimated bytes that cross into it in a run, constants not counted.
    pub bytes_in: usize,
    /// Estimated bytes that cross out of it.
    pub bytes_out: usize,
    /// Each of its products and attentions.
    pub products: Vec<Product>,
}

/// A product, or attention, of a group: what it is computed in, and why.
#[derive(Clone, Debug, Serialize, PartialEq)]
pub struct Product {
    /// Name of its node; empty if the model gives none.
    pub name: String,
    /// Its kind.
    pub kind: String,
    /// Number format of its operands.
    pub precision: String,
    /// Why this one.
    pub reason: String,
}

/// One graph's partition.
#[derive(Clone, Debug, Serialize, PartialEq)]
pub struct GraphReport {
    /// The graph's name in the model.
    pub name: String,
    /// The node and attribute that it is a body of (`If.then_branch`), or empty.
    pub within: String,
    /// All of its nodes, as ONNX Runtime showed them to the EP.
    pub nodes: usize,
    /// Those that are claimed.
    pub claimed: usize,
    /// Those that are not.
    pub unclaimed: Vec<Unclaimed>,
    /// The groups.
    pub fused: Vec<Fused>,
    /// Estimated work of the claimed products, in 10⁹ floating-point operations.
    pub gflop_claimed: f64,
    /// Estimated work of the others.
    pub gflop_unclaimed: f64,
    /// Sizes assumed for open axes in the estimates, by the axes' names.
    pub assumed: BTreeMap<String, usize>,
}

#[derive(Serialize)]
struct File<'a> {
    ep: &'static str,
    version: &'static str,
    device: String,
    target: Option<String>,
    precision: String,
    claim: String,
    graphs: &'a [GraphReport],
}

/// The report file cannot be written.
#[derive(Debug, thiserror::Error)]
#[error("cannot write the partition report {path}: {source}; give another path in the EP option report")]
pub struct ReportError {
    /// The file.
    pub path: PathBuf,
    /// What the system says.
    pub source: std::io::Error,
}

/// Collects one session's partitions and keeps the file of the EP option `report` up to date.
pub struct Reporter {
    path: Option<PathBuf>,
    options: Options,
    graphs: Mutex<Vec<GraphReport>>,
}

impl Reporter {
    /// For a session with these options.
    pub fn new(options: &Options) -> Self {
        Self { path: options.report.clone(), options: options.clone(), graphs: Mutex::new(Vec::new()) }
    }

    /// Notes a graph's partition, in the place of an earlier one of the same graph: ONNX Runtime asks more than once, and the
    /// later times show it graphs whose claimed nodes are fused already. The one with the most nodes is kept.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub fn record(&self, report: GraphReport) -> Result<(), ReportError> {
        // A panic elsewhere leaves the list whole, so a poisoned lock is as good as another.
        let mut graphs = self.graphs.lock().unwrap_or_else(PoisonError::into_inner);
        match graphs.iter_mut().find(|known| known.name == report.name && known.within == report.within) {
            Some(known) if known.nodes >= report.nodes => return Ok(()),
            Some(known) => *known = report,
            None => graphs.push(report),
        }
        match &self.path {
            Some(path) => self.write(path, &graphs).map_err(|source| ReportError { path: path.clone(), source }),
            None => Ok(()),
        }
    }

    fn write(&self, path: &Path, graphs: &[GraphReport]) -> std::io::Result<()> {
        let file = File {
            ep: "XdnaExecutionProvider",
            version: env!("CARGO_PKG_VERSION"),
            device: self.options.device.to_string(),
            target: (self.options.device != DeviceKind::Host).then(|| self.options.npu_settings().target.to_string()),
            precision: self.options.precision.to_string(),
            claim: self.options.claim.to_string(),
            graphs,
        };
        let mut text = serde_json::to_string_pretty(&file)?;
        text.push('\n');
        write_whole(path, |file| file.write_all(text.as_bytes()))
    }
}
