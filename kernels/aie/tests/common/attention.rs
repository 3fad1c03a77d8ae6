//! Attention put together from the tile kernel, as an array would do it, and the same in f64.

use super::{FIRST, LAST, QUERIES, Seeded, a_object, plain, tiled, tiled_right, untiled, words};
use half::bf16;
use undertone_aie::{Attention, HEAD_WIDTH, Precision, Target, Tile};

/// Queries and keys as a kernel takes them.
#[derive(Clone)]
pub enum Operand {
    Int8 { values: Vec<i8>, scales: Vec<f32> },
    Bf16(Vec<bf16>),
}

impl Operand {
    /// Rounds `[rows, 64]`; int8 symmetrically, by row.
    pub fn new(precision: Precision, values: &[f32]) -> Self {
        match precision {
            Precision::Bf16 => Self::Bf16(values.iter().copied().map(bf16::from_f32).collect()),
            Precision::Int8 => {
                let scales: Vec<f32> = values
                    .chunks(HEAD_WIDTH)
                    .map(|row| row.iter().fold(1e-9f32, |most, value| most.max(value.abs())) / 127.0)
                    .collect();
                let quantised = |(at, value): (usize, &f32)| (value / scales[at / HEAD_WIDTH]).round_ties_even() as i8;
                Self::Int8 { values: values.iter().enumerate().map(quantised).collect(), scales }
            }
        }
    }

    fn rows(&self) -> usize {
        match self {
            Self::Int8 { scales, .. } => scales.len(),
            Self::Bf16(values) => values.len() / HEAD_WIDTH,
        }
    }

    /// Rows `from` to `from + count`, zeros beyond the last.
    fn part(&self, from: usize, count: usize) -> Self {
        let rows = from.min(self.rows())..(from + count).min(self.rows());
        let of = |at: usize| at * HEAD_WIDTH;
        match self {
            Self::Int8 { values, scales } => {
                let (mut values, mut scales) = (values[of(rows.start)..of(rows.end)].to_vec(), scales[rows].to_vec());
                values.resize(of(count), 0);
                scales.resize(count, 0.0);
                Self::Int8 { values, scales }
            }
            Self::Bf16(values) => {
                let mut values = values[of(rows.start)..of(rows.end)].to_vec();
                values.resize(of(count), bf16::ZERO);
                Self::Bf16(values)
            }
        }
    }

    /// The numbers that it stands for.
    fn exact(&self) -> Vec<f64> {
        match self {
            Self::Int8 { values, scales } => {
                values.iter().enumerate().map(|(at, v)| f64::from(*v) * f64::from(scales[at / HEAD_WIDTH])).collect()
            }
            Self::Bf16(values) => values.iter().map(|value| value.to_f64()).collect(),
        }
    }
}

/// One head.
pub struct Head {
    pub q: Operand,
    pub k: Operand,
    pub v: Vec<bf16>,
    pub scale: f32,
}

impl Head {
    pub fn seeded(precision: Precision, queries: usize, keys: usize, spread: f32, seed: u64) -> Self {
        let mut seeded = Seeded(seed);
        let mut numbers = |count: usize| -> Vec<f32> { (0..count).map(|_| seeded.normal() * spread).collect() };
        let (q, k, v) = (numbers(queries * HEAD_WIDTH), numbers(keys * HEAD_WIDTH), numbers(keys * HEAD_WIDTH));
        Self::new(precision, &q, &k, &v)
    }

    pub fn new(precision: Precision, q: &[f32], k: &[f32], v: &[f32]) -> Self {
        let v = v.iter().copied().map(bf16::from_f32).collect();
        Self { q: Operand::new(precision, q), k: Operand::new(precision, k), v, scale: 0.125 }
    }

    fn precision(&self) -> Precision {
        if matches!(self.q, Operand::Bf16(_)) { Precision::Bf16 } else { Precision::Int8 }
    }

    /// The tile of an array whose blocks have so many keys.
    pub fn tile(precision: Precision, m: usize, block: usize) -> Tile {
        let k = if precision == Precision::Int8 { 2 * block } else { block };
        Tile { m, k, n: HEAD_WIDTH }
    }

