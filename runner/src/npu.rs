//! What an NPU, simulated or real, did in a run, as part of the runner's results: the provider reports on several
//! devices, and the one that was asked for is picked.

use undertone_boundary::npu::Statistics;
pub use undertone_boundary::npu::{
    BundleReport, ChannelReport, DesignReport, FallbackReport, NpuReport, OperatorReport, ProblemReport, RatesReport,
    TileReport,
};

use crate::options::{Device, Simulation, Target};

/// The report on one device, from what the execution provider told of all. With `auto` an NPU that did not open has one
/// too.
pub(crate) fn report_on(told: &str, device: Device, target: Option<&str>, simulation: Simulation) -> Option<NpuReport> {
    let told: Statistics = serde_json::from_str(told).ok()?;
    let kind = if device == Device::Sim { Device::Sim } else { Device::Npu };
    let target = target.or((kind == Device::Sim).then_some(Target::Npu4.word()));
    let found = told.devices.into_iter().find(|npu| {
        npu.device == kind.word()
            && target.is_none_or(|target| npu.target == target)
            && (kind != Device::Sim || npu.sim.as_deref() == Some(simulation.word()))
    });
    let not_opened = told.not_opened.filter(|_| device == Device::Auto);
    found.map(without_channels).or_else(|| {
        let fallbacks = FallbackReport { reason: Some(not_opened?), ..FallbackReport::default() };
        Some(NpuReport { device: kind.to_string(), fallbacks, ..NpuReport::default() })
    })
}

/// A transcript's reader has no use for the channels of an array, so the runner's results leave them out.
fn without_channels(mut report: NpuReport) -> NpuReport {
    for design in report.operators.values_mut().filter_map(|operator| operator.design.as_mut()) {
        let DesignReport { kernels, tile, .. } = std::mem::take(design);
        *design = DesignReport { kernels, tile, ..DesignReport::default() };
    }
    report
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

    #[test]
    fn the_device_asked_for_is_found() {
        assert_eq!(report_on(TOLD, Device::Sim, None, Simulation::Fast).unwrap().target, "npu4");
        let npu1 = report_on(TOLD, Device::Sim, Some("npu1"), Simulation::Fast).unwrap();
        assert_eq!((npu1.target.as_str(), npu1.rates), ("npu1", None));
        assert_eq!(report_on(TOLD, Device::Sim, None, Simulation::Exact), None);
        assert_eq!(report_on(TOLD, Device::Auto, None, Simulation::Fast), None);
        assert_eq!(report_on("no JSON", Device::Sim, None, Simulation::Fast), None);
        let closed = r#"{"devices": [], "not_opened": "no bundles"}"#;
        let auto = report_on(closed, Device::Auto, None, Simulation::Fast).unwrap();
        assert!(auto.fell_back() && auto.since(&auto).fell_back());
        assert_eq!(auto.to_string(), "npu: not used, host computes: no bundles");
        assert_eq!(report_on(closed, Device::Sim, None, Simulation::Fast), None);
    }

    #[test]
    fn channels_are_left_out() {
        let channel = ChannelReport { column: 0, direction: "mm2s".into(), channel: 0 };
        let tile = TileReport { m: 48, k: 64, n: 64 };
        let told = DesignReport {
            target: "npu4".into(),
            kernels: "int8".into(),
            tile,
            a: vec![channel],
            ..Default::default()
        };
        let design = Some(told);
        let operators = [("linear_int8".to_owned(), OperatorReport { design, ..Default::default() })].into();
        let report = without_channels(NpuReport { operators, ..NpuReport::default() });
        let json = serde_json::to_value(&report.operators["linear_int8"].design).unwrap();
        assert_eq!(json, serde_json::json!({"kernels": "int8", "tile": {"m": 48, "k": 64, "n": 64}}));
    }
}
