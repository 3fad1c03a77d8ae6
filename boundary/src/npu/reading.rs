//! What a report on an NPU says to a reader: sums, differences of two reports, and a line for people.

use std::{collections::BTreeMap, fmt};

use super::{FallbackReport, NpuReport, OperatorReport, ProblemReport, RatesReport};

impl NpuReport {
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

    /// Milliseconds that hardware is predicted to take for all of it; `None` if nothing is predicted.
    pub fn predicted_ms(&self) -> Option<f64> {
        let seconds: f64 = self.operators.values().map(|operator| operator.predicted_seconds).sum();
        (seconds > 0.0).then_some(seconds * 1e3)
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
            core_macs: (self.core_macs.iter().enumerate())
                .map(|(core, macs)| macs.saturating_sub(earlier.core_macs.get(core).copied().unwrap_or(0)))
                .collect(),
            predicted_seconds: self.predicted_seconds - earlier.predicted_seconds,
            predicted_compute_seconds: self.predicted_compute_seconds - earlier.predicted_compute_seconds,
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

#[cfg(test)]
mod tests {
    use super::*;

    const TOLD: &str = r#"{"device": "sim", "target": "npu4", "sim": "fast", "operators": {"linear_int8":
        {"calls": 5, "dispatches": 6, "context_switches": 1, "dma_bytes": [1000000, 2000000, 500000], "macs": 7,
         "core_macs": [1, 2], "wall_seconds": 0.5, "packing_seconds": 0.25}},
        "fallbacks": {"calls": 3, "refused": 0, "reason": "lost"},
        "rates": {"measured": true, "products_int8": 4.8e11, "products_bf16": 2.3e11, "attention_int8": 2.6e11,
                  "attention_bf16": 1.8e11, "memory": 3.1e10, "packing": 2.04e10}}"#;

    fn report() -> NpuReport {
        serde_json::from_str(TOLD).unwrap()
    }

    #[test]
    fn a_run_is_a_difference() {
        let mut now = report();
        let operator = now.operators.get_mut("linear_int8").unwrap();
        (operator.calls, operator.dma_bytes, operator.predicted_seconds) = (8, [1_000_001, 2_000_000, 500_002], 0.002);
        operator.core_macs = vec![4, 2, 3];
        let run = now.since(&report());
        assert_eq!((run.calls(), run.operators["linear_int8"].dma_bytes), (3, [1, 0, 2]));
        assert_eq!((run.predicted_ms(), run.fallbacks.calls, run.fallbacks.reason.as_deref()), (Some(2.0), 0, None));
        assert_eq!(run.operators["linear_int8"].core_macs, [3, 0, 3]);
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
    }

    #[test]
    fn a_line_says_what_is_predicted_and_what_fell_back() {
        let line = report().to_string();
        assert_eq!(
            line,
            "sim of npu4: 5 kernels in 6 dispatches, 1 context switches, 3.0 MB read, 0.5 MB written; 3 fell back to host: lost"
        );
        let mut predicted = report();
        predicted.operators.get_mut("linear_int8").unwrap().predicted_seconds = 0.0015;
        assert!(predicted.to_string().contains("predicted 1.5 ms on hardware"));
    }
}
