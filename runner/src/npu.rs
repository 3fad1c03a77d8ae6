//! What an NPU, simulated or real, did in a run: counted by the code that executed it. A prediction is called one.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::options::{Device, Simulation};

/// What an NPU did.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct NpuReport {
    /// `sim` or `npu`.
    pub device: String,
    /// `npu1` or `npu4`.
    pub target: String,
    /// How the simulator computes: `fast` or `exact`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sim: Option<String>,
    /// By operator: `linear_int8`, `attention_bf16`, …
    pub operators: BTreeMap<String, OperatorReport>,
    /// What the host device computed in its place.
    pub fallbacks: FallbackReport,
    /// How fast the host is, beside which the provider weighed each kernel.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rates: Option<RatesReport>,
}

/// The host's speeds: operations and bytes a second.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct RatesReport {
    /// Whether they were measured on this machine, or are assumed.
    pub measured: bool,
    /// Multiplications and additions of products with int8 operands.
    pub products_int8: f64,
    /// The same with bf16 operands.
    pub products_bf16: f64,
    /// The same of attention with int8 scores.
    pub attention_int8: f64,
    /// The same of attention with bf16 scores.
    pub attention_bf16: f64,
    /// Bytes read from memory.
    pub memory: f64,
    /// Bytes of fp32 values packed or unpacked.
    pub packing: f64,
}

impl fmt::Display for RatesReport {
    /// `host measured: products 480 GOPS int8, 230 bf16; attention 260 int8, 180 bf16; memory 31 GB/s, packing 20 GB/s`
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let giga = |rate: f64| rate / 1e9;
        write!(
            f,
            "host {}: products {:.0} GOPS int8, {:.0} bf16; attention {:.0} int8, {:.0} bf16; memory {:.0} GB/s, packing {:.1} GB/s",
            if self.measured { "measured" } else { "assumed" },
            giga(self.products_int8),
            giga(self.products_bf16),
            giga(self.attention_int8),
            giga(self.attention_bf16),
            giga(self.memory),
            giga(self.packing),
        )
    }
}

/// Executions of one operator.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct OperatorReport {
    /// Kernels executed.
    pub calls: u64,
    /// Commands given to the array.
    pub dispatches: u64,
    /// Times that another design had to be loaded.
    pub context_switches: u64,
    /// Bytes read for rows or queries, read for weights or keys and values, and written; zeros where the hardware does not tell.
    pub dma_bytes: [u64; 3],
    /// The same for each DMA channel; empty where the hardware does not tell.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub dma_channels: BTreeMap<String, u64>,
    /// Multiply-accumulates that the results need.
    pub macs: u64,
    /// Seconds that hardware is predicted to take; `None` where the provider does not predict. Never a measurement.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub predicted_seconds: Option<f64>,
    /// Utilisation of each core over the predicted time; empty where it is not counted.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub utilisation: Vec<f64>,
    /// By shape.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub problems: BTreeMap<String, ProblemReport>,
    /// The design: its tiles are what a core computes at a time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub design: Option<DesignReport>,
    /// Whether its bundle is in the folder that was named.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bundle: Option<BundleReport>,
    /// Seconds that the executions took: on the simulator its own time, which says nothing of the hardware's.
    pub wall_seconds: f64,
    /// Seconds of packing and unpacking on the CPU.
    pub packing_seconds: f64,
}

/// Executions of one shape.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct ProblemReport {
    /// Kernels executed.
    pub calls: u64,
    /// Seconds that hardware is predicted to take for them, without context switches.
    pub predicted_seconds: f64,
    /// Share of the work that is not padding.
    pub useful: f64,
}

/// A compiled array: its kernels and its tiles.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DesignReport {
    /// `int8` or `bf16`: linear layers and attention with such operands.
    pub kernels: String,
    /// What a core computes at a time.
    pub tile: TileReport,
}

/// `m × k × n`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TileReport {
    /// Rows, or queries.
    pub m: usize,
    /// Inputs of a step.
    pub k: usize,
    /// Outputs; a head's width.
    pub n: usize,
}

/// Whether a bundle is there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum BundleReport {
    /// In this folder, whole.
    Present(PathBuf),
    /// Why not.
    Missing(String),
}

/// What the host device computed in an NPU's place.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct FallbackReport {
    /// Calls of kernels that failed on the NPU, or were not tried any more.
    pub calls: u64,
    /// Lists of commands that failed, and whose kernels were then tried one by one.
    pub retried: u64,
    /// Kernels that the NPU did not take.
    pub refused: u64,
    /// What was first said.
    pub reason: Option<String>,
}

#[derive(Deserialize)]
struct Told {
    devices: Vec<NpuReport>,
    not_opened: Option<String>,
}

