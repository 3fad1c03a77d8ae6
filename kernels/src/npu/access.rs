//! How a shim DMA channel walks through a buffer: what one buffer descriptor can say, within the hardware's limits.

use super::design::Argument;

/// Buffer descriptors of a shim tile.
pub const DESCRIPTORS: usize = 16;
/// Tasks that wait in a channel's queue at most.
pub const QUEUE_DEPTH: usize = 4;
/// Most entries of the two inner dimensions.
pub const MOST_WRAP: u32 = 1023;
/// Largest step, in words.
pub const MOST_STEP: u32 = 1 << 20;
/// Most entries of the iteration.
pub const MOST_ITERATIONS: u32 = 64;

/// What one buffer descriptor says. Sizes and steps are in words of 4 bytes; dimension 0 is the innermost.
///
/// The address of word `i` is `offset + 4 · (i₀·steps[0] + i₁·steps[1] + i₂·steps[2] + iteration·step)`, with
/// `i₀ < wraps[0]`, `i₁ < wraps[1]`, and `i₂` as far as the length asks. `iteration` goes on by one each time that the
/// descriptor is used, and wraps.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Transfer {
    /// The kernel's argument that it walks through.
    pub argument: Argument,
    /// Its first byte there.
    pub offset: u64,
    /// Words moved by one use.
    pub length: u32,
    /// Entries of dimensions 0 and 1; 0 stands for a dimension that is not used (dimension 2 then takes its place: see
    /// [`Transfer::linear`]).
    pub wraps: [u32; 2],
    /// Steps of the three dimensions.
    pub steps: [u32; 3],
    /// Entries of the iteration; 1 if it is not used.
    pub iterations: u32,
    /// Its step.
    pub iteration_step: u32,
}

/// A transfer that the hardware cannot describe.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a DMA transfer of argument {argument:?}: {reason}")]
pub struct AccessError {
    /// The kernel's argument that it walks through.
    pub argument: Argument,
    /// What is too large, with the limit.
    pub reason: String,
}

impl Transfer {
    /// `length` words, one after another.
    pub fn linear(argument: Argument, offset: u64, length: u32) -> Self {
        Self { argument, offset, length, wraps: [0, 0], steps: [1, 1, 1], iterations: 1, iteration_step: 1 }
    }

    /// Holds it against the hardware's limits.
    ///
    /// # Errors
    /// What is too large for its field.
    pub fn check(&self) -> Result<(), AccessError> {
        let refuse = |reason: String| Err(AccessError { argument: self.argument, reason });
        if self.length == 0 {
            return refuse("it moves nothing".into());
        }
        if !self.offset.is_multiple_of(4) {
            return refuse(format!("its offset {} is not a whole word", self.offset));
        }
        if let Some(wrap) = self.wraps.iter().find(|wrap| **wrap > MOST_WRAP) {
            return refuse(format!("a dimension has {wrap} entries, at most {MOST_WRAP} can be"));
        }
        let mut steps = self.steps.iter().chain([&self.iteration_step]);
        if let Some(step) = steps.find(|step| !(1..=MOST_STEP).contains(*step)) {
            return refuse(format!("a step is {step} words, 1 to {MOST_STEP} can be"));
        }
        if !(1..=MOST_ITERATIONS).contains(&self.iterations) {
            return refuse(format!("it has {} iterations, 1 to {MOST_ITERATIONS} can be", self.iterations));
        }
        if self.wraps[0] == 0 && self.wraps[1] != 0 {
            return refuse("its second dimension is used and its first is not".into());
        }
        Ok(())
    }

    /// The runs of contiguous words that its use number `iteration` walks through: byte offset and words of each, in
    /// order.
    pub fn runs(&self, iteration: u32) -> impl Iterator<Item = (u64, u32)> + use<> {
        let Self { offset, length, wraps, steps, iterations, iteration_step, .. } = *self;
        let base = offset + 4 * u64::from(iteration % iterations) * u64::from(iteration_step);
        // Words in a row of dimension 0, and rows of a plane of dimension 1.
        let row = if wraps[0] == 0 { length } else { wraps[0].min(length) };
        let plane = if wraps[1] == 0 { u32::MAX } else { wraps[1] };
        let piece = if steps[0] == 1 { row } else { 1 };
        (0..length.div_ceil(row)).flat_map(move |index| {
            let start = base
                + 4 * (u64::from(index % plane) * u64::from(steps[1]) + u64::from(index / plane) * u64::from(steps[2]));
            let words = row.min(length - index * row);
            (0..words.div_ceil(piece))
                .map(move |inner| (start + 4 * u64::from(inner) * u64::from(steps[0]), piece.min(words)))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Word by word, as the descriptor's text says.
    fn slow(transfer: &Transfer, iteration: u32) -> Vec<u64> {
        let row = if transfer.wraps[0] == 0 { transfer.length } else { transfer.wraps[0] };
        let plane = if transfer.wraps[1] == 0 { u32::MAX } else { transfer.wraps[1] };
        let at = |word: u32| {
            let (i0, rest) = (word % row, word / row);
            let (i1, i2) = (rest % plane, rest / plane);
            let steps =
                [i0, i1, i2].iter().zip(transfer.steps).map(|(i, step)| u64::from(*i) * u64::from(step)).sum::<u64>();
            transfer.offset
                + 4 * (steps + u64::from(iteration % transfer.iterations) * u64::from(transfer.iteration_step))
        };
        (0..transfer.length).map(at).collect()
    }

    proptest::proptest! {
        #[test]
        fn runs_are_the_words_in_order(
            length in 1u32..300, w0 in 0u32..9, w1 in 0u32..5, steps in [1u32..40, 1u32..40, 1u32..40], iterations in 1u32..4, at in 0u32..9,
        ) {
            let wraps = [w0, if w0 == 0 { 0 } else { w1 }];
            let transfer = Transfer { argument: Argument::A, offset: 64, length, wraps, steps, iterations, iteration_step: 7 };
            proptest::prop_assert!(transfer.check().is_ok());
            let words: Vec<u64> = transfer
                .runs(at)
                .flat_map(|(start, words)| (0..words).map(move |word| start + 4 * u64::from(word)))
                .collect();
            proptest::prop_assert_eq!(words, if w0 == 0 { (0..length).map(|word| 64 + 4 * (u64::from(word) * u64::from(steps[0]) + u64::from(at % iterations) * 7)).collect() } else { slow(&transfer, at) });
        }
    }
}
