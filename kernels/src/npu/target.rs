//! What the silicon is: AMD's two generations of NPU, as far as a kernel or a plan must know them.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};
use undertone_boundary::{options, words::UnknownWord};

use super::kernels::Kernels;

/// A generation of NPU.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Target {
    /// XDNA: Phoenix and Hawk Point, cores of the architecture AIE2.
    Npu1,
    /// XDNA2: Strix, Strix Halo and Krackan (npu4 to npu6), cores of the architecture AIE2P.
    Npu4,
}

/// The shape `r × s × t` of the product that a core computes with one instruction: `[r, s] · [s, t]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct MicroTile {
    /// Rows of the left operand.
    pub r: usize,
    /// Columns of the left operand.
    pub s: usize,
    /// Columns of the right operand.
    pub t: usize,
}

impl Target {
    /// All of them: as many as there are words.
    pub const ALL: [Target; options::Target::ALL.len()] = [Target::Npu1, Target::Npu4];

    /// Rows of cores.
    pub const ROWS: usize = 4;

    /// Data memory of a core, for buffers and stack, in bytes.
    pub const CORE_MEMORY: usize = 64 * 1024;

    /// Memory of a memory tile, in bytes.
    pub const MEMORY_TILE: usize = 512 * 1024;

    /// Columns of cores; each has a shim tile and a memory tile of its own.
    pub fn columns(self) -> usize {
        match self {
            Target::Npu1 => 4,
            Target::Npu4 => 8,
        }
    }

    /// Cores.
    pub fn cores(self) -> usize {
        Self::ROWS * self.columns()
    }

    /// Clock of the cores, in Hz, in the published measurements (arXiv 2512.13282).
    pub fn clock(self) -> f64 {
        match self {
            Target::Npu1 => 1.0e9,
            Target::Npu4 => 1.8e9,
        }
    }

    /// Most multiply-accumulates of int8 operands that a core does in a cycle.
    pub fn int8_macs(self) -> usize {
        match self {
            Target::Npu1 => 256,
            Target::Npu4 => 512,
        }
    }

    /// Most multiply-accumulates of bf16 operands that a core does in a cycle; AIE2P's with operands that share
    /// exponents (bfp16).
    pub fn bf16_macs(self) -> usize {
        match self {
            Target::Npu1 => 128,
            Target::Npu4 => 512,
        }
    }

    /// Most multiply-accumulates that a core does in a cycle.
    pub fn macs(self, kernels: Kernels) -> usize {
        match kernels {
            Kernels::Int8 => self.int8_macs(),
            Kernels::Bf16 => self.bf16_macs(),
        }
    }

    /// The instruction shape for int8 operands.
    pub fn int8_micro_tile(self) -> MicroTile {
        match self {
            Target::Npu1 => MicroTile { r: 4, s: 8, t: 8 },
            Target::Npu4 => MicroTile { r: 8, s: 8, t: 8 },
        }
    }

    /// The instruction shape for bf16 operands.
    pub fn bf16_micro_tile(self) -> MicroTile {
        match self {
            Target::Npu1 => MicroTile { r: 4, s: 8, t: 4 },
            Target::Npu4 => MicroTile { r: 4, s: 8, t: 8 },
        }
    }

    /// Hardware contexts that can be open at the same time, where a limit is known.
    pub fn contexts(self) -> Option<usize> {
        match self {
            Target::Npu1 => Some(6),
            Target::Npu4 => None,
        }
    }
}

impl From<options::Target> for Target {
    fn from(named: options::Target) -> Self {
        match named {
            options::Target::Npu1 => Target::Npu1,
            options::Target::Npu4 => Target::Npu4,
        }
    }
}

impl From<Target> for options::Target {
    fn from(target: Target) -> Self {
        match target {
            Target::Npu1 => options::Target::Npu1,
            Target::Npu4 => options::Target::Npu4,
        }
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        options::Target::from(*self).fmt(f)
    }
}

impl FromStr for Target {
    type Err = UnknownWord;

    fn from_str(word: &str) -> Result<Self, Self::Err> {
        word.parse::<options::Target>().map(Self::from)
    }
}
