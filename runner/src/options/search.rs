//! How the tokens of a window are searched for.

use super::OptionError;
use crate::beam::candidates;

/// Most sequences that may be followed for a window.
pub const MOST_SEQUENCES: usize = 64;

/// The search at temperature 0, and which of several sequences is taken at any temperature. The defaults are
/// openai/whisper's; faster-whisper's are a `beam_size` of 5 and a `patience` of 1.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct SearchOptions {
    /// Sequences that are followed side by side at temperature 0, up to [`MOST_SEQUENCES`]; `None` takes the likeliest
    /// token at each step. Above that temperature `best_of` sequences are drawn.
    pub beam_size: Option<usize>,
    /// A window is done when `beam_size · patience` of its sequences have ended; `None` is 1. Only with a `beam_size`.
    pub patience: Option<f64>,
    /// How long sequences are weighed against short ones: `None` by the mean of their tokens' log-probabilities, 0 to 1
    /// by their sum and Google's length penalty with this α. (CTranslate2's, and so faster-whisper's, is another: it
    /// divides by length^α, its default 1 is `None` here.)
    pub length_penalty: Option<f64>,
}

impl SearchOptions {
    /// # Errors
    /// [`OptionError`] for what cannot be searched with.
    pub(super) fn check(&self) -> Result<(), OptionError> {
        let Self { beam_size, patience, length_penalty } = *self;
        if let Some(size) = beam_size {
            OptionError::unless((1..=MOST_SEQUENCES).contains(&size), "beam_size", size, || {
                format!("use 1 to {MOST_SEQUENCES}, or none")
            })?;
        }
        if let Some(patience) = patience {
            OptionError::unless(patience.is_finite() && patience > 0.0, "patience", patience, || {
                "use a number above 0; 1 is the usual search".to_owned()
            })?;
            let size = beam_size.ok_or_else(|| OptionError {
                name: "patience",
                what: "has a meaning only for a beam search: choose a beam_size too".to_owned(),
            })?;
            let most = 16 * MOST_SEQUENCES;
            OptionError::unless((1..=most).contains(&candidates(size, patience)), "patience", patience, || {
                format!("with a beam_size of {size} that waits for none or more than {most} sequences; use about 1")
            })?;
        }
        if let Some(alpha) = length_penalty {
            OptionError::unless((0.0..=1.0).contains(&alpha), "length_penalty", alpha, || {
                "use a number from 0 to 1, or none".to_owned()
            })?;
        }
        Ok(())
    }
}
