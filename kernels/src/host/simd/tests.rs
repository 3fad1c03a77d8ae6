//! What the instruction sets differ in most, against plain Rust: exact int8 sums, bf16 rounding, scaling by powers of
//! two.

use super::*;

/// Values that a test gets for one instruction set.
struct Probe<'a> {
    words: &'a [(i32, i32)],
    values: &'a [f32],
    powers: &'a [(f32, f32)],
}

struct Results {
    dots: Vec<i32>,
    /// Of [`Simd::dot_i8`], one for each pair of four bytes.
    signed_dots: Vec<i32>,
    /// bf16 values of `values`, loaded again.
    widened: Vec<f32>,
    bf16: Vec<u16>,
    /// Of [`Simd::dot_i16`], of the words as they are.
    pair_dots: Vec<i32>,
    /// Of [`Simd::mul_add_i16`], of the words as they are and the first of them.
    pair_products: Vec<i32>,
    bytes: Vec<u8>,
    halves: Vec<u16>,
    scaled: Vec<f32>,
}

impl Task for Probe<'_> {
    type Output = Results;

    #[inline(always)]
    fn run<S: Simd>(self, s: S) -> Results {
        let mut results = Results {
            dots: Vec::new(),
            signed_dots: Vec::new(),
            widened: Vec::new(),
            bf16: Vec::new(),
            pair_dots: Vec::new(),
            pair_products: Vec::new(),
            bytes: Vec::new(),
            halves: Vec::new(),
            scaled: Vec::new(),
        };
        for &(a, b) in self.words {
            let mut lanes = [0; MAX_LANES];
            // SAFETY: no instruction set has more than `MAX_LANES` lanes.
            unsafe { s.store_i(lanes.as_mut_ptr(), s.dot_u8i8(s.splat_i(7), s.splat_i(a), s.splat_i(b))) };
            assert!(lanes[..S::LANES].iter().all(|&lane| lane == lanes[0]));
            results.dots.push(lanes[0]);
            results.signed_dots.push(signed_dot(s, a, b));
            // SAFETY: as above.
            unsafe { s.store_i(lanes.as_mut_ptr(), s.dot_i16(s.splat_i(7), s.splat_i(a), s.splat_i(b))) };
            results.pair_dots.push(lanes[S::LANES - 1]);
            // SAFETY: as above.
            unsafe { s.store_i(lanes.as_mut_ptr(), s.mul_add_i16(s.splat_i(a), s.splat_i(b), s.splat_i(a))) };
            results.pair_products.push(lanes[S::LANES - 1]);
        }
        for &value in self.values {
            let mut lanes = [0; MAX_LANES];
            // SAFETY: as above.
            unsafe { s.store_bf16(lanes.as_mut_ptr(), s.splat(value)) };
            results.bf16.push(lanes[S::LANES - 1]);
            let mut wide = [0.0; MAX_LANES];
            // SAFETY: as above.
            unsafe { s.store(wide.as_mut_ptr(), s.load_bf16(lanes.as_ptr())) };
            results.widened.push(wide[S::LANES - 1]);
        }
        for byte in 0..=255 {
            let mut lanes = [0; MAX_LANES];
            // SAFETY: as above.
            unsafe { s.store_u8(lanes.as_mut_ptr(), s.splat_i(byte)) };
            results.bytes.push(lanes[S::LANES - 1]);
        }
        for half in 0..=65535 {
            let mut lanes = [0; MAX_LANES];
            // SAFETY: as above.
            unsafe { s.store_u16(lanes.as_mut_ptr(), s.splat_i(half)) };
            results.halves.push(lanes[S::LANES - 1]);
        }
        for &(value, power) in self.powers {
            let mut lane = [0.0];
            s.store_slice(&mut lane, s.scale(s.splat(value), s.splat(power)));
            results.scaled.push(lane[0]);
        }
        results
    }
}

/// A byte as a symmetric int8 value.
fn symmetric(byte: u8) -> i8 {
    (byte as i8).max(-127)
}

/// `7 + Σ a[i] · b[i]` over four symmetric int8 values, through the last lane, as the linear layer lays operands out.
#[inline(always)]
fn signed_dot<S: Simd>(s: S, a: i32, b: i32) -> i32 {
    let [a, b] = [a, b].map(|word| word.to_ne_bytes().map(symmetric));
    let offset = i32::from(S::INT8_OFFSET);
    // What the offset adds is taken back where the sums start.
    let mut sum = s.splat_i(7 - b.iter().map(|&b| offset * i32::from(b)).sum::<i32>());
    for (a, b) in a.chunks_exact(S::INT8_GROUP).zip(b.chunks_exact(S::INT8_GROUP)) {
        let row = match *a {
            [a, b, c, d] => i32::from_ne_bytes([a, b, c, d].map(|a| a as u8 ^ S::INT8_OFFSET)),
            [low, high] => i32::from(low) & 0xffff | i32::from(high) << 16,
            _ => unreachable!("a word holds two or four values"),
        };
        let mut columns = [0i8; 4 * MAX_LANES];
        columns[(S::LANES - 1) * S::INT8_GROUP..][..S::INT8_GROUP].copy_from_slice(b);
        // SAFETY: no instruction set has more than `MAX_LANES` lanes.
        sum = s.dot_i8(sum, s.splat_i(row), unsafe { s.load_i8(columns.as_ptr()) });
    }
    let mut lanes = [0; MAX_LANES];
    // SAFETY: as above.
    unsafe { s.store_i(lanes.as_mut_ptr(), sum) };
    lanes[S::LANES - 1]
}

