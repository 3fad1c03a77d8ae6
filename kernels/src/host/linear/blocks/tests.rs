//! The layout of CPUs that multiply bytes, in plain Rust: this CPU may not be one.

use super::{levels, pack, place};
use crate::{
    Activation, BlockForm, BlockWeights, Context, Linear, LinearSpec, Precision,
    host::{
        Isa,
        linear::{HostLinear, kernel::Kernel, prepare_blocks},
    },
    parallel::ScopedThreads,
    reference::noise::noise,
};

fn run(layer: &dyn Linear, rows: usize, outputs: usize, x: &[f32]) -> Vec<u32> {
    let mut out = vec![f32::MAX; rows * outputs];
    let pool = &ScopedThreads(2);
    Context::fresh(pool, |context| layer.run(context, rows, x, None, &mut out)).0.expect("the host never fails");
    out.into_iter().map(f32::to_bits).collect()
}

#[test]
fn products_of_bytes_are_those_of_words_to_the_bit() {
    for (rows, inputs, outputs) in [(1, 1, 1), (1, 7, 3), (2, 130, 70), (9, 65, 33), (120, 96, 40)] {
        for (zeros, wide_rows) in [(false, false), (false, true), (true, false), (true, true)] {
            let form = BlockForm { bits: 4, block: 32, zeros };
            let entries = outputs * usize::div_ceil(inputs, 32);
            let codes: Vec<u8> = noise(16 * entries, 1).iter().map(|value| (value.to_bits() >> 3) as u8).collect();
            let weights = BlockWeights {
                inputs,
                outputs,
                form,
                codes: &codes,
                scales: noise(entries, 2).into(),
                zeros: zeros.then(|| noise(entries, 3).iter().map(|value| 8.0 + 3.0 * value).collect()),
            };
            let (activation, scale) = (Activation::Gelu, 0.5);
            let spec = LinearSpec { inputs, outputs, precision: Precision::Int8, wide_rows, activation, scale };
            let (bias, x) = (noise(outputs, 3), noise(rows * inputs, 4));
            let kernel = Kernel::of_blocks_in_bytes(wide_rows, form);
            let packed = pack(&kernel, &spec, &weights, Some(&bias));
            let bytes = HostLinear { spec: spec.clone(), kernel, packed };
            let words = prepare_blocks(Isa::Portable, &spec, &weights, Some(&bias));
            assert_eq!(run(&bytes, rows, outputs, &x), run(&*words, rows, outputs, &x), "{spec:?}, {rows} rows");
        }
    }
}

#[test]
fn each_code_of_a_word_has_a_place_of_its_own() {
    for bits in [2u32, 4, 8] {
        for group in [1, 2, 4] {
            let each = 32 / bits as usize;
            assert_eq!(levels(bits, group) * group, each);
            let taken = (0..each).fold(0u32, |taken, input| {
                let code = (u32::MAX >> (32 - bits)) << place(bits, group, input);
                assert_eq!(taken & code, 0, "{bits} bits in groups of {group}");
                taken | code
            });
            assert_eq!(taken, u32::MAX);
        }
    }
}
