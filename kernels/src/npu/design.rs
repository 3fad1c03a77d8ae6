//! What a compiled array is: an operator, its tile sizes, and the objects that its three streams carry. One design serves every
//! shape: what depends on the shape travels in the objects' control blocks and in the instruction stream.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::target::{MicroTile, Target};
use crate::Precision;

/// Width of a head; attention's designs know no other.
pub const HEAD_WIDTH: usize = 64;

/// Bytes of the control block at the end of each A object.
pub const CONTROL_BYTES: usize = 32;

/// Stack of a core, in bytes: what the deepest kernel takes as compiled for a CPU, where accumulators that are registers on a core are on the stack.
pub const STACK_BYTES: usize = 4096;

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
    /// All of them.
    pub const ALL: [Operator; 4] =
        [Operator::LinearInt8, Operator::LinearBf16, Operator::AttentionBf16, Operator::AttentionInt8];

    /// Whether it is one of the two linear operators.
    pub fn is_linear(self) -> bool {
        matches!(self, Operator::LinearInt8 | Operator::LinearBf16)
    }

    /// Operands' number format (of attention: of queries and keys).
    pub fn precision(self) -> Precision {
        match self {
            Operator::LinearInt8 | Operator::AttentionInt8 => Precision::Int8,
            Operator::LinearBf16 | Operator::AttentionBf16 => Precision::Bf16,
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

/// What one core computes at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Tile {
    /// Linear: rows. Attention: queries.
    pub m: usize,
    /// Linear: inputs summed in one step. Attention: [`HEAD_WIDTH`].
    pub k: usize,
    /// Linear: outputs. Attention: keys of one block.
    pub n: usize,
}

/// A stream of the array, which is also an argument of the kernel, in this order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Argument {
    /// Rows, or queries.
    A,
    /// Weights, or keys and values.
    B,
    /// Results.
    C,
}

impl Argument {
    /// All of them.
    pub const ALL: [Argument; 3] = [Argument::A, Argument::B, Argument::C];
}

/// Which way a shim DMA channel moves data.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Direction {
    /// Stream to memory: results.
    S2mm,
    /// Memory to stream: operands.
    Mm2s,
}

/// A DMA channel of a shim tile.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Channel {
    /// Column of the shim tile.
    pub column: usize,
    /// Which way it moves data.
    pub direction: Direction,
    /// 0 or 1.
    pub channel: usize,
}

impl fmt::Display for Channel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let direction = match self.direction {
            Direction::S2mm => "s2mm",
            Direction::Mm2s => "mm2s",
        };
        write!(f, "shim column {} {direction} {}", self.column, self.channel)
    }
}

/// The shape of one product.
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

/// An array as it is compiled.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Design {
    /// For which silicon.
    pub target: Target,
    /// What it computes.
    pub operator: Operator,
    /// What one core computes at a time.
    pub tile: Tile,
    /// The shim channel by which A reaches core row `i` (linear) or column `i` (attention).
    pub a: Vec<Channel>,
    /// The shim channel by which B reaches column `i`.
    pub b: Vec<Channel>,
    /// The shim channel by which C leaves column `i`.
    pub c: Vec<Channel>,
}

/// A design that cannot be.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{operator} for {target} with tiles {}×{}×{}: {reason}", tile.m, tile.k, tile.n)]
pub struct DesignError {
    /// For which silicon.
    pub target: Target,
    /// What it computes.
    pub operator: Operator,
    /// Its tiles.
    pub tile: Tile,
    /// What is wrong, with the limit.
    pub reason: String,
}

impl Design {
    /// A design with the channels in their usual places.
    ///
    /// # Errors
    /// If the tile does not consist of whole micro-tiles or does not fit a core's memory.
    pub fn new(target: Target, operator: Operator, tile: Tile) -> Result<Self, DesignError> {
        let columns = target.columns();
        let channel = |direction, channel| move |column| Channel { column, direction, channel };
        let a_columns = if operator.is_linear() {
            (0..Target::ROWS).map(|row| row * columns / Target::ROWS).collect::<Vec<_>>()
        } else {
            (0..columns).collect()
        };
        let design = Self {
            target,
            operator,
            tile,
            a: a_columns.into_iter().map(channel(Direction::Mm2s, 0)).collect(),
            b: (0..columns).map(channel(Direction::Mm2s, 1)).collect(),
            c: (0..columns).map(channel(Direction::S2mm, 0)).collect(),
        };
        design.check()?;
        Ok(design)
    }

