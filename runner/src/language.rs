//! Which language is spoken: read from the logits after start-of-transcript, where the model expects a language token.

use crate::choice::probability;
use std::collections::BTreeMap;

/// A detected language.
#[derive(Debug, Clone, PartialEq)]
pub struct Detected {
    /// Its code, for example `en`.
    pub code: String,
    /// Its token.
    pub token: u32,
    /// Its probability among the languages.
    pub probability: f64,
}

/// The likeliest of `languages` (code → token) by the logits `[vocabulary]` after start-of-transcript; `None` if the
/// model knows no languages.
pub fn detect(logits: &[f32], languages: &BTreeMap<String, u32>) -> Option<Detected> {
    let of = |token: u32| logits.get(token as usize).copied().unwrap_or(f32::NEG_INFINITY);
    let values: Vec<f32> = languages.values().map(|&token| of(token)).collect();
    let (index, (code, &token)) =
        languages.iter().enumerate().reduce(|best, next| if values[next.0] > values[best.0] { next } else { best })?;
    let probability = probability(&values, u32::try_from(index).ok()?);
    Some(Detected { code: code.clone(), token, probability })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_likeliest_language_among_languages_only() {
        let languages = BTreeMap::from([("de".to_owned(), 2), ("en".to_owned(), 1), ("fr".to_owned(), 3)]);
        let logits = [99.0, 1.0, 3.0, 1.0];
        let found = detect(&logits, &languages).unwrap();
        assert_eq!((found.code.as_str(), found.token), ("de", 2));
        let expected = 1.0 / (1.0 + 2.0 * (-2f64).exp());
        assert!((found.probability - expected).abs() < 1e-6);
        assert_eq!(detect(&logits, &BTreeMap::new()), None);
        assert_eq!(detect(&[], &languages).unwrap().probability, 0.0);
    }
}
