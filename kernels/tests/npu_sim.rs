//! The simulated NPU against the obvious arithmetic, through the same trait as every device.

use proptest::prelude::*;
use undertone_boundary::npu::CoreCosts;
use undertone_kernels::{
    Activation, AttentionArgs, AttentionSpec, Context, Counters, Device, DeviceKind, Heads, HeadsMut, LinearSpec, Mask,
    Precision, Product, Rows, ScopedThreads, Scratch, WeightLayout,
    host::HostDevice,
    npu::{Settings, Target, sim::Mode, simulator},
    reference::{self, cosine, noise::noise},
};

/// Least cosine with the f32 oracle.
fn bound(precision: Precision) -> f64 {
    if precision == Precision::Int8 { 0.999 } else { 0.9999 }
}

fn settings(target: Target, mode: Mode) -> Settings {
    Settings { target, mode, ..Settings::default() }
}

/// A linear layer on a simulated NPU.
fn linear(settings: &Settings, spec: &LinearSpec, rows: usize) -> (Vec<f32>, Vec<f32>) {
    let device = simulator(settings);
    let (x, weights) = (noise(rows * spec.inputs, 1), noise(spec.inputs * spec.outputs, 2));
    let (bias, residual) = (noise(spec.outputs, 3), noise(rows * spec.outputs, 4));
    let kernel = device.linear(spec, &weights, WeightLayout::InputsByOutputs, Some(&bias)).expect("taken");
    assert_eq!((kernel.device(), kernel.precision()), (DeviceKind::Sim, spec.precision));
    let mut out = vec![f32::NAN; rows * spec.outputs];
    let run = |context: &mut Context<'_>| kernel.run(context, rows, &x, Some(&residual), &mut out);
    let (done, counters) = Context::fresh(&ScopedThreads(2), run);
    done.expect("runs");
    assert_eq!(counters.calls(DeviceKind::Sim), 1);
    let plain = LinearSpec { precision: Precision::F32, ..spec.clone() };
    let layout = WeightLayout::InputsByOutputs;
    (out, reference::linear::linear(&plain, &weights, layout, Some(&bias), rows, &x, Some(&residual)))
}

#[test]
fn products_of_odd_shapes_are_near_f32() {
    for target in Target::ALL {
        for precision in [Precision::Int8, Precision::Bf16] {
            for (rows, inputs, outputs) in
                [(1, 1, 1), (1, 64, 64), (3, 65, 63), (257, 64, 384), (100, 200, 300), (1500, 80, 96)]
            {
                for activation in [Activation::None, Activation::Gelu] {
                    let spec = LinearSpec { activation, scale: 0.5, ..LinearSpec::new(inputs, outputs, precision) };
                    let (got, wanted) = linear(&settings(target, Mode::Fast), &spec, rows);
                    let similar = cosine(&got, &wanted);
                    assert!(similar > bound(precision), "{target} {precision} {rows}×{inputs}×{outputs}: {similar}");
                }
            }
        }
    }
}

#[test]
fn no_rows_are_no_work() {
    let (got, wanted) = linear(&settings(Target::Npu1, Mode::Fast), &LinearSpec::new(8, 8, Precision::Int8), 0);
    assert!(got.is_empty() && wanted.is_empty());
}

/// The driver resets an NPU on which nothing is completed for 2 s: a layer whose command would take that long on this one,
/// which is a hundred thousand times as slow as any, is cut into commands of fewer rows.
#[test]
fn a_layer_that_would_take_too_long_is_cut() {
    let slow = CoreCosts { target: "npu4".into(), int8_macs: Some(5e-5), ..CoreCosts::default() };
    let spec = LinearSpec::new(64, 64, Precision::Int8);
    let (x, weights) = (noise(1000 * 64, 1), noise(64 * 64, 2));
    let [(whole, one), (cut, many)] = [None, Some(slow)].map(|core_costs| {
        let device = simulator(&Settings { core_costs, ..Settings::default() });
        let layer = device.linear(&spec, &weights, WeightLayout::InputsByOutputs, None).unwrap();
        let mut out = vec![f32::NAN; 1000 * 64];
        Context::fresh(&ScopedThreads(2), |context| layer.run(context, 1000, &x, None, &mut out)).0.unwrap();
        let dispatches: u64 = device.statistics().operators.values().map(|operator| operator.dispatches).sum();
        (out, dispatches)
    });
    assert!(one == 1 && many > 1, "{one} and {many} commands");
    assert!(whole == cut, "the cut layer gives something else");
}

