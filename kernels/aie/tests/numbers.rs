//! exp2, GELU and reciprocals against f64, over every bf16 where that is the question; rounding and saturation against
//! what their names say.

mod common;

use common::{Seeded, gelu};
use half::bf16;
use undertone_aie::numbers::{self, Product, Rounding, Saturation};

/// Every finite bf16.
fn all_bf16() -> Vec<f32> {
    (0..=u16::MAX).map(bf16::from_bits).filter(|value| value.is_finite()).map(bf16::to_f32).collect()
}

#[test]
fn exp2_of_every_bf16_and_between() {
    let mut x: Vec<f32> = all_bf16().into_iter().filter(|x| *x <= 127.0).collect();
    // Between whole numbers the polynomial runs from one end to the other.
    x.extend((-2000..2000).map(|step| step as f32 / 16.0 + 0.001 * step as f32 / 2000.0));
    let mut seeded = Seeded(1);
    x.extend((0..100_000).map(|_| seeded.unit() * 125.0));
    let x: Vec<f32> = x.into_iter().filter(|x| *x <= 127.0).collect();
    for (x, found) in x.iter().zip(numbers::exp2(&x)) {
        if *x < -125.0 {
            assert_eq!(found, 0.0, "exp2({x})");
        } else {
            let exact = f64::from(*x).exp2();
            assert!((f64::from(found) / exact - 1.0).abs() < 4e-6, "exp2({x}) = {exact}, found {found}");
        }
    }
    assert_eq!(
        numbers::exp2(&[0.0, f32::NEG_INFINITY, -3.0e38, -125.0]),
        [numbers::exp2(&[0.0])[0], 0.0, 0.0, 2f32.powi(-125) * numbers::exp2(&[0.0])[0]]
    );
}

#[test]
fn exp2_of_whole_numbers_is_exact() {
    let x: Vec<f32> = (-125..=127i16).map(f32::from).collect();
    let exact: Vec<f32> = x.iter().map(|x| x.exp2()).collect();
    assert_eq!(numbers::exp2(&x), exact);
}

/// Probabilities are bf16: what products of bf16 add to the error of rounding is small beside it.
#[test]
fn probabilities_are_nearly_rounded_exp2() {
    let x: Vec<f32> = (0..125 * 4096).map(|step| step as f32 / -4096.0).collect();
    let (mut largest, mut square, mut sum) = (0.0f64, 0.0, 0.0);
    for (x, found) in x.iter().zip(numbers::probability(&x)) {
        assert_eq!(found, bf16::from_f32(found).to_f32());
        let error = f64::from(found) / f64::from(*x).exp2() - 1.0;
        largest = largest.max(error.abs());
        square += error * error;
        sum += error;
    }
    let count = x.len() as f64;
    let (root, mean) = ((square / count).sqrt(), (sum / count).abs());
    assert!(
        largest < 4.3e-3 && root < 1.75e-3 && mean < 1e-4,
        "largest {largest}, root of squares {root}, mean {mean}"
    );
    assert_eq!(numbers::probability(&[0.0, -125.5, f32::NEG_INFINITY, -3.0e38]), [1.0, 0.0, 0.0, 0.0]);
}

#[test]
fn products_are_as_exact_as_their_parts() {
    let mut seeded = Seeded(5);
    let mut numbers =
        || -> Vec<f32> { (0..100_000).map(|_| seeded.normal() * (seeded.unit() * 20.0).exp2()).collect() };
    let (x, y) = (numbers(), numbers());
    for (kind, bound) in [(Product::Parts, 1.5e-5), (Product::Split, 1.2e-7)] {
        let mut worst = 0.0f64;
        for ((x, y), found) in x.iter().zip(&y).zip(numbers::product(kind, &x, &y)) {
            let exact = f64::from(*x) * f64::from(*y);
            worst = worst.max((f64::from(found) / exact - 1.0).abs());
        }
        assert!(worst < bound && worst > bound / 10.0, "{kind:?}: {worst}");
    }
}

#[test]
fn gelu_of_every_bf16() {
    let x = all_bf16();
    let mut worst = 0.0f64;
    for (x, found) in x.iter().zip(numbers::gelu(&x)) {
        let exact = gelu(f64::from(*x));
        let error = (f64::from(found) - exact).abs();
        // Beside the polynomial's error, fp32's own: it counts where x is large.
        assert!(error < 1.1e-5 + f64::from(x.abs()) * 6e-8, "gelu({x}) = {exact}, found {found}");
        // Small x keep their precision: the polynomial is multiplied by |x|.
        assert!(error <= 5e-4 * f64::from(x.abs()), "gelu({x}) = {exact}, found {found}");
        if x.abs() < 100.0 {
            worst = worst.max(error);
        }
    }
    assert!(worst > 5e-6, "the bound is far off: {worst}");
    let ends = numbers::gelu(&[f32::INFINITY, f32::NEG_INFINITY, 0.0, -6.0, 6.0, f32::MAX]);
    assert_eq!(ends, [f32::INFINITY, 0.0, 0.0, 0.0, 6.0, f32::MAX]);
}

