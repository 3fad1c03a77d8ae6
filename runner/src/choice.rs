//! The choice among logits as six numbers: what a decoder's step asks ([`Ask`]), what comes back ([`Scores`]), and the
//! token that follows from it. Short enough to be carried out where the logits are made, so that they need not travel;
//! [`scores`] is the same on logits in memory. A search that follows several tokens asks for several [`ranks`].
//! `rules` says what is forbidden.

use crate::timestamps::TIMESTAMPS;
use std::ops::Range;

/// What may be chosen next: everything that is not forbidden, in two kinds that are weighed against each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ask<'a> {
    /// Tokens that must not come: ranges in order that do not overlap. They may reach beyond the vocabulary.
    pub forbidden: &'a [Range<u32>],
    /// The [`TIMESTAMPS`] tokens from here on are timestamps, and what follows is text again; [`Ask::NO_TIMESTAMPS`]
    /// makes all of them text.
    pub first_timestamp: u32,
}

impl Ask<'_> {
    /// No token is a timestamp.
    pub const NO_TIMESTAMPS: u32 = u32::MAX;

    /// Whether some of a vocabulary's tokens behind the timestamps are allowed.
    pub(crate) fn allows_behind_timestamps(&self, vocabulary: usize) -> bool {
        let mut from = self.first_timestamp.saturating_add(TIMESTAMPS);
        for range in self.forbidden {
            if range.contains(&from) {
                from = range.end;
            }
        }
        (from as usize) < vocabulary
    }
}

/// The likeliest token of one kind, or the one of a lower rank, and what its kind weighs.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Best {
    /// The token; the first of equals.
    pub token: u32,
    /// Its logit.
    pub logit: f32,
    /// Σ exp(x − the logit of the kind's likeliest) over the allowed tokens of the kind, at least 1; relative error
    /// below 3e-6.
    pub sum: f32,
}

/// The answer to an [`Ask`]: the likeliest tokens, or those of a lower rank. A kind is `None` where no token of it is
/// left that is allowed; a logit that is no number or −∞ is not allowed.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Scores {
    /// The likeliest of the tokens that are no timestamps.
    pub text: Option<Best>,
    /// The likeliest of the timestamps.
    pub timestamps: Option<Best>,
}

/// The token that comes next.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Choice {
    /// The token.
    pub token: u32,
    /// ln of its probability among those that could come.
    pub log_probability: f64,
}

/// The tokens that can come next.
pub(crate) struct Field {
    /// The one that is chosen where nothing is left to chance.
    pub(crate) likeliest: Best,
    /// Whether text is not among them.
    pub(crate) timestamps_only: bool,
    /// Σ exp(x − the likeliest's logit) over all of them.
    pub(crate) weight: f64,
}

impl Scores {
    /// The likeliest token, but a timestamp where all timestamps together are likelier than the likeliest text; `None`
    /// if nothing is allowed.
    ///
    /// Source: openai/whisper, `whisper/decoding.py` (`ApplyTimestampRules`); where timestamps must come, text is not
    /// among what could.
    pub fn choose(&self) -> Option<Choice> {
        let Field { likeliest, weight, .. } = self.field()?;
        Some(Choice { token: likeliest.token, log_probability: -weight.ln() })
    }

    /// What the next token is chosen from, by the rule of [`Self::choose`].
    pub(crate) fn field(&self) -> Option<Field> {
        let weight = |best: &Best| f64::from(best.logit) + f64::from(best.sum).ln();
        let (likeliest, other) = match (self.text, self.timestamps) {
            (Some(text), Some(times)) if weight(&times) > f64::from(text.logit) => (times, None),
            (Some(text), Some(times)) => (text, Some(times)),
            (text, times) => (text.or(times)?, None),
        };
        let others = other.map_or(0.0, |b| f64::from(b.sum) * f64::from(b.logit - likeliest.logit).exp());
        let timestamps_only = other.is_none() && self.timestamps == Some(likeliest);
        Some(Field { likeliest, timestamps_only, weight: f64::from(likeliest.sum) + others })
    }
}

