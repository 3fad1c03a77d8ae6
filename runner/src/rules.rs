//! Whisper's rules: which tokens may not be written at a position. Each rule is a small object that adds ranges of
//! tokens to what is forbidden; `choice` weighs what is left.
//!
//! Source: openai/whisper, `whisper/decoding.py` (the logit filters).

use crate::timestamps::TIMESTAMPS;
use std::ops::Range;

/// A restriction on the next token.
pub trait Rule: Send {
    /// Adds to `forbidden` what must not follow the tokens `written` since the prompt.
    fn forbid(&self, written: &[u32], forbidden: &mut Forbidden);
}

/// The tokens that must not come next. Kept and filled again for each position, so that a step allocates nothing.
#[derive(Debug, Clone, Default)]
pub struct Forbidden {
    ranges: Vec<Range<u32>>,
}

impl Forbidden {
    /// What `rules` and the `other` ones forbid after the tokens `written`: ranges in order that do not touch.
    pub fn by(&mut self, rules: &[Box<dyn Rule>], other: &[Option<&dyn Rule>], written: &[u32]) -> &[Range<u32>] {
        self.ranges.clear();
        for rule in rules.iter().map(Box::as_ref).chain(other.iter().copied().flatten()) {
            rule.forbid(written, self);
        }
        self.ranges.sort_unstable_by_key(|range| range.start);
        self.ranges.dedup_by(|next, kept| {
            let joined = next.start <= kept.end;
            if joined {
                kept.end = kept.end.max(next.end);
            }
            joined
        });
        &self.ranges
    }

    fn add(&mut self, range: Range<u32>) {
        if !range.is_empty() {
            self.ranges.push(range);
        }
    }

    fn tokens(&mut self, tokens: &[u32]) {
        tokens.iter().for_each(|&token| self.add(token..token.saturating_add(1)));
    }
}

/// The first token is neither a blank nor the end of text.
#[derive(Debug, Clone)]
pub struct SuppressBlank {
    /// The model's `begin_suppress_tokens`.
    pub tokens: Vec<u32>,
}

impl Rule for SuppressBlank {
    fn forbid(&self, written: &[u32], forbidden: &mut Forbidden) {
        if written.is_empty() {
            forbidden.tokens(&self.tokens);
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
    fn forbid(&self, _written: &[u32], forbidden: &mut Forbidden) {
        forbidden.tokens(&self.tokens);
    }
}

/// Ids that stand for nothing are never written: a vocabulary may be padded.
#[derive(Debug, Clone)]
pub struct SuppressNameless {
    /// Those ids.
    pub ranges: Vec<Range<u32>>,
}

impl Rule for SuppressNameless {
    fn forbid(&self, _written: &[u32], forbidden: &mut Forbidden) {
        self.ranges.iter().for_each(|range| forbidden.add(range.clone()));
    }
}

/// No sequence of `size` tokens comes twice, timestamps counted.
///
/// Source: OpenNMT/CTranslate2, `src/decoding_utils.cc` (`NoRepeatNgram`).
#[derive(Debug, Clone, Copy)]
pub struct NoRepeatNgram {
    /// At least 1, which lets no token come twice.
    pub size: usize,
}

impl Rule for NoRepeatNgram {
    fn forbid(&self, written: &[u32], forbidden: &mut Forbidden) {
        let Some(last) = written.len().checked_sub(self.size.saturating_sub(1)) else { return };
        for ngram in written.windows(self.size.max(1)).filter(|ngram| ngram[..ngram.len() - 1] == written[last..]) {
            forbidden.tokens(&ngram[ngram.len() - 1..]);
        }
    }
}

/// Timestamps come in pairs around text and never run backwards. That they come at all when they are likelier than text
/// is [`crate::choice::Scores::choose`]'s.
#[derive(Debug, Clone)]
pub struct TimestampRules {
    /// End of text.
    pub eot: u32,
    /// The token that asks for text without timestamps.
    pub notimestamps: u32,
    /// The timestamp 0.00, the first of [`TIMESTAMPS`]; what comes after them is text that a fine-tune added.
    pub first: u32,
    /// The latest that the first timestamp may be, in steps of 20 ms.
    pub max_initial: usize,
}

impl Rule for TimestampRules {
    fn forbid(&self, written: &[u32], forbidden: &mut Forbidden) {
        let (first, end) = (self.first, self.first.saturating_add(TIMESTAMPS));
        forbidden.tokens(&[self.notimestamps]);
        let is_timestamp = |token: u32| (first..end).contains(&token);
        let ends_in_timestamp = written.last().is_some_and(|&t| is_timestamp(t));
        let before_last = written.len().checked_sub(2).map(|i| written[i]);
        let pair_complete = before_last.is_none_or(is_timestamp);
        if ends_in_timestamp {
            if pair_complete {
                forbidden.add(first..end); // text must follow
            } else {
                forbidden.add(0..self.eot); // a second timestamp or the end
                forbidden.add(end..u32::MAX);
            }
        }
        if let Some(&last) = written.iter().rev().find(|&&t| is_timestamp(t)) {
            // The second of a pair may repeat the first; elsewhere time must move on, or decoding could loop.
            let repeat = ends_in_timestamp && !pair_complete;
            forbidden.add(first..last.saturating_add(u32::from(!repeat)));
        }
        if written.is_empty() {
            forbidden.add(0..first);
            let latest = u32::try_from(self.max_initial).unwrap_or(u32::MAX);
            forbidden.add(first.saturating_add(latest).saturating_add(1)..u32::MAX);
        }
    }
}

/// A window whose rest no other window decodes is transcribed to its end. Models take speech that begins shortly before
/// a window's end for cut off and leave it to the next window, after a pair of timestamps; a pair at one of `times`
/// does not end the text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GoOn {
    /// End of text.
    pub eot: u32,
    /// The timestamp 0.00.
    pub first: u32,
    /// Timestamps after which there is speech that no other window decodes.
    pub times: Range<u32>,
}

impl Rule for GoOn {
    fn forbid(&self, written: &[u32], forbidden: &mut Forbidden) {
        if let [.., before, last] = written
            && self.first <= *before
            && before <= last
            && self.times.contains(last)
        {
            forbidden.tokens(&[self.eot]);
        }
    }
}

/// Text is followed by a timestamp: the rule for the last token that may be written. So it is known until when the text
/// goes, and the next window begins there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EndInTime {
    /// The timestamp 0.00, the first of [`TIMESTAMPS`].
    pub first: u32,
}