    /// Checks what the compiler would refuse.
    ///
    /// # Errors
    /// As [`Design::new`]; also if a channel is named twice or does not exist.
    pub fn check(&self) -> Result<(), DesignError> {
        let refuse =
            |reason: String| Err(DesignError { target: self.target, operator: self.operator, tile: self.tile, reason });
        let Tile { m, k, n } = self.tile;
        if [m, k, n].contains(&0) {
            return refuse("a side is 0".into());
        }
        let attention = !self.operator.is_linear();
        if attention && k != HEAD_WIDTH {
            return refuse(format!("heads are {HEAD_WIDTH} wide"));
        }
        for MicroTile { r, s, t } in self.micro_tiles() {
            // Attention's second product sums over the keys of a block.
            let wrong = m % r != 0 || k % s != 0 || n % t != 0 || (attention && n % s != 0);
            if wrong {
                return refuse(format!("it is not made of whole micro-tiles {r}×{s}×{t}"));
            }
        }
        let memory = self.core_memory();
        if memory > Target::CORE_MEMORY {
            return refuse(format!("it takes {memory} bytes of a core's {}", Target::CORE_MEMORY));
        }
        let memory = self.memory_tile();
        if memory > Target::MEMORY_TILE {
            return refuse(format!("it takes {memory} bytes of a memory tile's {}", Target::MEMORY_TILE));
        }
        let (columns, rows) = (self.target.columns(), if attention { self.target.columns() } else { Target::ROWS });
        if self.a.len() != rows || self.b.len() != columns || self.c.len() != columns {
            return refuse("it does not name a channel for each row and column".into());
        }
        let mut all: Vec<Channel> = self.a.iter().chain(&self.b).chain(&self.c).copied().collect();
        let inputs = |channel: &Channel| channel.direction == Direction::Mm2s;
        if all.iter().any(|channel| channel.column >= columns || channel.channel > 1)
            || !self.a.iter().chain(&self.b).all(inputs)
            || self.c.iter().any(inputs)
        {
            return refuse("it names a shim channel that does not exist".into());
        }
        all.sort_unstable();
        if all.windows(2).any(|pair| pair[0] == pair[1]) {
            return refuse("it names a shim channel twice".into());
        }
        Ok(())
    }

    /// The instruction shape of the (first) product.
    pub fn micro_tile(&self) -> MicroTile {
        match self.operator.precision() {
            Precision::Int8 => self.target.int8_micro_tile(),
            Precision::Bf16 | Precision::F32 => self.target.bf16_micro_tile(),
        }
    }

    /// All instruction shapes that it uses: attention's second product has bf16 operands.
    pub fn micro_tiles(&self) -> impl Iterator<Item = MicroTile> {
        let second = (self.operator == Operator::AttentionInt8).then(|| self.target.bf16_micro_tile());
        [self.micro_tile()].into_iter().chain(second)
    }

    /// Bytes of an object of A: operand, row scales where they are int8, control block.
    pub fn a_object(&self) -> usize {
        let Tile { m, k, .. } = self.tile;
        CONTROL_BYTES
            + match self.operator.precision() {
                Precision::Int8 => m * k + m * size_of::<f32>(),
                Precision::Bf16 | Precision::F32 => m * k * 2,
            }
    }

    /// Bytes of an object of B: a step's weights with their scales and bias; or a block's keys or values, which are equally large.
    pub fn b_object(&self) -> usize {
        let Tile { k, n, .. } = self.tile;
        match self.operator {
            Operator::LinearInt8 => k * n + 2 * n * size_of::<f32>(),
            Operator::LinearBf16 => k * n * 2 + n * size_of::<f32>(),
            Operator::AttentionBf16 | Operator::AttentionInt8 => n * HEAD_WIDTH * 2,
        }
    }

    /// Bytes of an object of C: bf16 results of one core.
    pub fn c_object(&self) -> usize {
        self.tile.m * self.c_width() * 2
    }

    /// Values in a row of a C object.
    pub fn c_width(&self) -> usize {
        if self.operator.is_linear() { self.tile.n } else { HEAD_WIDTH }
    }

    /// Bytes that a core keeps between objects: sums; of attention also scores, probabilities and statistics.
    pub fn core_state(&self) -> usize {
        let Tile { m, n, .. } = self.tile;
        match self.operator {
            Operator::LinearInt8 | Operator::LinearBf16 => m * n * 4,
            // fp32 results [m, 64], scores [m, n], bf16 probabilities [m, n], and four numbers of each row, in whole vectors.
            Operator::AttentionBf16 | Operator::AttentionInt8 => {
                m * HEAD_WIDTH * 4 + m * n * 4 + m * n * 2 + 4 * m.next_multiple_of(16) * 4
            }
        }
    }