    /// `[queries, 64]` by the kernel, tiles of `m` queries and blocks of `block` keys. What lies behind the last key is
    /// `filler`, to be masked.
    pub fn run(&self, target: Target, m: usize, block: usize, filler: f32) -> Vec<f64> {
        let tile = Self::tile(self.precision(), m, block);
        let mut kernel = Attention::new(target, self.precision(), tile).unwrap();
        let (queries, keys) = (self.q.rows(), self.k.rows());
        let micro = match self.precision() {
            Precision::Int8 => target.int8_micro_tile(),
            Precision::Bf16 => target.bf16_micro_tile(),
        };
        let (_, s, t) = target.bf16_micro_tile();
        let mut results = Vec::new();
        for first in (0..queries).step_by(m) {
            self.give_queries(&mut kernel, first, tile, micro);
            assert_eq!(kernel.blocks(), keys.div_ceil(block));
            for number in 0..kernel.blocks() {
                let first = number * block;
                let mut k = match self.k.part(first, block) {
                    Operand::Int8 { values, scales } => {
                        [tiled_right(&transposed(&values), block, micro.1, micro.2), plain(&scales)].concat()
                    }
                    Operand::Bf16(mut values) => {
                        values[(keys - first).min(block) * HEAD_WIDTH..].fill(bf16::from_f32(filler));
                        tiled_right(&transposed(&values), block, micro.1, micro.2)
                    }
                };
                k.resize(kernel.b_bytes(), 0);
                kernel.keys(&k, number).unwrap();
                let mut v: Vec<bf16> = self.v[first * HEAD_WIDTH..].iter().take(block * HEAD_WIDTH).copied().collect();
                v.resize(block * HEAD_WIDTH, bf16::from_f32(filler));
                kernel.values(&tiled_right(&v, HEAD_WIDTH, s, t)).unwrap();
            }
            let mut c = vec![0xff; kernel.c_bytes()];
            kernel.end(&mut c).unwrap();
            let rows = m.min(queries - first);
            results.extend(
                untiled(&c, HEAD_WIDTH, micro.0, micro.2)[..rows * HEAD_WIDTH].iter().map(|value| value.to_f64()),
            );
        }
        results
    }

    /// A stage in which the core in column 2 has the queries from `first` on, and its neighbours have others.
    fn give_queries(&self, kernel: &mut Attention, first: usize, tile: Tile, micro: (usize, usize, usize)) {
        const COLUMNS: usize = 4;
        const OWN: usize = 2;
        let slices = HEAD_WIDTH.div_ceil(tile.k);
        for (column, slice) in (0..COLUMNS).flat_map(|column| (0..slices).map(move |slice| (column, slice))) {
            let flags = QUERIES
                | if column == 0 && slice == 0 { FIRST } else { 0 }
                | if column + 1 == COLUMNS && slice + 1 == slices { LAST } else { 0 };
            let keys = if column == OWN { self.k.rows() } else { 1 };
            let scale = (self.scale * std::f32::consts::LOG2_E).to_bits();
            let control = words(&[flags, column as u32, keys as u32, scale, slice as u32]);
            let wide = match self.q.part(if column == OWN { first } else { 0 }, tile.m) {
                Operand::Int8 { values, scales } => {
                    let operand = tiled(&columns(&values, slice, tile.k), tile.k, micro.0, micro.1);
                    a_object(&[operand, plain(&scales)], control)
                }
                Operand::Bf16(values) => {
                    a_object(&[tiled(&columns(&values, slice, tile.k), tile.k, micro.0, micro.1)], control)
                }
            };
            let ready = kernel.queries(&wide, OWN).unwrap();
            assert_eq!(ready, flags & LAST != 0, "queries are complete with the stage's last object");
        }
    }

    /// `[queries, 64]` in f64, of the rounded operands.
    pub fn oracle(&self) -> Vec<f64> {
        let (q, k) = (self.q.exact(), self.k.exact());
        let v: Vec<f64> = self.v.iter().map(|value| value.to_f64()).collect();
        attention(&q, &k, &v, f64::from(self.scale))
    }
}

/// Slice number `slice` of `[rows, 64]`, `width` columns wide; zeros beyond the head.
fn columns<T: Copy + Default>(values: &[T], slice: usize, width: usize) -> Vec<T> {
    let wide = |row: &[T]| {
        (slice * width..).take(width).map(|at| row.get(at).copied().unwrap_or_default()).collect::<Vec<_>>()
    };
    values.chunks(HEAD_WIDTH).flat_map(wide).collect()
}

/// `[rows, 64]` → `[64, rows]`.
fn transposed<T: Copy>(values: &[T]) -> Vec<T> {
    let rows = values.len() / HEAD_WIDTH;
    (0..values.len()).map(|at| values[at % rows * HEAD_WIDTH + at / rows]).collect()
}

/// `softmax(q kᵀ · scale) v`; zeros without keys.
pub fn attention(q: &[f64], k: &[f64], v: &[f64], scale: f64) -> Vec<f64> {
    let mut result = Vec::new();
    for q in q.chunks(HEAD_WIDTH) {
        let scores: Vec<f64> =
            k.chunks(HEAD_WIDTH).map(|k| q.iter().zip(k).map(|(a, b)| a * b).sum::<f64>() * scale).collect();
        let top = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let powers: Vec<f64> = scores.iter().map(|score| (score - top).exp()).collect();
        let sum: f64 = powers.iter().sum();
        for column in 0..HEAD_WIDTH {
            let weighted: f64 = powers.iter().enumerate().map(|(i, p)| p * v[i * HEAD_WIDTH + column]).sum();
            result.push(if powers.is_empty() { 0.0 } else { weighted / sum });
        }
    }
    result
}
