//! Layer norm, soft-max, exponential, error function and GELU of every instruction set against fp64, with their stated
//! bounds.

use proptest::prelude::*;
use undertone_kernels::{
    Context, DeviceKind, Norm, Parallel, ScopedThreads, Serial,
    host::{HostDevice, Isa, elementwise::Unary},
    reference::{self, noise::noise},
};

/// The host device with an instruction set of this CPU.
fn host(isa: Isa) -> HostDevice {
    HostDevice::with_isa(isa).expect("an available instruction set")
}

/// Calls with a context, checks that one kernel was counted, and gives back the output.
fn with_context(pool: &dyn Parallel, len: usize, call: impl FnOnce(&mut Context<'_>, &mut [f32])) -> Vec<f32> {
    let mut out = vec![f32::NAN; len];
    let ((), counters) = Context::fresh(pool, |context| call(context, &mut out));
    assert_eq!(counters.calls(DeviceKind::Host), 1);
    out
}

fn apply(isa: Isa, op: Unary, x: &[f32]) -> Vec<f32> {
    with_context(&Serial, x.len(), |context, out| host(isa).unary(context, op, x, out))
}

fn assert_close(expected: &[f32], got: &[f32], bound: f32, context: &str) {
    assert_eq!(expected.len(), got.len());
    for (i, (e, g)) in expected.iter().zip(got).enumerate() {
        assert!((e - g).abs() <= bound * e.abs().max(1.0), "{context}: element {i} is {g}, not {e}");
    }
}

/// Every fp32 value whose bits are a multiple of `step`, in both signs: the whole range, subnormals too.
fn whole_range(step: usize) -> Vec<f32> {
    (0..=f32::MAX.to_bits()).step_by(step).flat_map(|bits| [f32::from_bits(bits), -f32::from_bits(bits)]).collect()
}

/// Units in the last place between an exact value and an fp32 one; below the normal range, those of the smallest
/// normal.
fn units(exact: f64, got: f32) -> f64 {
    if !got.is_finite() {
        return if exact > f64::from(f32::MAX) { 0.0 } else { f64::INFINITY };
    }
    let unit = 2f64.powi((exact.abs().max(f64::from(f32::MIN_POSITIVE)).log2().floor() as i32) - 23);
    (f64::from(got) - exact).abs() / unit
}

#[test]
fn exponential_over_the_whole_range() {
    let mut x = whole_range(4099);
    x.extend((0..400_000).map(|i| -105.0 + i as f32 * 0.000_5));
    for isa in Isa::available() {
        let worst = x.iter().zip(apply(isa, Unary::Exp, &x)).map(|(&x, y)| (units(f64::from(x).exp(), y), x));
        let (worst, at) = worst.max_by(|a, b| a.0.total_cmp(&b.0)).expect("values");
        assert!(worst <= 2.0, "{isa}: exp({at}) is {worst} units off");
        let special = apply(isa, Unary::Exp, &[f32::INFINITY, f32::NEG_INFINITY, f32::NAN, 0.0]);
        assert!(special[0] == f32::INFINITY && special[1] == 0.0 && special[2].is_nan() && special[3] == 1.0);
    }
}

#[test]
fn error_function_and_gelu_over_the_whole_range() {
    let mut x = whole_range(65_537);
    x.extend((0..400_000).map(|i| -10.0 + i as f32 * 0.000_05));
    for isa in Isa::available() {
        for (&x, y) in x.iter().zip(apply(isa, Unary::Erf, &x)) {
            let exact = reference::norm::erf(f64::from(x));
            let error = (exact - f64::from(y)).abs();
            let own_size = 4e-7 * exact.abs() + 1e-37;
            assert!(error <= own_size.min(2e-7), "{isa}: erf({x}) is {error:e} off");
        }
        for (&x, y) in x.iter().zip(apply(isa, Unary::Gelu, &x)) {
            let exact = reference::norm::gelu(f64::from(x));
            let error = (exact - f64::from(y)).abs();
            assert!(error <= 1e-6 * f64::from(x.abs().max(1.0)), "{isa}: gelu({x}) is {error:e} off");
            let own_size = 6e-7 * exact.abs() + 1e-37;
            assert!(x.abs() > 1.0 || error <= own_size, "{isa}: gelu({x}) is {error:e} off");
        }
        for (&x, y) in x.iter().zip(apply(isa, Unary::GeluTanh, &x)) {
            let error = (reference::norm::gelu_tanh(f64::from(x)) - f64::from(y)).abs();
            assert!(error <= 1e-6 * f64::from(x.abs().max(1.0)), "{isa}: gelu_tanh({x}) is {error:e} off");
        }
        let x = [f32::INFINITY, f32::NEG_INFINITY, f32::NAN];
        let tanh = apply(isa, Unary::GeluTanh, &x);
        assert!(tanh[0] == f32::INFINITY && tanh[1].abs() < 1e-6 && tanh[2].is_nan(), "{isa}: {tanh:?}");
        let erf = apply(isa, Unary::Erf, &x);
        assert!(erf[0] == 1.0 && erf[1] == -1.0 && erf[2].is_nan(), "{isa}: {erf:?}");
        let gelu = apply(isa, Unary::Gelu, &x);
        assert!(gelu[0] == f32::INFINITY && gelu[1].abs() < 1e-6 && gelu[2].is_nan(), "{isa}: {gelu:?}");
    }
}

/// Published values (Abramowitz and Stegun, table 7.1), so that the oracle itself is held.
#[test]
fn the_oracles_error_function() {
    for (x, erf) in [
        (0.1, 0.112_462_916_0),
        (0.5, 0.520_499_877_8),
        (1.0, 0.842_700_792_9),
        (2.0, 0.995_322_265_0),
        (4.0, 0.999_999_984_6),
    ] {
        assert!((reference::norm::erf(x) - erf).abs() < 2e-10, "erf({x})");
        assert!((reference::norm::erf(-x) + erf).abs() < 2e-10, "erf(-{x})");
    }
}

#[test]
fn other_functions_of_one_value() {
    let x: Vec<f32> = noise(1003, 5).iter().map(|v| v * 20.0).chain([0.0, -0.0, 1.0, f32::INFINITY]).collect();
    type Exact = fn(f64) -> f64;
    let cases: [(Unary, Exact); 7] = [
        (Unary::Neg, |x| -x),
        (Unary::Abs, f64::abs),
        (Unary::Tanh, f64::tanh),
        (Unary::Sigmoid, |x| 1.0 / (1.0 + (-x).exp())),
        (Unary::Relu, |x| x.max(0.0)),
        (Unary::Reciprocal, f64::recip),
        (Unary::Sqrt, f64::sqrt),
    ];
    for isa in Isa::available() {
        for (op, exact) in cases {
            for (&x, y) in x.iter().zip(apply(isa, op, &x)) {
                let expected = exact(f64::from(x)) as f32;
                let close = (expected - y).abs() <= 2e-7 * expected.abs();
                assert!(close || expected == y || expected.is_nan() && y.is_nan(), "{isa} {op:?}({x}) = {y}");
            }
        }
        let positive: Vec<f32> = x.iter().map(|v| v.abs() + 0.01).collect();
        for (&x, y) in positive.iter().zip(apply(isa, Unary::Log, &positive)) {
            assert!((f64::from(x).ln() as f32 - y).abs() <= 1e-6 || x == f32::INFINITY && y == x, "{isa} ln({x})");
        }
    }
}

#[test]
fn layer_norm_of_many_sizes() {
    for (rows, width) in [(0, 5), (1, 1), (1, 384), (3, 7), (5, 15), (2, 17), (33, 65), (300, 384)] {
        // A mean far from zero: a one-pass variance would lose its digits.
        let x: Vec<f32> = noise(rows * width, 3).iter().map(|v| v * 0.5 + 100.0).collect();
        let gain = noise(width, 4);
        let bias = noise(width, 5);
        for isa in Isa::available() {
            for bias in [None, Some(&bias[..])] {
                for pool in [&Serial as &dyn Parallel, &ScopedThreads(2)] {
                    let got = with_context(pool, x.len(), |context, out| {
                        let norm = Norm { gain: &gain, bias, epsilon: 1e-5 };
                        host(isa).layer_norm(context, rows, &norm, &x, out);
                    });
                    let expected = reference::norm::layer_norm(width, &x, &gain, bias, 1e-5);
                    assert_close(&expected, &got, 1e-4, &format!("{isa} {rows}x{width}"));
                }
            }
        }
    }
}

#[test]
fn layer_norm_of_equal_values_is_the_bias() {
    for isa in Isa::available() {
        for width in [1, 13, 384] {
            let bias = noise(width, 5);
            let got = with_context(&Serial, width, |context, out| {
                let norm = Norm { gain: &vec![1.0; width], bias: Some(&bias), epsilon: 1e-5 };
                host(isa).layer_norm(context, 1, &norm, &vec![3.0; width], out);
            });
            assert_close(&bias, &got, 1e-4, &format!("{isa} {width}"));
        }
    }
}

#[test]
fn softmax_of_many_sizes() {
    for (rows, width) in [(0, 5), (1, 1), (3, 7), (2, 17), (33, 65), (90, 1500)] {
        for factor in [1.0, 90.0] {
            let x: Vec<f32> = noise(rows * width, 3).iter().map(|v| v * factor).collect();
            for isa in Isa::available() {
                for pool in [&Serial as &dyn Parallel, &ScopedThreads(2)] {
                    let got =
                        with_context(pool, x.len(), |context, out| host(isa).softmax(context, [rows, width], &x, out));
                    let expected = reference::norm::softmax(width, &x);
                    for (e, g) in expected.iter().zip(&got) {
                        assert!((e - g).abs() <= 4e-6 * e + 1e-30, "{isa} {rows}x{width}: {g}, not {e}");
                    }
                }
            }
        }
    }
}

#[test]
fn softmax_of_hidden_values() {
    const HIDDEN: f32 = f32::NEG_INFINITY;
    let x = [HIDDEN, 1.0, HIDDEN, HIDDEN, HIDDEN, HIDDEN, -2.0, HIDDEN, f32::MIN];
    for isa in Isa::available() {
        let got = with_context(&Serial, 9, |context, out| host(isa).softmax(context, [3, 3], &x, out));
        assert_eq!(got[..3], [0.0, 1.0, 0.0], "{isa}");
        assert!(got[3..6].iter().all(|v| v.is_nan()), "{isa}: a row of -inf is NaN, as in ONNX");
        assert_eq!(got[6..], [1.0, 0.0, 0.0], "{isa}");
    }
}

proptest! {
    #[test]
    fn softmax_sums_to_one(x in prop::collection::vec(-200.0f32..200.0, 1..200)) {
        for isa in Isa::available() {
            let got = with_context(&Serial, x.len(), |context, out| host(isa).softmax(context, [1, x.len()], &x, out));
            prop_assert!((got.iter().sum::<f32>() - 1.0).abs() < 1e-5);
        }
    }

    #[test]
    fn layer_norm_has_mean_zero_and_deviation_one(x in prop::collection::vec(-50.0f32..50.0, 2..300)) {
        let width = x.len();
        prop_assume!(x.iter().any(|v| (v - x[0]).abs() > 1.0));
        for isa in Isa::available() {
            let got = with_context(&Serial, width, |context, out| {
                let norm = Norm { gain: &vec![1.0; width], bias: None, epsilon: 0.0 };
                host(isa).layer_norm(context, 1, &norm, &x, out);
            });
            let mean = got.iter().sum::<f32>() / width as f32;
            let square = got.iter().map(|v| v * v).sum::<f32>() / width as f32;
            prop_assert!(mean.abs() < 1e-3 && (square - 1.0).abs() < 1e-3, "{}: {} {}", isa, mean, square);
        }
    }
}