    /// Bytes of a core's memory that it takes: stack, state, and each stream's objects twice.
    pub fn core_memory(&self) -> usize {
        STACK_BYTES + self.core_state() + 2 * (self.a_object() + self.b_object() + self.c_object())
    }

    /// Bytes of the fullest memory tile: the objects of A (attention: of four rows), of B, and of C of four rows, each twice.
    pub fn memory_tile(&self) -> usize {
        let a = if self.operator.is_linear() { self.a_object() } else { Target::ROWS * self.a_object() };
        2 * (a + self.b_object() + Target::ROWS * self.c_object())
    }

    /// Rows (linear) or queries (attention) of one round: those of four tiles.
    pub fn round_rows(&self) -> usize {
        Target::ROWS * self.tile.m
    }

    /// The shape with its padding: rows or queries to whole rounds, inputs to whole steps, outputs to a tile for each column, keys to whole
    /// blocks.
    pub fn padded(&self, problem: &Problem) -> Problem {
        let Tile { k, n, .. } = self.tile;
        match *problem {
            Problem::Linear { rows, inputs, outputs } => Problem::Linear {
                rows: rows.next_multiple_of(self.round_rows()),
                inputs: inputs.next_multiple_of(k),
                outputs: outputs.next_multiple_of(n * self.target.columns()),
            },
            Problem::Attention { heads, queries, keys } => Problem::Attention {
                heads,
                queries: queries.next_multiple_of(self.round_rows()),
                keys: keys.next_multiple_of(n),
            },
        }
    }

    /// Bytes of a buffer for a problem.
    pub fn buffer_bytes(&self, problem: &Problem, argument: Argument) -> usize {
        let Tile { m, k, n } = self.tile;
        match (self.padded(problem), argument) {
            (Problem::Linear { rows, inputs, .. }, Argument::A) => rows / m * (inputs / k) * self.a_object(),
            (Problem::Linear { inputs, outputs, .. }, Argument::B) => outputs / n * (inputs / k) * self.b_object(),
            (Problem::Linear { rows, outputs, .. }, Argument::C) => rows * outputs * 2,
            (Problem::Attention { heads, queries, .. }, Argument::A) => heads * (queries / m) * self.a_object(),
            (Problem::Attention { heads, keys, .. }, Argument::B) => heads * (keys / n) * 2 * self.b_object(),
            (Problem::Attention { heads, queries, .. }, Argument::C) => heads * queries * HEAD_WIDTH * 2,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tile(m: usize, k: usize, n: usize) -> Tile {
        Tile { m, k, n }
    }

    #[test]
    fn objects_are_as_documented() {
        let int8 = Design::new(Target::Npu1, Operator::LinearInt8, tile(64, 64, 48)).unwrap();
        assert_eq!((int8.a_object(), int8.b_object(), int8.c_object()), (4096 + 256 + 32, 3072 + 384, 6144));
        let heads = Design::new(Target::Npu4, Operator::AttentionInt8, tile(32, 64, 64)).unwrap();
        assert_eq!((heads.a_object(), heads.b_object(), heads.c_object()), (2048 + 128 + 32, 8192, 4096));
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        let refused = |target, operator, tile| Design::new(target, operator, tile).unwrap_err().to_string();
        assert!(refused(Target::Npu1, Operator::LinearBf16, tile(64, 64, 64)).contains("of a core's 65536"));
        assert!(refused(Target::Npu4, Operator::LinearInt8, tile(60, 64, 64)).contains("whole micro-tiles 8×8×8"));
        assert!(refused(Target::Npu1, Operator::AttentionBf16, tile(32, 32, 64)).contains("64 wide"));
        assert!(refused(Target::Npu1, Operator::LinearInt8, tile(0, 64, 64)).contains("0"));
        let mut twice = Design::new(Target::Npu1, Operator::LinearInt8, tile(64, 64, 64)).unwrap();
        twice.a[1] = twice.a[0];
        assert!(twice.check().unwrap_err().reason.contains("twice"));
    }

    #[test]
    fn whispers_rows_are_padded_to_rounds() {
        let design = Design::new(Target::Npu1, Operator::LinearInt8, tile(64, 64, 64)).unwrap();
        let problem = Problem::Linear { rows: 1500, inputs: 384, outputs: 1536 };
        assert_eq!(design.padded(&problem), Problem::Linear { rows: 1536, inputs: 384, outputs: 1536 });
        assert_eq!(design.buffer_bytes(&problem, Argument::C), 1536 * 1536 * 2);
        assert_eq!(design.buffer_bytes(&problem, Argument::A), 24 * 6 * design.a_object());
    }
}
