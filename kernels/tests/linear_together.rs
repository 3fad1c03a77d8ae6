//! Layers that are carried out together give, to the bit, what they give one by one.

use proptest::prelude::*;
use undertone_kernels::{
    Activation, Context, Device, DeviceKind, Linear, LinearSpec, Norm, Parallel, Precision, Product, Rows,
    ScopedThreads, Serial, WeightLayout,
    host::{HostDevice, Isa},
    reference::noise::noise,
};

/// A precision, and whether rows are wide.
type Number = (Precision, bool);

const NUMBERS: [Number; 4] =
    [(Precision::F32, false), (Precision::Bf16, false), (Precision::Int8, false), (Precision::Int8, true)];

struct Layer {
    outputs: usize,
    linear: Box<dyn Linear>,
    residual: Option<Vec<f32>>,
}

/// Some rows, and layers that read them.
struct Case {
    device: HostDevice,
    rows: usize,
    inputs: usize,
    x: Vec<f32>,
    norm: Option<(Vec<f32>, Option<Vec<f32>>)>,
    layers: Vec<Layer>,
}

impl Case {
    fn new(isa: Isa, number: Number, rows: usize, inputs: usize, outputs: &[usize], normed: bool) -> Self {
        let device = HostDevice::with_isa(isa).expect("an available instruction set");
        let layers =
            (0u64..).zip(outputs).map(|(at, outputs)| layer(&device, number, rows, inputs, *outputs, at)).collect();
        let norm = normed.then(|| (noise(inputs, 3), inputs.is_multiple_of(2).then(|| noise(inputs, 4))));
        Self { device, rows, inputs, x: noise(rows * inputs, 5), norm, layers }
    }

    fn norm(&self) -> Option<Norm<'_>> {
        self.norm.as_ref().map(|(gain, bias)| Norm { gain, bias: bias.as_deref(), epsilon: 1e-5 })
    }

    fn from<'a>(&'a self, norm: Option<&'a Norm<'a>>) -> Rows<'a> {
        Rows { x: &self.x, rows: self.rows, inputs: self.inputs, norm }
    }

    /// The rows that the layers read.
    fn normed(&self) -> Vec<f32> {
        let Some(norm) = self.norm() else { return self.x.clone() };
        let mut out = vec![0.0; self.x.len()];
        with_context(&Serial, |context| self.device.layer_norm(context, self.rows, &norm, &self.x, &mut out));
        out
    }

    fn one_by_one(&self) -> Vec<Vec<u32>> {
        let x = self.normed();
        self.layers.iter().map(|layer| layer.run(self.rows, &x, layer.residual.as_deref())).map(bits).collect()
    }

    fn together(&self, pool: &dyn Parallel) -> Vec<Vec<u32>> {
        let mut outs: Vec<_> = self.layers.iter().map(|layer| vec![f32::MAX; self.rows * layer.outputs]).collect();
        let calls = with_context(pool, |context| {
            let mut products: Vec<Product<'_>> =
                self.layers.iter().zip(&mut outs).map(|(layer, out)| layer.product(out)).collect();
            self.device
                .products(context, &self.from(self.norm().as_ref()), &mut products)
                .expect("the host never fails");
        });
        assert_eq!(calls as usize, self.layers.len() + usize::from(self.norm.is_some()));
        outs.into_iter().map(bits).collect()
    }

    /// The first layer and the second, one by one and together.
    fn assert_mlp(&self, pool: &dyn Parallel) {
        let [first, second] = &self.layers[..] else { panic!("two layers") };
        let hidden = first.run(self.rows, &self.normed(), None);
        let want = second.run(self.rows, &hidden, second.residual.as_deref());
        let mut got = vec![f32::MAX; want.len()];
        let calls = with_context(pool, |context| {
            let norm = self.norm();
            let from = self.from(norm.as_ref());
            let second = second.product(&mut got);
            self.device
                .mlp(context, &from, first.linear.as_ref(), first.outputs, second)
                .expect("the host never fails");
        });
        assert_eq!(calls, 2 + u64::from(self.norm.is_some()));
        assert_eq!(bits(got), bits(want));
    }
}

impl Layer {
    fn run(&self, rows: usize, x: &[f32], residual: Option<&[f32]>) -> Vec<f32> {
        let mut out = vec![f32::MAX; rows * self.outputs];
        with_context(&Serial, |context| {
            self.linear.run(context, rows, x, residual, &mut out).expect("the host never fails");
        });
        out
    }

    fn product<'a>(&'a self, out: &'a mut [f32]) -> Product<'a> {
        Product { layer: self.linear.as_ref(), outputs: self.outputs, residual: self.residual.as_deref(), out }
    }
}

/// A layer that differs from the others: every second has a bias, every third a scale, GELU and a residual.
fn layer(
    device: &HostDevice,
    (precision, wide_rows): Number,
    rows: usize,
    inputs: usize,
    outputs: usize,
    at: u64,
) -> Layer {
    let rich = at.is_multiple_of(3);
    let activation = if rich { Activation::Gelu } else { Activation::None };
    let scale = if rich { 0.125 } else { 1.0 };
    let spec = LinearSpec { inputs, outputs, precision, wide_rows, activation, scale };
    let bias = at.is_multiple_of(2).then(|| noise(outputs, 20 + at));
    let weights = noise(inputs * outputs, 10 + at);
    let linear = device.linear(&spec, &weights, WeightLayout::InputsByOutputs, bias.as_deref());
    let residual = rich.then(|| noise(rows * outputs, 30 + at));
    Layer { outputs, linear: linear.expect("the host takes every spec"), residual }
}

