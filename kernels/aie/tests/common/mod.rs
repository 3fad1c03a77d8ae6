//! Seeded numbers, tile layouts written the slow way, and oracles in f64.
#![allow(dead_code, reason = "each test file uses its part")]

pub mod attention;

use half::bf16;
use undertone_aie::CONTROL_BYTES;

/// Small seeded generator (splitmix64).
pub struct Seeded(pub u64);

impl Seeded {
    pub fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// −1 to 1.
    pub fn unit(&mut self) -> f32 {
        (self.bits() >> 40) as f32 / (1u64 << 23) as f32 - 1.0
    }

    /// Roughly normal, variance 1.
    pub fn normal(&mut self) -> f32 {
        (0..12).map(|_| self.unit()).sum::<f32>() / 2.0
    }

    /// −127 to 127.
    pub fn int8s(&mut self, count: usize) -> Vec<i8> {
        (0..count).map(|_| ((self.bits() % 255) as i16 - 127) as i8).collect()
    }

    pub fn floats(&mut self, count: usize) -> Vec<f32> {
        (0..count).map(|_| self.normal()).collect()
    }

    pub fn bf16s(&mut self, count: usize) -> Vec<bf16> {
        (0..count).map(|_| bf16::from_f32(self.normal())).collect()
    }
}

/// A number as it lies in an object.
pub trait Bytes: Copy {
    fn bytes(self) -> Vec<u8>;
}

impl Bytes for i8 {
    fn bytes(self) -> Vec<u8> {
        vec![self as u8]
    }
}

impl Bytes for bf16 {
    fn bytes(self) -> Vec<u8> {
        self.to_bits().to_le_bytes().to_vec()
    }
}

impl Bytes for f32 {
    fn bytes(self) -> Vec<u8> {
        self.to_bits().to_le_bytes().to_vec()
    }
}

/// Values one after another.
pub fn plain<T: Bytes>(values: &[T]) -> Vec<u8> {
    values.iter().flat_map(|value| value.bytes()).collect()
}

/// `[rows, columns]` row-major → `[rows/down][columns/across][down][across]`.
pub fn tiled<T: Bytes>(values: &[T], columns: usize, down: usize, across: usize) -> Vec<u8> {
    let rows = values.len() / columns;
    let mut bytes = Vec::new();
    for (i, j) in (0..rows / down).flat_map(|i| (0..columns / across).map(move |j| (i, j))) {
        for (x, y) in (0..down).flat_map(|x| (0..across).map(move |y| (x, y))) {
            bytes.extend(values[(i * down + x) * columns + j * across + y].bytes());
        }
    }
    bytes
}

/// `[inner, columns]` row-major → `[columns/t][inner/s][s][t]`, as B operands lie.
pub fn tiled_right<T: Bytes>(values: &[T], columns: usize, s: usize, t: usize) -> Vec<u8> {
    let inner = values.len() / columns;
    let mut bytes = Vec::new();
    for (j, i) in (0..columns / t).flat_map(|j| (0..inner / s).map(move |i| (j, i))) {
        for (x, y) in (0..s).flat_map(|x| (0..t).map(move |y| (x, y))) {
            bytes.extend(values[(i * s + x) * columns + j * t + y].bytes());
        }
    }
    bytes
}

/// bf16 `[rows/r][columns/t][r][t]` → `[rows, columns]` row-major.
pub fn untiled(bytes: &[u8], columns: usize, r: usize, t: usize) -> Vec<bf16> {
    let rows = bytes.len() / 2 / columns;
    let mut values = vec![bf16::ZERO; rows * columns];
    let mut next = bytes.chunks_exact(2).map(|pair| bf16::from_bits(u16::from_le_bytes([pair[0], pair[1]])));
    for (i, j) in (0..rows / r).flat_map(|i| (0..columns / t).map(move |j| (i, j))) {
        for (x, y) in (0..r).flat_map(|x| (0..t).map(move |y| (x, y))) {
            values[(i * r + x) * columns + j * t + y] = next.next().unwrap();
        }
    }
    values
}

/// An A object: operand and scales, then the control block at a multiple of 64 bytes.
pub fn a_object(parts: &[Vec<u8>], control: Vec<u8>) -> Vec<u8> {
    let mut bytes = parts.concat();
    bytes.resize(bytes.len().next_multiple_of(64), 0);
    [bytes, control].concat()
}

/// The block that ends an A object.
pub fn words(words: &[u32]) -> Vec<u8> {
    let mut bytes: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
    bytes.resize(CONTROL_BYTES, 0);
    bytes
}

/// That of a linear layer.
pub fn control(flags: u32) -> Vec<u8> {
    words(&[flags])
}

pub const FIRST: u32 = 1;
pub const LAST: u32 = 2;
pub const GELU: u32 = 4;
pub const QUERIES: u32 = 8;

/// The normal distribution's integral from −∞ to x: series near 0, continued fraction in the tails; 1e-14.
pub fn normal_integral(x: f64) -> f64 {
    let z = x.abs();
    let density = (-z * z / 2.0).exp() / (2.0 * std::f64::consts::PI).sqrt();
    let upper = if z < 3.0 {
        let (mut term, mut sum) = (z, z);
        for i in 1..200 {
            term *= z * z / f64::from(2 * i + 1);
            sum += term;
        }
        0.5 - density * sum
    } else {
        let mut fraction = z;
        for i in (1..200).rev() {
            fraction = z + f64::from(i) / fraction;
        }
        density / fraction
    };
    if x > 0.0 { 1.0 - upper } else { upper }
}

/// x Φ(x).
pub fn gelu(x: f64) -> f64 {
    x * normal_integral(x)
}

pub fn cosine(a: &[f64], b: &[f64]) -> f64 {
    let dot = |x: &[f64], y: &[f64]| x.iter().zip(y).map(|(x, y)| x * y).sum::<f64>();
    dot(a, b) / (dot(a, a) * dot(b, b)).sqrt()
}
