//! Linear layers of weights in blocks, of every instruction set that this CPU has, against the slow obvious ones.

use proptest::prelude::*;
use undertone_kernels::{
    Activation, BlockForm, BlockWeights, Context, Device, Linear, LinearSpec, Norm, Parallel, Precision, Product, Rows,
    ScopedThreads, Serial, WeightLayout,
    host::{HostDevice, Isa},
    reference::{self, noise::noise},
};

/// A precision, and whether rows are wide.
const NUMBERS: [(Precision, bool); 4] =
    [(Precision::F32, false), (Precision::Bf16, false), (Precision::Int8, false), (Precision::Int8, true)];

/// Weights in blocks and their lists.
struct Stored {
    sizes: [usize; 2],
    form: BlockForm,
    codes: Vec<u8>,
    scales: Vec<f32>,
    zeros: Option<Vec<f32>>,
}

impl Stored {
    fn new([inputs, outputs]: [usize; 2], form: BlockForm, seed: u64) -> Self {
        let entries = inputs.div_ceil(form.block) * outputs;
        let codes = noise(entries * form.block * form.bits as usize / 8, seed);
        let middle = f32::from(form.middle());
        Self {
            sizes: [inputs, outputs],
            form,
            codes: codes.iter().map(|value| (value.to_bits() >> 3) as u8).collect(),
            scales: noise(entries, seed + 1).iter().map(|value| value / middle).collect(),
            // Some of them are no whole numbers.
            zeros: form.zeros.then(|| noise(entries, seed + 2).iter().map(|value| (value + 1.0) * middle).collect()),
        }
    }

    fn weights(&self) -> BlockWeights<'_> {
        BlockWeights {
            inputs: self.sizes[0],
            outputs: self.sizes[1],
            form: self.form,
            codes: &self.codes,
            scales: (&self.scales[..]).into(),
            zeros: self.zeros.as_deref().map(Into::into),
        }
    }

    fn layer(&self, isa: Isa, spec: &LinearSpec, bias: Option<&[f32]>) -> Box<dyn Linear> {
        let device = HostDevice::with_isa(isa).expect("an available instruction set");
        let layer = device.block_linear(spec, &self.weights(), bias).expect("the host takes every spec");
        assert_eq!(layer.precision(), spec.precision);
        layer
    }
}

fn spec([inputs, outputs]: [usize; 2], (precision, wide_rows): (Precision, bool)) -> LinearSpec {
    LinearSpec { wide_rows, ..LinearSpec::new(inputs, outputs, precision) }
}

fn run(layer: &dyn Linear, pool: &dyn Parallel, rows: usize, x: &[f32], residual: Option<&[f32]>, out: &mut [f32]) {
    // An element that is left out must show.
    out.fill(f32::MAX);
    let (done, _) = Context::fresh(pool, |context| layer.run(context, rows, x, residual, out));
    done.expect("the host never fails");
}

/// Compares `rows` rows with the slow layer, once plain and once with all that a layer can have.
fn check(isa: Isa, pool: &dyn Parallel, sizes: [usize; 2], form: BlockForm, number: (Precision, bool), rows: usize) {
    let [inputs, outputs] = sizes;
    let stored = Stored::new(sizes, form, 7);
    let (x, bias, residual) = (noise(rows * inputs, 1), noise(outputs, 2), noise(rows * outputs, 3));
    for full in [false, true] {
        let mut spec = spec(sizes, number);
        if full {
            (spec.activation, spec.scale) = (Activation::Gelu, 0.375);
        }
        let (bias, residual) = (full.then_some(&bias[..]), full.then_some(&residual[..]));
        let layer = stored.layer(isa, &spec, bias);
        let mut got = vec![0.0; rows * outputs];
        run(&*layer, pool, rows, &x, residual, &mut got);
        let expected = if number == (Precision::Int8, false) && form.bits < 8 {
            // Weights as the layer rounded them: a row with a single one is exact.
            let rounded = rounded(isa, &stored);
            let layout = WeightLayout::InputsByOutputs;
            reference::linear::linear(&spec, &rounded, layout, bias, rows, &x, residual)
        } else {
            reference::linear::block_linear(&spec, &stored.weights(), bias, rows, &x, residual)
        };
        // Sums of fp32 grow as √K; weights and rows are of magnitudes up to 4 and 1.
        let tolerance = 4e-6 * (1.0 + inputs as f32).sqrt();
        for (index, (got, expected)) in got.iter().zip(&expected).enumerate() {
            let far = (got - expected).abs();
            assert!(far <= tolerance, "{isa} {form:?} {spec:?} x {rows}, element {index}: {got} for {expected}");
        }
    }
}

