//! What a compiled array is: the kernels that its cores hold, its tile sizes, and the objects that its three streams
//! carry. One design serves every shape of linear layers and of attention: what depends on the shape travels in the
//! objects' control blocks and in the instruction stream. So an array stays loaded for all of a model; changing it
//! costs milliseconds.

use std::fmt;

use serde::{Deserialize, Serialize};
use undertone_boundary::npu::{ChannelReport, DesignReport, TileReport};

use super::target::{MicroTile, Target};
pub use super::{
    kernels::{HEAD_WIDTH, Kernels},
    problem::{Operator, Problem},
};

/// Bytes of AIE2P's widest access, 512 bits, which wants an address that is a multiple of it and gives wrong data
/// elsewhere (mlir-aie's issue 2579). mlir-aie places a core's buffers one after another, so all are made of
/// whole ones.
pub const VECTOR_BYTES: usize = 64;

/// Bytes of the control block at the end of each A object, which begins at a multiple of [`VECTOR_BYTES`].
pub const CONTROL_BYTES: usize = 64;

/// Stack of a core, in bytes. As compiled for a CPU, where accumulators that are registers on a core are on the stack,
/// the deepest kernel takes less than 4 KB; others' cores with an exponential in fp32 overflowed 3.3 KB and ran with 6.
pub const STACK_BYTES: usize = 6144;

/// What is left of a core's memory for constants.
pub const CONSTANT_BYTES: usize = 1024;

/// What one core computes at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Tile {
    /// Linear: rows. Attention: queries.
    pub m: usize,
    /// Linear: inputs summed in one step. Attention: columns of the queries in one object of A.
    pub k: usize,
    /// Linear: outputs. Attention: [`HEAD_WIDTH`].
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

impl fmt::Display for Direction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Direction::S2mm => "s2mm",
            Direction::Mm2s => "mm2s",
        })
    }
}

impl fmt::Display for Channel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "shim column {} {} {}", self.column, self.direction, self.channel)
    }
}

impl From<&Channel> for ChannelReport {
    fn from(Channel { column, direction, channel }: &Channel) -> Self {
        Self { column: *column, direction: direction.to_string(), channel: *channel }
    }
}

/// An array as it is compiled.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Design {
    /// For which silicon.
    pub target: Target,
    /// What its cores hold.
    pub kernels: Kernels,
    /// What one core computes at a time.
    pub tile: Tile,
    /// The shim channel by which A reaches core row `i`.
    pub a: Vec<Channel>,
    /// The shim channel by which B reaches column `i`.
    pub b: Vec<Channel>,
    /// The shim channel by which C leaves column `i`.
    pub c: Vec<Channel>,
}

impl fmt::Display for Design {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { target, kernels, tile: Tile { m, k, n }, .. } = self;
        write!(f, "{kernels} kernels on {target} with tiles {m}×{k}×{n}")?;
        if [self.rows(), self.columns()] == [Target::ROWS, target.columns()] {
            return Ok(());
        }
        write!(f, " on {}×{} cores", self.rows(), self.columns())
    }
}

impl From<&Design> for DesignReport {
    fn from(Design { target, kernels, tile: Tile { m, k, n }, a, b, c }: &Design) -> Self {
        let channels = |channels: &[Channel]| channels.iter().map(ChannelReport::from).collect();
        Self {
            target: target.to_string(),
            kernels: kernels.to_string(),
            tile: TileReport { m: *m, k: *k, n: *n },
            a: channels(a),
            b: channels(b),
            c: channels(c),
        }
    }
}

/// A design that cannot be.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{kernels} kernels for {target} with tiles {}×{}×{}: {reason}", tile.m, tile.k, tile.n)]
pub struct DesignError {
    /// For which silicon.
    pub target: Target,
    /// What its cores hold.
    pub kernels: Kernels,
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
    pub fn new(target: Target, kernels: Kernels, tile: Tile) -> Result<Self, DesignError> {
        Self::of_cores(target, kernels, tile, [Target::ROWS, target.columns()])
    }