impl NpuReport {
    /// The report on one device, from what the execution provider told of all. With `auto` an NPU that did not open has one too.
    pub(crate) fn of(told: &str, device: Device, target: Option<&str>, simulation: Simulation) -> Option<Self> {
        let told: Told = serde_json::from_str(told).ok()?;
        let kind = if device == Device::Sim { Device::Sim } else { Device::Npu };
        let target = target.or((kind == Device::Sim).then_some("npu4"));
        let found = told.devices.into_iter().find(|npu| {
            npu.device == kind.word()
                && target.is_none_or(|target| npu.target == target)
                && (kind != Device::Sim || npu.sim.as_deref() == Some(simulation.word()))
        });
        let not_opened = told.not_opened.filter(|_| device == Device::Auto);
        found.or_else(|| {
            let fallbacks = FallbackReport { reason: Some(not_opened?), ..FallbackReport::default() };
            Some(Self { device: kind.to_string(), fallbacks, ..Self::default() })
        })
    }

    /// What came since `earlier`, which was of the same device.
    pub fn since(&self, earlier: &Self) -> Self {
        let none = OperatorReport::default();
        let operators = self.operators.iter().filter_map(|(name, now)| {
            let new = now.since(earlier.operators.get(name).unwrap_or(&none));
            (new.calls > 0).then(|| (name.clone(), new))
        });
        let FallbackReport { calls, retried, refused, ref reason } = self.fallbacks;
        let calls = calls.saturating_sub(earlier.fallbacks.calls);
        let retried = retried.saturating_sub(earlier.fallbacks.retried);
        // Kernels are prepared, and the device opened, once and before anything runs.
        let reason = reason.clone().filter(|_| calls > 0 || retried > 0 || refused > 0 || self.target.is_empty());
        Self {
            operators: operators.collect(),
            fallbacks: FallbackReport { calls, retried, refused, reason },
            ..self.clone()
        }
    }

    /// Whether the host device computed what the NPU was to compute.
    pub fn fell_back(&self) -> bool {
        self.fallbacks != FallbackReport::default()
    }

    /// Kernels executed.
    pub fn calls(&self) -> u64 {
        self.operators.values().map(|operator| operator.calls).sum()
    }

    /// Milliseconds that hardware is predicted to take for all of it.
    pub fn predicted_ms(&self) -> Option<f64> {
        let seconds: Option<f64> = self.operators.values().map(|operator| operator.predicted_seconds).sum();
        seconds.filter(|_| !self.operators.is_empty()).map(|seconds| seconds * 1e3)
    }
}

impl OperatorReport {
    fn problems_since(&self, earlier: &Self) -> BTreeMap<String, ProblemReport> {
        let none = ProblemReport::default();
        let new = |(shape, now): (&String, &ProblemReport)| {
            let then = earlier.problems.get(shape).unwrap_or(&none);
            let calls = now.calls.saturating_sub(then.calls);
            let predicted_seconds = now.predicted_seconds - then.predicted_seconds;
            (calls > 0).then(|| (shape.clone(), ProblemReport { calls, predicted_seconds, useful: now.useful }))
        };
        self.problems.iter().filter_map(new).collect()
    }

    fn since(&self, earlier: &Self) -> Self {
        let [a, b, c] = self.dma_bytes;
        let [earlier_a, earlier_b, earlier_c] = earlier.dma_bytes;
        Self {
            calls: self.calls.saturating_sub(earlier.calls),
            dispatches: self.dispatches.saturating_sub(earlier.dispatches),
            context_switches: self.context_switches.saturating_sub(earlier.context_switches),
            dma_bytes: [(a, earlier_a), (b, earlier_b), (c, earlier_c)].map(|(now, then)| now.saturating_sub(then)),
            dma_channels: (self.dma_channels.iter())
                .map(|(channel, bytes)| {
                    (channel.clone(), bytes.saturating_sub(earlier.dma_channels.get(channel).copied().unwrap_or(0)))
                })
                .collect(),
            macs: self.macs.saturating_sub(earlier.macs),
            predicted_seconds: self.predicted_seconds.map(|now| now - earlier.predicted_seconds.unwrap_or(0.0)),
            utilisation: self.utilisation.clone(),
            problems: self.problems_since(earlier),
            design: self.design.clone(),
            bundle: self.bundle.clone(),
            wall_seconds: self.wall_seconds - earlier.wall_seconds,
            packing_seconds: self.packing_seconds - earlier.packing_seconds,
        }
    }
}