/// Calls `work` and gives the number of kernel calls that were counted.
fn with_context(pool: &dyn Parallel, work: impl FnOnce(&mut Context<'_>)) -> u64 {
    Context::fresh(pool, work).1.calls(DeviceKind::Host)
}

fn bits(values: Vec<f32>) -> Vec<u32> {
    values.into_iter().map(f32::to_bits).collect()
}

fn each(mut f: impl FnMut(Isa, Number)) {
    for isa in Isa::available() {
        for number in NUMBERS {
            f(isa, number);
        }
    }
}

#[test]
fn readers_of_the_same_rows() {
    each(|isa, number| {
        for (rows, inputs, outputs) in [
            (0, 8, &[4, 4][..]),
            (1, 384, &[384, 384, 384]),
            (1, 17, &[1, 33, 65, 5]),
            (13, 64, &[31, 100]),
            (200, 65, &[40, 33, 7]),
            (700, 96, &[64, 64, 64]),
            (3, 5, &[2, 3, 4, 5, 6, 7, 8, 9, 10, 11]),
            (2, 0, &[3, 4]),
        ] {
            for normed in [false, inputs > 0] {
                let case = Case::new(isa, number, rows, inputs, outputs, normed);
                let want = case.one_by_one();
                assert_eq!(case.together(&Serial), want, "{isa} {number:?} {rows} x {inputs}");
                assert_eq!(case.together(&ScopedThreads(3)), want, "{isa} {number:?} {rows} x {inputs}");
            }
        }
    });
}

#[test]
fn two_layers_that_follow_one_another() {
    each(|isa, number| {
        for (rows, inputs, hidden, outputs) in
            [(0, 3, 4, 5), (1, 384, 1536, 384), (2, 7, 1, 9), (40, 33, 130, 31), (600, 64, 200, 64), (97, 48, 3, 1)]
        {
            for normed in [false, true] {
                let case = Case::new(isa, number, rows, inputs, &[hidden], normed);
                let second = layer(&case.device, number, rows, hidden, outputs, 3);
                let case = Case { layers: case.layers.into_iter().chain([second]).collect(), ..case };
                case.assert_mlp(&Serial);
                case.assert_mlp(&ScopedThreads(3));
            }
        }
    });
}

#[test]
fn layers_of_different_kinds_are_carried_out_one_by_one() {
    for isa in Isa::available() {
        let mut case = Case::new(isa, (Precision::Int8, false), 30, 40, &[50, 60], true);
        let other = Isa::available().find(|other| *other != isa).unwrap_or(isa);
        let device = HostDevice::with_isa(other).expect("an available instruction set");
        case.layers.push(layer(&device, (Precision::Int8, false), 30, 40, 70, 2));
        case.layers.push(layer(&case.device, (Precision::F32, false), 30, 40, 70, 3));
        assert_eq!(case.together(&ScopedThreads(2)), case.one_by_one());
        let mut case = Case::new(isa, (Precision::Int8, false), 30, 40, &[50], true);
        case.layers.push(layer(&case.device, (Precision::Bf16, false), 30, 50, 20, 3));
        case.assert_mlp(&ScopedThreads(2));
    }
}

#[test]
fn wide_rows_beside_narrow_ones() {
    for isa in Isa::available() {
        for (rows, first) in [(1, false), (30, false), (600, false), (600, true)] {
            let mut case = Case::new(isa, (Precision::Int8, first), rows, 40, &[50], true);
            case.layers.push(layer(&case.device, (Precision::Int8, !first), rows, 50, 20, 3));
            case.assert_mlp(&ScopedThreads(2));
            case.layers[1] = layer(&case.device, (Precision::Int8, !first), rows, 40, 20, 3);
            assert_eq!(case.together(&ScopedThreads(2)), case.one_by_one(), "{isa} {rows}");
        }
    }
}

/// A row with a NaN, one of zeros and one with an infinity beside ordinary ones.
#[test]
fn rows_that_are_no_numbers_spoil_only_themselves() {
    each(|isa, number| {
        let mut case = Case::new(isa, number, 100, 40, &[50, 60], false);
        (case.x[40], case.x[5 * 40 + 7]) = (f32::NAN, f32::INFINITY);
        case.x[80..120].fill(0.0);
        let want = case.one_by_one();
        let got = case.together(&ScopedThreads(2));
        for (got, want) in got.iter().flatten().zip(want.iter().flatten()) {
            let both_nan = f32::from_bits(*got).is_nan() && f32::from_bits(*want).is_nan();
            assert!(got == want || both_nan, "{isa} {number:?}");
        }
    });
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn any_shapes(
        rows in 0usize..160, inputs in 1usize..70, outputs in prop::collection::vec(0usize..80, 1..5), normed: bool,
        threads in 1usize..4, number in prop::sample::select(NUMBERS.to_vec()),
    ) {
        for isa in Isa::available() {
            let case = Case::new(isa, number, rows, inputs, &outputs, normed);
            prop_assert_eq!(case.together(&ScopedThreads(threads)), case.one_by_one());
            let second = layer(&case.device, number, rows, outputs[0], 37, 3);
            let case = Case { layers: case.layers.into_iter().take(1).chain([second]).collect(), ..case };
            case.assert_mlp(&ScopedThreads(threads));
        }
    }
}