    /// The same with the cores of the first rows and columns only: one core, or a column, for a new array's first
    /// steps. All else of it is where it is in the whole array.
    ///
    /// # Errors
    /// As [`Design::new`].
    pub fn of_cores(
        target: Target,
        kernels: Kernels,
        tile: Tile,
        [rows, columns]: [usize; 2],
    ) -> Result<Self, DesignError> {
        let channel = |direction, channel| move |column| Channel { column, direction, channel };
        let a_column = |row| row * target.columns() / Target::ROWS;
        let design = Self {
            target,
            kernels,
            tile,
            a: (0..rows).map(a_column).map(channel(Direction::Mm2s, 0)).collect(),
            b: (0..columns).map(channel(Direction::Mm2s, 1)).collect(),
            c: (0..columns).map(channel(Direction::S2mm, 0)).collect(),
        };
        design.check()?;
        Ok(design)
    }

    /// The design that devices open and bundles are built with by default: one for each number format, for every
    /// Whisper model.
    ///
    /// # Errors
    /// As [`Design::new`]; a test makes all of them.
    pub fn shipped(target: Target, kernels: Kernels) -> Result<Self, DesignError> {
        let k = match kernels {
            Kernels::Int8 => 64,
            Kernels::Bf16 => 32,
        };
        Self::new(target, kernels, Tile { m: 48, k, n: HEAD_WIDTH })
    }