/// Between bf16 numbers, too, whose low part is not zero.
#[test]
fn gelu_of_any_number() {
    let x: Vec<f32> = (-700_000..700_000).map(|step| step as f32 / 100_000.0).collect();
    for (x, found) in x.iter().zip(numbers::gelu(&x)) {
        let exact = gelu(f64::from(*x));
        let error = (f64::from(found) - exact).abs();
        assert!(error < 1.6e-5 && error <= 1e-4 * f64::from(x.abs()), "gelu({x}) = {exact}, found {found}");
    }
}

#[test]
fn reciprocals_of_normal_numbers() {
    let mut seeded = Seeded(2);
    let x: Vec<f32> = (0..100_000).map(|_| (seeded.unit() * 40.0).exp2()).collect();
    for found in [numbers::reciprocal(&x), numbers::split_reciprocal(&x)] {
        for (x, found) in x.iter().zip(found) {
            assert!((f64::from(found) * f64::from(*x) - 1.0).abs() < 2.5e-7, "1 / {x}, found {found}");
        }
    }
}

/// `numerator / 2^shift` in f64 is exact here; the mode's words say the rest.
fn rounded(exact: f64, mode: Rounding) -> f64 {
    let (below, above) = (exact.floor(), exact.ceil());
    let nearest = |half: f64| match exact - below {
        rest if rest < 0.5 => below,
        rest if rest > 0.5 => above,
        _ => half,
    };
    let (inwards, outwards) = if exact < 0.0 { (above, below) } else { (below, above) };
    let even = if below % 2.0 == 0.0 { below } else { above };
    match mode {
        _ if below == above => exact,
        Rounding::Floor => below,
        Rounding::Ceil => above,
        Rounding::PositiveInf => nearest(above),
        Rounding::NegativeInf => nearest(below),
        Rounding::SymmetricInf => nearest(outwards),
        Rounding::SymmetricZero => nearest(inwards),
        Rounding::ConvEven => nearest(even),
        Rounding::ConvOdd => nearest(below + above - even),
        Rounding::SymmetricFloor => inwards,
        Rounding::SymmetricCeil => outwards,
    }
}

const MODES: [Rounding; 10] = [
    Rounding::Floor,
    Rounding::Ceil,
    Rounding::PositiveInf,
    Rounding::NegativeInf,
    Rounding::SymmetricInf,
    Rounding::SymmetricZero,
    Rounding::ConvEven,
    Rounding::ConvOdd,
    Rounding::SymmetricFloor,
    Rounding::SymmetricCeil,
];

#[test]
fn sums_are_shifted_rounded_and_saturated() {
    let mut x: Vec<i32> = (-700..700).collect();
    x.extend([i32::MAX, i32::MIN, i32::MAX - 1, i32::MIN + 1, 1 << 30, -(1 << 30)]);
    for (mode, shift) in MODES.into_iter().flat_map(|mode| [0u8, 1, 2, 5, 24, 31].map(|shift| (mode, shift))) {
        let exact = x.iter().map(|x| rounded(f64::from(*x) / (1u64 << shift) as f64, mode) as i64);
        for (saturation, low) in [(Saturation::Saturate, -128), (Saturation::Symmetric, -127)] {
            let found = numbers::shift_round_saturate(&x, shift, mode, saturation);
            let expected: Vec<i8> = exact.clone().map(|value| value.clamp(low, 127) as i8).collect();
            assert_eq!(found, expected, "{mode:?}, shift {shift}, {saturation:?}");
        }
        let found = numbers::shift_round_saturate(&x, shift, mode, Saturation::None);
        assert_eq!(found, exact.map(|value| value as i8).collect::<Vec<_>>(), "{mode:?}, shift {shift}, wrapping");
    }
}

#[test]
fn bf16_is_rounded_as_the_mode_says() {
    let from = f32::from_bits;
    let mut x = vec![
        from(0x3f80_8000),
        from(0x3f81_8000),
        from(0xbf80_8000),
        from(0xbf81_8000),
        from(0x3f80_8001),
        from(0xbf80_7fff),
        from(0x3f80_0001),
    ];
    let mut seeded = Seeded(4);
    x.extend((0..5000).map(|_| seeded.normal()));
    for mode in MODES {
        for (x, found) in x.iter().zip(numbers::round_to_bf16(&x, mode)) {
            // The bits of a float are a whole number of its last places; sign and size apart, as the modes with a
            // direction want it.
            let size = f64::from(x.to_bits() & 0x7fff_ffff) / 65536.0;
            let signed = rounded(if x.is_sign_negative() { -size } else { size }, mode);
            let expected = signed.abs() as u16 | if x.is_sign_negative() { 0x8000 } else { 0 };
            assert_eq!(found, expected, "{x} ({:08x}), {mode:?}", x.to_bits());
        }
    }
    // To nearest even is what everyone else has.
    let found = numbers::round_to_bf16(&x, Rounding::ConvEven);
    assert_eq!(found, x.iter().map(|x| bf16::from_f32(*x).to_bits()).collect::<Vec<_>>());
}