/// The likeliest tokens that can come next by the rule of [`Scores::choose`], the likeliest first: as many as there are
/// `ranks`, or all that are allowed where these are fewer. `ranks` are a row's, from the first rank on.
pub fn choices(ranks: &[Scores]) -> impl Iterator<Item = Choice> {
    let field = ranks.first().and_then(Scores::field);
    let (mut texts, mut times) = (0, 0);
    std::iter::from_fn(move || {
        let field = field.as_ref()?;
        let text = ranks.get(texts).and_then(|rank| rank.text).filter(|_| !field.timestamps_only);
        let time = ranks.get(times).and_then(|rank| rank.timestamps);
        // Of equals text comes first.
        let best = match (text, time) {
            (Some(text), Some(time)) if time.logit > text.logit => time,
            (text, time) => text.or(time)?,
        };
        if text == Some(best) {
            texts += 1;
        } else {
            times += 1;
        }
        let log_probability = f64::from(best.logit) - f64::from(field.likeliest.logit) - field.weight.ln();
        // Infinite logits have no difference; the first of them is certain.
        Some(Choice {
            token: best.token,
            log_probability: if log_probability.is_nan() { 0.0 } else { log_probability },
        })
    })
    .take(ranks.len())
}

/// Answers `ask` from `logits` `[vocabulary]`, and adds to `all` the `count` first ranks, also empty ones.
pub fn ranks(logits: &[f32], ask: &Ask<'_>, count: usize, all: &mut Vec<Scores>) {
    let best = scores(logits, ask);
    if count <= 1 {
        all.extend(std::iter::repeat_n(best, count));
        return;
    }
    let first = logits.len().min(ask.first_timestamp as usize);
    let end = logits.len().min(first + TIMESTAMPS as usize);
    let mut texts = Leaders::new(count);
    texts.add(logits, ask.forbidden, 0..first);
    texts.add(logits, ask.forbidden, end..logits.len());
    let mut times = Leaders::new(count);
    times.add(logits, ask.forbidden, first..end);
    all.extend((0..count).map(|rank| Scores {
        text: best.text.and_then(|best| texts.at(rank, best.sum)),
        timestamps: best.timestamps.and_then(|best| times.at(rank, best.sum)),
    }));
}

/// The tokens of the largest logits, the largest first and the first of equals.
struct Leaders {
    count: usize,
    found: Vec<(u32, f32)>,
}

impl Leaders {
    fn new(count: usize) -> Self {
        Self { count, found: Vec::with_capacity(count + 1) }
    }

    /// Looks at `tokens`, which follow those that were looked at before.
    fn add(&mut self, logits: &[f32], forbidden: &[Range<u32>], tokens: Range<usize>) {
        for_each_block(forbidden, tokens, |block| {
            if largest(&logits[block.clone()]) <= self.least() {
                return;
            }
            for token in block {
                let logit = logits[token];
                if logit > self.least() {
                    let place = self.found.partition_point(|(_, other)| *other >= logit);
                    self.found.insert(place, (token as u32, logit));
                    self.found.truncate(self.count);
                }
            }
        });
    }

    /// What a logit must be above to be among them.
    fn least(&self) -> f32 {
        self.found.get(self.count.saturating_sub(1)).map_or(f32::NEG_INFINITY, |(_, logit)| *logit)
    }

    fn at(&self, rank: usize, sum: f32) -> Option<Best> {
        self.found.get(rank).map(|&(token, logit)| Best { token, logit, sum })
    }
}

/// Answers `ask` from `logits` `[vocabulary]`.
///
/// ```
/// use undertone_runner::choice::{Ask, scores};
///
/// let ask = Ask { forbidden: &[1..2, 4..9], first_timestamp: 3 };
/// let scores = scores(&[0.0, 9.0, 2.0, 1.0], &ask);
/// assert_eq!(scores.text.map(|best| best.token), Some(2));
/// assert_eq!(scores.timestamps.map(|best| best.token), Some(3));
/// ```
pub fn scores(logits: &[f32], ask: &Ask<'_>) -> Scores {
    let first = logits.len().min(ask.first_timestamp as usize);
    let end = logits.len().min(first + TIMESTAMPS as usize);
    let of = |tokens| best(logits, ask.forbidden, tokens);
    Scores { text: either(of(0..first), of(end..logits.len())), timestamps: of(first..end) }
}

/// The best of two sets of tokens as one, the first's tokens coming first.
fn either(first: Option<Best>, second: Option<Best>) -> Option<Best> {
    let (Some(first), Some(second)) = (first, second) else { return first.or(second) };
    let (best, other) = if second.logit > first.logit { (second, first) } else { (first, second) };
    // Where both are infinite each counts for itself.
    let weight = if other.logit == best.logit { 1.0 } else { (other.logit - best.logit).exp() };
    Some(Best { sum: best.sum + other.sum * weight, ..best })
}