    /// Checks what the compiler would refuse.
    ///
    /// # Errors
    /// As [`Design::new`]; also if a channel is named twice or does not exist.
    pub fn check(&self) -> Result<(), DesignError> {
        let refuse =
            |reason: String| Err(DesignError { target: self.target, kernels: self.kernels, tile: self.tile, reason });
        let Tile { m, k, n } = self.tile;
        if [m, k, n].contains(&0) {
            return refuse("a side is 0".into());
        }
        if n != HEAD_WIDTH {
            return refuse(format!("results of attention are as wide as its heads, {HEAD_WIDTH}"));
        }
        let block = self.block();
        for MicroTile { r, s, t } in self.micro_tiles() {
            // Attention's second product sums over the keys of a block.
            if m % r != 0
                || k % s != 0
                || n % t != 0
                || block == 0
                || !block.is_multiple_of(s)
                || !block.is_multiple_of(t)
            {
                return refuse(format!(
                    "it is not made of whole micro-tiles {r}×{s}×{t}, or its blocks of {block} keys are not"
                ));
            }
        }
        if let Some((what, bytes)) = self.misaligned() {
            return refuse(format!("{what} takes {bytes} bytes, no multiple of {VECTOR_BYTES}"));
        }
        let memory = self.core_memory();
        if memory > Target::CORE_MEMORY {
            return refuse(format!("it takes {memory} bytes of a core's {}", Target::CORE_MEMORY));
        }
        let memory = self.memory_tile();
        if memory > Target::MEMORY_TILE {
            return refuse(format!("it takes {memory} bytes of a memory tile's {}", Target::MEMORY_TILE));
        }
        let columns = self.target.columns();
        if !(1..=Target::ROWS).contains(&self.rows())
            || !(1..=columns).contains(&self.columns())
            || self.b.len() != self.c.len()
        {
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

    /// What in a core's memory is not made of whole vectors, so that what follows it would not lie at a multiple of
    /// [`VECTOR_BYTES`].
    pub(crate) fn misaligned(&self) -> Option<(&'static str, usize)> {
        let sizes = [
            ("the stack", STACK_BYTES),
            ("an object of A", self.a_object()),
            ("an object of B", self.b_object()),
            ("an object of C", self.c_object()),
            ("a core's state", self.core_state()),
        ];
        sizes.into_iter().find(|(_, bytes)| !bytes.is_multiple_of(VECTOR_BYTES))
    }

    /// Rows of cores that it has: all of the target's, but for a new array's first steps.
    pub fn rows(&self) -> usize {
        self.a.len()
    }

    /// Columns of cores that it has.
    pub fn columns(&self) -> usize {
        self.b.len()
    }

    /// The instruction shape of the operands, in whose order results lie, too.
    pub fn micro_tile(&self) -> MicroTile {
        match self.kernels {
            Kernels::Int8 => self.target.int8_micro_tile(),
            Kernels::Bf16 => self.target.bf16_micro_tile(),
        }
    }

    /// All instruction shapes that it uses: attention's second product has bf16 operands.
    pub fn micro_tiles(&self) -> impl Iterator<Item = MicroTile> {
        let second = (self.kernels == Kernels::Int8).then(|| self.target.bf16_micro_tile());
        [self.micro_tile()].into_iter().chain(second)
    }

    /// Keys of a block of attention: as many as an object of B has room for in bf16.
    pub fn block(&self) -> usize {
        self.tile.k * self.kernels.operand_bytes() / 2
    }

    /// Objects of A that a tile of queries takes: each has `k` of a head's columns.
    pub fn slices(&self) -> usize {
        HEAD_WIDTH.div_ceil(self.tile.k)
    }

    /// Bytes of an object of A: operand, row scales where they are int8, control block.
    pub fn a_object(&self) -> usize {
        let Tile { m, k, .. } = self.tile;
        let scales = if self.kernels == Kernels::Int8 { m * size_of::<f32>() } else { 0 };
        (m * k * self.kernels.operand_bytes() + scales).next_multiple_of(VECTOR_BYTES) + CONTROL_BYTES
    }

    /// Bytes of an object of B: a step's weights with their scales and bias; or a block's keys or values, and nothing
    /// behind them.
    pub fn b_object(&self) -> usize {
        let Tile { k, n, .. } = self.tile;
        match self.kernels {
            Kernels::Int8 => k * n + 2 * n * size_of::<f32>(),
            Kernels::Bf16 => 2 * k * n + n * size_of::<f32>(),
        }
    }

    /// Bytes of an object of C: bf16 results of one core.
    pub fn c_object(&self) -> usize {
        self.tile.m * self.tile.n * 2
    }

    /// Bytes that a core keeps between objects. Attention keeps fp32 results `[m, 64]`, scores `[m, block]`, bf16
    /// probabilities `[m, block]`, four numbers of each row in whole vectors, and the queries with their scales and
    /// four words; all of it in whole [`VECTOR_BYTES`]. A linear layer's sums lie in the same place.
    pub fn core_state(&self) -> usize {
        let (m, block) = (self.tile.m, self.block());
        let scales = if self.kernels == Kernels::Int8 { m * size_of::<f32>() } else { 0 };
        let queries = m * HEAD_WIDTH * self.kernels.operand_bytes() + scales + 16;
        (m * HEAD_WIDTH * 4 + m * block * 6 + 4 * m.next_multiple_of(16) * 4 + queries).next_multiple_of(VECTOR_BYTES)
    }

    /// Bytes of a core's memory that it takes: stack, constants, state, and each stream's objects twice.
    pub fn core_memory(&self) -> usize {
        STACK_BYTES + CONSTANT_BYTES + self.core_state() + 2 * (self.a_object() + self.b_object() + self.c_object())
    }

    /// Bytes of the fullest memory tile: the objects of A, of B, and of C of a column's cores, each twice.
    pub fn memory_tile(&self) -> usize {
        2 * (self.a_object() + self.b_object() + self.rows() * self.c_object())
    }

    /// Rows (linear) or queries (attention) of one round: those of a tile for each row of cores.
    pub fn round_rows(&self) -> usize {
        self.rows() * self.tile.m
    }

    /// The shape with its padding: rows or queries to whole rounds, inputs to whole steps, outputs to a tile for each
    /// column, keys to whole blocks.
    pub fn padded(&self, problem: &Problem) -> Problem {
        let Tile { k, n, .. } = self.tile;
        match *problem {
            Problem::Linear { rows, inputs, outputs } => Problem::Linear {
                rows: rows.next_multiple_of(self.round_rows()),
                inputs: inputs.next_multiple_of(k),
                outputs: outputs.next_multiple_of(n * self.columns()),
            },
            Problem::Attention { heads, queries, keys } => Problem::Attention {
                heads,
                queries: queries.next_multiple_of(self.round_rows()),
                keys: keys.next_multiple_of(self.block()),
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
            (Problem::Attention { heads, queries, .. }, Argument::A) => {
                heads * (queries / m) * self.slices() * self.a_object()
            }
            (Problem::Attention { heads, keys, .. }, Argument::B) => {
                heads * (keys / self.block()) * 2 * self.b_object()
            }
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
        let int8 = Design::new(Target::Npu4, Kernels::Int8, tile(48, 64, 64)).unwrap();
        assert_eq!((int8.a_object(), int8.b_object(), int8.c_object()), (3072 + 192 + 64, 4096 + 512, 6144));
        assert_eq!((int8.block(), int8.slices()), (32, 1));
        let bf16 = Design::new(Target::Npu1, Kernels::Bf16, tile(48, 32, 64)).unwrap();
        assert_eq!((bf16.a_object(), bf16.b_object(), bf16.c_object()), (3072 + 64, 4096 + 256, 6144));
        assert_eq!((bf16.block(), bf16.slices()), (32, 2));
    }

    /// With any tile, what lies in a core's memory begins at a multiple of the widest access.
    #[test]
    fn all_in_a_cores_memory_is_made_of_whole_vectors() {
        let mut designs = 0;
        for (m, k) in (4..100).step_by(4).flat_map(|m| (8..130).step_by(8).map(move |k| (m, k))) {
            for (target, kernels) in Target::ALL.into_iter().flat_map(|target| Kernels::ALL.map(|it| (target, it))) {
                if let Ok(design) = Design::new(target, kernels, tile(m, k, 64)) {
                    let sizes = [design.a_object(), design.b_object(), design.c_object(), design.core_state()];
                    assert!(sizes.iter().all(|bytes| bytes % 64 == 0), "{design}: {sizes:?}");
                    designs += 1;
                }
            }
        }
        assert!(designs > 300, "{designs}");
        const { assert!(CONTROL_BYTES.is_multiple_of(64) && STACK_BYTES.is_multiple_of(64)) };
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        let refused = |target, kernels, tile| Design::new(target, kernels, tile).unwrap_err().to_string();
        assert!(refused(Target::Npu1, Kernels::Bf16, tile(64, 64, 64)).contains("of a core's 65536"));
        assert!(refused(Target::Npu4, Kernels::Int8, tile(60, 64, 64)).contains("whole micro-tiles 8×8×8"));
        assert!(refused(Target::Npu1, Kernels::Int8, tile(32, 24, 64)).contains("blocks of 12 keys"));
        assert!(refused(Target::Npu1, Kernels::Bf16, tile(32, 32, 32)).contains("as wide as its heads, 64"));
        assert!(refused(Target::Npu1, Kernels::Int8, tile(0, 64, 64)).contains("0"));
        let mut twice = Design::new(Target::Npu1, Kernels::Int8, tile(48, 64, 64)).unwrap();
        twice.a[1] = twice.a[0];
        assert!(twice.check().unwrap_err().reason.contains("twice"));
    }

    #[test]
    fn whispers_rows_are_padded_to_rounds() {
        let design = Design::new(Target::Npu1, Kernels::Int8, tile(48, 64, 64)).unwrap();
        let problem = Problem::Linear { rows: 1500, inputs: 384, outputs: 1536 };
        assert_eq!(design.padded(&problem), Problem::Linear { rows: 1536, inputs: 384, outputs: 1536 });
        assert_eq!(design.buffer_bytes(&problem, Argument::C), 1536 * 1536 * 2);
        assert_eq!(design.buffer_bytes(&problem, Argument::A), 32 * 6 * design.a_object());
        let heads = Problem::Attention { heads: 6, queries: 1500, keys: 1500 };
        assert_eq!(design.padded(&heads), Problem::Attention { heads: 6, queries: 1536, keys: 1504 });
        assert_eq!(design.buffer_bytes(&heads, Argument::B), 6 * 47 * 2 * design.b_object());
    }
}
