//! The host device's kernels beside the machine's limits: every size that a Whisper model of some geometry needs, and a
//! few standard ones. Measures and returns figures; prints nothing.
//!
//! Kernels and limits take turns, so that a change of the machine's load meets all. [`cases`] makes the operands.

mod cases;
mod whisper;

use std::time::Instant;

use serde::Serialize;
use undertone_kernels::host::Isa;
use undertone_kernels::reader::Pattern;
use undertone_kernels::team::Team;
use undertone_kernels::{Context, Counters, Parallel, Scratch, Serial};
use undertone_runner::model::ModelConfig;

use crate::limits::{Limits, Samples};
use crate::{BenchError, median};
use cases::Products;
pub use cases::{Case, Weights};

/// Frames of a window.
const FRAMES: usize = 3000;
/// Most of every size of a model: far beyond any, and small enough that no product of some overflows.
const MOST: usize = 1 << 20;

/// What was measured.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct KernelReport {
    /// The instruction set in use.
    pub instruction_set: String,
    /// Threads.
    pub threads: usize,
    /// What the machine can do.
    pub limits: Limits,
    /// Every kernel, in the model's order, the standard ones first.
    pub kernels: Vec<Kernel>,
    /// Products in a batch.
    pub batched_products: Vec<BatchedProducts>,
}

/// One kernel's figures.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Kernel {
    /// What it is in the model; `linear` and `attention` are standard sizes, the same for every model.
    pub name: String,
    /// Its sizes: rows, inputs and outputs; heads, queries, keys and head width; …
    pub shape: String,
    /// Precision of its products, or of its values where it has none.
    pub precision: &'static str,
    /// Milliseconds of a call, median of the rounds.
    pub ms: f64,
    /// Milliseconds of a call, the best round.
    pub best_ms: f64,
    /// `limit_ms / ms`, where the limit is known.
    pub share_of_limit: Option<f64>,
    /// The larger of the two limits, milliseconds.
    pub limit_ms: Option<f64>,
    /// Milliseconds that its products and exponentials take at the peak; `None` where that peak is not known.
    pub arithmetic_ms: Option<f64>,
    /// Milliseconds that its bytes take at the read bandwidth.
    pub memory_ms: f64,
    /// Multiplications and additions.
    pub operations: f64,
    /// Bytes that cross between memory and the processor if each operand and result does so once.
    pub bytes: f64,
}

/// Some equal products of two run-time operands in one call against one call each.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct BatchedProducts {
    /// Rows, inner size, columns of each.
    pub shape: String,
    /// How many.
    pub count: usize,
    /// Milliseconds for all in one call, median.
    pub together_ms: f64,
    /// Milliseconds for all one by one, median.
    pub one_by_one_ms: f64,
    /// `one_by_one_ms / together_ms`.
    pub ratio: f64,
}

/// Measures the kernels of a model of some sizes and the standard ones, with the best instruction set of this CPU on
/// `threads` threads, `rounds` times; one more round before them warms up. The decoder's have one row, and `batch`
/// rows. Takes some ten seconds.
///
/// What kernels of few rows read comes from memory, as in a decoder whose layers together are larger than the caches.
pub fn kernels(config: &ModelConfig, threads: usize, rounds: usize, batch: usize) -> Result<KernelReport, BenchError> {
    let &ModelConfig { width, encoder_heads: heads, decoder_heads, .. } = config;
    let &ModelConfig { encoder_inner, decoder_inner, vocabulary, mel_bins, .. } = config;
    let sizes = [width, heads, decoder_heads, encoder_inner, decoder_inner, vocabulary, mel_bins];
    if width < heads || sizes.iter().any(|size| !(1..=MOST).contains(size)) {
        return Err(BenchError::Sizes { width, heads });
    }
    Ok(Team::with_threads(threads.max(1), |pool| measure(whisper::cases(config, FRAMES, batch), rounds, pool)))
}

/// Measures `cases`, and sixteen products of 64³, 128³ and 512³, `rounds` times beside the limits.
pub fn measure(cases: Vec<Case>, rounds: usize, pool: &dyn Parallel) -> KernelReport {
    let mut cases: Vec<(Case, Vec<f64>)> = cases.into_iter().map(|case| (case, Vec::new())).collect();
    let mut products = [64, 128, 512].map(Products::new);
    let (mut limits, mut alone) = (Samples::default(), Samples::default());
    let (counters, mut scratch) = (Counters::new(), Scratch::default());
    for round in 0..=rounds.max(1) {
        let mut context = Context { pool, counters: &counters, scratch: &mut scratch };
        if round > 0 {
            limits.sample(pool);
            alone.sample(&Serial);
        }
        for (case, times) in &mut cases {
            if case.streamed {
                limits.memory.reader.read(Pattern::Streams, pool);
            }
            let ms = milliseconds(|| (case.run)(&mut context)) / case.calls as f64;
            if round > 0 {
                times.push(ms);
            }
        }
        products.iter_mut().for_each(|products| products.run(&mut context, round > 0));
    }
    let memory = &limits.memory;
    KernelReport {
        instruction_set: Isa::best().to_string(),
        threads: pool.width(),
        limits: Limits {
            read_from_bytes: Some(memory.reader.bytes() as u64),
            last_level_cache_bytes: memory.cache.map(|bytes| bytes as u64),
            one_thread: Some(Box::new(alone.figures())),
            ..limits.figures()
        },
        kernels: cases.iter().map(|(case, times)| figures(case, times, &limits)).collect(),
        batched_products: products.iter().map(Products::figures).collect(),
    }
}

