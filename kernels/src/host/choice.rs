//! The choice of the next token: the likeliest of the logits that are allowed, and what is needed for their probability.
//!
//! Logits are two classes, those before an index (text) and those from it on (timestamps), since Whisper's rules weigh
//! one against the other. For each class the answer is three numbers, so that a caller need not see 51,865; a search
//! that follows several tokens asks for several ranks.
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

/// One of the likeliest of a class.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Best {
    /// Its index, the first of equals.
    pub index: u32,
    /// Its logit.
    pub logit: f32,
    /// `Σ exp(logit − largest)` over what is allowed of the class; relative error below 10⁻⁵.
    pub sum: f32,
}

/// A token before and one from [`Ask::split`] on, the likeliest or those of a lower rank; `None` where nothing more is
/// allowed. NaN and `-inf` are not allowed.
pub type Scores = [Option<Best>; 2];

/// Logits that are looked at together; they stay in the first-level cache for the second look.
const SEGMENT: usize = 4096;

/// Logits of which it is found at once whether one of them is among the likeliest.
const GLANCE: usize = 64;

/// What a logit costs, in values that are only moved.
const WORK: usize = 8;

impl HostDevice {
    /// Chooses in each of the rows of `logits`: `answers` holds the `count` first ranks of the first row, then those of
    /// the second, and so on. `ask` gives each row's [`Ask`].
    ///
    /// # Panics
    /// If `logits` or `answers` is no whole number of rows.
    pub fn choose<'a>(
        &self,
        context: &mut Context<'_>,
        logits: &[f32],
        ask: &(dyn Fn(usize) -> Ask<'a> + Sync),
        count: usize,
        answers: &mut [Scores],
    ) {
        let rows = answers.len().checked_div(count).unwrap_or(0);
        let width = logits.len().checked_div(rows).unwrap_or(0);
        assert!(rows * width == logits.len() && rows * count == answers.len(), "logits of {rows} rows");
        let segments = width.div_ceil(SEGMENT);
        let partial_bytes = count * size_of::<Scores>();
        let partials = Shared::new(context.scratch.bytes(rows * segments * partial_bytes));
        let partial =
            |row: usize, segment: usize| partials.at((row * segments + segment) * partial_bytes).cast::<Scores>();
        // Each is looked at twice and raised to a power.
        let work = WORK * logits.len();
        split::ranges(context.pool, rows * segments, work, &|units| {
            for unit in units {
                let (row, segment) = (unit / segments, unit % segments);
                let range = segment * SEGMENT..width.min((segment + 1) * SEGMENT);
                let found = partial(row, segment);
                // SAFETY: this unit's place is no other's; the memory has room for all of them and is aligned to 64.
                // It is written before it is read as what it is.
                let found = unsafe {
                    (0..count).for_each(|rank| found.add(rank).write([None; 2]));
                    std::slice::from_raw_parts_mut(found, count)
                };
                dispatch(self.isa, Segment { logits: &logits[row * width..][..width], ask: ask(row), range, found });
            }
        });
        for (row, answer) in answers.chunks_exact_mut(count.max(1)).enumerate() {
            answer.fill([None; 2]);
            for segment in 0..segments {
                // SAFETY: written above, and read by nobody else.
                let found = unsafe { std::slice::from_raw_parts(partial(row, segment), count) };
                for class in 0..2 {
                    join(answer, class, found.iter().map_while(|rank| rank[class]));
                }
            }
        }
    }
}

/// Puts the ranks of a later part of a class into those of the parts before it.
#[inline(always)]
fn join(ranks: &mut [Scores], class: usize, part: impl Iterator<Item = Best>) {
    let Some(first) = ranks.first().map(|rank| rank[class]) else { return };
    let mut sum = first.map_or(0.0, |best| best.sum);
    let mut joined = false;
    for best in part {
        if !joined {
            sum = joined_sum(first, best.logit, best.sum);
            joined = true;
        }
        if !insert(ranks, class, best) {
            break;
        }
    }
    if joined {
        ranks.iter_mut().filter_map(|rank| rank[class].as_mut()).for_each(|best| best.sum = sum);
    }
}

