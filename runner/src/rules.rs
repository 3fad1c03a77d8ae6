//! Whisper's rules on logits: what may be written at a position. Each rule is a small object that takes options away by
//! setting their logits to minus infinity; they are applied in order, before the choice.
//!
//! Source: openai/whisper, `whisper/decoding.py` (the logit filters). Choosing among what is left is `decode`'s.

/// Seconds between two timestamps.
pub const TIME_PRECISION: f64 = 0.02;

/// A restriction on the next token.
pub trait Rule {
    /// Changes `logits` `[vocabulary]`, knowing the tokens `written` since the prompt.
    fn apply(&self, logits: &mut [f32], written: &[u32]);
}

fn forbid(logits: &mut [f32], tokens: impl IntoIterator<Item = u32>) {
    for token in tokens {
        if let Some(logit) = logits.get_mut(token as usize) {
            *logit = f32::NEG_INFINITY;
        }
    }
}

fn forbid_range(logits: &mut [f32], from: usize, to: usize) {
    let to = to.min(logits.len());
    if from < to {
        logits[from..to].fill(f32::NEG_INFINITY);
    }
}

/// The first token is neither a blank nor the end of text.
#[derive(Debug, Clone)]
pub struct SuppressBlank {
    /// The model's `begin_suppress_tokens`.
    pub tokens: Vec<u32>,
}

impl Rule for SuppressBlank {
    fn apply(&self, logits: &mut [f32], written: &[u32]) {
        if written.is_empty() {
            forbid(logits, self.tokens.iter().copied());
        }
    }
}

/// Some tokens are never written: marks that are not speech, and control tokens.
#[derive(Debug, Clone)]
pub struct SuppressTokens {
    /// The model's `suppress_tokens`, and the control tokens.
    pub tokens: Vec<u32>,
}

impl Rule for SuppressTokens {
    fn apply(&self, logits: &mut [f32], _written: &[u32]) {
        forbid(logits, self.tokens.iter().copied());
    }
}

/// Timestamps come in pairs around text, never run backwards, and come at all when they are likelier than text.
#[derive(Debug, Clone)]
pub struct TimestampRules {
    /// End of text.
    pub eot: u32,
    /// The token that asks for text without timestamps.
    pub notimestamps: u32,
    /// The timestamp 0.00; all later tokens are timestamps.
    pub first: u32,
    /// The latest that the first timestamp may be, in steps of 20 ms.
    pub max_initial: usize,
}

impl Rule for TimestampRules {
    fn apply(&self, logits: &mut [f32], written: &[u32]) {
        let first = self.first as usize;
        forbid(logits, [self.notimestamps]);
        let is_timestamp = |token: u32| token >= self.first;
        let ends_in_timestamp = written.last().is_some_and(|&t| is_timestamp(t));
        let before_last = written.len().checked_sub(2).map(|i| written[i]);
        let pair_complete = before_last.is_none_or(is_timestamp);
        if ends_in_timestamp {
            if pair_complete {
                forbid_range(logits, first, logits.len()); // text must follow
            } else {
                forbid_range(logits, 0, self.eot as usize); // a second timestamp or the end
            }
        }
        if let Some(&last) = written.iter().rev().find(|&&t| is_timestamp(t)) {
            // The second of a pair may repeat the first; elsewhere time must move on, or decoding could loop.
            let repeat = ends_in_timestamp && !pair_complete;
            forbid_range(logits, first, last as usize + usize::from(!repeat));
        }
        if written.is_empty() {
            forbid_range(logits, 0, first);
            forbid_range(logits, first.saturating_add(self.max_initial).saturating_add(1), logits.len());
        }
        if timestamps_outweigh(logits, first) {
            forbid_range(logits, 0, first);
        }
    }
}

