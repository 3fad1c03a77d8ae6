//! A trial array with what is put into it and taken out of it.

use std::time::Duration;

use super::Wrong;
use crate::{
    Serial,
    npu::{
        array::{Array, ArrayError, Buffer, Job, OpenTrial},
        design::Argument,
        device::Commands,
        stream::{Step, write_steps},
        trial::{Trial, TrialKind},
    },
};

/// What lies in C before a command: what was not written is seen.
pub(super) const UNWRITTEN: u8 = 0xa5;

/// A trial array that is open.
pub(super) struct Bench<'a, A: Array> {
    array: &'a A,
    open: OpenTrial<A::Context>,
}

/// The bytes of A and B, and how many C has.
pub(super) struct Operands {
    pub a: Vec<u8>,
    pub b: Vec<u8>,
    pub c: usize,
}

impl<'a, A: Array> Bench<'a, A> {
    /// Loads the array.
    pub fn open(array: &'a A, kind: TrialKind) -> Result<Self, ArrayError> {
        let open = array.open_trial(&Trial::new(array.target(), kind))?;
        Ok(Self { array, open })
    }

    /// The array as it was compiled.
    pub fn trial(&self) -> &Trial {
        &self.open.trial
    }

    /// How commands are given where nothing else is tried.
    pub fn commands(&self) -> Commands {
        self.array.commands()
    }

    /// The compiler's own stream.
    pub fn made(&self) -> Option<&[u32]> {
        self.open.made.as_deref()
    }

    /// The stream of some steps.
    pub fn stream(&self, steps: &[Step]) -> Result<Vec<u32>, Wrong> {
        Ok(write_steps(self.array.target(), steps)?)
    }

    /// Executes a stream as `commands` commands, given `by` lists or singly, each with a C of its own, `times` times
    /// over; gives each C, and how long each time took.
    pub fn run(
        &self,
        words: &[u32],
        operands: &Operands,
        (commands, by): (usize, Commands),
        times: usize,
    ) -> Result<(Vec<Vec<u8>>, Vec<Duration>), Wrong> {
        let buffer = |argument, bytes: usize| self.array.buffer(&self.open.context, argument, bytes.max(64));
        let program = self.array.program(&self.open.context, words)?;
        let filled = |argument, bytes: &[u8]| {
            let mut buffer = buffer(argument, bytes.len())?;
            buffer.bytes_mut()[..bytes.len()].copy_from_slice(bytes);
            buffer.flush()?;
            Ok::<_, ArrayError>(buffer)
        };
        let (a, b) = (filled(Argument::A, &operands.a)?, filled(Argument::B, &operands.b)?);
        let unwritten = vec![UNWRITTEN; operands.c];
        let mut results = Vec::with_capacity(commands);
        for _ in 0..commands {
            results.push(filled(Argument::C, &unwritten)?);
        }
        let mut walls = Vec::with_capacity(times);
        for _ in 0..times {
            let mut jobs: Vec<Job<'_, A>> =
                results.iter_mut().map(|c| Job { program: &program, a: &a, b: &b, c }).collect();
            walls.push(self.array.run_by(by, &self.open.context, &mut jobs, &Serial)?.wall);
        }
        Ok((results.iter().map(|c| c.bytes()[..operands.c].to_vec()).collect(), walls))
    }
}

/// Bytes that are told apart: no two words of them are alike.
pub(super) fn bytes(count: usize, seed: u32) -> Vec<u8> {
    // An odd factor: a different word for each place.
    let word = |index: usize| (index as u32).wrapping_add(seed << 20).wrapping_mul(0x9e37_79b1) ^ seed;
    (0..count.div_ceil(4)).flat_map(|index| word(index).to_le_bytes()).take(count).collect()
}