/// `[inputs, outputs]` weights of an int8 layer with narrow rows, each of which is checked: it is the nearest multiple
/// of its column's scale, or next to as near.
fn rounded(isa: Isa, stored: &Stored) -> Vec<f32> {
    let [inputs, outputs] = stored.sizes;
    let layer = stored.layer(isa, &spec(stored.sizes, (Precision::Int8, false)), None);
    let x: Vec<f32> = (0..inputs * inputs).map(|at| if at % (inputs + 1) == 0 { 1.0 } else { 0.0 }).collect();
    let mut rounded = vec![0.0; inputs * outputs];
    run(&*layer, &Serial, inputs, &x, None, &mut rounded);
    let real = stored.weights().real();
    for output in 0..outputs {
        let column = &real[output * inputs..][..inputs];
        let step = column.iter().fold(0.0f32, |largest, weight| largest.max(weight.abs())) / 127.0;
        for (input, weight) in column.iter().enumerate() {
            let got = rounded[input * outputs + output];
            assert!((got - weight).abs() <= 0.54 * step + 1e-6, "{isa} {:?}: {got} for {weight}", stored.form);
        }
    }
    rounded
}

#[test]
fn sizes_that_divide_by_nothing() {
    for isa in Isa::available() {
        for bits in [2, 4, 8] {
            for (zeros, block) in [(false, 32), (true, 16)] {
                let form = BlockForm { bits, block, zeros };
                for number in NUMBERS {
                    for (rows, inputs, outputs) in [(1, 1, 1), (2, 17, 33), (5, 100, 31), (13, 65, 70), (1, 384, 129)] {
                        check(isa, &Serial, [inputs, outputs], form, number, rows);
                    }
                }
            }
        }
    }
}

#[test]
fn blocks_longer_than_integers_allow() {
    for isa in Isa::available() {
        for (block, inputs) in [(256, 600), (512, 700), (1024, 1024), (272, 300)] {
            for number in NUMBERS {
                check(isa, &Serial, [inputs, 33], BlockForm { bits: 4, block, zeros: true }, number, 3);
            }
        }
    }
}

#[test]
fn many_rows_in_parallel() {
    for isa in Isa::available() {
        for number in NUMBERS {
            for rows in [40, 230] {
                let form = BlockForm { bits: 4, block: 32, zeros: false };
                check(isa, &ScopedThreads(2), [96, 200], form, number, rows);
            }
        }
    }
}

#[test]
fn no_rows() {
    for number in NUMBERS {
        check(Isa::best(), &Serial, [40, 9], BlockForm { bits: 4, block: 16, zeros: true }, number, 0);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]
    #[test]
    fn any_sizes(
        bits in prop_oneof![Just(2u32), Just(4), Just(8)], zeros: bool, block in prop_oneof![Just(16usize), Just(32), Just(64), Just(128)],
        rows in 0usize..20, inputs in 1usize..300, outputs in 1usize..90, number in 0usize..4,
    ) {
        for isa in Isa::available() {
            check(isa, &Serial, [inputs, outputs], BlockForm { bits, block, zeros }, NUMBERS[number], rows);
        }
    }
}

/// At the limit with one sign in every place: one bit more anywhere would not fit.
#[test]
fn sums_of_whole_blocks_are_exact_at_the_extremes() {
    for isa in Isa::available() {
        for (bits, code) in [(2, 0xff), (2, 0), (4, 0xff), (4, 0)] {
            for sign in [1.0, -1.0] {
                let form = BlockForm { bits, block: 256, zeros: false };
                let codes = vec![code; 256 * bits as usize / 8];
                let stored = Stored { sizes: [256, 1], form, codes, scales: vec![1.0], zeros: None };
                let layer = stored.layer(isa, &spec([256, 1], (Precision::Int8, true)), None);
                let mut out = [0.0];
                run(&*layer, &Serial, 1, &[sign; 256], None, &mut out);
                let expected = stored.weights().real()[0] * sign * 256.0;
                assert!((out[0] - expected).abs() < 1e-4, "{isa}: {} for {expected}", out[0]);
            }
        }
    }
}

