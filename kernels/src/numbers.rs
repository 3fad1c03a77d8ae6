//! The narrow number formats, bit by bit: bf16, int8 and its scales, the largest magnitude of a row. One definition for
//! all devices; vectors have their own forms of the same in `host::simd`, held against these.

/// The largest magnitude of a quantised value: symmetric, so −128 is not used.
pub const INT8_LIMIT: f32 = 127.0;

/// Inputs up to which an int32 holds every sum of int8 products: `(2³¹ − 1) / 127²`.
pub const INT8_MAX_INPUTS: usize = 133_143;

/// The largest magnitude of a value of a wide row of `inputs` values
/// ([`LinearSpec::wide_rows`](crate::LinearSpec::wide_rows)): 16 bits as two bytes of magnitudes up to 127 and 128, or
/// less where int32 would not hold every sum of its products with int8 weights.
pub fn wide_limit(inputs: usize) -> f32 {
    const TWO_BYTES: usize = 127 << 8;
    // Below 2¹⁵, so exact; not below 127 up to `INT8_MAX_INPUTS`.
    ((i32::MAX as usize / 127) / inputs.max(1)).min(TWO_BYTES) as f32
}

/// How the values of one row (or one output channel) become integers.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Int8Scale {
    /// What an integer is worth: the largest magnitude / 127 (or another limit).
    pub scale: f32,
    /// What a value is multiplied by before it is rounded to the nearest integer, ties to even.
    pub inverse: f32,
}

/// The scale of a row whose largest magnitude is `largest`.
///
/// A row below 2⁻¹⁰⁰ counts as zero (its inverse would leave fp32). A row that holds an infinity or a NaN has no scale:
/// it gets NaN, and so do all its results.
#[inline(always)]
pub fn int8_scale(largest: f32) -> Int8Scale {
    scale_to(largest, INT8_LIMIT)
}

/// [`int8_scale`] for integers up to `limit`.
#[inline(always)]
pub fn scale_to(largest: f32, limit: f32) -> Int8Scale {
    const SMALLEST: f32 = f32::from_bits((127 - 100) << 23);
    if !largest.is_finite() {
        Int8Scale { scale: f32::NAN, inverse: 0.0 }
    } else if largest < SMALLEST {
        Int8Scale { scale: 0.0, inverse: 0.0 }
    } else {
        Int8Scale { scale: largest / limit, inverse: limit / largest }
    }
}

/// The largest magnitude of a row; not finite if one of its values is not.
#[inline(always)]
pub fn largest_magnitude(x: &[f32]) -> f32 {
    // Magnitudes order as their bits do, with infinity and NaN above every number.
    f32::from_bits(x.iter().fold(0, |largest, value| largest.max(value.to_bits() & 0x7fff_ffff)))
}

/// `value · inverse` rounded to the nearest integer, ties to even, in the low 16 bits (two's complement); of magnitude
/// below 2¹⁵.
#[inline(always)]
pub fn integer_bits(value: f32, inverse: f32) -> u32 {
    // Adding this to a float of magnitude at most 2²² rounds it to the nearest integer, ties to even, and leaves that
    // integer in the low bits of the sum.
    const ROUND: f32 = 12_582_912.0;
    (value * inverse + ROUND).to_bits()
}

/// The low byte of [`integer_bits`].
#[inline(always)]
pub fn int8_bits(value: f32, inverse: f32) -> u8 {
    integer_bits(value, inverse) as u8
}

/// The nearest bf16, ties to even; NaN stays NaN.
#[inline(always)]
pub fn bf16_bits(value: f32) -> u16 {
    let bits = value.to_bits();
    let rounded = bits.wrapping_add(0x7fff + ((bits >> 16) & 1)) >> 16;
    let quiet = (bits >> 16) | 0x40;
    (if bits & 0x7fff_ffff > 0x7f80_0000 { quiet } else { rounded }) as u16
}

/// A bf16 value as fp32.
#[inline(always)]
pub fn from_bf16(bits: u16) -> f32 {
    f32::from_bits(u32::from(bits) << 16)
}

/// The little-endian bf16 value at the start of `bytes`, as fp32.
///
/// # Panics
/// If there are not two bytes.
#[inline(always)]
pub fn bf16_at(bytes: &[u8]) -> f32 {
    from_bf16(u16::from_le_bytes([bytes[0], bytes[1]]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bf16_is_half_s() {
        let of_every_upper_half = (0..=u16::MAX).flat_map(|high| {
            [0u32, 1, 0x7fff, 0x8000, 0x8001, 0xffff].map(|low| f32::from_bits(u32::from(high) << 16 | low))
        });
        for value in of_every_upper_half {
            let (got, wanted) = (bf16_bits(value), half::bf16::from_f32(value).to_bits());
            assert_eq!(got, wanted, "{value:e}");
            assert_eq!(from_bf16(got).to_bits(), half::bf16::from_bits(wanted).to_f32().to_bits());
            assert_eq!(bf16_at(&got.to_le_bytes()).to_bits(), from_bf16(got).to_bits());
        }
    }

    #[test]
    fn magnitudes_and_scales() {
        assert_eq!(largest_magnitude(&[]), 0.0);
        assert_eq!(largest_magnitude(&[1.0, -3.0, 2.0, -0.0]), 3.0);
        assert_eq!(largest_magnitude(&[1.0, f32::NEG_INFINITY]), f32::INFINITY);
        assert!(largest_magnitude(&[f32::INFINITY, -f32::NAN, 1.0]).is_nan());
        assert_eq!(int8_scale(254.0), Int8Scale { scale: 2.0, inverse: 0.5 });
        assert_eq!(int8_scale(1e-31), Int8Scale { scale: 0.0, inverse: 0.0 });
        assert!(int8_scale(f32::NAN).scale.is_nan() && int8_scale(f32::INFINITY).scale.is_nan());
        let rounded = [0.5, 1.5, 2.5, -0.5, -1.5, 126.5, -127.0].map(|value| int8_bits(value, 1.0) as i8);
        assert_eq!(rounded, [0, 2, 2, 0, -2, 126, -127]);
        assert_eq!((wide_limit(1), wide_limit(INT8_MAX_INPUTS)), (32_512.0, 127.0));
    }
}
