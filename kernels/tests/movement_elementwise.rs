//! Element-wise operators with broadcasting against index arithmetic that is written out.

use proptest::prelude::*;
use undertone_kernels::{
    Context, DeviceKind, Parallel, ScopedThreads, Serial,
    host::{
        HostDevice, Isa,
        elementwise::{Binary, Compare, Logic, binary_i64, compare, is_nan, logic, not, select},
        movement::broadcast_shape,
    },
};

/// What a dense operand of `shape` has where the broadcast output of `out_shape` has its `at`th element.
fn pick<T: Copy>(x: &[T], shape: &[usize], out_shape: &[usize], mut at: usize) -> T {
    let (mut from, mut stride) = (0, 1);
    for (n, &length) in out_shape.iter().enumerate().rev() {
        let index = at % length;
        at /= length;
        if let Some(axis) = (n + shape.len()).checked_sub(out_shape.len()) {
            from += if shape[axis] == 1 { 0 } else { index * stride };
            stride *= shape[axis];
        }
    }
    x[from]
}

fn run_f32(isa: Isa, pool: &dyn Parallel, op: Binary, a: (&[f32], &[usize]), b: (&[f32], &[usize])) -> Vec<f32> {
    let out_shape = broadcast_shape(&[a.1, b.1]).expect("shapes that broadcast");
    let mut out = vec![f32::NAN; out_shape.elements()];
    let host = HostDevice::with_isa(isa).expect("an available instruction set");
    let ((), counters) = Context::fresh(pool, |context| host.binary(context, op, [a, b], &out_shape, &mut out));
    assert_eq!(counters.calls(DeviceKind::Host), 1);
    out
}

fn plain(op: Binary, a: f32, b: f32) -> f32 {
    match op {
        Binary::Add => a + b,
        Binary::Sub => a - b,
        Binary::Mul => a * b,
        Binary::Div => a / b,
        Binary::Min if a.is_nan() || b.is_nan() => f32::NAN,
        Binary::Max if a.is_nan() || b.is_nan() => f32::NAN,
        Binary::Min => a.min(b),
        Binary::Max => a.max(b),
        Binary::Pow => a.powf(b),
    }
}

const ALL: [Binary; 7] = [Binary::Add, Binary::Sub, Binary::Mul, Binary::Div, Binary::Min, Binary::Max, Binary::Pow];

fn check_f32(a_shape: &[usize], b_shape: &[usize]) {
    let values = |shape: &[usize], step: usize| -> Vec<f32> {
        (0..shape.iter().product()).map(|i: usize| ((i * step) % 23) as f32 * 0.5 - 4.0).collect()
    };
    let (a, b) = (values(a_shape, 7), values(b_shape, 5));
    let out_shape = broadcast_shape(&[a_shape, b_shape]).expect("shapes that broadcast");
    for isa in Isa::available() {
        for op in ALL {
            for pool in [&Serial as &dyn Parallel, &ScopedThreads(2)] {
                for (at, got) in run_f32(isa, pool, op, (&a, a_shape), (&b, b_shape)).into_iter().enumerate() {
                    let (a, b) = (pick(&a, a_shape, &out_shape, at), pick(&b, b_shape, &out_shape, at));
                    let expected = plain(op, a, b);
                    let same = got == expected || got.is_nan() && expected.is_nan();
                    assert!(same, "{isa} {op:?} {a_shape:?} {b_shape:?}: {a}, {b} gave {got}, not {expected}");
                }
            }
        }
    }
}

#[test]
fn fp32_with_broadcasting() {
    check_f32(&[], &[]);
    check_f32(&[1], &[]);
    check_f32(&[7], &[7]);
    check_f32(&[3, 1], &[1, 5]);
    check_f32(&[2, 19, 33], &[33]);
    check_f32(&[33], &[2, 19, 33]);
    check_f32(&[2, 19, 33], &[19, 1]);
    check_f32(&[2, 19, 33], &[1]);
    check_f32(&[0, 3], &[3]);
    check_f32(&[300, 384], &[300, 384]);
    check_f32(&[300, 384], &[]);
}

#[test]
fn not_a_number_survives_minimum_and_maximum() {
    for isa in Isa::available() {
        for op in [Binary::Min, Binary::Max] {
            let got = run_f32(isa, &Serial, op, (&[f32::NAN, 1.0, 2.0], &[3]), (&[1.0, f32::NAN, 3.0], &[3]));
            assert!(got[0].is_nan() && got[1].is_nan() && !got[2].is_nan(), "{isa} {op:?}: {got:?}");
        }
    }
}

