//! The execution provider's kernels beside the machine's limits, as its library measures them: asked for in a model's sizes.

use std::path::Path;

use serde::{Deserialize, Serialize};

use super::BenchError;
use crate::model::Model;
use crate::native::Instruments;

/// What the machine can do at best, measured. A peak is absent where the library knows no loop for the instruction set's products.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Limits {
    /// 10⁹ int8 operations a second (a multiply-add is two).
    pub int8_gops: Option<f64>,
    /// 10⁹ bf16 operations a second.
    pub bf16_gflops: Option<f64>,
    /// 10⁹ fp32 operations a second.
    pub f32_gflops: Option<f64>,
    /// 10⁹ bytes a second read from memory.
    pub read_gbps: f64,
    /// 10⁹ exponentials a second.
    pub exponentials_gps: f64,
    /// 10⁹ bytes a second by the order of reading; the best is `read_gbps`.
    pub read_patterns_gbps: std::collections::BTreeMap<String, f64>,
    /// Bytes of the memory that was read, over and over.
    pub read_from_bytes: Option<u64>,
    /// Bytes of the last-level cache, where the system tells.
    pub last_level_cache_bytes: Option<u64>,
    /// The same on one thread.
    pub one_thread: Option<Box<Limits>>,
}

/// One kernel's figures.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Kernel {
    /// What it is in the model; `linear` and `attention` are standard sizes, the same for every model.
    pub name: String,
    /// Its sizes: rows, inputs and outputs; heads, queries, keys and head width; …
    pub shape: String,
    /// Precision of its products.
    pub precision: String,
    /// Milliseconds of a call, median.
    pub ms: f64,
    /// Milliseconds of a call, the best round.
    pub best_ms: f64,
    /// `limit_ms / ms`, where the limit is known.
    pub share_of_limit: Option<f64>,
    /// The larger of the two limits, milliseconds.
    pub limit_ms: Option<f64>,
    /// Milliseconds that its products and exponentials take at the peak.
    pub arithmetic_ms: Option<f64>,
    /// Milliseconds that its bytes take at the read bandwidth.
    pub memory_ms: f64,
    /// Multiplications and additions.
    pub operations: f64,
    /// Bytes that cross between memory and the processor if each operand and result does so once.
    pub bytes: f64,
}

/// Some equal products in one call against one call each.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
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

/// What the library found.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct KernelReport {
    /// The instruction set in use.
    pub instruction_set: String,
    /// Threads.
    pub threads: usize,
    /// What the machine can do.
    pub limits: Limits,
    /// Every kernel.
    pub kernels: Vec<Kernel>,
    /// Products in a batch.
    pub batched_products: Vec<BatchedProducts>,
}

#[derive(Serialize)]
struct Request {
    threads: usize,
    rounds: usize,
    batch: usize,
    cached: usize,
    width: usize,
    encoder_heads: usize,
    decoder_heads: usize,
    encoder_inner: usize,
    decoder_inner: usize,
    vocabulary: usize,
    mel_bins: usize,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Answer {
    Report(Box<KernelReport>),
    Refused { error: String },
}

/// Measures the kernels of the execution provider's `library` in `model`'s sizes, on `threads` threads, `rounds` times, with a batch of
/// `batch` rows for the decoder and `cached` tokens in its cache. Takes some ten seconds.
///
/// # Errors
/// [`BenchError::Library`]: a library that does not load, or that does not measure.
pub fn kernels(
    library: &Path,
    model: &Model,
    threads: usize,
    rounds: usize,
    batch: usize,
    cached: usize,
) -> Result<KernelReport, BenchError> {
    let config = model.config();
    let request = Request {
        threads,
        rounds,
        batch,
        cached,
        width: config.width,
        encoder_heads: config.encoder_heads,
        decoder_heads: config.decoder_heads,
        encoder_inner: config.encoder_inner,
        decoder_inner: config.decoder_inner,
        vocabulary: config.vocabulary,
        mel_bins: config.mel_bins,
    };
    let failed = |reason: String| BenchError::Library { path: library.to_owned(), reason };
    let instruments = Instruments::open(library).map_err(failed)?;
    let request = serde_json::to_string(&request).map_err(|e| failed(e.to_string()))?;
    let answer = instruments.measure(&request).ok_or_else(|| failed("it cannot measure its kernels".to_owned()))?;
    match serde_json::from_str(&answer) {
        Ok(Answer::Report(report)) => Ok(*report),
        Ok(Answer::Refused { error }) => Err(failed(error)),
        Err(e) => Err(failed(format!("its answer is not understood: {e}"))),
    }
}
