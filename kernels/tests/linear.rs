//! The linear layer and run-time products of every instruction set that this CPU has, against the slow obvious ones.

use proptest::prelude::*;
use undertone_kernels::{
    Activation, Context, Device, DeviceKind, Linear, LinearSpec, Parallel, Precision, ScopedThreads, Serial,
    WeightLayout,
    host::{HostDevice, Isa},
    reference::{self, noise::noise},
};

/// A precision, and whether rows are wide.
type Number = (Precision, bool);

const NUMBERS: [Number; 4] =
    [(Precision::F32, false), (Precision::Bf16, false), (Precision::Int8, false), (Precision::Int8, true)];

struct Case {
    spec: LinearSpec,
    layout: WeightLayout,
    rows: usize,
    weights: Vec<f32>,
    bias: Option<Vec<f32>>,
    x: Vec<f32>,
    residual: Option<Vec<f32>>,
}

impl Case {
    fn plain((precision, wide_rows): Number, rows: usize, inputs: usize, outputs: usize) -> Self {
        Self {
            spec: LinearSpec { wide_rows, ..LinearSpec::new(inputs, outputs, precision) },
            layout: WeightLayout::InputsByOutputs,
            rows,
            weights: noise(inputs * outputs, 1),
            bias: None,
            x: noise(rows * inputs, 2),
            residual: None,
        }
    }

    fn full(number: Number, rows: usize, inputs: usize, outputs: usize) -> Self {
        let mut case = Self::plain(number, rows, inputs, outputs);
        case.spec.activation = Activation::Gelu;
        case.spec.scale = 0.375;
        case.layout = WeightLayout::OutputsByInputs;
        case.bias = Some(noise(outputs, 3));
        case.residual = Some(noise(rows * outputs, 4));
        case
    }

    fn prepare(&self, isa: Isa) -> Box<dyn Linear> {
        let device = HostDevice::with_isa(isa).expect("an available instruction set");
        device.linear(&self.spec, &self.weights, self.layout, self.bias.as_deref()).expect("the host takes every spec")
    }

    fn run(&self, isa: Isa, pool: &dyn Parallel) -> Vec<f32> {
        let linear = self.prepare(isa);
        // Not zero: an element that is left out must show.
        let mut out = vec![f32::MAX; self.rows * self.spec.outputs];
        let residual = self.residual.as_deref();
        let (done, counters) =
            Context::fresh(pool, |context| linear.run(context, self.rows, &self.x, residual, &mut out));
        done.expect("the host never fails");
        assert_eq!(counters.calls(DeviceKind::Host), 1);
        out
    }

    fn expected(&self) -> Vec<f32> {
        let (bias, residual) = (self.bias.as_deref(), self.residual.as_deref());
        reference::linear::linear(&self.spec, &self.weights, self.layout, bias, self.rows, &self.x, residual)
    }

    /// What rounding of fp32 sums may cost: a few units in the last place of the largest partial sums, which grow as √K
    /// here. Integer sums are exact, so int8 has only the epilogue's roundings.
    fn tolerance(&self) -> f32 {
        let largest = |v: &[f32]| v.iter().fold(1e-6f32, |m, v| m.max(v.abs()));
        let term = largest(&self.x) * largest(&self.weights);
        let terms = (self.spec.inputs.max(1) as f32).sqrt();
        match self.spec.precision {
            Precision::Int8 => 1e-6 + 4e-7 * terms * term,
            Precision::F32 | Precision::Bf16 => 1e-6 + 1e-6 * terms * term,
        }
    }

    fn check(&self, isa: Isa, pool: &dyn Parallel) {
        let (expected, got) = (self.expected(), self.run(isa, pool));
        assert_eq!(expected.len(), got.len());
        let tolerance = self.tolerance();
        for (index, (expected, got)) in expected.iter().zip(&got).enumerate() {
            assert!(
                (expected - got).abs() <= tolerance + 4e-7 * expected.abs(),
                "{isa} {:?} x {} rows, element {index}: {got} for {expected}",
                self.spec,
                self.rows
            );
        }
    }
}

fn each(mut f: impl FnMut(Isa, Number)) {
    for isa in Isa::available() {
        for number in NUMBERS {
            f(isa, number);
        }
    }
}

