//! The arithmetic that a kernel is asked to use.

use std::{fmt, str::FromStr};

/// Number format of a product's operands. Sums are always wider: int32 for [`Precision::Int8`], fp32 otherwise.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Precision {
    /// fp32 operands: the reference, and the choice of CPUs without the instructions for the others.
    F32,
    /// bf16 operands rounded to nearest even, fp32 accumulation.
    Bf16,
    /// int8 operands, symmetric: weights per output channel, activations per row with a scale found at run time.
    Int8,
}

impl Precision {
    /// All of them, most exact first.
    pub const ALL: [Precision; 3] = [Precision::F32, Precision::Bf16, Precision::Int8];
}

impl fmt::Display for Precision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Precision::F32 => "f32",
            Precision::Bf16 => "bf16",
            Precision::Int8 => "int8",
        })
    }
}

/// A word that names no precision.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("unknown precision \"{0}\": use int8, bf16 or f32")]
pub struct UnknownPrecision(String);

impl FromStr for Precision {
    type Err = UnknownPrecision;

    fn from_str(word: &str) -> Result<Self, Self::Err> {
        Precision::ALL.into_iter().find(|p| p.to_string() == word).ok_or_else(|| UnknownPrecision(word.to_owned()))
    }
}
