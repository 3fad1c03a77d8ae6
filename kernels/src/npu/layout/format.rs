//! Number formats of packing: the values that are packed, and the operands that a core reads.

use crate::numbers::{Int8Scale, bf16_bits, from_bf16, int8_bits, int8_scale};

/// The most values that are converted at a time: whole pieces of every micro-tile.
pub(super) const BLOCK: usize = 64;
/// A converted block, of the wider format.
pub(super) type Block = [u8; 2 * BLOCK];

/// A bf16 value as a core left it in memory.
pub type Bf16Bytes = [u8; 2];

/// A value that is packed: fp32 as a caller has it, or bf16 as a core left it.
pub trait Value: Copy + Default + Send + Sync {
    /// Magnitudes, which order as these do, infinity and NaN above every number.
    type Magnitude: Copy + Default + Ord;

    /// As fp32.
    fn float(self) -> f32;
    /// As bf16, rounded to the nearest, ties to even.
    fn bf16(self) -> Bf16Bytes;
    /// How large it is.
    fn magnitude(self) -> Self::Magnitude;
    /// A magnitude as fp32.
    fn largest(magnitude: Self::Magnitude) -> f32;
}

impl Value for f32 {
    type Magnitude = u32;

    #[inline(always)]
    fn float(self) -> f32 {
        self
    }

    #[inline(always)]
    fn bf16(self) -> Bf16Bytes {
        // Not the CPU's own instruction, which takes subnormal numbers for zero.
        bf16_bits(self).to_le_bytes()
    }

    #[inline(always)]
    fn magnitude(self) -> u32 {
        self.to_bits() & 0x7fff_ffff
    }

    #[inline(always)]
    fn largest(magnitude: u32) -> f32 {
        f32::from_bits(magnitude)
    }
}

impl Value for Bf16Bytes {
    type Magnitude = u16;

    #[inline(always)]
    fn float(self) -> f32 {
        from_bf16(u16::from_le_bytes(self))
    }

    #[inline(always)]
    fn bf16(self) -> Bf16Bytes {
        self
    }

    #[inline(always)]
    fn magnitude(self) -> u16 {
        u16::from_le_bytes(self) & 0x7fff
    }

    #[inline(always)]
    fn largest(magnitude: u16) -> f32 {
        from_bf16(magnitude)
    }
}

/// The largest magnitude in a row that lies in pieces; not finite if one of its values is not.
#[inline(always)]
pub(super) fn largest_of<'x, T: Value + 'x>(pieces: impl Iterator<Item = &'x [T]>) -> f32 {
    const LANES: usize = 32;
    let mut lanes = [T::Magnitude::default(); LANES];
    for piece in pieces {
        let (blocks, rest) = piece.as_chunks::<LANES>();
        for block in blocks {
            lanes.iter_mut().zip(block).for_each(|(lane, value)| *lane = (*lane).max(value.magnitude()));
        }
        rest.iter().for_each(|value| lanes[0] = lanes[0].max(value.magnitude()));
    }
    T::largest(lanes.into_iter().fold(T::Magnitude::default(), Ord::max))
}

/// How the values of a row become a core's.
pub(super) trait OperandFormat: Copy {
    /// Bytes of a value.
    const BYTES: usize;
    /// Whether a scale goes with each row.
    const SCALED: bool;

    /// For the values of a row with this largest magnitude; with the row's scale, if it has one.
    fn of(largest: impl FnOnce() -> f32) -> (Self, f32);
    /// Converts a block of `N` values, at most [`BLOCK`], to the start of `out`.
    fn convert<T: Value, const N: usize>(self, x: &[T; N], out: &mut Block);
    /// The bits of one value of a converted block.
    fn bits(block: &Block, at: usize) -> u64;
}

#[derive(Clone, Copy)]
pub(super) struct Int8 {
    inverse: f32,
}

impl OperandFormat for Int8 {
    const BYTES: usize = 1;
    const SCALED: bool = true;

    #[inline(always)]
    fn of(largest: impl FnOnce() -> f32) -> (Self, f32) {
        let Int8Scale { scale, inverse } = int8_scale(largest());
        (Self { inverse }, scale)
    }

    #[inline(always)]
    fn convert<T: Value, const N: usize>(self, x: &[T; N], out: &mut Block) {
        for (out, value) in out.iter_mut().zip(x) {
            *out = int8_bits(value.float(), self.inverse);
        }
    }

    #[inline(always)]
    fn bits(block: &Block, at: usize) -> u64 {
        u64::from(block[at])
    }
}

#[derive(Clone, Copy)]
pub(super) struct Bf16;

impl OperandFormat for Bf16 {
    const BYTES: usize = 2;
    const SCALED: bool = false;

    #[inline(always)]
    fn of(_: impl FnOnce() -> f32) -> (Self, f32) {
        (Self, 1.0)
    }

    #[inline(always)]
    fn convert<T: Value, const N: usize>(self, x: &[T; N], out: &mut Block) {
        for (out, value) in out.as_chunks_mut::<2>().0.iter_mut().zip(x) {
            *out = value.bf16();
        }
    }

    #[inline(always)]
    fn bits(block: &Block, at: usize) -> u64 {
        u64::from(u16::from_le_bytes(block.as_chunks::<2>().0[at]))
    }
}
