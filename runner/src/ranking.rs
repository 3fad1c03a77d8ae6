//! Which of a window's sequences is taken: the seam between a search, which finds several, and the result, which is one.
//!
//! Source: openai/whisper, `whisper/decoding.py` (`MaximumLikelihoodRanker`).

/// An order of sequences.
pub trait Ranking {
    /// What a sequence is worth, by the sum of its tokens' log-probabilities (end of text counted, where it came) and
    /// their number (timestamps counted, end of text not). The one that is worth most is taken.
    fn score(&self, sum: f64, tokens: usize) -> f64;
}

/// By log-probability, in which long sequences are not to be at a disadvantage.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct MaximumLikelihood {
    /// `None` divides by the number of tokens. Otherwise α of [Google's translation system](https://arxiv.org/abs/1609.08144),
    /// which divides by ((5 + tokens) / 6)^α; 0 does not divide.
    pub length_penalty: Option<f64>,
}

impl Ranking for MaximumLikelihood {
    fn score(&self, sum: f64, tokens: usize) -> f64 {
        let tokens = tokens as f64;
        match self.length_penalty {
            // A sequence without tokens is no better than with one.
            None => sum / tokens.max(1.0),
            Some(alpha) => sum / ((5.0 + tokens) / 6.0).powf(alpha),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_sequences_are_weighed_by_their_length() {
        let score = |length_penalty, sum, tokens| MaximumLikelihood { length_penalty }.score(sum, tokens);
        assert_eq!(score(None, -6.0, 3), -2.0);
        assert_eq!(score(None, -6.0, 0), -6.0);
        assert_eq!(score(Some(0.0), -6.0, 3), -6.0);
        assert_eq!(score(Some(1.0), -6.0, 7), -3.0);
        assert!((score(Some(0.6), -6.0, 7) + 6.0 / 2f64.powf(0.6)).abs() < 1e-12);
    }
}
