//! Whole rows on the simulated NPU: soft-max, layer norm and GELU against plain arithmetic in f64.

use half::bf16;
use proptest::prelude::*;
use undertone_kernels::{
    Context, Counters, DeviceKind, Scratch,
    npu::{NpuDevice, RowFunction, RowOperator, Settings, Target, device::simulator, sim::Mode},
    parallel::ScopedThreads,
    reference,
};

const EPSILON: f32 = 1e-5;

/// Roughly normal values around `offset`.
fn noise(count: usize, seed: u64, offset: f32) -> Vec<f32> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 40) as f32 / (1u64 << 24) as f32
    };
    (0..count).map(|_| 2.0 * (0..4).map(|_| next()).sum::<f32>() - 4.0 + offset).collect()
}

fn cosine(a: &[f32], b: &[f32]) -> f64 {
    let dot = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum::<f64>();
    dot(a, b) / (dot(a, a) * dot(b, b)).sqrt()
}

fn device(target: Target, mode: Mode) -> std::sync::Arc<dyn NpuDevice> {
    simulator(&Settings { target, mode, bundle_dir: None })
}

/// A function of seeded rows on a device, and in f64: of the same values, or of those rounded to bf16, as the array has them.
fn run(device: &dyn NpuDevice, what: RowOperator, rows: usize, columns: usize) -> (Vec<f32>, [Vec<f32>; 2]) {
    let x = noise(rows * columns, 1, if what == RowOperator::LayerNorm { 0.5 } else { 0.0 });
    let (gamma, beta) = (noise(columns, 2, 1.0), noise(columns, 3, 0.0));
    let function = match what {
        RowOperator::SoftMax => RowFunction::SoftMax,
        RowOperator::LayerNorm => RowFunction::LayerNorm { gamma: &gamma, beta: &beta, epsilon: EPSILON },
        RowOperator::Gelu => RowFunction::Gelu,
    };
    let (counters, mut scratch) = (Counters::new(), Scratch::default());
    let mut context = Context { pool: &ScopedThreads(2), counters: &counters, scratch: &mut scratch };
    let mut out = vec![f32::NAN; rows * columns];
    device.rows(&mut context, &function, columns, &x, &mut out).expect("runs");
    assert_eq!(counters.calls(DeviceKind::Sim), 1);
    let wanted = |x: &[f32]| match what {
        RowOperator::SoftMax => reference::norm::softmax(columns, x),
        RowOperator::LayerNorm => reference::norm::layer_norm(columns, x, &gamma, Some(&beta), EPSILON),
        RowOperator::Gelu => x.iter().map(|x| reference::norm::gelu(f64::from(*x)) as f32).collect(),
    };
    let rounded: Vec<f32> = x.iter().map(|x| bf16::from_f32(*x).to_f32()).collect();
    (out, [wanted(&x), wanted(&rounded)])
}

/// Rows of Whisper's lengths: near the truth, whatever rounding did to the values.
fn near(device: &dyn NpuDevice, what: RowOperator, rows: usize, columns: usize) {
    let (got, [wanted, _]) = run(device, what, rows, columns);
    let similar = cosine(&got, &wanted);
    assert!(similar > 0.9999, "{} {what} of {rows} rows of {columns}: {similar}", device.target());
}

/// Any rows: near the truth of the rounded values, for two values that become one in bf16 have no norm.
fn near_rounded(device: &dyn NpuDevice, what: RowOperator, rows: usize, columns: usize) {
    let (got, [_, wanted]) = run(device, what, rows, columns);
    let similar = cosine(&got, &wanted);
    assert!(similar > 0.9999, "{} {what} of {rows} rows of {columns}: {similar}", device.target());
}

#[test]
fn rows_of_whisper_are_near_f64() {
    for target in Target::ALL {
        let device = device(target, Mode::Fast);
        for width in [384, 512, 768, 1024, 1280] {
            near(&*device, RowOperator::LayerNorm, 1500, width);
        }
        near(&*device, RowOperator::SoftMax, 6 * 1500, 1500);
        near(&*device, RowOperator::Gelu, 1500, 1536);
        near(&*device, RowOperator::Gelu, 1500, 5120);
    }
}