#[test]
fn sizes_that_divide_by_nothing() {
    each(|isa, number| {
        for (rows, inputs, outputs) in
            [(1, 1, 1), (1, 3, 2), (2, 5, 33), (3, 7, 31), (13, 65, 17), (12, 64, 32), (25, 131, 97), (1, 384, 129)]
        {
            Case::plain(number, rows, inputs, outputs).check(isa, &Serial);
            Case::full(number, rows, inputs, outputs).check(isa, &Serial);
        }
    });
}

#[test]
fn every_number_of_rows_up_to_two_tiles() {
    each(|isa, number| {
        for rows in 0..=25 {
            Case::full(number, rows, 37, 45).check(isa, &Serial);
        }
    });
}

#[test]
fn empty_products() {
    each(|isa, number| {
        assert!(Case::plain(number, 0, 16, 16).run(isa, &ScopedThreads(2)).is_empty());
        assert!(Case::plain(number, 4, 16, 0).run(isa, &ScopedThreads(2)).is_empty());
        // No inputs: the bias alone.
        Case::full(number, 3, 0, 19).check(isa, &ScopedThreads(2));
    });
}

#[test]
fn large_products_on_two_threads() {
    each(|isa, number| {
        // Rows that collide in the cache (1024 inputs) take another way to the kernel in f32.
        for (rows, inputs, outputs) in [(150, 1024, 200), (300, 384, 300), (5, 768, 3001)] {
            Case::full(number, rows, inputs, outputs).check(isa, &ScopedThreads(2));
        }
    });
}

#[test]
fn threads_do_not_change_a_bit() {
    each(|isa, number| {
        let case = Case::full(number, 131, 200, 333);
        let bits = |out: Vec<f32>| out.into_iter().map(f32::to_bits).collect::<Vec<_>>();
        assert_eq!(bits(case.run(isa, &Serial)), bits(case.run(isa, &ScopedThreads(5))), "{isa} {number:?}");
    });
}

/// Sums of ±127 · ±127 over many inputs: 8- and 16-bit intermediates would saturate.
#[test]
fn int8_sums_are_exact_at_the_extremes() {
    for isa in Isa::available() {
        for inputs in [1, 4, 257, 5120] {
            for (x_sign, w_sign) in [(1.0, 1.0), (1.0, -1.0), (-1.0, 1.0), (-1.0, -1.0)] {
                let mut case = Case::plain((Precision::Int8, false), 2, inputs, 35);
                case.x.fill(127.0 * x_sign);
                case.weights.fill(127.0 * w_sign);
                let sum = x_sign * w_sign * 127.0 * 127.0 * inputs as f32;
                // Scales are 1; the sum is an integer, converted to fp32 once.
                assert!(case.run(isa, &Serial).iter().all(|y| *y == sum), "{isa} {inputs} {sum}");
            }
        }
    }
}

/// With scales of one and sums below 2²⁴, every instruction set must give the very integers.
#[test]
fn int8_sums_of_all_integers_are_exact() {
    let (rows, inputs, outputs) = (14, 517, 70);
    let integers =
        |seed, len| -> Vec<f32> { noise(len, seed).iter().map(|v| (v * 150.0).clamp(-127.0, 127.0).round()).collect() };
    let mut case = Case::plain((Precision::Int8, false), rows, inputs, outputs);
    (case.x, case.weights) = (integers(8, rows * inputs), integers(9, inputs * outputs));
    for row in 0..rows {
        case.x[row * inputs + row] = 127.0;
    }
    case.weights[..outputs].fill(-127.0);
    for isa in Isa::available() {
        let out = case.run(isa, &Serial);
        for row in 0..rows {
            for column in 0..outputs {
                let sum: i64 = (0..inputs)
                    .map(|k| case.x[row * inputs + k] as i64 * case.weights[k * outputs + column] as i64)
                    .sum();
                assert_eq!(out[row * outputs + column], sum as f32, "{isa} [{row}, {column}]");
            }
        }
    }
}

