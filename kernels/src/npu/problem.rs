//! What an array is asked to compute: operators, and the shapes of problems.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::kernels::{HEAD_WIDTH, Kernels};

/// What an array computes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Operator {
    /// `y = activation(x · w + bias)` with int8 operands, int32 sums and bf16 results.
    LinearInt8,
    /// The same with bf16 operands and fp32 sums.
    LinearBf16,
    /// Attention of head width 64 with bf16 operands, fp32 sums and statistics, bf16 results.
    AttentionBf16,
    /// The same with scores of int8 queries and keys, summed in int32.
    AttentionInt8,
}

impl Operator {
    /// What a problem is to these kernels.
    pub fn of(kernels: Kernels, problem: &Problem) -> Self {
        let int8 = kernels == Kernels::Int8;
        match problem {
            Problem::Linear { .. } if int8 => Operator::LinearInt8,
            Problem::Linear { .. } => Operator::LinearBf16,
            Problem::Attention { .. } if int8 => Operator::AttentionInt8,
            Problem::Attention { .. } => Operator::AttentionBf16,
        }
    }

    /// Operands' number format (of attention: of queries and keys).
    pub fn kernels(self) -> Kernels {
        match self {
            Operator::LinearInt8 | Operator::AttentionInt8 => Kernels::Int8,
            Operator::LinearBf16 | Operator::AttentionBf16 => Kernels::Bf16,
        }
    }
}

impl fmt::Display for Operator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Operator::LinearInt8 => "linear_int8",
            Operator::LinearBf16 => "linear_bf16",
            Operator::AttentionBf16 => "attention_bf16",
            Operator::AttentionInt8 => "attention_int8",
        })
    }
}

/// The shape of what is computed at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Problem {
    /// `[rows, inputs] · [inputs, outputs]`.
    Linear {
        /// M.
        rows: usize,
        /// K.
        inputs: usize,
        /// N.
        outputs: usize,
    },
    /// Attention over heads of width 64.
    Attention {
        /// Heads of all batch items.
        heads: usize,
        /// Queries of each.
        queries: usize,
        /// Keys of each.
        keys: usize,
    },
}

impl Problem {
    /// Multiply-accumulates that the result needs, without padding.
    pub fn macs(&self) -> u64 {
        match *self {
            Problem::Linear { rows, inputs, outputs } => rows as u64 * inputs as u64 * outputs as u64,
            Problem::Attention { heads, queries, keys } => {
                2 * heads as u64 * queries as u64 * keys as u64 * HEAD_WIDTH as u64
            }
        }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Problem::Linear { rows, inputs, outputs } => write!(f, "{rows}×{inputs}×{outputs}"),
            Problem::Attention { heads, queries, keys } => write!(f, "{heads} heads, {queries}×{keys}"),
        }
    }
}