/// Probability of `token` under the softmax of `logits`; 0 for a token outside.
pub fn probability(logits: &[f32], token: u32) -> f64 {
    let all = best(logits, &[], 0..logits.len());
    match (logits.get(token as usize), all) {
        (Some(&logit), Some(best)) if logit.is_finite() && best.logit.is_finite() => {
            f64::from(logit - best.logit).exp() / f64::from(best.sum)
        }
        _ => 0.0,
    }
}

/// Values that are looked at together: few enough that sixteen sums in f32 over them stay exact to 2e-6 at worst.
const BLOCK: usize = 512;
/// Values in flight; a multiple of every vector's length.
const LANES: usize = 16;

fn best(logits: &[f32], forbidden: &[Range<u32>], tokens: Range<usize>) -> Option<Best> {
    let (mut logit, mut place) = (f32::NEG_INFINITY, 0..0);
    for_each_block(forbidden, tokens.clone(), |block| {
        let largest = largest(&logits[block.clone()]);
        if largest > logit {
            (logit, place) = (largest, block);
        }
    });
    let token = place.start + logits[place].iter().position(|&x| x == logit)?;
    let mut sum = 0.0;
    for_each_block(forbidden, tokens, |block| sum += sum_of_exp(&logits[block], logit));
    // The token itself counts 1, also where it is infinite.
    Some(Best { token: u32::try_from(token).ok()?, logit, sum: (sum as f32).max(1.0) })
}

/// Calls `visit` with the ranges of at most [`BLOCK`] of `tokens` that are not forbidden, in order.
pub(crate) fn for_each_block(forbidden: &[Range<u32>], tokens: Range<usize>, mut visit: impl FnMut(Range<usize>)) {
    let mut at = tokens.start;
    let ranges = forbidden.iter().map(|r| r.start as usize..r.end as usize);
    for range in ranges.chain(std::iter::once(tokens.end..tokens.end)) {
        let end = range.start.min(tokens.end);
        while at < end {
            let next = end.min(at + BLOCK);
            visit(at..next);
            at = next;
        }
        at = at.max(range.end);
    }
}

/// The largest of the numbers among `values`.
fn largest(values: &[f32]) -> f32 {
    // A comparison with NaN is false: it keeps what was there. `f32::max` does the same but not in one instruction.
    let larger = |a: f32, b: f32| if b > a { b } else { a };
    let mut lanes = [f32::NEG_INFINITY; LANES];
    let (groups, rest) = values.as_chunks::<LANES>();
    for group in groups {
        for (lane, &x) in lanes.iter_mut().zip(group) {
            *lane = larger(*lane, x);
        }
    }
    lanes.iter().chain(rest).copied().fold(f32::NEG_INFINITY, larger)
}

/// Σ exp(x − `largest`) over at most [`BLOCK`] values.
fn sum_of_exp(values: &[f32], largest: f32) -> f64 {
    let mut sums = [0.0f32; LANES];
    let mut add = |group: &[f32; LANES]| {
        for (sum, &x) in sums.iter_mut().zip(group) {
            *sum += exp(x - largest);
        }
    };
    let (groups, rest) = values.as_chunks::<LANES>();
    groups.iter().for_each(&mut add);
    if !rest.is_empty() {
        let mut last = [f32::NEG_INFINITY; LANES];
        last[..rest.len()].copy_from_slice(rest);
        add(&last);
    }
    sums.iter().map(|&sum| f64::from(sum)).sum()
}

/// Below this exp(x) is as good as nothing beside 1, and 2ⁿ is still a normal number.
const LEAST: f32 = -86.0;

