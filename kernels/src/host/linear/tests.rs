//! The layout of CPUs that multiply bytes, in plain Rust: this CPU may not be one.

use super::{
    HostLinear,
    format::{Format, Int8, Int8Wide},
    kernel::Kernel,
    pack, prepare,
};
use crate::{
    Activation, Context, Linear, LinearSpec, Precision, WeightLayout, host::Isa, numbers::wide_limit,
    parallel::ScopedThreads, reference::noise::noise,
};

fn run(layer: &dyn Linear, rows: usize, outputs: usize, x: &[f32]) -> Vec<u32> {
    let mut out = vec![f32::MAX; rows * outputs];
    let pool = &ScopedThreads(2);
    Context::fresh(pool, |context| layer.run(context, rows, x, None, &mut out)).0.expect("the host never fails");
    out.into_iter().map(f32::to_bits).collect()
}

fn check<P: Format>(wide_rows: bool) {
    for (rows, inputs, outputs) in [(1, 1, 1), (1, 7, 3), (2, 130, 70), (9, 65, 33), (120, 96, 40), (1, 4096, 17)] {
        let (activation, scale) = (Activation::Gelu, 0.5);
        let spec = LinearSpec { inputs, outputs, precision: Precision::Int8, wide_rows, activation, scale };
        let (weights, layout) = (noise(inputs * outputs, 1), WeightLayout::OutputsByInputs);
        let mut x = noise(rows * inputs, 2);
        // Both ends of the range, with every sign.
        x[0] = -1.0;
        x[inputs / 2] = if rows % 2 == 0 { 1.0 } else { -1.0 };
        let bias = noise(outputs, 3);
        let kernel = Kernel::of_bytes::<P>();
        let packed = pack::pack(&kernel, Precision::Int8, &spec, &weights, layout, Some(&bias));
        let bytes = HostLinear { spec: spec.clone(), kernel, packed };
        let words = prepare(Isa::Portable, &spec, &weights, layout, Some(&bias));
        assert_eq!(run(&bytes, rows, outputs, &x), run(&*words, rows, outputs, &x), "{spec:?}, {rows} rows");
    }
}

#[test]
fn products_of_bytes_are_those_of_words_to_the_bit() {
    check::<Int8>(false);
    check::<Int8Wide>(true);
}

/// All sums are of one sign and at the limit: one bit more anywhere would not fit.
#[test]
fn wide_sums_are_exact_at_the_extremes() {
    for inputs in [1, 4, 519, 520, 2048, 5120, 133_143] {
        let limit = wide_limit(inputs);
        assert!((127.0..=32_512.0).contains(&limit), "{limit} for {inputs}");
        for sign in [1.0, -1.0] {
            let spec = LinearSpec { wide_rows: true, ..LinearSpec::new(inputs, 3, Precision::Int8) };
            let weights = vec![127.0 * sign; 3 * inputs];
            let kernel = Kernel::of_bytes::<Int8Wide>();
            let layout = WeightLayout::InputsByOutputs;
            let packed = pack::pack(&kernel, Precision::Int8, &spec, &weights, layout, None);
            let bytes = HostLinear { spec: spec.clone(), kernel, packed };
            let x = vec![limit; inputs];
            let expected = (limit as i32 * 127 * inputs as i32) as f32 * sign;
            for layer in [&bytes as &dyn Linear, &*prepare(Isa::best(), &spec, &weights, layout, None)] {
                assert!(run(layer, 1, 3, &x).into_iter().all(|y| f32::from_bits(y) == expected), "{inputs} {sign}");
            }
        }
    }
}