impl Rule for EndInTime {
    fn forbid(&self, written: &[u32], forbidden: &mut Forbidden) {
        let times = self.first..self.first.saturating_add(TIMESTAMPS);
        if written.last().is_some_and(|token| !times.contains(token)) {
            forbidden.add(0..times.start);
            forbidden.add(times.end..u32::MAX);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::choice::{Ask, scores};
    use proptest::prelude::*;

    // A toy vocabulary: text 0–9, end of text 10, a control token 11, "no timestamps" 12, timestamps 13–30.
    const EOT: u32 = 10;
    const FIRST: u32 = 13;
    const SIZE: usize = 31;

    fn rules() -> TimestampRules {
        TimestampRules { eot: EOT, notimestamps: 12, first: FIRST, max_initial: 5 }
    }

    fn forbidden(rules: &[Box<dyn Rule>], written: &[u32]) -> Vec<Range<u32>> {
        Forbidden::default().by(rules, &[], written).to_vec()
    }

    /// The tokens of the vocabulary that are left.
    fn left(written: &[u32]) -> Vec<u32> {
        let forbidden = forbidden(&[Box::new(rules())], written);
        (0..SIZE as u32).filter(|t| !forbidden.iter().any(|range| range.contains(t))).collect()
    }

    #[test]
    fn timestamps_come_in_pairs_and_in_order() {
        for (written, expected, what) in [
            (&[][..], [FIRST..FIRST + 6, 0..0], "the first token is an early timestamp"),
            (&[15], [0..12, 0..0], "text follows the first timestamp"),
            (&[15, 3], [0..12, 16..31], "after text time moves on"),
            (&[15, 3, 20], [10..12, 20..31], "a closing timestamp is followed by an opening one or the end"),
            (&[15, 3, 20, 20], [0..12, 0..0], "and the opening one by text"),
        ] {
            assert_eq!(left(written), expected.into_iter().flatten().collect::<Vec<_>>(), "{what}");
        }
    }

    #[test]
    fn a_window_goes_on_until_no_speech_is_left() {
        let own = GoOn { eot: EOT, first: FIRST, times: 16..21 };
        let ends = |written: &[u32]| Forbidden::default().by(&[], &[Some(&own)], written).is_empty();
        assert!(!ends(&[13, 3, 20, 20]) && !ends(&[13, 3, 15, 16]));
        assert!(
            ends(&[13, 3, 20, 21]) && ends(&[13, 3, 15, 15]) && ends(&[13, 3, 20]) && ends(&[13]) && ends(&[13, 3])
        );
        assert!(ends(&[]));
        let added = FIRST + TIMESTAMPS;
        assert!(ends(&[13, 3, added, added]), "words that a fine-tune added are no timestamps");
    }

    #[test]
    fn the_last_token_behind_text_is_a_timestamp() {
        let last = EndInTime { first: FIRST };
        let both = |written: &[u32]| Forbidden::default().by(&[Box::new(rules())], &[Some(&last)], written).to_vec();
        let left = |written: &[u32]| {
            let forbidden = both(written);
            (0..SIZE as u32).filter(|token| !forbidden.iter().any(|range| range.contains(token))).collect::<Vec<_>>()
        };
        assert_eq!(left(&[15, 3]), (16..31).collect::<Vec<_>>());
        for elsewhere in [&[][..], &[15], &[15, 3, 20], &[15, 3, 20, 20]] {
            assert_eq!(left(elsewhere), super::tests::left(elsewhere), "{elsewhere:?}");
        }
    }

    #[test]
    fn blank_only_at_the_start() {
        let rule: [Box<dyn Rule>; 1] = [Box::new(SuppressBlank { tokens: vec![2, EOT, 1000] })];
        assert_eq!(forbidden(&rule, &[5]), []);
        assert_eq!(forbidden(&rule, &[]), [2..3, EOT..EOT + 1, 1000..1001]);
    }

    #[test]
    fn what_was_written_does_not_go_on_as_before() {
        let after = |size, written: &[u32]| {
            let ranges = forbidden(&[Box::new(NoRepeatNgram { size })], written);
            ranges.into_iter().flatten().collect::<Vec<u32>>()
        };
        assert_eq!(after(3, &[1, 2, 3, 1, 2]), [3]);
        assert_eq!(after(3, &[1, 2, 3, 1, 2, 4, 1, 2]), [3, 4]);
        assert_eq!(after(3, &[1, 2, 3, 2, 1]), [0u32; 0]);
        assert_eq!(after(2, &[7, 7]), [7]);
        assert_eq!(after(1, &[7, 5, 7]), [5, 7]);
        for size in 1..4 {
            assert_eq!(after(size, &[]), [0u32; 0], "{size}");
        }
        assert_eq!(after(3, &[1, 2]), [0u32; 0], "no three were written");
        assert_eq!(after(9, &[1, 2, 1, 2]), [0u32; 0]);
    }

    #[test]
    fn ranges_are_joined_in_order_and_the_last_filling_is_forgotten() {
        let rules: [Box<dyn Rule>; 2] =
            [Box::new(SuppressTokens { tokens: vec![9, 4, 5, u32::MAX, 3, 4] }), Box::new(rules())];
        let mut forbidden = Forbidden::default();
        assert_eq!(forbidden.by(&rules, &[], &[]), [0..FIRST, FIRST + 6..u32::MAX]);
        assert_eq!(forbidden.by(&rules, &[], &[FIRST]), [3..6, 9..10, 12..FIRST + TIMESTAMPS]);
        assert_eq!(forbidden.by(&[], &[], &[]), []);
    }

    #[test]
    fn what_stands_behind_the_timestamps_is_text() {
        let added = FIRST + TIMESTAMPS + 1;
        let allowed = |written: &[u32]| {
            let forbidden = forbidden(&[Box::new(rules())], written);
            !forbidden.iter().any(|range| range.contains(&added))
        };
        assert!(!allowed(&[]), "a timestamp comes first");
        assert!(allowed(&[15]) && allowed(&[15, 3]) && allowed(&[15, added]) && allowed(&[15, 3, 20, 20]));
        assert!(!allowed(&[15, 3, 20]) && !allowed(&[15, added, 20]), "text follows half a pair");
        assert_eq!(left(&[15, added]), left(&[15, 3]), "time goes on from the last timestamp");
    }

    #[test]
    fn what_stands_for_nothing_never_comes() {
        let rule: [Box<dyn Rule>; 1] = [Box::new(SuppressNameless { ranges: vec![40..50, 60..u32::MAX] })];
        for written in [&[][..], &[5], &[15, 3, 20]] {
            assert_eq!(forbidden(&rule, written), [40..50, 60..u32::MAX]);
        }
    }

    proptest! {
        /// Whatever a model prefers, a written sequence keeps to the rules, and something is always allowed.
        #[test]
        fn any_preferences_give_a_lawful_sequence(
            steps in proptest::collection::vec(proptest::collection::vec(-9.0f32..9.0, SIZE), 1..40),
            until in proptest::option::of(FIRST..SIZE as u32),
        ) {
            let mut written: Vec<u32> = Vec::new();
            let own = until.map(|until| GoOn { eot: EOT, first: FIRST, times: FIRST..until });
            let rules: [Box<dyn Rule>; 2] = [Box::new(SuppressTokens { tokens: vec![11] }), Box::new(rules())];
            let mut forbidden = Forbidden::default();
            for preferences in steps {
                let own = own.as_ref().map(|own| own as &dyn Rule);
                let ask = Ask { forbidden: forbidden.by(&rules, &[own], &written), first_timestamp: FIRST };
                let Some(choice) = scores(&preferences, &ask).choose() else {
                    return Err(TestCaseError::fail(format!("nothing is allowed after {written:?}")));
                };
                if choice.token == EOT { break; }
                written.push(choice.token);
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
