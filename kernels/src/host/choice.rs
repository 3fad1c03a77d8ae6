//! The choice of the next token: the likeliest of the logits that are allowed, and what is needed for its probability.
//!
//! Logits are two classes, those before an index (text) and those from it on (timestamps), since Whisper's rules weigh
//! one against the other. For each class the answer is three numbers, so that a caller need not see 51,865.
#![allow(unsafe_code)]

use std::ops::Range;

use super::{
    HostDevice,
    shared::Shared,
    simd::{Simd, Task, dispatch},
    split,
    vecmath::exp,
};
use crate::Context;

/// Which of a row's logits may be chosen.
#[derive(Clone, Copy, Debug)]
pub struct Ask<'a> {
    /// What may not: ascending, apart.
    pub forbidden: &'a [Range<u32>],
    /// Where the second class begins.
    pub split: u32,
}

/// The likeliest of a class.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Best {
    /// Its index, the first of equals.
    pub index: u32,
    /// Its logit.
    pub logit: f32,
    /// `Σ exp(logit − largest)` over what is allowed of the class; relative error below 10⁻⁵.
    pub sum: f32,
}

/// The likeliest before and from [`Ask::split`] on; `None` where nothing is allowed. NaN and `-inf` are not allowed.
pub type Scores = [Option<Best>; 2];

/// Logits that are looked at together; they stay in the first-level cache for the second look.
const SEGMENT: usize = 4096;

/// What a logit costs, in values that are only moved.
const WORK: usize = 8;

impl HostDevice {
    /// Chooses in each of the rows of `logits`, as many as there are answers; `ask` gives each row's [`Ask`].
    ///
    /// # Panics
    /// If `logits` is no whole number of rows.
    pub fn choose<'a>(
        &self,
        context: &mut Context<'_>,
        logits: &[f32],
        ask: &(dyn Fn(usize) -> Ask<'a> + Sync),
        answers: &mut [Scores],
    ) {
        let rows = answers.len();
        let width = logits.len().checked_div(rows).unwrap_or(0);
        assert_eq!(rows * width, logits.len(), "logits of {rows} rows");
        let segments = width.div_ceil(SEGMENT);
        let partial_bytes = size_of::<Scores>();
        let partials = Shared::new(context.scratch.bytes(rows * segments * partial_bytes));
        let partial =
            |row: usize, segment: usize| partials.at((row * segments + segment) * partial_bytes).cast::<Scores>();
        // Each is looked at twice and raised to a power.
        let work = WORK * logits.len();
        split::ranges(context.pool, rows * segments, work, &|units| {
            for unit in units {
                let (row, segment) = (unit / segments, unit % segments);
                let range = segment * SEGMENT..width.min((segment + 1) * SEGMENT);
                let found =
                    dispatch(self.isa, Segment { logits: &logits[row * width..][..width], ask: ask(row), range });
                // SAFETY: this unit's place is no other's; the memory has room for all of them and is aligned to 64.
                unsafe { partial(row, segment).write(found) };
            }
        });
        for (row, answer) in answers.iter_mut().enumerate() {
            *answer = [None; 2];
            for segment in 0..segments {
                // SAFETY: written above.
                let found = unsafe { partial(row, segment).read() };
                for (whole, part) in answer.iter_mut().zip(found) {
                    *whole = joined(*whole, part);
                }
            }
        }
    }
}

/// The likeliest of two parts of a class, the first of which comes first.
fn joined(a: Option<Best>, b: Option<Best>) -> Option<Best> {
    let (Some(a), Some(b)) = (a, b) else { return a.or(b) };
    let (best, other) = if b.logit > a.logit { (b, a) } else { (a, b) };
    let factor = if other.logit == best.logit { 1.0 } else { (other.logit - best.logit).exp() };
    Some(Best { sum: best.sum + other.sum * factor, ..best })
}

/// Some of a row's logits.
struct Segment<'a> {
    logits: &'a [f32],
    ask: Ask<'a>,
    range: Range<usize>,
}

impl Task for Segment<'_> {
    type Output = Scores;

    #[inline(always)]
    fn run<S: Simd>(self, s: S) -> Scores {
        let Self { logits, ask, range } = self;
        let split = (ask.split as usize).clamp(range.start, range.end);
        let mut scores = [None; 2];
        for (class, score) in [range.start..split, split..range.end].into_iter().zip(&mut scores) {
            let skipped = ask.forbidden.partition_point(|range| range.end as usize <= class.start);
            let mut at = class.start;
            for forbidden in ask.forbidden[skipped..].iter().take_while(|range| (range.start as usize) < class.end) {
                let start = (forbidden.start as usize).max(at);
                *score = joined(*score, run(s, &logits[at..start], at));
                at = (forbidden.end as usize).clamp(start, class.end);
            }
            *score = joined(*score, run(s, &logits[at..class.end], at));
        }
        scores
    }
}