#[test]
fn int8_rounds_ties_to_even_and_scales_each_row_alone() {
    // The largest magnitude is 127, so values are their own integers: 0.5 → 0, 1.5 → 2, 2.5 → 2, −0.5 → 0, −1.5 → −2.
    let x = [127.0, 0.5, 1.5, 2.5, -0.5, -1.5, 63.5, -126.5];
    let rounded = [127.0, 0.0, 2.0, 2.0, 0.0, -2.0, 64.0, -126.0];
    for isa in Isa::available() {
        let mut case = Case::plain((Precision::Int8, false), 2, 8, 8);
        case.x = x.iter().copied().chain(x.iter().map(|v| v * 1024.0)).collect();
        case.weights = (0..64).map(|i| if i % 9 == 0 { 127.0 } else { 0.0 }).collect();
        let out = case.run(isa, &Serial);
        for (index, expected) in rounded.iter().enumerate() {
            assert_eq!(out[index], expected * 127.0, "{isa}");
            assert_eq!(out[8 + index], expected * 127.0 * 1024.0, "{isa}");
        }
    }
}

#[test]
fn bf16_rounds_ties_to_even() {
    // One unit of bf16 at 1 is 2⁻⁷: halves of it are ties.
    let unit = 1.0 / 128.0;
    let ties = [(1.0 + unit / 2.0, 1.0), (1.0 + 1.5 * unit, 1.0 + 2.0 * unit), (-1.0 - unit / 2.0, -1.0)];
    let above = f32::from_bits((1.0f32 + unit / 2.0).to_bits() + 1);
    for isa in Isa::available() {
        for (value, rounded) in ties.into_iter().chain([(above, 1.0 + unit)]) {
            for (x, weight) in [(value, 1.0), (1.0, value)] {
                let mut case = Case::plain((Precision::Bf16, false), 1, 1, 1);
                (case.x, case.weights) = (vec![x], vec![weight]);
                assert_eq!(case.run(isa, &Serial), [rounded], "{isa} {x} · {weight}");
            }
        }
    }
}

#[test]
fn a_row_of_zeros_or_near_zeros_gives_the_bias_and_a_row_with_nan_gives_nan() {
    each(|isa, number| {
        let mut case = Case::plain(number, 4, 20, 9);
        case.bias = Some(noise(9, 5));
        case.x[..20].fill(0.0);
        case.x[20..40].fill(1e-42);
        case.x[47] = f32::NAN;
        let out = case.run(isa, &Serial);
        for column in 0..9 {
            let bias = case.bias.as_ref().unwrap()[column];
            assert_eq!(out[column], bias, "{isa} {number:?}");
            assert_eq!(out[9 + column], bias, "{isa} {number:?}");
            assert!(out[18 + column].is_nan(), "{isa} {number:?}");
            assert!(out[27 + column].is_finite(), "{isa} {number:?}");
        }
    });
}

#[test]
fn infinity_is_never_turned_into_a_number() {
    each(|isa, number| {
        let mut case = Case::plain(number, 1, 20, 5);
        case.x[3] = f32::INFINITY;
        assert!(case.run(isa, &Serial).iter().all(|y| !y.is_finite()), "{isa} {number:?}");
    });
}

#[test]
fn gelu_over_its_whole_range() {
    let x: Vec<f32> = (-12_000..=12_000).map(|i| i as f32 / 1000.0).collect();
    let kinds = [Activation::Gelu, Activation::GeluTanh];
    for (isa, activation) in Isa::available().flat_map(|isa| kinds.map(|kind| (isa, kind))) {
        let gelu = if activation == Activation::Gelu { reference::norm::gelu } else { reference::norm::gelu_tanh };
        let mut case = Case::plain((Precision::F32, false), x.len(), 1, 1);
        case.spec.activation = activation;
        (case.x, case.weights) = (x.clone(), vec![1.0]);
        for (x, y) in x.iter().zip(case.run(isa, &Serial)) {
            let exact = gelu(f64::from(*x));
            let rounding = exact.abs() * f64::from(f32::EPSILON);
            let what = format!("{isa}: {activation:?}({x}) = {y}, not {exact}");
            assert!((f64::from(y) - exact).abs() <= 4e-7 + 2.0 * rounding, "{what}");
        }
    }
}