#[test]
fn rows_that_are_not_finite_give_nothing_finite_and_others_are_as_they_were() {
    let form = BlockForm { bits: 4, block: 32, zeros: false };
    for isa in Isa::available() {
        for number in [(Precision::Int8, false), (Precision::Int8, true)] {
            let stored = Stored::new([64, 8], form, 7);
            let layer = stored.layer(isa, &spec([64, 8], number), None);
            let mut x = noise(3 * 64, 1);
            let (mut alone, mut got) = ([0.0; 8], [0.0; 24]);
            run(&*layer, &Serial, 1, &x[128..], None, &mut alone);
            (x[3], x[70]) = (f32::NAN, f32::INFINITY);
            run(&*layer, &Serial, 3, &x, None, &mut got);
            assert!(got[..16].iter().all(|y| y.is_nan()), "{isa}: {got:?}");
            assert_eq!(got[16..], alone, "{isa}");
        }
    }
}

/// q, k and v of the same normed rows, and two layers after one another: to the bit what the layers give one by one,
/// whether they are stored alike or not.
#[test]
fn layers_together_are_the_layers_one_by_one() {
    let host = HostDevice::new();
    let other = BlockForm { bits: 4, block: 64, zeros: true };
    for number in NUMBERS {
        for rows in [1, 130] {
            let form = BlockForm { bits: 4, block: 32, zeros: false };
            let layers = [form, form, other]
                .map(|form| Stored::new([64, 64], form, 7).layer(host.isa(), &spec([64, 64], number), None));
            let (x, gain) = (noise(rows * 64, 1), noise(64, 5));
            let norm = Norm { gain: &gain, bias: None, epsilon: 1e-5 };
            let mut normed = vec![0.0; rows * 64];
            let pool = ScopedThreads(2);
            Context::fresh(&pool, |context| host.layer_norm(context, rows, &norm, &x, &mut normed));
            let mut apart = vec![vec![0.0; rows * 64]; 3];
            for (layer, out) in layers.iter().zip(&mut apart) {
                run(&**layer, &pool, rows, &normed, None, out);
            }
            let from = Rows { x: &x, rows, inputs: 64, norm: Some(&norm) };
            for count in [2, 3] {
                let mut together = vec![vec![0.0; rows * 64]; count];
                let product = |(layer, out)| Product { layer, outputs: 64, residual: None, out };
                let each = layers.iter().map(|layer| &**layer).zip(together.iter_mut().map(|out| &mut out[..]));
                let mut products: Vec<_> = each.map(product).collect();
                Context::fresh(&pool, |context| host.products(context, &from, &mut products)).0.unwrap();
                assert_eq!(together, apart[..count], "{number:?}, {rows} rows");
            }
            let (mut after, mut fused) = (vec![0.0; rows * 64], vec![0.0; rows * 64]);
            run(&*layers[2], &pool, rows, &apart[0], None, &mut after);
            let second = Product { layer: &*layers[2], outputs: 64, residual: None, out: &mut fused };
            Context::fresh(&pool, |context| host.mlp(context, &from, &*layers[0], 64, second)).0.unwrap();
            assert_eq!(fused, after, "{number:?}, {rows} rows");
        }
    }
}

/// Four bits stay four bits, whatever they are multiplied in.
#[test]
fn weights_take_as_much_memory_as_their_codes_and_scales() {
    let sizes = [512, 512];
    for number in NUMBERS {
        let stored = Stored::new(sizes, BlockForm { bits: 4, block: 32, zeros: false }, 7);
        let bytes = stored.layer(Isa::best(), &spec(sizes, number), None).weight_bytes();
        let (codes, scales) = (512 * 512 / 2, 512 * 16 * 4);
        assert!((codes + scales..=codes + scales + 2 * 4 * 512).contains(&bytes), "{number:?}: {bytes}");
    }
}
