//! Tokens drawn at random, each by its probability at a temperature, several sequences to a window.
//!
//! Chance is repeatable: what is drawn depends on the window's seed, the temperature and the sequence alone, never on
//! the time, on threads or on what else is decoded. The same recording with the same options has the same text.
//!
//! Source: openai/whisper, `whisper/decoding.py` (`GreedyDecoder` with a temperature). A
//! token's log-probability is that at temperature 1, so that results of all temperatures can be compared.

use crate::choice::{Ask, Choice, Field, for_each_block, scores};
use crate::search::{Proposal, Search, Sequence, Wants};
use crate::timestamps::TIMESTAMPS;
use fastrand::Rng;

/// Draws tokens.
pub struct Sampling<'a> {
    temperature: f64,
    /// Sequences of a window.
    width: usize,
    /// For each window its sequences' chance.
    chance: Vec<Vec<Rng>>,
    gives_up: &'a dyn Fn(&[u32]) -> bool,
}

impl<'a> Sampling<'a> {
    /// Draws at `temperature` (above 0), `width` sequences for each of the windows, whose seeds are `seeds`. `gives_up`
    /// says of a sequence's tokens whether it is not followed to its end.
    pub fn new(
        temperature: f32,
        width: usize,
        seeds: impl IntoIterator<Item = u64>,
        gives_up: &'a dyn Fn(&[u32]) -> bool,
    ) -> Self {
        let width = width.max(1);
        let of_window = |seed: u64| {
            // Each number drawn from a generator seeds another: neighbouring seeds have nothing in common.
            let mut seeds = Rng::with_seed(seed ^ (u64::from(temperature.to_bits()) << 32));
            (0..width).map(|_| seeds.fork()).collect()
        };
        Self { temperature: temperature.into(), width, chance: seeds.into_iter().map(of_window).collect(), gives_up }
    }
}

impl Search for Sampling<'_> {
    fn wants(&self) -> Wants {
        Wants::Logits
    }

    fn propose(
        &mut self,
        row: usize,
        sequence: &Sequence,
        logits: &[f32],
        ask: &Ask<'_>,
        proposals: &mut Vec<Proposal>,
    ) {
        let Some(chance) = self.chance.get_mut(sequence.window) else { return };
        let Some(field) = scores(logits, ask).field() else { return };
        // All sequences of a window begin as one.
        let begins = sequence.tokens.is_empty();
        let numbers = if begins { 0..self.width } else { sequence.number..sequence.number + 1 };
        for rng in chance.get_mut(numbers).unwrap_or_default() {
            let choice = draw(logits, ask, &field, self.temperature, rng.f64());
            proposals.push(Proposal { row, choice });
        }
    }

    fn gives_up(&self, sequence: &Sequence) -> bool {
        (self.gives_up)(&sequence.tokens)
    }
}