fn figures(case: &Case, times: &[f64], limits: &Samples) -> Kernel {
    let (arithmetic_ms, memory_ms) = limits.least_ms(case.isa, &case.work);
    let limit_ms = arithmetic_ms.map(|arithmetic| arithmetic.max(memory_ms));
    let ms = median(times);
    Kernel {
        name: case.name.clone(),
        shape: case.shape.clone(),
        precision: case.precision.word(),
        ms,
        best_ms: times.iter().copied().fold(f64::INFINITY, f64::min),
        share_of_limit: limit_ms.map(|limit| limit / ms),
        limit_ms,
        arithmetic_ms,
        memory_ms,
        operations: case.work.operations,
        bytes: case.work.bytes,
    }
}

fn milliseconds(work: impl FnOnce()) -> f64 {
    let start = Instant::now();
    work();
    start.elapsed().as_secs_f64() * 1e3
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use serde_json::json;
    use undertone_runner::Model;

    use super::*;

    fn small() -> ModelConfig {
        let reference = Path::new(env!("CARGO_MANIFEST_DIR")).join("../models/reference");
        ModelConfig {
            width: 64,
            encoder_heads: 1,
            decoder_heads: 1,
            encoder_inner: 128,
            decoder_inner: 128,
            vocabulary: 1001,
            mel_bins: 16,
            ..Model::from_directory(&reference, None).unwrap().config().clone()
        }
    }

    #[test]
    fn every_kernel_of_a_small_model_is_measured() {
        let report = measure(whisper::cases(&small(), 60, 3), 2, &Serial);
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

    #[test]
    fn a_report_has_limits_and_kernels() {
        let report = serde_json::to_value(kernels(&small(), 2, 1, 2).unwrap()).unwrap();
        assert!(report["limits"]["read_gbps"].as_f64().unwrap() > 0.0, "{report}");
        assert!(report["limits"]["one_thread"]["read_gbps"].as_f64().unwrap() > 0.0);
        for key in ["int8_gops", "bf16_gflops", "f32_gflops"] {
            assert!(report["limits"].get(key).is_some(), "{key}");
        }
        let kernels = report["kernels"].as_array().unwrap();
        for kernel in kernels {
            assert!(kernel["ms"].as_f64().unwrap() > 0.0, "{kernel}");
            for key in ["name", "shape", "precision", "share_of_limit"] {
                assert!(kernel.get(key).is_some(), "{kernel} lacks {key}");
            }
        }
        for precision in ["int8", "bf16", "f32"] {
            assert!(
                kernels.iter().any(|kernel| kernel["precision"] == precision && kernel["shape"] == "1500x512x2048")
            );
        }
        assert_eq!(report["batched_products"].as_array().unwrap().len(), 3);
    }

    #[test]
    fn sizes_that_no_model_has_are_refused() {
        let huge = ModelConfig { width: 99_999_999, ..small() };
        let none = ModelConfig { decoder_heads: 0, ..small() };
        let narrow = ModelConfig { encoder_heads: 65, ..small() };
        for config in [huge, none, narrow] {
            assert!(matches!(kernels(&config, 1, 1, 1), Err(BenchError::Sizes { .. })), "{config:?}");
        }
    }

    #[test]
    fn a_report_is_what_programs_read() {
        let alone = Limits {
            int8_gops: Some(900.0),
            f32_gflops: Some(100.0),
            read_gbps: 30.0,
            exponentials_gps: 2.0,
            read_patterns_gbps: [("forward", 30.0)].into(),
            ..Limits::default()
        };
        let kernel = Kernel {
            name: "linear".to_owned(),
            shape: "1x2x3".to_owned(),
            precision: "int8",
            ms: 2.0,
            best_ms: 1.5,
            share_of_limit: Some(0.5),
            limit_ms: Some(1.0),
            arithmetic_ms: Some(1.0),
            memory_ms: 0.5,
            operations: 12.0,
            bytes: 6.0,
        };
        let (shape, count) = ("64x64x64".to_owned(), 16);
        let products = BatchedProducts { shape, count, together_ms: 1.0, one_by_one_ms: 2.0, ratio: 2.0 };
        let report = KernelReport {
            instruction_set: "avx2".to_owned(),
            threads: 2,
            limits: Limits { read_from_bytes: Some(64 << 20), one_thread: Some(Box::new(alone.clone())), ..alone },
            kernels: vec![kernel],
            batched_products: vec![products],
        };
        let limits = json!({"int8_gops": 900.0, "bf16_gflops": null, "f32_gflops": 100.0, "read_gbps": 30.0, "exponentials_gps": 2.0,
            "read_patterns_gbps": {"forward": 30.0}, "read_from_bytes": null, "last_level_cache_bytes": null, "one_thread": null});
        let mut both = limits.clone();
        both["read_from_bytes"] = (64 << 20).into();
        both["one_thread"] = limits;
        let text = json!({"instruction_set": "avx2", "threads": 2, "limits": both,
            "kernels": [{"name": "linear", "shape": "1x2x3", "precision": "int8", "ms": 2.0, "best_ms": 1.5, "share_of_limit": 0.5,
                "limit_ms": 1.0, "arithmetic_ms": 1.0, "memory_ms": 0.5, "operations": 12.0, "bytes": 6.0}],
            "batched_products": [{"shape": "64x64x64", "count": 16, "together_ms": 1.0, "one_by_one_ms": 2.0, "ratio": 2.0}]});
        assert_eq!(serde_json::to_value(report).unwrap(), text);
    }
}
