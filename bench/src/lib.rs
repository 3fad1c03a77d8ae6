//! How fast a model runs: one synthetic 30 s window through the encoder, and the decoder forced to a number of tokens
//! ([`run()`]); long audio ([`long_audio`]); decoding with the cache against decoding without ([`cache_gain`]); a
//! process's start ([`first_token`]); what an NPU would do ([`plan()`]); and the execution provider's kernels beside the
//! machine's [`limits`] ([`kernels()`]). [`Report`] is all of it, for people and programs.
//!
//! Models run through the runner, which loads the execution provider's library like any other program. The kernels are
//! measured alone, by themselves: those that this crate was built with.

mod cache;
mod encoder;
pub mod kernels;
pub mod limits;
mod long;
mod plan;
mod report;
mod roofline;
mod run;
mod sound;
mod start;
mod step;

pub use cache::{CacheGain, cache_gain};
pub use encoder::Encoder;
pub use kernels::{BatchedProducts, Kernel, KernelReport, kernels};
pub use long::{LongResult, long_audio};
pub use plan::{Plan, plan};
pub use report::Report;
pub use roofline::draw as roofline;
pub use run::{BenchOptions, BenchResult, run};
pub use start::{StartMemory, StartResult, first_token};
pub use step::{StepProfile, StepResult};
/// What a report measured on an NPU: what `--core-costs` names.
pub use undertone_kernels::npu::cost::read as core_costs;

use undertone_runner::decoder::{LoadError, OrtModel};
use undertone_runner::mel::LogMel;
use undertone_runner::speech_model::RunError;
use undertone_runner::tokenizer::{SpecialTokens, Tokenizer, TokenizerError};
use undertone_runner::{Device, Engine, EngineOptions, Model};

const WINDOW_SECONDS: f64 = 30.0;
/// The prompt's language, task and no-timestamps tokens come on top of what is written.
const PROMPT: usize = 4;
/// Tokens in the cache of the step that is looked at closely: a sentence half decoded.
const CACHED: usize = 96;

/// Why nothing was measured.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs, reason = "a field is what its message says of it")]
pub enum BenchError {
    /// A model or device that cannot be loaded.
    #[error(transparent)]
    Load(#[from] LoadError),
    /// The tokenizer.
    #[error(transparent)]
    Tokenizer(#[from] TokenizerError),
    /// The model failed while it ran.
    #[error(transparent)]
    Run(#[from] RunError),
    /// The execution provider's library tells nothing of its NPU.
    #[error("the execution provider tells nothing of an NPU; name a newer library with --ep-library")]
    NoNpu,
    /// Sizes that no model has.
    #[error("cannot measure kernels of {width} channels in {heads} heads; check the model's config.json")]
    Sizes { width: usize, heads: usize },
    /// A number of tokens that cannot be decoded.
    #[error("cannot decode {asked} tokens for a window: give 1 to {most}")]
    Tokens { asked: usize, most: usize },
}

/// A model on a device.
struct Loaded {
    engine: Engine,
    model: OrtModel,
    /// The device's name, and the arithmetic that it uses.
    device: String,
    precision: String,
}

impl Loaded {
    fn new(model: &Model, configuration: &EngineOptions) -> Result<Self, BenchError> {
        let engine = Engine::new(configuration).map_err(LoadError::from)?;
        let on_cpu = configuration.device == Device::Cpu;
        let precision = if on_cpu { model.variant().to_owned() } else { configuration.precision.to_string() };
        let model = OrtModel::load(model, &engine)?;
        Ok(Self { engine, model, device: configuration.device.to_string(), precision })
    }
}

/// The features of a window of synthetic sound.
fn window(model: &Model) -> Vec<f32> {
    LogMel::new(model.config().mel_bins).hugging_face(&sound::hum(WINDOW_SECONDS))
}

/// The special tokens of a model that can decode so many: its decoder has positions for the prompt and what is written.
fn special_tokens(model: &Model, tokens: usize) -> Result<SpecialTokens, BenchError> {
    let most = model.config().decoder_positions.saturating_sub(PROMPT);
    if tokens == 0 || tokens > most {
        return Err(BenchError::Tokens { asked: tokens, most });
    }
    Ok(Tokenizer::load(model.directory())?.special)
}

/// The middle of `samples`; NaN for none.
pub fn median(samples: &[f64]) -> f64 {
    let mut sorted = samples.to_vec();
    sorted.sort_by(f64::total_cmp);
    match sorted.len() {
        0 => f64::NAN,
        n if n % 2 == 1 => sorted[n / 2],
        n => (sorted[n / 2 - 1] + sorted[n / 2]) / 2.0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn medians() {
        assert_eq!(median(&[3.0, 1.0, 2.0]), 2.0);
        assert_eq!(median(&[4.0, 1.0, 2.0, 3.0]), 2.5);
        assert!(median(&[]).is_nan());
    }
}