/// The likeliest of a run of allowed logits of which the first has index `first`.
#[inline(always)]
fn run<S: Simd>(s: S, logits: &[f32], first: usize) -> Option<Best> {
    let mut largest = s.splat(f32::NEG_INFINITY);
    for logits in logits.chunks(S::LANES) {
        // NaN, as the first operand, is never the larger.
        largest = s.max(s.load_slice(logits, f32::NEG_INFINITY), largest);
    }
    let logit = s.largest(largest);
    if logit == f32::NEG_INFINITY {
        return None;
    }
    let index = first + logits.iter().position(|x| *x == logit)?;
    let mut sum = s.splat(0.0);
    for logits in logits.chunks(S::LANES) {
        let below = s.sub(s.load_slice(logits, f32::NEG_INFINITY), s.splat(logit));
        // What is not a number counts as what is far below.
        sum = s.add(sum, exp(s, s.max(below, s.splat(-200.0))));
    }
    let sum = if logit == f32::INFINITY { 1.0 } else { s.sum(sum) };
    Some(Best { index: index as u32, logit, sum })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Serial, host::Isa, reference::noise::noise};
    use proptest::prelude::*;

    /// The slow obvious version.
    fn expected(logits: &[f32], ask: Ask<'_>) -> [Option<(u32, f32, f64)>; 2] {
        let allowed = |index: u32| !ask.forbidden.iter().any(|range| range.contains(&index));
        [0, 1].map(|class| {
            let of_class = || {
                let all = (0u32..).zip(logits.iter().copied());
                all.filter(|(index, x)| {
                    (*index >= ask.split) == (class == 1) && allowed(*index) && *x > f32::NEG_INFINITY
                })
            };
            let mut best: Option<(u32, f32)> = None;
            for (index, x) in of_class() {
                if best.is_none_or(|(_, logit)| x > logit) {
                    best = Some((index, x));
                }
            }
            best.map(|(index, logit)| (index, logit, of_class().map(|(_, x)| f64::from(x - logit).exp()).sum()))
        })
    }

    fn got(isa: Isa, logits: &[f32], asks: &[Ask<'_>]) -> Vec<Scores> {
        let host = HostDevice::with_isa(isa).expect("an available instruction set");
        let mut answers = vec![[None; 2]; asks.len()];
        Context::fresh(&Serial, |context| host.choose(context, logits, &|row| asks[row], &mut answers));
        answers
    }

    fn check(logits: &[f32], asks: &[Ask<'_>]) -> Result<(), TestCaseError> {
        let width = logits.len().checked_div(asks.len()).unwrap_or(0);
        for isa in Isa::available() {
            for (row, scores) in got(isa, logits, asks).into_iter().enumerate() {
                let expected = expected(&logits[row * width..][..width], asks[row]);
                for (score, expected) in scores.iter().zip(expected) {
                    prop_assert_eq!(score.map(|s| (s.index, s.logit)), expected.map(|e| (e.0, e.1)), "{}", isa);
                    if let (Some(score), Some((_, _, sum))) = (score, expected) {
                        prop_assert!(
                            (f64::from(score.sum) / sum - 1.0).abs() < 1e-5,
                            "{}: {} for {}",
                            isa,
                            score.sum,
                            sum
                        );
                    }
                }
            }
        }
        Ok(())
    }

    /// Ascending ranges from sorted bounds.
    fn ranges(mut bounds: Vec<u32>) -> Vec<Range<u32>> {
        bounds.sort_unstable();
        bounds.dedup();
        bounds.as_chunks::<2>().0.iter().map(|pair| pair[0]..pair[1]).collect()
    }

    proptest! {
        #[test]
        fn as_the_slow_way(
            rows in 0usize..4, width in 0usize..300, bounds in proptest::collection::vec(0u32..320, 0..12),
            split in 0u32..320, values in proptest::collection::vec(prop_oneof![8 => -20.0f32..20.0, 1 => Just(f32::NAN), 1 => Just(3.0), 1 => Just(f32::NEG_INFINITY)], 1200),
        ) {
            let forbidden = ranges(bounds);
            let asks = vec![Ask { forbidden: &forbidden, split }; rows];
            check(&values[..rows * width], &asks)?;
        }
    }

    #[test]
    fn a_whole_vocabulary() {
        let logits: Vec<f32> = noise(2 * 51_865, 1).iter().map(|x| 8.0 * x).collect();
        let some = ranges(vec![0, 1, 50, 60, 4090, 4100, 50_257, 50_364, 51_000, 51_865]);
        let all = [Range { start: 0, end: 51_865 }];
        check(&logits, &[Ask { forbidden: &some, split: 50_364 }, Ask { forbidden: &all, split: 50_364 }]).unwrap();
    }

    #[test]
    fn infinity_is_the_likeliest() {
        let [text, none] = got(Isa::best(), &[1.0, f32::INFINITY, 2.0], &[Ask { forbidden: &[], split: 9 }])[0];
        assert_eq!((text, none), (Some(Best { index: 1, logit: f32::INFINITY, sum: 1.0 }), None));
    }
}