#[test]
fn int64_arithmetic() {
    let run = |op, a: &[i64], b: &[i64]| {
        let mut out = vec![0; a.len()];
        binary_i64(op, a, &[a.len()], b, &[b.len()], &[a.len()], &mut out);
        out
    };
    assert_eq!(run(Binary::Add, &[1, i64::MAX], &[2, 1]), [3, i64::MIN]);
    assert_eq!(run(Binary::Sub, &[1, i64::MIN], &[2, 1]), [-1, i64::MAX]);
    assert_eq!(run(Binary::Mul, &[3, -4], &[5]), [15, -20]);
    assert_eq!(run(Binary::Div, &[7, -7, 7, -7, 5, i64::MIN], &[2, 2, -2, -2, 0, -1]), [3, -3, -3, 3, 0, i64::MIN]);
    assert_eq!(run(Binary::Min, &[1, 5], &[3]), [1, 3]);
    assert_eq!(run(Binary::Max, &[1, 5], &[3]), [3, 5]);
    assert_eq!(
        run(Binary::Pow, &[2, -3, 5, 1, -1, -1, 7, 0], &[10, 3, 0, -5, -5, -4, -1, 0]),
        [1024, -27, 1, 1, -1, 1, 0, 1]
    );
}

#[test]
fn comparisons_logic_and_selection() {
    let run = |op| {
        let mut out = [9; 4];
        compare(op, &[1.0, 2.0, 3.0, f32::NAN], &[4], &[2.0], &[1], &[4], &mut out);
        out
    };
    assert_eq!(run(Compare::Equal), [0, 1, 0, 0]);
    assert_eq!(run(Compare::Less), [1, 0, 0, 0]);
    assert_eq!(run(Compare::LessOrEqual), [1, 1, 0, 0]);
    assert_eq!(run(Compare::Greater), [0, 0, 1, 0]);
    assert_eq!(run(Compare::GreaterOrEqual), [0, 1, 1, 0]);
    let mut out = [9; 4];
    compare(Compare::Less, &[1i64, 2], &[2, 1], &[2i64, 1], &[1, 2], &[2, 2], &mut out);
    assert_eq!(out, [1, 0, 0, 0]);
    logic(Logic::And, &[0, 1, 2, 0], &[4], &[1, 1, 1, 0], &[4], &[4], &mut out);
    assert_eq!(out, [0, 1, 1, 0]);
    logic(Logic::Or, &[0, 1, 2, 0], &[4], &[0], &[], &[4], &mut out);
    assert_eq!(out, [0, 1, 1, 0]);
    not(&[0, 1, 2, 0], &mut out);
    assert_eq!(out, [1, 0, 0, 1]);
    is_nan(&[f32::NAN, 0.0, -f32::NAN, f32::INFINITY], &mut out);
    assert_eq!(out, [1, 0, 1, 0]);
}

proptest! {
    #[test]
    fn any_selection(
        axes in prop::collection::vec((1usize..5, any::<[bool; 3]>()), 0..5), skip in any::<[bool; 3]>(), seed: u64,
    ) {
        let out_shape: Vec<usize> = axes.iter().map(|a| a.0).collect();
        let count: usize = out_shape.iter().product();
        let shape = |n: usize| -> Vec<usize> {
            // An operand may lack the first axis, and be of length one along any.
            axes.iter().skip(usize::from(skip[n])).map(|a| if a.1[n] { 1 } else { a.0 }).collect()
        };
        let shapes = [shape(0), shape(1), shape(2)];
        let sizes: Vec<usize> = shapes.iter().map(|shape| shape.iter().product()).collect();
        let cond: Vec<u8> = (0..sizes[0]).map(|i| (seed >> (i % 64)) as u8 & 1).collect();
        let a: Vec<i64> = (0..sizes[1] as i64).collect();
        let b: Vec<i64> = (0..sizes[2] as i64).map(|i| -1 - i).collect();
        let mut out = vec![i64::MAX; count];
        select(&cond, &shapes[0], &a, &shapes[1], &b, &shapes[2], &out_shape, &mut out);
        for (at, &got) in out.iter().enumerate() {
            let expected = if pick(&cond, &shapes[0], &out_shape, at) != 0 {
                pick(&a, &shapes[1], &out_shape, at)
            } else {
                pick(&b, &shapes[2], &out_shape, at)
            };
            prop_assert_eq!(got, expected);
        }
    }

    #[test]
    fn any_broadcast(axes in prop::collection::vec((1usize..6, any::<bool>(), any::<bool>()), 0..5), skip in 0usize..3) {
        let a: Vec<usize> = axes.iter().map(|a| if a.1 { 1 } else { a.0 }).collect();
        let b: Vec<usize> = axes.iter().skip(skip).map(|a| if a.2 { 1 } else { a.0 }).collect();
        check_f32(&a, &b);
        check_f32(&b, &a);
    }
}
