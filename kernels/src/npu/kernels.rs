//! What the cores' code computes: in which number formats, and for heads of which width.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::Precision;

/// Width of a head; attention's designs know no other.
pub const HEAD_WIDTH: usize = 64;

/// Which kernels the cores of an array hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kernels {
    /// Linear layers with int8 operands; attention with scores of int8 queries and keys.
    Int8,
    /// Both with bf16 operands.
    Bf16,
}

impl Kernels {
    /// All of them.
    pub const ALL: [Kernels; 2] = [Kernels::Int8, Kernels::Bf16];

    /// Operands' number format (of attention: of queries and keys).
    pub fn precision(self) -> Precision {
        match self {
            Kernels::Int8 => Precision::Int8,
            Kernels::Bf16 => Precision::Bf16,
        }
    }

    /// Those that multiply operands of a number format; `None` for fp32, which no core multiplies.
    pub fn of(precision: Precision) -> Option<Self> {
        Self::ALL.into_iter().find(|kernels| kernels.precision() == precision)
    }

    /// Bytes of an operand's number.
    pub fn operand_bytes(self) -> usize {
        match self {
            Kernels::Int8 => 1,
            Kernels::Bf16 => 2,
        }
    }
}

impl fmt::Display for Kernels {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Kernels::Int8 => "int8",
            Kernels::Bf16 => "bf16",
        })
    }
}
