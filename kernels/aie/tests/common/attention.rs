//! Attention put together from the tile kernel, as an array would do it, and the same in f64.

use super::{Seeded, control, plain, tiled, tiled_right, untiled};
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

    /// `[queries, 64]` by the kernel. What lies behind the last key is `filler`, to be masked.
    pub fn run(&self, target: Target, tile: Tile, filler: f32) -> Vec<f64> {
        let mut kernel = Attention::new(target, self.precision(), tile).unwrap();
        let (queries, keys) = (self.q.rows(), self.k.rows());
        let micro = match self.precision() {
            Precision::Int8 => target.int8_micro_tile(),
            Precision::Bf16 => target.bf16_micro_tile(),
        };
        let (r, s, t) = target.bf16_micro_tile();
        let mut results = Vec::new();
        for first in (0..queries).step_by(tile.m) {
            let block = control(keys as u32, (self.scale * std::f32::consts::LOG2_E).to_bits());
            let a = match self.q.part(first, tile.m) {
                Operand::Int8 { values, scales } => {
                    [tiled(&values, HEAD_WIDTH, micro.0, micro.1), plain(&scales), block].concat()
                }
                Operand::Bf16(values) => [tiled(&values, HEAD_WIDTH, micro.0, micro.1), block].concat(),
            };
            kernel.begin();
            for block in 0..kernel.blocks(&a).unwrap() {
                let first = block * tile.n;
                let mut k = match self.k.part(first, tile.n) {
                    Operand::Int8 { values, scales } => {
                        [tiled_right(&transposed(&values), tile.n, micro.1, micro.2), plain(&scales)].concat()
                    }
                    Operand::Bf16(mut values) => {
                        values[(keys - first).min(tile.n) * HEAD_WIDTH..].fill(bf16::from_f32(filler));
                        tiled_right(&transposed(&values), tile.n, micro.1, micro.2)
                    }
                };
                k.resize(kernel.b_bytes(), 0);
                kernel.keys(&a, &k, block).unwrap();
                let mut v: Vec<bf16> = self.v[first * HEAD_WIDTH..].iter().take(tile.n * HEAD_WIDTH).copied().collect();
                v.resize(tile.n * HEAD_WIDTH, bf16::from_f32(filler));
                kernel.values(&tiled_right(&v, HEAD_WIDTH, s, t)).unwrap();
            }
            let mut c = vec![0xff; kernel.c_bytes()];
            kernel.end(&mut c).unwrap();
            let rows = tile.m.min(queries - first);
            results.extend(untiled(&c, HEAD_WIDTH, r, t)[..rows * HEAD_WIDTH].iter().map(|value| value.to_f64()));
        }
        results
    }

    /// `[queries, 64]` in f64, of the rounded operands.
    pub fn oracle(&self) -> Vec<f64> {
        let (q, k) = (self.q.exact(), self.k.exact());
        let v: Vec<f64> = self.v.iter().map(|value| value.to_f64()).collect();
        attention(&q, &k, &v, f64::from(self.scale))
    }
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
