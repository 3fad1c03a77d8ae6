//! How numbers are stored in files of weights, and what they are as f32.
//!
//! ggml's quantised kinds store blocks of 32 numbers: a half `d` (and, for the kinds `_1`, a half `m`), perhaps the
//! fifth bits of all 32 as one u32, then the numbers; four-bit numbers `j` and `j + 16` share byte `j`. Source: ggml's
//! `block_q4_0` … `block_q8_0` and its `dequantize_row_*`, in format version 2.

use half::{bf16, f16};

/// How numbers are stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names are those of the formats")]
pub enum Element {
    F64,
    F32,
    F16,
    BF16,
    /// Times a scale that is stored elsewhere.
    I8,
    /// Likewise.
    I16,
    /// `(q − 8) · d`, 4 bits.
    Q4_0,
    /// `q · d + m`, 4 bits.
    Q4_1,
    /// `(q − 16) · d`, 5 bits.
    Q5_0,
    /// `q · d + m`, 5 bits.
    Q5_1,
    /// `q · d`, 8 bits with a sign.
    Q8_0,
}

/// Numbers in a block of ggml's.
const BLOCK: usize = 32;

impl Element {
    /// Numbers and bytes of the smallest piece that can be read by itself.
    pub fn block(self) -> (usize, usize) {
        match self {
            Element::F64 => (1, 8),
            Element::F32 => (1, 4),
            Element::F16 | Element::BF16 | Element::I16 => (1, 2),
            Element::I8 => (1, 1),
            Element::Q4_0 => (BLOCK, 2 + 16),
            Element::Q4_1 => (BLOCK, 4 + 16),
            Element::Q5_0 => (BLOCK, 2 + 4 + 16),
            Element::Q5_1 => (BLOCK, 4 + 4 + 16),
            Element::Q8_0 => (BLOCK, 2 + 32),
        }
    }

    /// Bytes of `count` numbers; `None` if they are no whole blocks, or more than can be counted.
    pub fn bytes(self, count: u64) -> Option<u64> {
        let (numbers, bytes) = self.block();
        count.is_multiple_of(numbers as u64).then(|| (count / numbers as u64).checked_mul(bytes as u64)).flatten()
    }

    /// Whether f16 holds every value of this kind.
    pub fn fits_f16(self) -> bool {
        self == Element::F16
    }

    /// Turns whole blocks into f32; `out` has as many numbers as `bytes` stores.
    pub fn decode(self, bytes: &[u8], out: &mut [f32]) {
        match self {
            Element::F64 => each(bytes, out, |b| f64::from_le_bytes(b) as f32),
            Element::F32 => each(bytes, out, f32::from_le_bytes),
            Element::F16 => each(bytes, out, |b| f16::from_le_bytes(b).to_f32()),
            Element::BF16 => each(bytes, out, |b| bf16::from_le_bytes(b).to_f32()),
            Element::I16 => each(bytes, out, |b| f32::from(i16::from_le_bytes(b))),
            Element::I8 => each(bytes, out, |b| f32::from(i8::from_le_bytes(b))),
            Element::Q4_0 => blocks::<18>(bytes, out, |b, out| {
                let d = half_at(b, 0);
                nibbles(&b[2..], out, |q, _| (f32::from(q) - 8.0) * d);
            }),
            Element::Q4_1 => blocks::<20>(bytes, out, |b, out| {
                let (d, m) = (half_at(b, 0), half_at(b, 2));
                nibbles(&b[4..], out, |q, _| f32::from(q) * d + m);
            }),
            Element::Q5_0 => blocks::<22>(bytes, out, |b, out| {
                let d = half_at(b, 0);
                let high = u32::from_le_bytes([b[2], b[3], b[4], b[5]]);
                nibbles(&b[6..], out, |q, at| (f32::from(q | fifth(high, at)) - 16.0) * d);
            }),
            Element::Q5_1 => blocks::<24>(bytes, out, |b, out| {
                let (d, m) = (half_at(b, 0), half_at(b, 2));
                let high = u32::from_le_bytes([b[4], b[5], b[6], b[7]]);
                nibbles(&b[8..], out, |q, at| f32::from(q | fifth(high, at)) * d + m);
            }),
            Element::Q8_0 => blocks::<34>(bytes, out, |b, out| {
                let d = half_at(b, 0);
                for (out, q) in out.iter_mut().zip(&b[2..]) {
                    *out = f32::from(q.cast_signed()) * d;
                }
            }),
        }
    }
}

fn each<const N: usize>(bytes: &[u8], out: &mut [f32], value: impl Fn([u8; N]) -> f32) {
    let (numbers, _) = bytes.as_chunks::<N>();
    for (out, number) in out.iter_mut().zip(numbers) {
        *out = value(*number);
    }
}

fn blocks<const N: usize>(bytes: &[u8], out: &mut [f32], decode: impl Fn(&[u8; N], &mut [f32; BLOCK])) {
    let (blocks, _) = bytes.as_chunks::<N>();
    let (outs, _) = out.as_chunks_mut::<BLOCK>();
    for (out, block) in outs.iter_mut().zip(blocks) {
        decode(block, out);
    }
}

fn half_at(block: &[u8], at: usize) -> f32 {
    f16::from_le_bytes([block[at], block[at + 1]]).to_f32()
}

/// The low halves of 16 bytes are the first 16 numbers, the high ones the last.
fn nibbles(bytes: &[u8], out: &mut [f32; BLOCK], value: impl Fn(u8, usize) -> f32) {
    for (j, byte) in bytes.iter().enumerate().take(BLOCK / 2) {
        out[j] = value(byte & 0x0f, j);
        out[j + BLOCK / 2] = value(byte >> 4, j + BLOCK / 2);
    }
}

/// Bit 4 of number `at`.
fn fifth(high: u32, at: usize) -> u8 {
    (((high >> at) & 1) << 4) as u8
}
