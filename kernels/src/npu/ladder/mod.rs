//! A ladder of checks for an array that nobody has seen at work: from a transfer that no core touches, made by AMD's own
//! compiler, up to attention on all cores. Each rung needs what those below it have shown, so the first failure names
//! what is wrong. It climbs over any [`Array`]: the simulator, or a real NPU through XRT.

mod bench;
mod copies;
mod core;
mod numbers;
mod pass_through;
mod product;

pub(super) use product::designs;

use std::{collections::BTreeMap, time::Duration};

use serde::{Deserialize, Serialize};

use super::{
    array::{Array, ArrayError},
    stream::StreamError,
};
use crate::DeviceKind;

/// A rung of the ladder, from the bottom; the first two, installation and AMD's own programs, need no array of ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Rung {
    /// 2: bytes through an array without cores, by the compiler's own instruction stream: single commands, then lists.
    PassThrough,
    /// 3: our instruction streams over the same array: offsets, waits, repeats, strided transfers.
    Stream,
    /// 4: what one core computes and how long it takes, bit by bit beside this machine.
    Core,
    /// 5: products: of one core, of a column, of all cores, and in a long stream.
    Product,
    /// 6, its first part: attention on all cores.
    Attention,
}

impl Rung {
    /// All of them, from the bottom.
    pub const ALL: [Rung; 5] = [Rung::PassThrough, Rung::Stream, Rung::Core, Rung::Product, Rung::Attention];

    /// Its number on the whole ladder.
    pub fn number(self) -> u32 {
        2 + self as u32
    }
}

/// What one check found.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Check {
    /// What was checked, in words: "a list of 64 commands".
    pub name: String,
    /// How it ended.
    pub outcome: Outcome,
    /// What was measured; the unit is in the key: `median_us`, `cycles_per_value`. Nothing that was not measured is here.
    pub figures: BTreeMap<String, f64>,
}

/// How a check ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// As it has to be.
    Passed,
    /// A fact that a report should have; nothing of ours depends on it.
    Told(String),
    /// What is wrong, and what to do.
    Failed {
        /// What was found instead of what was expected.
        found: String,
        /// What to do.
        advice: String,
    },
}

impl Outcome {
    /// Whether the ladder goes on.
    pub fn is_well(&self) -> bool {
        !matches!(self, Outcome::Failed { .. })
    }
}

/// Climbs one rung: tells each check as it ends, and stops at the first that failed. Whether none did.
pub fn climb<A: Array>(array: &A, rung: Rung, tell: &mut dyn FnMut(Check)) -> bool {
    let mut climber = Climber { array, tell };
    let climbed = match rung {
        Rung::PassThrough => pass_through::climb(&mut climber),
        Rung::Stream => copies::climb(&mut climber),
        Rung::Core => core::climb(&mut climber),
        Rung::Product => product::products(&mut climber),
        Rung::Attention => product::attention(&mut climber),
    };
    climbed.is_some()
}

/// What was measured in a check.
type Figures = BTreeMap<String, f64>;

/// Whoever climbs. Its methods give `None` after a failure, which ends the rung.
struct Climber<'a, A: Array> {
    array: &'a A,
    tell: &'a mut dyn FnMut(Check),
}

/// What is wrong, if something is.
enum Wrong {
    /// The array did not do it.
    Array(ArrayError),
    /// It did something else.
    Found(String),
}

impl From<ArrayError> for Wrong {
    fn from(error: ArrayError) -> Self {
        Wrong::Array(error)
    }
}

impl From<StreamError> for Wrong {
    fn from(error: StreamError) -> Self {
        Wrong::Found(format!("no stream could be written: {error}"))
    }
}

/// What a check that did not fail found out: a fact to tell, or nothing.
type Fact = Option<String>;

impl<A: Array> Climber<'_, A> {
    /// One check. `advice` is what to do if it fails.
    fn check<T>(
        &mut self,
        name: &str,
        advice: &str,
        check: impl FnOnce(&mut Figures) -> Result<(T, Fact), Wrong>,
    ) -> Option<T> {
        let mut figures = Figures::new();
        let (value, outcome) = match check(&mut figures) {
            Ok((value, None)) => (Some(value), Outcome::Passed),
            Ok((value, Some(fact))) => (Some(value), Outcome::Told(fact)),
            Err(Wrong::Found(found)) => (None, Outcome::Failed { found, advice: advice.to_owned() }),
            Err(Wrong::Array(error)) => {
                let advice = format!("{} {advice}", self.after(&error)).trim().to_owned();
                (None, Outcome::Failed { found: error.to_string(), advice })
            }
        };
        (self.tell)(Check { name: name.to_owned(), outcome, figures });
        value
    }

    /// What to do about an array's own error.
    fn after(&self, error: &ArrayError) -> String {
        let log = "Read what the driver says: sudo dmesg | grep -i amdxdna.";
        match error {
            ArrayError::NoBundle { .. } => {
                let target = self.array.target();
                format!("Make the ladder's bundles: kernels/aie/build.sh --target {target} --ladder --out FOLDER.")
            }
            ArrayError::Contexts { .. } => "Close the other programs.".to_owned(),
            ArrayError::Memory { .. } => {
                "Raise the limit of locked memory (ulimit -l unlimited), or close other programs.".to_owned()
            }
            ArrayError::Timeout { .. } => format!("{log} Reload the driver, or reboot, before the next attempt."),
            ArrayError::Failed(_) | ArrayError::Lost(_) => log.to_owned(),
            ArrayError::Refused(_) | ArrayError::Untrusted { .. } => String::new(),
        }
    }

    /// Whether times mean anything: a simulator's are its own.
    fn is_timed(&self) -> bool {
        self.array.kind() == DeviceKind::Npu
    }
}

/// The middle one of several times, in microseconds.
fn median_us(mut times: Vec<Duration>) -> f64 {
    times.sort_unstable();
    times.get(times.len() / 2).map_or(f64::NAN, |time| time.as_secs_f64() * 1e6)
}