#[test]
fn every_instruction_set_agrees_with_plain_rust() {
    // Extremes of both operands, where a 16-bit sum of two products would saturate, and a walk through other bytes.
    let mut words = Vec::new();
    for a in [[255u8; 4], [127; 4], [129; 4], [255, 0, 255, 0], [0, 255, 255, 255], [128, 1, 127, 254]] {
        for b in [[127i8; 4], [-128; 4], [-128, 127, -127, 1], [0, -1, 1, 0], [-127; 4]] {
            words.push((i32::from_ne_bytes(a), i32::from_ne_bytes(b.map(|b| b as u8))));
        }
    }
    words.extend((0..2000u32).map(|i| (i.wrapping_mul(2_654_435_761) as i32, i.wrapping_mul(2_246_822_519) as i32)));
    let dots: Vec<i32> = words
        .iter()
        .map(|(a, b)| {
            let pairs = a.to_ne_bytes().into_iter().zip(b.to_ne_bytes());
            7 + pairs.map(|(a, b)| i32::from(a) * i32::from(b as i8)).sum::<i32>()
        })
        .collect();
    let signed_dots: Vec<i32> = words
        .iter()
        .map(|(a, b)| {
            let pairs = a.to_ne_bytes().map(symmetric).into_iter().zip(b.to_ne_bytes().map(symmetric));
            7 + pairs.map(|(a, b)| i32::from(a) * i32::from(b)).sum::<i32>()
        })
        .collect();
    let pair_dots: Vec<i32> = words
        .iter()
        .map(|&(a, b)| {
            let product = |shift: u32| i32::from((a >> shift) as i16).wrapping_mul(i32::from((b >> shift) as i16));
            7i32.wrapping_add(product(0)).wrapping_add(product(16))
        })
        .collect();
    let pair_products: Vec<i32> = words
        .iter()
        .map(|&(a, b)| {
            let half = |shift: u32| {
                let (a, b) = ((a >> shift) as i16, (b >> shift) as i16);
                i32::from(a.wrapping_mul(b).wrapping_add(a) as u16)
            };
            half(0) | half(16) << 16
        })
        .collect();
    // Halves between two bf16 values, to both sides of an even one, and their neighbours.
    let mut values: Vec<f32> =
        [0x3f80_8000u32, 0x3f81_8000, 0x3f80_7fff, 0x3f80_8001, 0x3f81_7fff, 0xbf81_8000, 0x7f7f_ffff]
            .map(f32::from_bits)
            .to_vec();
    values.extend([0.0, -0.0, f32::INFINITY, f32::NEG_INFINITY, 1e-3, -3.75e20]);
    let bf16: Vec<u16> = values.iter().map(|&v| half::bf16::from_f32(v).to_bits()).collect();
    let powers: Vec<(f32, f32)> = [
        (1.5, 0.0),
        (1.25, 127.0),
        (1.0, 128.0),
        (1.0, -126.0),
        (1.75, -130.0),
        (1.0, -149.0),
        (1.9, -151.0),
        (0.7, 128.0),
    ]
    .into();
    for isa in Isa::available() {
        let got = dispatch(isa, Probe { words: &words, values: &values, powers: &powers });
        assert_eq!(got.dots, dots, "{isa}");
        assert_eq!(got.signed_dots, signed_dots, "{isa}");
        assert_eq!(got.pair_dots, pair_dots, "{isa}");
        assert_eq!(got.pair_products, pair_products, "{isa}");
        assert_eq!(got.bf16, bf16, "{isa}");
        let widened = bf16.iter().map(|&bits| half::bf16::from_bits(bits).to_f32());
        assert!(got.widened.iter().copied().eq(widened), "{isa}: {:?}", got.widened);
        assert!(got.bytes.iter().copied().eq(0..=255), "{isa}");
        assert!(got.halves.iter().copied().eq(0..=65535), "{isa}");
        for (&(value, power), &got) in powers.iter().zip(&got.scaled) {
            let expected = (f64::from(value) * 2f64.powi(power as i32)) as f32;
            // Two factors may round twice below the normal range.
            let close = got == expected || (got - expected).abs() <= f32::from_bits(1);
            assert!(close, "{isa}: {value} * 2^{power} = {got:e}, not {expected:e}");
        }
        let nan = dispatch(isa, Probe { words: &[], values: &[f32::NAN], powers: &[(f32::NAN, 3.0)] });
        assert!(half::bf16::from_bits(nan.bf16[0]).is_nan() && nan.scaled[0].is_nan(), "{isa}");
    }
}