/// The token of `field` at which the share `chance` (0 to 1) of the probabilities, in the order of tokens, is reached.
fn draw(logits: &[f32], ask: &Ask<'_>, field: &Field, temperature: f64, chance: f64) -> Choice {
    let first = ask.first_timestamp as usize;
    let tokens = if field.timestamps_only {
        first..logits.len().min(first.saturating_add(TIMESTAMPS as usize))
    } else {
        0..logits.len()
    };
    let largest = f64::from(field.likeliest.logit);
    let weight = |logit: f32| {
        let weight = ((f64::from(logit) - largest) / temperature).exp();
        // NaN is not allowed; of the infinite, only the likeliest token comes.
        if weight.is_finite() { weight } else { 0.0 }
    };
    let mut all = 0.0;
    let mut sums = Vec::with_capacity(logits.len() / 256);
    for_each_block(ask.forbidden, tokens, |block| {
        all += logits[block.clone()].iter().map(|&logit| weight(logit)).sum::<f64>();
        sums.push((block, all));
    });
    let reached = chance * all;
    let token = sums.partition_point(|(_, sum)| *sum <= reached);
    let before = token.checked_sub(1).map_or(0.0, |before| sums[before].1);
    let found = sums.get(token).and_then(|(block, _)| {
        let mut sum = before;
        block.clone().find(|&token| {
            sum += weight(logits[token]);
            sum > reached
        })
    });
    // Rounding can leave the sum short of what was to be reached.
    let token = found.unwrap_or(field.likeliest.token as usize);
    let log_probability = f64::from(logits[token]) - largest - field.weight.ln();
    Choice { token: token as u32, log_probability: if log_probability.is_nan() { 0.0 } else { log_probability } }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::slice::from_ref;

    const FIRST_TIMESTAMP: u32 = 40;

    /// What `count` windows' first sequences draw.
    fn drawn(logits: &[f32], ask: &Ask<'_>, temperature: f32, count: usize) -> Vec<Choice> {
        let mut search = Sampling::new(temperature, 1, (0..count).map(|seed| seed as u64), &|_| false);
        let mut proposals = Vec::new();
        for window in 0..count {
            let sequence = Sequence { window, ..Sequence::default() };
            search.propose(window, &sequence, logits, ask, &mut proposals);
        }
        proposals.into_iter().map(|proposal| proposal.choice).collect()
    }

    #[test]
    fn tokens_come_as_often_as_their_probability_says() {
        let logits: Vec<f32> = (0..30).map(|i| (i as f32 * 1.7).sin() * 2.0).collect();
        let ask = Ask { forbidden: from_ref(&(3..6)), first_timestamp: Ask::NO_TIMESTAMPS };
        const DRAWS: usize = 100_000;
        for temperature in [0.5f32, 1.0, 2.0] {
            let weight = |i: usize, by: f64| if (3..6).contains(&i) { 0.0 } else { (f64::from(logits[i]) / by).exp() };
            let all: f64 = (0..30).map(|i| weight(i, temperature.into())).sum();
            let all_at_1: f64 = (0..30).map(|i| weight(i, 1.0)).sum();
            let drawn = drawn(&logits, &ask, temperature, DRAWS);
            assert_eq!(drawn.len(), DRAWS);
            for i in 0..30 {
                let expected = weight(i, temperature.into()) / all * DRAWS as f64;
                let found = drawn.iter().filter(|choice| choice.token == i as u32).count() as f64;
                // Five standard deviations.
                assert!((found - expected).abs() <= 5.0 * expected.sqrt(), "token {i}: {found}, not {expected}");
            }
            for choice in &drawn[..100] {
                let expected = (weight(choice.token as usize, 1.0) / all_at_1).ln();
                assert!((choice.log_probability - expected).abs() < 1e-5, "{choice:?}: {expected}");
            }
        }
    }

    #[test]
    fn sequences_of_a_window_differ_and_seeds_decide() {
        let logits = vec![0.0; 1000];
        let ask = Ask { forbidden: &[], first_timestamp: Ask::NO_TIMESTAMPS };
        let draw = |seeds: Vec<u64>, temperature, window| {
            let mut search = Sampling::new(temperature, 4, seeds, &|_| false);
            let mut proposals = Vec::new();
            search.propose(0, &Sequence { window, ..Sequence::default() }, &logits, &ask, &mut proposals);
            proposals.iter().map(|p| p.choice.token).collect::<Vec<_>>()
        };
        let first = draw(vec![7, 8], 1.0, 0);
        assert!(first.len() == 4 && first.windows(2).any(|pair| pair[0] != pair[1]), "{first:?}");
        assert_eq!(first, draw(vec![3, 7], 1.0, 1));
        assert_ne!(first, draw(vec![7, 8], 1.0, 1));
        assert_ne!(first, draw(vec![7, 8], 0.8, 0));
    }

    proptest! {
        #[test]
        fn what_is_forbidden_never_comes(
            logits in prop::collection::vec(
                prop_oneof![9 => -30.0f32..30.0, 1 => Just(f32::NAN), 1 => Just(f32::NEG_INFINITY), 1 => Just(f32::INFINITY)],
                0..60,
            ),
            from in 0u32..60,
            length in 0u32..60,
            temperature in 0.1f32..2.0,
        ) {
            let forbidden = from..from + length;
            let ask = Ask { forbidden: from_ref(&forbidden), first_timestamp: FIRST_TIMESTAMP };
            let greedy = scores(&logits, &ask);
            let drawn = drawn(&logits, &ask, temperature, 20);
            prop_assert_eq!(drawn.is_empty(), greedy.choose().is_none());
            for choice in drawn {
                prop_assert!(!forbidden.contains(&choice.token) && (choice.token as usize) < logits.len());
                prop_assert!(logits[choice.token as usize] > f32::NEG_INFINITY);
                prop_assert!(choice.log_probability <= 1e-6);
                // Where the likeliest is a timestamp because timestamps must come, all that come are.
                let must = greedy.field().is_some_and(|field| field.timestamps_only);
                prop_assert!(!must || choice.token >= FIRST_TIMESTAMP);
            }
        }
    }
}