/// The sum of a class so far, and of a part with this `largest` logit, relative to the larger of both.
#[inline(always)]
fn joined_sum(best: Option<Best>, largest: f32, sum: f32) -> f32 {
    match best {
        None => sum,
        Some(best) if best.logit == largest => best.sum + sum,
        Some(best) if best.logit > largest => best.sum + sum * (largest - best.logit).exp(),
        Some(best) => sum + best.sum * (best.logit - largest).exp(),
    }
}

/// Puts a logit behind those that are not smaller; `false` if there is no place for it.
#[inline(always)]
fn insert(ranks: &mut [Scores], class: usize, best: Best) -> bool {
    let before = |rank: &Scores| rank[class].is_some_and(|other| other.logit >= best.logit);
    let place = ranks.iter().position(|rank| !before(rank));
    let Some(place) = place else { return false };
    for at in (place + 1..ranks.len()).rev() {
        ranks[at][class] = ranks[at - 1][class];
    }
    ranks[place][class] = Some(best);
    true
}

/// Some of a row's logits.
struct Segment<'a> {
    logits: &'a [f32],
    ask: Ask<'a>,
    range: Range<usize>,
    /// The ranks, empty at first.
    found: &'a mut [Scores],
}

impl Task for Segment<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let Self { logits, ask, range, found } = self;
        let split = (ask.split as usize).clamp(range.start, range.end);
        for (class, tokens) in [range.start..split, split..range.end].into_iter().enumerate() {
            let skipped = ask.forbidden.partition_point(|range| range.end as usize <= tokens.start);
            let mut at = tokens.start;
            for forbidden in ask.forbidden[skipped..].iter().take_while(|range| (range.start as usize) < tokens.end) {
                let start = (forbidden.start as usize).max(at);
                run(s, &logits[at..start], at, found, class);
                at = (forbidden.end as usize).clamp(start, tokens.end);
            }
            run(s, &logits[at..tokens.end], at, found, class);
        }
    }
}

/// Adds a run of allowed logits, of which the first has index `first`, to what was `found` before them.
#[inline(always)]
fn run<S: Simd>(s: S, logits: &[f32], first: usize, found: &mut [Scores], class: usize) {
    let largest = largest(s, logits);
    if largest == f32::NEG_INFINITY {
        return;
    }
    let sum = joined_sum(found.first().and_then(|rank| rank[class]), largest, sum(s, logits, largest));
    let least = |found: &[Scores]| found.last().and_then(|rank| rank[class]).map_or(f32::NEG_INFINITY, |b| b.logit);
    if let [_] = found {
        // It is known already, but for its place.
        let place = logits.iter().position(|x| *x == largest).filter(|_| largest > least(found));
        if let Some(at) = place {
            insert(found, class, Best { index: (first + at) as u32, logit: largest, sum });
        }
    } else {
        for (glance, logits) in logits.chunks(GLANCE).enumerate() {
            if self::largest(s, logits) <= least(found) {
                continue;
            }
            for (at, &logit) in logits.iter().enumerate() {
                if logit > least(found) {
                    insert(found, class, Best { index: (first + glance * GLANCE + at) as u32, logit, sum });
                }
            }
        }
    }
    found.iter_mut().filter_map(|rank| rank[class].as_mut()).for_each(|best| best.sum = sum);
}

/// The largest number of some logits; NaN is none.
#[inline(always)]
fn largest<S: Simd>(s: S, logits: &[f32]) -> f32 {
    let mut largest = s.splat(f32::NEG_INFINITY);
    for logits in logits.chunks(S::LANES) {
        // NaN, as the first operand, is never the larger.
        largest = s.max(s.load_slice(logits, f32::NEG_INFINITY), largest);
    }
    s.largest(largest)
}