fn attention(
    settings: &Settings,
    precision: Precision,
    [batch, heads, queries, keys]: [usize; 4],
) -> (Vec<f32>, Vec<f32>) {
    let device = simulator(settings);
    let spec = AttentionSpec { head_width: 64, scale: 0.125, precision };
    let kernel = device.attention(&spec).expect("taken");
    let (q, k, v) = (
        noise(batch * queries * heads * 64, 1),
        noise(batch * keys * heads * 64, 2),
        noise(batch * keys * heads * 64, 3),
    );
    // [batch, length, heads · 64], read in place.
    let strides = |length: usize| [length * heads * 64, 64, heads * 64];
    let view = |data, length| Heads::new(data, strides(length));
    let (counters, mut scratch) = (Counters::new(), Scratch::default());
    let mut out = [vec![f32::NAN; q.len()], vec![f32::NAN; q.len()]];
    let [got, wanted] = &mut out;
    let args = |data| AttentionArgs {
        batch,
        heads,
        queries,
        keys,
        q: view(&q, queries),
        k: view(&k, keys),
        v: view(&v, keys),
        mask: Mask::None,
        out: HeadsMut::new(data, strides(queries)),
    };
    let mut context = Context { pool: &ScopedThreads(2), counters: &counters, scratch: &mut scratch };
    kernel.run(&mut context, args(got)).expect("runs");
    assert_eq!(counters.calls(DeviceKind::Sim), 1, "on the simulator");
    let plain = AttentionSpec { precision: Precision::F32, ..spec };
    if queries * keys > 1 << 20 {
        HostDevice::new().attention(&plain).expect("taken").run(&mut context, args(wanted)).expect("runs");
    } else {
        reference::attention::attention(&plain, args(wanted));
    }
    let [got, wanted] = out;
    (got, wanted)
}

#[test]
fn attention_of_odd_shapes_is_near_f32() {
    for target in Target::ALL {
        for precision in [Precision::Int8, Precision::Bf16] {
            for shape in [[1, 1, 64, 1], [1, 6, 70, 64], [2, 3, 100, 65], [1, 9, 129, 200], [1, 2, 300, 1500]] {
                let (got, wanted) = attention(&settings(target, Mode::Fast), precision, shape);
                let similar = cosine(&got, &wanted);
                assert!(similar > bound(precision), "{target} {precision} {shape:?}: {similar}");
            }
        }
    }
}

#[test]
fn fast_and_exact_agree_bit_for_bit() {
    for target in Target::ALL {
        for precision in [Precision::Int8, Precision::Bf16] {
            for (rows, inputs, outputs) in [(33, 70, 50), (260, 130, 400)] {
                for activation in [Activation::None, Activation::Gelu] {
                    let spec = LinearSpec { activation, ..LinearSpec::new(inputs, outputs, precision) };
                    let fast = linear(&settings(target, Mode::Fast), &spec, rows).0;
                    let exact = linear(&settings(target, Mode::Exact), &spec, rows).0;
                    assert!(fast == exact, "{target} {precision} {rows}×{inputs}×{outputs}");
                }
            }
            for shape in [[1, 2, 64, 1], [1, 5, 70, 130], [2, 3, 131, 64]] {
                let fast = attention(&settings(target, Mode::Fast), precision, shape).0;
                let exact = attention(&settings(target, Mode::Exact), precision, shape).0;
                assert!(fast == exact, "{target} {precision} {shape:?}");
            }
        }
    }
}