impl fmt::Display for NpuReport {
    /// `sim of npu4: 64 kernels in 64 dispatches, 9 context switches, 12.3 MB read, 4.5 MB written, predicted 7.9 ms; …`
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let (true, Some(reason)) = (self.target.is_empty(), &self.fallbacks.reason) {
            return write!(f, "{}: not used, host computes: {reason}", self.device);
        }
        let sum = |of: fn(&OperatorReport) -> u64| self.operators.values().map(of).sum::<u64>();
        let megabytes = |bytes: u64| bytes as f64 / 1e6;
        write!(
            f,
            "{} of {}: {} kernels in {} dispatches, {} context switches",
            self.device,
            self.target,
            self.calls(),
            sum(|operator| operator.dispatches),
            sum(|operator| operator.context_switches),
        )?;
        let (read, written) = (sum(|o| o.dma_bytes[0] + o.dma_bytes[1]), sum(|o| o.dma_bytes[2]));
        if read > 0 {
            write!(f, ", {:.1} MB read, {:.1} MB written", megabytes(read), megabytes(written))?;
        }
        if let Some(ms) = self.predicted_ms() {
            write!(f, ", predicted {ms:.1} ms on hardware")?;
        }
        let FallbackReport { calls, retried, refused, reason } = &self.fallbacks;
        if *calls > 0 {
            write!(f, "; {calls} fell back to host")?;
        }
        if *retried > 0 {
            write!(f, "; {retried} lists of kernels failed and were tried one by one")?;
        }
        if *refused > 0 {
            write!(f, "; {refused} kernels were not taken and are host's")?;
        }
        match reason {
            Some(reason) => write!(f, ": {reason}"),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TOLD: &str = r#"{"devices": [
        {"device": "sim", "target": "npu1", "sim": "fast", "operators": {}, "fallbacks": {"calls": 0, "refused": 0, "reason": null}},
        {"device": "sim", "target": "npu4", "sim": "fast", "operators": {"linear_int8":
            {"calls": 5, "dispatches": 6, "context_switches": 1, "dma_bytes": [1000000, 2000000, 500000], "macs": 7,
             "core_macs": [1, 2], "wall_seconds": 0.5, "packing_seconds": 0.25}},
         "fallbacks": {"calls": 3, "refused": 0, "reason": "lost"},
         "rates": {"measured": true, "products_int8": 4.8e11, "products_bf16": 2.3e11, "attention_int8": 2.6e11,
                   "attention_bf16": 1.8e11, "memory": 3.1e10, "packing": 2.04e10}}]}"#;

    fn report() -> NpuReport {
        NpuReport::of(TOLD, Device::Sim, None, Simulation::Fast).unwrap()
    }

    #[test]
    fn the_device_asked_for_is_found() {
        assert_eq!(report().target, "npu4");
        assert_eq!(NpuReport::of(TOLD, Device::Sim, Some("npu1"), Simulation::Fast).unwrap().target, "npu1");
        assert_eq!(NpuReport::of(TOLD, Device::Sim, None, Simulation::Exact), None);
        assert_eq!(NpuReport::of(TOLD, Device::Auto, None, Simulation::Fast), None);
        assert_eq!(NpuReport::of("no JSON", Device::Sim, None, Simulation::Fast), None);
        let closed = r#"{"devices": [], "not_opened": "no bundles"}"#;
        let auto = NpuReport::of(closed, Device::Auto, None, Simulation::Fast).unwrap();
        assert!(auto.fell_back() && auto.since(&auto).fell_back());
        assert_eq!(auto.to_string(), "npu: not used, host computes: no bundles");
        assert_eq!(NpuReport::of(closed, Device::Sim, None, Simulation::Fast), None);
    }

    #[test]
    fn a_run_is_a_difference() {
        let mut now = report();
        let operator = now.operators.get_mut("linear_int8").unwrap();
        (operator.calls, operator.dma_bytes, operator.predicted_seconds) =
            (8, [1_000_001, 2_000_000, 500_002], Some(0.002));
        let run = now.since(&report());
        assert_eq!((run.calls(), run.operators["linear_int8"].dma_bytes), (3, [1, 0, 2]));
        assert_eq!((run.predicted_ms(), run.fallbacks.calls, run.fallbacks.reason.as_deref()), (Some(2.0), 0, None));
        assert!(report().since(&report()).operators.is_empty());
    }

    #[test]
    fn rates_are_told_as_measured() {
        let rates = report().rates.unwrap();
        assert_eq!(
            rates.to_string(),
            "host measured: products 480 GOPS int8, 230 bf16; attention 260 int8, 180 bf16; memory 31 GB/s, packing 20.4 GB/s"
        );
        assert!(RatesReport { measured: false, ..rates }.to_string().starts_with("host assumed"));
        assert_eq!(report().since(&report()).rates, Some(rates));
        assert_eq!(NpuReport::of(TOLD, Device::Sim, Some("npu1"), Simulation::Fast).unwrap().rates, None);
    }

    #[test]
    fn a_line_says_what_is_predicted_and_what_fell_back() {
        let line = report().to_string();
        assert_eq!(
            line,
            "sim of npu4: 5 kernels in 6 dispatches, 1 context switches, 3.0 MB read, 0.5 MB written; 3 fell back to host: lost"
        );
        let mut predicted = report();
        predicted.operators.get_mut("linear_int8").unwrap().predicted_seconds = Some(0.0015);
        assert!(predicted.to_string().contains("predicted 1.5 ms on hardware"));
    }
}