/// `Σ exp(logit − largest)`, in which the largest counts 1 where it is infinite.
#[inline(always)]
fn sum<S: Simd>(s: S, logits: &[f32], largest: f32) -> f32 {
    if largest == f32::INFINITY {
        return 1.0;
    }
    let mut sum = s.splat(0.0);
    for logits in logits.chunks(S::LANES) {
        let below = s.sub(s.load_slice(logits, f32::NEG_INFINITY), s.splat(largest));
        // What is not a number counts as what is far below.
        sum = s.add(sum, exp(s, s.max(below, s.splat(-200.0))));
    }
    s.sum(sum)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Serial, host::Isa, reference::noise::noise};
    use proptest::prelude::*;

    /// The slow obvious version: each class's ranks.
    fn expected(logits: &[f32], ask: Ask<'_>, count: usize) -> [Vec<(u32, f32, f64)>; 2] {
        let allowed = |index: u32| !ask.forbidden.iter().any(|range| range.contains(&index));
        [0, 1].map(|class| {
            let of_class = || {
                let all = (0u32..).zip(logits.iter().copied());
                all.filter(|(index, x)| {
                    (*index >= ask.split) == (class == 1) && allowed(*index) && *x > f32::NEG_INFINITY
                })
            };
            let mut all: Vec<(u32, f32)> = of_class().collect();
            // Stable: of equals the first comes first.
            all.sort_by(|a, b| b.1.total_cmp(&a.1));
            let largest = all.first().map_or(0.0, |best| best.1);
            let sum = all.iter().map(|(_, x)| f64::from(x - largest).exp()).sum();
            all.into_iter().take(count).map(|(index, logit)| (index, logit, sum)).collect()
        })
    }

    fn got(isa: Isa, logits: &[f32], asks: &[Ask<'_>], count: usize) -> Vec<Scores> {
        let host = HostDevice::with_isa(isa).expect("an available instruction set");
        let mut answers = vec![[None; 2]; count * asks.len()];
        Context::fresh(&Serial, |context| host.choose(context, logits, &|row| asks[row], count, &mut answers));
        answers
    }

    fn check(logits: &[f32], asks: &[Ask<'_>], count: usize) -> Result<(), TestCaseError> {
        let width = logits.len().checked_div(asks.len()).unwrap_or(0);
        for isa in Isa::available() {
            for (row, ranks) in got(isa, logits, asks, count).chunks_exact(count).enumerate() {
                let expected = expected(&logits[row * width..][..width], asks[row], count);
                for (class, expected) in expected.iter().enumerate() {
                    let found: Vec<Best> = ranks.iter().filter_map(|rank| rank[class]).collect();
                    let tokens: Vec<(u32, f32)> = found.iter().map(|best| (best.index, best.logit)).collect();
                    let wanted: Vec<(u32, f32)> = expected.iter().map(|best| (best.0, best.1)).collect();
                    prop_assert_eq!(tokens, wanted, "{}", isa);
                    for (best, (_, _, sum)) in found.iter().zip(expected) {
                        prop_assert!((f64::from(best.sum) / sum - 1.0).abs() < 1e-5, "{}: {} {}", isa, best.sum, sum);
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
            rows in 0usize..4, width in 0usize..300, count in 1usize..9, bounds in proptest::collection::vec(0u32..320, 0..12),
            split in 0u32..320, values in proptest::collection::vec(prop_oneof![8 => -20.0f32..20.0, 1 => Just(f32::NAN), 1 => Just(3.0), 1 => Just(f32::NEG_INFINITY)], 1200),
        ) {
            let forbidden = ranges(bounds);
            let asks = vec![Ask { forbidden: &forbidden, split }; rows];
            check(&values[..rows * width], &asks, count)?;
        }
    }

    #[test]
    fn a_whole_vocabulary() {
        let logits: Vec<f32> = noise(2 * 51_865, 1).iter().map(|x| 8.0 * x).collect();
        let some = ranges(vec![0, 1, 50, 60, 4090, 4100, 50_257, 50_364, 51_000, 51_865]);
        let all = [Range { start: 0, end: 51_865 }];
        for count in [1, 6, 40] {
            let asks = [&some[..], &all].map(|forbidden| Ask { forbidden, split: 50_364 });
            check(&logits, &asks, count).unwrap();
        }
    }

    #[test]
    fn infinity_is_the_likeliest() {
        let [text, none] = got(Isa::best(), &[1.0, f32::INFINITY, 2.0], &[Ask { forbidden: &[], split: 9 }], 1)[0];
        assert_eq!((text, none), (Some(Best { index: 1, logit: f32::INFINITY, sum: 1.0 }), None));
    }
}