#[test]
fn what_an_npu_does_not_compute_is_refused_in_words() {
    let device = simulator(&Settings::default());
    let refused =
        device.linear(&LinearSpec::new(8, 8, Precision::F32), &[0.0; 64], WeightLayout::InputsByOutputs, None).err();
    assert!(refused.expect("refused").to_string().contains("fp32"));
    let wide = AttentionSpec { head_width: 80, scale: 1.0, precision: Precision::Int8 };
    assert!(device.attention(&wide).err().expect("refused").to_string().contains("64 wide, not 80"));
}

#[test]
fn statistics_count_what_ran() {
    let device = simulator(&settings(Target::Npu1, Mode::Fast));
    let layer = LinearSpec::new(384, 384, Precision::Int8);
    let kernel = device.linear(&layer, &noise(384 * 384, 1), WeightLayout::InputsByOutputs, None).expect("taken");
    let heads = AttentionSpec { head_width: 64, scale: 0.125, precision: Precision::Int8 };
    device.attention(&heads).expect("taken");
    assert!(device.statistics().operators.is_empty(), "the trial problems are not counted");
    let (counters, mut scratch) = (Counters::new(), Scratch::default());
    let mut context = Context { pool: &ScopedThreads(2), counters: &counters, scratch: &mut scratch };
    let (x, mut out) = (noise(1500 * 384, 2), vec![0.0; 1500 * 384]);
    for _ in 0..2 {
        kernel.run(&mut context, 1500, &x, None, &mut out).expect("runs");
    }
    let statistics = device.statistics();
    let linear = &statistics.operators["linear_int8"];
    assert_eq!((linear.calls, linear.dispatches, linear.macs), (2, 2, 2 * 1500 * 384 * 384));
    assert!(linear.core_macs.iter().sum::<u64>() >= linear.macs, "padding included");
    assert!(linear.dma_bytes[2] >= 2 * 2 * 1500 * 384, "results are bf16");
    assert!(linear.predicted_seconds > linear.predicted_compute_seconds && linear.predicted_compute_seconds > 0.0);
    assert_eq!(linear.problems["1500×384×384"].calls, 2);
    assert!(linear.utilisation.len() == 16 && linear.utilisation.iter().all(|core| (0.0..1.0).contains(core)));
}

#[test]
fn layers_of_the_same_rows_are_one_command() {
    let device = simulator(&settings(Target::Npu1, Mode::Fast));
    let (rows, inputs) = (70, 96);
    let x = noise(rows * inputs, 1);
    let widths = [64, 96, 200];
    let layers = widths.map(|outputs| {
        let weights = noise(inputs * outputs, outputs as u64);
        device
            .linear(&LinearSpec::new(inputs, outputs, Precision::Int8), &weights, WeightLayout::InputsByOutputs, None)
            .expect("taken")
    });
    let (counters, mut scratch) = (Counters::new(), Scratch::default());
    let mut context = Context { pool: &ScopedThreads(2), counters: &counters, scratch: &mut scratch };
    let mut apart = widths.map(|outputs| vec![0.0; rows * outputs]);
    for (layer, out) in layers.iter().zip(&mut apart) {
        layer.run(&mut context, rows, &x, None, out).expect("runs");
    }
    let before = device.statistics().operators["linear_int8"].clone();
    let mut together = widths.map(|outputs| vec![0.0; rows * outputs]);
    let mut products: Vec<Product<'_>> = layers
        .iter()
        .zip(widths)
        .zip(&mut together)
        .map(|((layer, outputs), out)| Product { layer: &**layer, outputs, residual: None, out })
        .collect();
    let from = Rows { x: &x, rows, inputs, norm: None };
    device.products(&mut context, &from, &mut products).expect("runs");
    assert_eq!(apart, together);
    let after = &device.statistics().operators["linear_int8"];
    assert_eq!((after.calls - before.calls, after.dispatches - before.dispatches), (3, 1));
    assert_eq!((before.dispatches, counters.calls(DeviceKind::Sim), counters.calls(DeviceKind::Host)), (3, 6, 0));
}

