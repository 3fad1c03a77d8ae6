//! Stored precisions: the ends of graphs' names (`_fp16`, `_q4`, …) and the words that people have for them, for all
//! graphs or for each.

use super::ModelError;

/// Suffixes of stored precisions, in the order in which they are preferred; `""` is the export without suffix.
pub const VARIANTS: [&str; 11] =
    ["", "_fp32", "_fp16", "_quantized", "_q8", "_int8", "_uint8", "_q4", "_q4f16", "_bnb4", "_static"];

/// Which stored precision is wanted, by the words that people write; `None` takes the best that there is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Variants {
    /// The encoder's suffix.
    pub encoder: Option<String>,
    /// The suffix of the decoder's graphs.
    pub decoder: Option<String>,
}

impl Variants {
    /// Reads a wish: `fp16` for all graphs, or `encoder=fp16,decoder=q4`. Words are the suffixes without their `_`;
    /// `f32` and the empty word stand for no suffix, `q8` and `quantized` for each other.
    ///
    /// ```
    /// use undertone_runner::model::Variants;
    ///
    /// let each = Variants::parse(Some("encoder=fp16,decoder=q4"))?;
    /// assert_eq!((each.encoder.as_deref(), each.decoder.as_deref()), (Some("fp16"), Some("q4")));
    /// assert_eq!(Variants::parse(Some("q8"))?.decoder.as_deref(), Some("q8"));
    /// # Ok::<(), undertone_runner::ModelError>(())
    /// ```
    ///
    /// # Errors
    /// [`ModelError::Variant`] for a graph that there is none of.
    pub fn parse(wish: Option<&str>) -> Result<Self, ModelError> {
        let Some(wish) = wish.map(str::trim) else { return Ok(Self::default()) };
        if !wish.contains('=') {
            return Ok(Self { encoder: Some(wish.to_owned()), decoder: Some(wish.to_owned()) });
        }
        let mut variants = Self::default();
        for part in wish.split(',').map(str::trim).filter(|part| !part.is_empty()) {
            let wrong = || ModelError::Variant(part.to_owned());
            let (graph, word) = part.split_once('=').ok_or_else(wrong)?;
            let place = match graph.trim() {
                "encoder" | "encoder_model" => &mut variants.encoder,
                "decoder" | "decoder_model" | "decoder_model_merged" | "decoder_with_past_model" => {
                    &mut variants.decoder
                }
                _ => return Err(wrong()),
            };
            *place = Some(word.trim().to_owned());
        }
        Ok(variants)
    }
}

/// The suffixes that a word stands for, the likeliest first.
pub(super) fn suffixes(word: &str) -> Vec<String> {
    let word = word.trim_start_matches(['_', '-', '.']).to_lowercase();
    let all: &[&str] = match word.as_str() {
        "" | "f32" | "fp32" | "float32" | "full" => &["", "_fp32", "_f32"],
        "fp16" | "f16" | "float16" | "half" => &["_fp16", "_f16"],
        "quantized" | "quantised" => &["_quantized", "_q8"],
        "q8" => &["_q8", "_quantized"],
        other => return vec![format!("_{other}")],
    };
    all.iter().map(|&suffix| suffix.to_owned()).collect()
}

/// The suffixes to try for a wish, in order.
pub(super) fn candidates(wish: Option<&str>) -> Vec<String> {
    wish.map_or_else(|| VARIANTS.iter().map(|&suffix| suffix.to_owned()).collect(), suffixes)
}

/// A suffix as people write it.
pub(super) fn word(suffix: &str) -> &str {
    if suffix.is_empty() { "f32" } else { suffix.trim_start_matches('_') }
}
