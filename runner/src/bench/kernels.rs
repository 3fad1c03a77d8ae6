//! The execution provider's kernels beside the machine's limits, as its library measures them: asked for in a model's
//! sizes.

use std::path::Path;

use undertone_boundary::measure::Request;
pub use undertone_boundary::measure::{BatchedProducts, Kernel, KernelReport, Limits};

use super::BenchError;
use crate::ep_library::EpLibrary;
use crate::model::Model;

/// Measures the kernels of the execution provider's `library` in `model`'s sizes, on `threads` threads, `rounds` times,
/// with a batch of `batch` rows for the decoder and `cached` tokens in its cache. Takes some ten seconds.
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
    EpLibrary::open(library).and_then(|library| library.measure(&request)).map_err(failed)
}