/// The shapes of whisper-tiny's encoder, each on both NPUs, against the host's f32 kernels (which other tests hold
/// against f64).
#[test]
fn kernels_of_a_whisper_encoder_are_near_f32() {
    const LINEAR: [(usize, usize, usize, Activation); 4] = [
        (3000, 240, 384, Activation::Gelu),
        (1500, 384, 384, Activation::None),
        (1500, 384, 1536, Activation::Gelu),
        (1500, 1536, 384, Activation::None),
    ];
    let host = HostDevice::new();
    let (counters, mut scratch) = (Counters::new(), Scratch::default());
    let mut context = Context { pool: &ScopedThreads(2), counters: &counters, scratch: &mut scratch };
    for target in Target::ALL {
        for precision in [Precision::Int8, Precision::Bf16] {
            let device = simulator(&settings(target, Mode::Fast));
            for (rows, inputs, outputs, activation) in LINEAR {
                let (x, weights, bias) = (noise(rows * inputs, 1), noise(inputs * outputs, 2), noise(outputs, 3));
                let spec = LinearSpec { activation, scale: 0.125, ..LinearSpec::new(inputs, outputs, precision) };
                let plain = LinearSpec { precision: Precision::F32, ..spec.clone() };
                let [got, wanted] = [(&*device as &dyn Device, &spec), (&host, &plain)].map(|(device, spec)| {
                    let layer =
                        device.linear(spec, &weights, WeightLayout::InputsByOutputs, Some(&bias)).expect("taken");
                    let mut out = vec![0.0; rows * outputs];
                    layer.run(&mut context, rows, &x, None, &mut out).expect("runs");
                    out
                });
                let similar = cosine(&got, &wanted);
                assert!(similar > bound(precision), "{target} {precision} {rows}×{inputs}×{outputs}: {similar}");
            }
        }
    }
}

/// Its attention.
#[test]
fn attention_of_a_whisper_encoder_is_near_f32() {
    for target in Target::ALL {
        for precision in [Precision::Int8, Precision::Bf16] {
            let (got, wanted) = attention(&settings(target, Mode::Fast), precision, [1, 6, 1500, 1500]);
            let similar = cosine(&got, &wanted);
            assert!(similar > bound(precision), "{target} {precision}: {similar}");
        }
    }
}

#[test]
fn counting_moves_what_computing_moves() {
    let report = |mode| {
        let device = simulator(&settings(Target::Npu4, mode));
        let layer = LinearSpec::new(100, 200, Precision::Int8);
        let kernel = device.linear(&layer, &noise(100 * 200, 1), WeightLayout::InputsByOutputs, None).expect("taken");
        let (counters, mut scratch) = (Counters::new(), Scratch::default());
        let mut context = Context { pool: &ScopedThreads(2), counters: &counters, scratch: &mut scratch };
        let (x, mut out) = (noise(70 * 100, 2), vec![1.0; 70 * 200]);
        kernel.run(&mut context, 70, &x, None, &mut out).expect("runs");
        let mut statistics = device.statistics().operators["linear_int8"].clone();
        (statistics.wall_seconds, statistics.packing_seconds) = (0.0, 0.0);
        (statistics, out)
    };
    let (computed, counted) = (report(Mode::Fast), report(Mode::Count));
    assert_eq!(computed.0, counted.0);
    assert!(computed.1.iter().any(|y| *y != 0.0) && counted.1.iter().all(|y| *y == 0.0));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]
    #[test]
    fn any_product_is_near_f32(
        rows in 1usize..300, inputs in 1usize..200, outputs in 1usize..500, int8 in any::<bool>(), npu1 in any::<bool>(),
    ) {
        let precision = if int8 { Precision::Int8 } else { Precision::Bf16 };
        let target = if npu1 { Target::Npu1 } else { Target::Npu4 };
        let (got, wanted) = linear(&settings(target, Mode::Fast), &LinearSpec::new(inputs, outputs, precision), rows);
        prop_assert!(cosine(&got, &wanted) > bound(precision));
    }
}