#[test]
fn rows_of_odd_shapes_are_near_f64() {
    for target in Target::ALL {
        let device = device(target, Mode::Fast);
        for what in RowOperator::ALL {
            for (rows, columns) in [(1, 2), (1, 17), (3, 16), (700, 65), (33, 1000), (2, 1536), (1100, 700)] {
                near_rounded(&*device, what, rows, columns);
            }
            (1..40).for_each(|columns| near_rounded(&*device, what, 67, columns));
        }
    }
}

#[test]
fn fast_and_exact_agree_bit_for_bit() {
    for target in Target::ALL {
        let [fast, exact] = [Mode::Fast, Mode::Exact].map(|mode| device(target, mode));
        for what in RowOperator::ALL {
            for (rows, columns) in [(1, 1), (5, 15), (150, 384), (40, 1500), (3000, 33)] {
                let [fast, exact] = [&fast, &exact].map(|device| run(&**device, what, rows, columns).0);
                assert!(fast == exact, "{target} {what} of {rows} rows of {columns}");
            }
        }
    }
}

#[test]
fn rows_too_wide_are_refused_in_words() {
    let device = device(Target::Npu1, Mode::Fast);
    let (counters, mut scratch) = (Counters::new(), Scratch::default());
    let mut context = Context { pool: &ScopedThreads(1), counters: &counters, scratch: &mut scratch };
    let (x, mut out) = (vec![0.0; 1537], vec![0.0; 1537]);
    let refused = device.rows(&mut context, &RowFunction::SoftMax, 1537, &x, &mut out).unwrap_err().to_string();
    assert!(refused.contains("rows of 1537 numbers, and the array takes 1536 at most"), "{refused}");
    // GELU knows no rows, so none is too wide.
    device.rows(&mut context, &RowFunction::Gelu, 1537, &x, &mut out).expect("runs");
    device.rows(&mut context, &RowFunction::SoftMax, 0, &[], &mut []).expect("nothing to do");
}

#[test]
fn statistics_count_rows_and_changes_of_the_array() {
    let device = device(Target::Npu4, Mode::Count);
    run(&*device, RowOperator::LayerNorm, 1500, 384);
    run(&*device, RowOperator::SoftMax, 20, 100);
    let statistics = device.statistics();
    let norm = &statistics.operators["layer_norm"];
    assert_eq!((norm.calls, norm.dispatches, norm.macs, norm.context_switches), (1, 1, 0, 0));
    // 47 times four objects of eight rows; gamma and beta for each of eight columns.
    assert_eq!(norm.dma_bytes, [47 * 4 * 6176, 8 * 2 * 6144, 47 * 4 * 6144]);
    assert!(
        norm.predicted_seconds > norm.predicted_compute_seconds && norm.utilisation.iter().all(|core| *core == 0.0)
    );
    let problem = &norm.problems["layer norm of 1500 rows of 384"];
    assert!(problem.useful > 0.99 && problem.useful < 1.0, "{}", problem.useful);
    assert_eq!(statistics.operators["soft_max"].dma_bytes[1], 0);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    #[test]
    fn any_rows_are_near_f64(what in 0usize..3, rows in 1usize..400, columns in 1usize..1537, npu1 in any::<bool>()) {
        near_rounded(&*device(if npu1 { Target::Npu1 } else { Target::Npu4 }, Mode::Fast), RowOperator::ALL[what], rows, columns);
    }

    #[test]
    fn any_rows_are_bit_equal(what in 0usize..3, rows in 1usize..60, columns in 1usize..300, npu1 in any::<bool>()) {
        let target = if npu1 { Target::Npu1 } else { Target::Npu4 };
        let [fast, exact] = [Mode::Fast, Mode::Exact].map(|mode| run(&*device(target, mode), RowOperator::ALL[what], rows, columns).0);
        prop_assert!(fast == exact);
    }
}
