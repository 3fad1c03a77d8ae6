//! The weights that a decoder's cross-attention heads give to the positions of a window, as one matrix.

use super::median;
use crate::choice::exp;
use std::ops::Range;

/// What some heads of the cross-attention make of a sequence: their scores before the soft-max.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Attended {
    /// Tokens of the sequence.
    pub tokens: usize,
    /// Positions of the window, 20 ms each.
    pub positions: usize,
    /// `[heads, tokens, positions]`.
    pub scores: Vec<f32>,
}

impl Attended {
    /// Of the first `tokens` tokens alone.
    pub(crate) fn first(self, tokens: usize) -> Self {
        if tokens >= self.tokens {
            return self;
        }
        let of_head = self.scores.chunks_exact((self.tokens * self.positions).max(1));
        let scores = of_head.flat_map(|scores| &scores[..tokens * self.positions]).copied().collect();
        Self { tokens, positions: self.positions, scores }
    }

    /// The weights over the first `positions` positions, comparable between positions, smooth in time, and averaged
    /// over the heads; of the tokens in `tokens`: `[tokens, positions]`.
    ///
    /// Source: openai/whisper, `whisper/timing.py` (`find_alignment`): soft-max over positions, standard score over
    /// all of the sequence's tokens, median over time, mean over heads.
    pub(super) fn matrix(&self, positions: usize, tokens: Range<usize>) -> Vec<f32> {
        let positions = positions.min(self.positions);
        let of_head = self.tokens * self.positions;
        let mut matrix = vec![0.0f32; tokens.len() * positions];
        if of_head == 0 || positions == 0 {
            return matrix;
        }
        let heads = self.scores.chunks_exact(of_head);
        let share = 1.0 / heads.len() as f32;
        let mut weights = vec![0.0f32; self.tokens * positions];
        let mut padded = Vec::new();
        for scores in heads {
            for (weights, scores) in weights.chunks_exact_mut(positions).zip(scores.chunks_exact(self.positions)) {
                soft_max(&scores[..positions], weights);
            }
            standardise(&mut weights, positions);
            let wanted = weights.chunks_exact_mut(positions).skip(tokens.start).take(tokens.len());
            for (sums, weights) in matrix.chunks_exact_mut(positions).zip(wanted) {
                median::filter(weights, &mut padded);
                sums.iter_mut().zip(weights).for_each(|(sum, weight)| *sum += *weight * share);
            }
        }
        matrix
    }
}

/// `exp(score) / Σ exp(score)`.
fn soft_max(scores: &[f32], weights: &mut [f32]) {
    let largest = scores.iter().copied().fold(f32::NEG_INFINITY, |a, b| if b > a { b } else { a });
    for (weight, score) in weights.iter_mut().zip(scores) {
        *weight = exp(score - largest);
    }
    let sum: f64 = weights.chunks(64).map(|part| f64::from(part.iter().sum::<f32>())).sum();
    let factor = (1.0 / sum) as f32;
    weights.iter_mut().for_each(|weight| *weight *= factor);
}

/// Subtracts from each column its mean and divides by its deviation. A column of equal values becomes 0.
fn standardise(weights: &mut [f32], columns: usize) {
    let share = columns as f32 / weights.len() as f32;
    let mut means = vec![0.0f32; columns];
    for row in weights.chunks_exact(columns) {
        means.iter_mut().zip(row).for_each(|(mean, weight)| *mean += weight * share);
    }
    let mut scales = vec![0.0f32; columns];
    for row in weights.chunks_exact_mut(columns) {
        for ((square, weight), mean) in scales.iter_mut().zip(row).zip(&means) {
            *weight -= mean;
            *square += *weight * *weight * share;
        }
    }
    scales.iter_mut().for_each(|square| *square = if *square > 0.0 { square.sqrt().recip() } else { 0.0 });
    for row in weights.chunks_exact_mut(columns) {
        row.iter_mut().zip(&scales).for_each(|(weight, scale)| *weight *= scale);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The reference's lines, in f64 and one after another.
    fn slow(attended: &Attended, positions: usize, tokens: Range<usize>) -> Vec<f64> {
        let heads = attended.scores.len() / (attended.tokens * attended.positions);
        let mut matrix = vec![0.0; tokens.len() * positions];
        for head in 0..heads {
            let score =
                |t: usize, p: usize| f64::from(attended.scores[(head * attended.tokens + t) * attended.positions + p]);
            let weight =
                |t: usize, p: usize| score(t, p).exp() / (0..positions).map(|p| score(t, p).exp()).sum::<f64>();
            let count = attended.tokens as f64;
            let mean = |p: usize| (0..attended.tokens).map(|t| weight(t, p)).sum::<f64>() / count;
            let deviation =
                |p: usize| ((0..attended.tokens).map(|t| (weight(t, p) - mean(p)).powi(2)).sum::<f64>() / count).sqrt();
            for (row, t) in tokens.clone().enumerate() {
                let mut line: Vec<f32> =
                    (0..positions).map(|p| ((weight(t, p) - mean(p)) / deviation(p)) as f32).collect();
                median::filter(&mut line, &mut Vec::new());
                for (p, value) in line.into_iter().enumerate() {
                    matrix[row * positions + p] += f64::from(value) / heads as f64;
                }
            }
        }
        matrix
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(60))]
        #[test]
        fn as_the_obvious_way_has_it(
            heads in 1usize..4, tokens in 2usize..7, positions in 1usize..30, part in 0.1f64..1.0, seed in 0u64..u64::MAX
        ) {
            let mut random = fastrand::Rng::with_seed(seed);
            let scores = (0..heads * tokens * positions).map(|_| 6.0 * (random.f32() - 0.5)).collect();
            let attended = Attended { tokens, positions, scores };
            let heard = ((positions as f64 * part) as usize).max(1);
            let fast = attended.matrix(heard, 1..tokens);
            let slow = slow(&attended, heard, 1..tokens);
            // One position alone has the weight 1 for every token: no deviation.
            if heard > 1 {
                for (fast, slow) in fast.iter().zip(slow) {
                    prop_assert!((f64::from(*fast) - slow).abs() < 2e-3, "{} for {}", fast, slow);
                }
            }
        }
    }

    #[test]
    fn positions_that_no_token_prefers_are_zero() {
        let attended = Attended { tokens: 3, positions: 4, scores: vec![1.0; 24] };
        assert_eq!(attended.matrix(4, 0..3), [0.0; 12]);
        assert!(attended.matrix(0, 0..3).is_empty());
        assert!(Attended::default().matrix(2, 0..1).is_empty());
    }
}