/// exp(x) for x ≤ 0 without a branch or a call, so that loops over it become vector instructions. Relative error below
/// 4e-7; below [`LEAST`], and for NaN, exp([`LEAST`]) ≈ 4e-38.
#[inline(always)]
pub(crate) fn exp(x: f32) -> f32 {
    // Adding 1.5·2²³ rounds to an integer, which then stands in the lowest bits.
    const ROUND: f32 = 12_582_912.0;
    // ln 2 in two parts, the first with few enough bits that its product with the integer is exact.
    const LN_2_HIGH: f32 = 0.693_359_4;
    const LN_2_LOW: f32 = -2.121_944_4e-4;
    let x = if x > LEAST { x } else { LEAST };
    let shifted = x * std::f32::consts::LOG2_E + ROUND;
    let n = shifted - ROUND;
    // exp(x) = 2ⁿ · exp(r) with |r| ≤ ln 2 / 2, where seven terms of the series leave 1.2e-7.
    let r = (x - n * LN_2_HIGH) - n * LN_2_LOW;
    let mut series = 1.0 / 720.0;
    for coefficient in [1.0 / 120.0, 1.0 / 24.0, 1.0 / 6.0, 0.5, 1.0, 1.0] {
        series = series * r + coefficient;
    }
    f32::from_bits(series.to_bits().wrapping_add(shifted.to_bits() << 23))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::slice::from_ref;

    /// The obvious way, in f64.
    fn slow(logits: &[f32], ask: &Ask<'_>) -> [Option<(u32, f32, f64)>; 2] {
        let first = ask.first_timestamp as usize;
        let is_timestamp = |t: usize| t >= first && t < first + TIMESTAMPS as usize;
        [false, true].map(|kind| {
            let allowed =
                |t: &usize| !ask.forbidden.iter().any(|r| r.contains(&(*t as u32))) && logits[*t] > f32::NEG_INFINITY;
            let tokens: Vec<usize> = (0..logits.len()).filter(|&t| is_timestamp(t) == kind).filter(allowed).collect();
            let best = tokens.iter().copied().reduce(|a, b| if logits[b] > logits[a] { b } else { a })?;
            let sum = tokens.iter().map(|&t| (f64::from(logits[t]) - f64::from(logits[best])).exp()).sum();
            Some((best as u32, logits[best], sum))
        })
    }

    fn check(logits: &[f32], ask: &Ask<'_>) {
        let fast = scores(logits, ask);
        for (fast, slow) in [fast.text, fast.timestamps].into_iter().zip(slow(logits, ask)) {
            assert_eq!(fast.map(|b| (b.token, b.logit)), slow.map(|(t, l, _)| (t, l)));
            if let (Some(fast), Some((_, _, sum))) = (fast, slow) {
                assert!((f64::from(fast.sum) / sum - 1.0).abs() < 3e-6, "{} for {sum}", fast.sum);
            }
        }
    }

    #[test]
    fn the_exponential_keeps_its_bound() {
        let mut worst = 0.0f64;
        for i in 0..=8_600_000 {
            let x = -(i as f32) * 1e-5;
            worst = worst.max((f64::from(exp(x)) / f64::from(x).exp() - 1.0).abs());
        }
        println!("largest relative error of exp: {worst:e}");
        assert!(worst < 4e-7, "{worst:e}");
        for x in [f32::NEG_INFINITY, f32::NAN, f32::MIN, -86.1] {
            assert!(exp(x) > 0.0 && exp(x) < 1e-37, "exp({x}) = {}", exp(x));
        }
        assert_eq!(exp(0.0), 1.0);
    }

    #[test]
    fn a_vocabulary_against_the_obvious_way() {
        for spread in [0.0f32, 1.0, 20.0, 400.0] {
            let logits: Vec<f32> =
                (0..51865u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 8) as f32 / 16_777_216.0 * spread).collect();
            for forbidden in [
                &[][..],
                &[0..1, 5..90, 91..92, 50_257..50_364, 51_000..u32::MAX],
                &[0..50_364, 60_000..60_001],
                &[0..9, 9..u32::MAX],
            ] {
                for first_timestamp in [0, 30_000, 50_363, 50_364, 51_865, Ask::NO_TIMESTAMPS] {
                    check(&logits, &Ask { forbidden, first_timestamp });
                }
            }
        }
    }

    #[test]
    fn what_is_no_number_is_not_chosen() {
        let ask = Ask { forbidden: &[], first_timestamp: Ask::NO_TIMESTAMPS };
        let token = |logits: &[f32]| scores(logits, &ask).choose().map(|c| c.token);
        assert_eq!(token(&[]), None);
        assert_eq!(token(&[f32::NAN, f32::NEG_INFINITY]), None);
        assert_eq!(token(&[f32::NAN, 1.0, 1.0]), Some(1), "the first of equals");
        let infinite = scores(&[0.0, f32::INFINITY], &ask).choose().unwrap();
        assert_eq!((infinite.token, infinite.log_probability), (1, 0.0));
    }

    #[test]
    fn timestamps_come_when_together_they_outweigh_the_likeliest_text() {
        let choose = |logits: &[f32]| {
            scores(logits, &Ask { forbidden: from_ref(&(0..1)), first_timestamp: 3 }).choose().unwrap()
        };
        // Two timestamps of 1/4 each against texts of 1/3: the first of the two, whose share among the two is half.
        let both = choose(&[9.0, 0.25f32.ln() - 1.0, (1.0f32 / 3.0).ln(), 0.25f32.ln(), 0.25f32.ln()]);
        assert_eq!(both.token, 3);
        assert!((both.log_probability - 0.5f64.ln()).abs() < 1e-6);
        // One alone does not, and the text's share is among all that is allowed.
        let text = choose(&[9.0, f32::NEG_INFINITY, 0.75f32.ln(), 0.25f32.ln(), f32::NEG_INFINITY]);
        assert_eq!(text.token, 2);
        assert!((text.log_probability - 0.75f64.ln()).abs() < 1e-6);
    }

    /// All that can come, by sorting.
    fn expected_choices(logits: &[f32], ask: &Ask<'_>) -> Vec<Choice> {
        let allowed =
            |t: usize| logits[t] > f32::NEG_INFINITY && !ask.forbidden.iter().any(|range| range.contains(&(t as u32)));
        let first = ask.first_timestamp as usize;
        let is_time = |t: usize| t >= first && t - first < TIMESTAMPS as usize;
        let weight = |t: usize| f64::from(logits[t]).exp();
        let (times, texts): (Vec<usize>, Vec<usize>) =
            (0..logits.len()).filter(|&t| allowed(t)).partition(|&t| is_time(t));
        let likeliest = texts.iter().map(|&t| weight(t)).fold(0.0, f64::max);
        let must = times.iter().map(|&t| weight(t)).sum::<f64>() > likeliest;
        let mut left = if must { times } else { [texts, times].concat() };
        let all: f64 = left.iter().map(|&t| weight(t)).sum();
        left.sort_by(|&a, &b| logits[b].total_cmp(&logits[a]));
        left.iter().map(|&t| Choice { token: t as u32, log_probability: (weight(t) / all).ln() }).collect()
    }

    #[test]
    fn probabilities() {
        let logits: Vec<f32> = (0..53).map(|i| ((i * 37) % 53) as f32 / 7.0).collect();
        let exact: f64 = logits.iter().map(|&x| f64::from(x).exp()).sum();
        assert!((probability(&logits, 3) - f64::from(logits[3]).exp() / exact).abs() < 1e-7);
        assert_eq!(probability(&logits, 53), 0.0);
        assert_eq!(probability(&[f32::NEG_INFINITY, 1.0], 0), 0.0);
    }

    proptest! {
        /// Distinct logits, so that there is one order.
        #[test]
        fn several_ranks_are_the_likeliest_in_order(
            (logits, seed) in (1usize..1800, any::<u64>()),
            forbidden in (0u32..900, 0u32..900),
            first_timestamp in prop_oneof![0u32..2000, Just(Ask::NO_TIMESTAMPS)],
            count in 1usize..9,
        ) {
            let mut values: Vec<f32> = (0..logits).map(|i| i as f32 * 0.01).collect();
            fastrand::Rng::with_seed(seed).shuffle(&mut values);
            let forbidden = forbidden.0..forbidden.0 + forbidden.1;
            let ask = Ask { forbidden: from_ref(&forbidden), first_timestamp };
            let mut all = Vec::new();
            ranks(&values, &ask, count, &mut all);
            prop_assert_eq!(all.len(), count);
            prop_assert_eq!(all[0], scores(&values, &ask));
            let expected = expected_choices(&values, &ask);
            let found: Vec<Choice> = choices(&all).collect();
            prop_assert_eq!(found.len(), count.min(expected.len()));
            for (found, expected) in found.iter().zip(&expected) {
                prop_assert_eq!(found.token, expected.token);
                prop_assert!((found.log_probability - expected.log_probability).abs() < 1e-5);
            }
        }

        #[test]
        fn any_logits_and_ranges(
            logits in prop::collection::vec(prop_oneof![9 => -30.0f32..30.0, 1 => Just(f32::NAN), 1 => Just(f32::NEG_INFINITY)], 0..2000),
            lengths in prop::collection::vec(0u32..300, 0..12),
            first_timestamp in prop_oneof![0u32..400, 0u32..2100],
        ) {
            // Alternately allowed and forbidden lengths.
            let mut at = 0;
            let mut forbidden = Vec::new();
            for pair in lengths.chunks_exact(2) {
                forbidden.push(at + pair[0]..at + pair[0] + pair[1]);
                at += pair[0] + pair[1];
            }
            let ask = Ask { forbidden: &forbidden, first_timestamp };
            check(&logits, &ask);
            let behind = (first_timestamp + TIMESTAMPS) as usize..logits.len();
            let allowed = |t: usize| !forbidden.iter().any(|range| range.contains(&(t as u32)));
            prop_assert_eq!(ask.allows_behind_timestamps(logits.len()), behind.into_iter().any(allowed));
        }
    }
}