#[test]
fn gelu_of_what_is_no_ordinary_number() {
    for isa in Isa::available() {
        let mut case = Case::plain((Precision::F32, false), 5, 1, 1);
        case.spec.activation = Activation::Gelu;
        case.weights = vec![1.0];
        case.x = vec![f32::INFINITY, f32::NEG_INFINITY, f32::NAN, 1e30, -1e30];
        let out = case.run(isa, &Serial);
        assert_eq!((out[0], out[3]), (f32::INFINITY, 1e30), "{isa}");
        assert!(out[2].is_nan(), "{isa}");
        assert!(out[1].abs() < 4e-7 && out[4].abs() < 4e-7, "{isa} {out:?}");
    }
}

#[test]
fn packed_weights_are_all_that_is_kept() {
    for isa in Isa::available() {
        // 64 columns and 64 inputs: whole panels everywhere.
        let int8 = Case::plain((Precision::Int8, false), 1, 64, 64).prepare(isa).weight_bytes();
        assert!((64 * 64 + 64 * 4..=64 * 64 + 64 * 8).contains(&int8), "{isa} {int8}");
        assert_eq!(Case::plain((Precision::Bf16, false), 1, 64, 64).prepare(isa).weight_bytes(), 2 * 64 * 64);
        assert_eq!(Case::plain((Precision::F32, false), 1, 64, 64).prepare(isa).weight_bytes(), 4 * 64 * 64);
    }
}

#[test]
fn more_inputs_than_int32_can_sum_are_computed_in_f32_and_reported() {
    let inputs = undertone_kernels::numbers::INT8_MAX_INPUTS;
    for isa in Isa::available() {
        let mut case = Case::plain((Precision::Int8, false), 1, inputs, 1);
        assert_eq!(case.prepare(isa).precision(), Precision::Int8);
        case.x.fill(127.0);
        case.weights.fill(-127.0);
        assert_eq!(case.run(isa, &Serial), [-(127.0 * 127.0) * inputs as f32], "{isa}");
        let case = Case::plain((Precision::Int8, false), 1, inputs + 1, 1);
        assert_eq!(case.prepare(isa).precision(), Precision::F32, "{isa}");
    }
}

fn check_matmul(isa: Isa, pool: &dyn Parallel, [batch, m, k, n]: [usize; 4]) {
    let (a, b) = (noise(batch * m * k, 6), noise(batch * k * n, 7));
    let mut out = vec![f32::MAX; batch * m * n];
    let host = HostDevice::with_isa(isa).expect("an available instruction set");
    let ((), counters) = Context::fresh(pool, |context| host.matmul(context, batch, [m, k, n], &a, &b, &mut out));
    assert_eq!(counters.calls(DeviceKind::Host), 1);
    let tolerance = 1e-6 + 1e-6 * (k as f32).sqrt();
    for (index, (got, expected)) in out.iter().zip(reference::linear::matmul(batch, m, k, n, &a, &b)).enumerate() {
        assert!((got - expected).abs() <= tolerance, "{isa} [{batch}, {m}, {k}, {n}] {index}: {got} for {expected}");
    }
}

#[test]
fn products_of_two_run_time_operands() {
    for isa in Isa::available() {
        for shape in [
            [1, 1, 1, 1],
            [0, 3, 4, 5],
            [2, 0, 4, 5],
            [2, 3, 0, 5],
            [2, 3, 4, 0],
            [3, 1, 64, 100],
            [3, 7, 33, 65],
            [2, 15, 64, 64],
            [2, 16, 64, 64],
            [3, 70, 65, 131],
            [6, 150, 64, 150],
            [1, 8, 500, 64],
        ] {
            check_matmul(isa, &Serial, shape);
            check_matmul(isa, &ScopedThreads(2), shape);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn any_shape(
        rows in 0usize..40, inputs in 0usize..90, outputs in 0usize..90, threads in 1usize..4, full: bool,
        number in prop::sample::select(NUMBERS.to_vec()),
    ) {
        for isa in Isa::available() {
            let case = if full { Case::full } else { Case::plain }(number, rows, inputs, outputs);
            case.check(isa, &ScopedThreads(threads));
        }
    }

    #[test]
    fn any_matmul(batch in 0usize..4, m in 0usize..40, k in 0usize..70, n in 0usize..80, threads in 1usize..4) {
        for isa in Isa::available() {
            check_matmul(isa, &ScopedThreads(threads), [batch, m, k, n]);
        }
    }
}