/// Whether all timestamps together are likelier than the likeliest other token.
fn timestamps_outweigh(logits: &[f32], first: usize) -> bool {
    let Some((text, timestamps)) = logits.split_at_checked(first) else { return false };
    let best = |values: &[f32]| values.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let likeliest = best(timestamps);
    if likeliest == f32::NEG_INFINITY {
        return false;
    }
    // The softmax's denominator is the same on both sides and is left out.
    let sum: f64 = timestamps.iter().map(|&x| f64::from(x - likeliest).exp()).sum();
    f64::from(likeliest) + sum.ln() > f64::from(best(text))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    // A toy vocabulary: text 0–9, end of text 10, a control token 11, "no timestamps" 12, timestamps 13–30.
    const EOT: u32 = 10;
    const FIRST: u32 = 13;
    const SIZE: usize = 31;

    fn rules() -> TimestampRules {
        TimestampRules { eot: EOT, notimestamps: 12, first: FIRST, max_initial: 5 }
    }

    /// The tokens that are left when text is far likelier than timestamps.
    fn left(written: &[u32]) -> Vec<u32> {
        let mut logits = vec![0.0; SIZE];
        logits[FIRST as usize..].fill(-50.0);
        rules().apply(&mut logits, written);
        (0..SIZE as u32).filter(|&t| logits[t as usize] > f32::NEG_INFINITY).collect()
    }

    #[test]
    fn the_first_token_is_an_early_timestamp() {
        assert_eq!(left(&[]), (FIRST..=FIRST + 5).collect::<Vec<_>>());
    }

    #[test]
    fn text_follows_the_first_timestamp() {
        assert_eq!(left(&[15]), (0..12).collect::<Vec<_>>());
    }

    #[test]
    fn after_text_time_moves_on() {
        assert_eq!(left(&[15, 3]), (0..12).chain(16..31).collect::<Vec<_>>());
    }

    #[test]
    fn a_closing_timestamp_is_followed_by_an_opening_one_or_the_end() {
        assert_eq!(left(&[15, 3, 20]), (10..12).chain(20..31).collect::<Vec<_>>());
        assert_eq!(left(&[15, 3, 20, 20]), (0..12).collect::<Vec<_>>());
    }

    #[test]
    fn timestamps_that_outweigh_text_must_come() {
        let mut logits = vec![0.0; SIZE];
        // Eighteen timestamps of equal weight together outweigh any one text token.
        rules().apply(&mut logits, &[13, 3]);
        assert!(logits[..FIRST as usize].iter().all(|&x| x == f32::NEG_INFINITY));
        assert!(logits[14..].iter().all(|&x| x == 0.0));
    }

    #[test]
    fn blank_only_at_the_start() {
        let rule = SuppressBlank { tokens: vec![2, EOT, 1000] };
        let mut logits = vec![1.0; SIZE];
        rule.apply(&mut logits, &[5]);
        assert!(logits.iter().all(|&x| x == 1.0));
        rule.apply(&mut logits, &[]);
        assert_eq!(logits.iter().filter(|&&x| x == f32::NEG_INFINITY).count(), 2);
    }

    proptest! {
        /// Whatever a model prefers, a written sequence keeps to the rules, and something is always allowed.
        #[test]
        fn any_preferences_give_a_lawful_sequence(steps in proptest::collection::vec(proptest::collection::vec(-9.0f32..9.0, SIZE), 1..40)) {
            let mut written: Vec<u32> = Vec::new();
            for preferences in steps {
                let mut logits = preferences;
                SuppressTokens { tokens: vec![11] }.apply(&mut logits, &written);
                rules().apply(&mut logits, &written);
                let choice = (0..SIZE).max_by(|&a, &b| logits[a].total_cmp(&logits[b])).unwrap();
                prop_assert!(logits[choice] > f32::NEG_INFINITY, "nothing is allowed after {written:?}");
                if choice as u32 == EOT { break; }
                written.push(choice as u32);
            }
            let times: Vec<u32> = written.iter().copied().filter(|&t| t >= FIRST).collect();
            prop_assert!(times.is_sorted());
            prop_assert!(written.is_empty() || (FIRST..=FIRST + 5).contains(&written[0]));
            prop_assert!(!written.contains(&12) && !written.contains(&11));
            for window in written.windows(3) {
                prop_assert!(!window.iter().all(|&t| t >= FIRST), "three timestamps in a row in {written:?}");
            }
        }
    }
}
