//! The host device's kernels beside the machine's limits: every size that a Whisper model of some geometry needs, and a
//! few standard ones. Measures and returns figures; prints nothing.
//!
//! Kernels and limits take turns, so that a change of the machine's load meets all. [`cases`] makes the operands.

mod cases;
mod whisper;

use std::time::Instant;

use undertone_boundary::measure::{self, Kernel, KernelReport, Request};

use crate::{
    Context, Counters, Parallel, Precision, Scratch,
    host::Isa,
    limits::{Limits, median},
};
use cases::Case;

struct Lane {
    case: Case,
    ms: Vec<f64>,
}

/// Measures the kernels of a model of the sizes in `request`, and the standard ones, with the best instruction set of
/// this CPU on `pool`'s threads, whatever number of them the request names. A window has `frames` frames, and the
/// encoder half as many positions.
///
/// What kernels of few rows read comes from memory, as in a decoder whose layers together are larger than the caches.
pub fn measure(request: &Request, frames: usize, pool: &dyn Parallel) -> KernelReport {
    let mut lanes: Vec<Lane> =
        whisper::cases(request, frames).into_iter().map(|case| Lane { case, ms: Vec::new() }).collect();
    let mut products = cases::Products::standard();
    let (mut limits, mut alone) = (Limits::default(), Limits::default());
    let (counters, mut scratch) = (Counters::new(), Scratch::default());
    for round in 0..=request.rounds.max(1) {
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
    let memory = limits.memory();
    KernelReport {
        instruction_set: Isa::best().to_string(),
        threads: pool.width(),
        limits: measure::Limits {
            read_from_bytes: Some(memory.working_set() as u64),
            last_level_cache_bytes: memory.cache().map(|bytes| bytes as u64),
            one_thread: Some(Box::new(figures(&alone))),
            ..figures(&limits)
        },
        kernels,
        batched_products: products.iter().map(cases::Products::figures).collect(),
    }
}

impl Lane {
    fn figures(self, limits: &Limits) -> Kernel {
        let Self { case, ms } = self;
        let work = case.work();
        let (arithmetic_ms, memory_ms) = limits.least_ms(Isa::best(), &work);
        let limit_ms = arithmetic_ms.map(|arithmetic| arithmetic.max(memory_ms));
        let median = median(&ms);
        Kernel {
            name: case.name.to_owned(),
            shape: case.shape(),
            precision: case.precision().to_string(),
            ms: median,
            best_ms: ms.iter().copied().fold(f64::INFINITY, f64::min),
            share_of_limit: limit_ms.map(|limit| limit / median),
            limit_ms,
            arithmetic_ms,
            memory_ms,
            operations: work.operations,
            bytes: work.bytes,
        }
    }
}

/// What was sampled on some threads, of the best instruction set.
fn figures(limits: &Limits) -> measure::Limits {
    let gops = |precision| limits.instructions().best(Isa::best(), precision);
    let patterns = limits.memory().patterns().map(|(pattern, gbps)| (pattern.name().to_owned(), gbps));
    measure::Limits {
        int8_gops: gops(Precision::Int8),
        bf16_gflops: gops(Precision::Bf16),
        f32_gflops: gops(Precision::F32),
        read_gbps: limits.memory().gbps(),
        exponentials_gps: limits.gexps(),
        read_patterns_gbps: patterns.collect(),
        ..measure::Limits::default()
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
        let request = Request {
            threads: 1,
            rounds: 2,
            batch: 3,
            cached: 5,
            width: 64,
            encoder_heads: 1,
            decoder_heads: 1,
            encoder_inner: 128,
            decoder_inner: 128,
            vocabulary: 1001,
            mel_bins: 16,
        };
        let report = measure(&request, 60, &Serial);
        for name in
            ["linear", "attention", "encoder fc1", "encoder attention", "decoder logits", "decoder cross-attention"]
        {
            let found: Vec<_> = report.kernels.iter().filter(|kernel| kernel.name == name).collect();
            assert!(!found.is_empty(), "{name}");
            for kernel in found {
                assert!(kernel.ms.is_finite() && kernel.ms >= kernel.best_ms && kernel.best_ms > 0.0, "{kernel:?}");
                assert!(kernel.memory_ms > 0.0 && kernel.operations > 0.0, "{kernel:?}");
            }
        }
        assert!(report.kernels.iter().any(|kernel| kernel.shape == "1500x512x2048"));
        assert!(report.kernels.iter().any(|kernel| kernel.shape == "3x64x1001"));
        let batched = &report.batched_products;
        let shapes: Vec<&str> = batched.iter().map(|products| products.shape.as_str()).collect();
        assert_eq!(shapes, ["64x64x64", "128x128x128", "512x512x512"]);
        assert!(batched.iter().all(|products| products.together_ms > 0.0 && products.one_by_one_ms > 0.0));
    }
}
