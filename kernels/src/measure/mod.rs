//! The host device's kernels beside the machine's limits: every size that a Whisper model of some geometry needs, and a few standard
//! ones. Measures and returns figures; prints nothing.
//!
//! Kernels and limits take turns, so that a change of the machine's load meets all. [`cases`] makes the operands.

mod cases;
mod whisper;

use std::time::Instant;

use crate::{
    Context, Counters, Parallel, Precision, Scratch,
    host::Isa,
    limits::{Limits, Work, median},
};
use cases::Case;
pub use whisper::Geometry;

/// How to measure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Measured rounds; one more before them warms up.
    pub rounds: usize,
    /// Rows that a decoder's kernels have when sequences are decoded together.
    pub batch: usize,
    /// Tokens in the decoder's cache.
    pub cached: usize,
}

/// One kernel's figures.
#[derive(Clone, Debug, PartialEq)]
pub struct Measured {
    /// What it is in the model.
    pub name: &'static str,
    /// Its sizes: `rows x inputs x outputs`, `batch x heads x queries x keys`, …
    pub shape: String,
    /// Precision of its products, or of its values where it has none.
    pub precision: Precision,
    /// What it has to do.
    pub work: Work,
    /// Milliseconds of a call, median of the rounds.
    pub ms: f64,
    /// Milliseconds of a call, the best round.
    pub best_ms: f64,
    /// Milliseconds that its arithmetic takes at the machine's peak; `None` where that peak is not known.
    pub arithmetic_ms: Option<f64>,
    /// Milliseconds that its bytes take at the machine's read bandwidth.
    pub memory_ms: f64,
}

impl Measured {
    /// The larger of both limits, in milliseconds; `None` where one is not known.
    pub fn limit_ms(&self) -> Option<f64> {
        self.arithmetic_ms.map(|arithmetic| arithmetic.max(self.memory_ms))
    }
}

/// Some equal products of two run-time operands, all in one call against one call each.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Batched {
    /// Rows, columns and inner size of each product.
    pub size: usize,
    /// Products.
    pub count: usize,
    /// Milliseconds for all in one call, median.
    pub together_ms: f64,
    /// Milliseconds for all, one by one, median.
    pub apart_ms: f64,
}

/// Everything that one run found.
pub struct Report {
    /// The limits on all of the pool's threads.
    pub limits: Limits,
    /// The limits on one thread.
    pub alone: Limits,
    /// Kernels in the model's order, the standard ones first.
    pub kernels: Vec<Measured>,
    /// Batched products.
    pub batched: Vec<Batched>,
}

struct Lane {
    case: Case,
    ms: Vec<f64>,
}

/// Measures the kernels of a model of this `geometry`, and the standard ones, with the best instruction set of this CPU on `pool`'s
/// threads.
///
/// What kernels of few rows read comes from memory, as in a decoder whose layers together are larger than the caches.
pub fn measure(geometry: &Geometry, settings: &Settings, pool: &dyn Parallel) -> Report {
    let mut lanes: Vec<Lane> =
        whisper::cases(geometry, settings).into_iter().map(|case| Lane { case, ms: Vec::new() }).collect();
    let mut products = cases::Products::standard();
    let (mut limits, mut alone) = (Limits::default(), Limits::default());
    let (counters, mut scratch) = (Counters::new(), Scratch::default());
    for round in 0..=settings.rounds.max(1) {
        let mut context = Context { pool, counters: &counters, scratch: &mut scratch };
        if round > 0 {
            limits.sample(pool);
            alone.sample(&crate::Serial);
        }
        for lane in &mut lanes {
            if lane.case.streamed() {
                limits.memory().drive_out(pool);
            }
            let ms = milliseconds(|| lane.case.run(&mut context)) / lane.case.calls() as f64;
            if round > 0 {
                lane.ms.push(ms);
            }
        }
        products.iter_mut().for_each(|products| products.run(&mut context, round > 0));
    }
    let kernels = lanes.into_iter().map(|lane| lane.figures(&limits)).collect();
    Report { limits, alone, kernels, batched: products.iter().map(cases::Products::figures).collect() }
}

impl Lane {
    fn figures(self, limits: &Limits) -> Measured {
        let Self { case, ms } = self;
        let work = case.work();
        let (arithmetic_ms, memory_ms) = limits.least_ms(Isa::best(), &work);
        Measured {
            name: case.name,
            shape: case.shape(),
            precision: case.precision(),
            work,
            ms: median(&ms),
            best_ms: ms.iter().copied().fold(f64::INFINITY, f64::min),
            arithmetic_ms,
            memory_ms,
        }
    }
}

fn milliseconds(work: impl FnOnce()) -> f64 {
    let start = Instant::now();
    work();
    start.elapsed().as_secs_f64() * 1e3
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Serial;

    #[test]
    fn every_kernel_of_a_small_model_is_measured() {
        let geometry = Geometry {
            width: 64,
            encoder_heads: 1,
            decoder_heads: 1,
            encoder_inner: 128,
            decoder_inner: 128,
            vocabulary: 1001,
            mel_bins: 16,
            frames: 60,
            head_width: 64,
        };
        let report = measure(&geometry, &Settings { rounds: 2, batch: 3, cached: 5 }, &Serial);
        for name in
            ["linear", "attention", "encoder fc1", "encoder attention", "decoder logits", "decoder cross-attention"]
        {
            let found: Vec<_> = report.kernels.iter().filter(|kernel| kernel.name == name).collect();
            assert!(!found.is_empty(), "{name}");
            for kernel in found {
                assert!(kernel.ms.is_finite() && kernel.ms >= kernel.best_ms && kernel.best_ms > 0.0, "{kernel:?}");
                assert!(kernel.memory_ms > 0.0 && kernel.work.operations > 0.0, "{kernel:?}");
            }
        }
        assert!(report.kernels.iter().any(|kernel| kernel.shape == "1500x512x2048"));
        assert!(report.kernels.iter().any(|kernel| kernel.shape == "3x64x1001"));
        assert_eq!(report.batched.iter().map(|products| products.size).collect::<Vec<_>>(), [64, 128, 512]);
        assert!(report.batched.iter().all(|products| products.together_ms > 0.0 && products.apart_ms > 0.0));
    }
}
