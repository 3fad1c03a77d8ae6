//! Attention by the tile kernel, against f64: numbers of keys around the blocks, masked tails, large scores, any tile.

mod common;

use common::{attention::Head, cosine};
use proptest::prelude::*;
use undertone_aie::{Attention, HEAD_WIDTH, KernelError, Precision, Target, Tile};

const BOTH: [Precision; 2] = [Precision::Bf16, Precision::Int8];

/// The cosine that the project asks for.
fn enough(precision: Precision) -> f64 {
    if precision == Precision::Bf16 { 0.9999 } else { 0.999 }
}

fn close(head: &Head, found: &[f64], precision: Precision, what: &str) {
    let expected = head.oracle();
    let found_cosine = cosine(found, &expected);
    assert!(found_cosine > enough(precision), "{what}: cosine {found_cosine}");
    let largest = expected.iter().fold(0.0f64, |most, value| most.max(value.abs()));
    for (found, expected) in found.iter().zip(&expected) {
        assert!((found - expected).abs() <= 0.02 * largest, "{what}: {found} for {expected}");
    }
}

#[test]
fn numbers_of_keys_around_the_blocks() {
    for (target, precision) in Target::ALL.into_iter().flat_map(|target| BOTH.map(|precision| (target, precision))) {
        for keys in [1, 2, 63, 64, 65, 127, 128, 129, 1500] {
            let head = Head::seeded(precision, 37, keys, 1.0, keys as u64);
            let found = head.run(target, 32, 64, 0.0);
            close(&head, &found, precision, &format!("{target:?} {precision:?}, {keys} keys"));
        }
    }
}

#[test]
fn what_lies_behind_the_last_key_does_not_count() {
    for target in Target::ALL {
        let head = Head::seeded(Precision::Bf16, 32, 65, 1.0, 3);
        let (zeros, large) = (head.run(target, 32, 64, 0.0), head.run(target, 32, 64, 1.0e4));
        assert_eq!(zeros, large, "{target:?}");
    }
}

#[test]
fn without_keys_there_are_zeros() {
    for (target, precision) in Target::ALL.into_iter().flat_map(|target| BOTH.map(|precision| (target, precision))) {
        let head = Head::seeded(precision, 32, 0, 1.0, 1);
        assert_eq!(head.run(target, 32, 64, 0.0), vec![0.0; 32 * HEAD_WIDTH]);
    }
}

#[test]
fn large_scores_of_either_sign_stay_finite() {
    for (target, precision) in Target::ALL.into_iter().flat_map(|target| BOTH.map(|precision| (target, precision))) {
        // Scores up to ±10⁴: the soft-max picks one key.
        let head = Head::seeded(precision, 32, 200, 50.0, 9);
        close(&head, &head.run(target, 32, 64, 0.0), precision, "scores of some 10⁴");
        // All scores far below 0, with a masked tail whose scores would be 0.
        let (q, k) = (vec![30.0; 32 * HEAD_WIDTH], vec![-30.0; 70 * HEAD_WIDTH]);
        let v: Vec<f32> = (0..70 * HEAD_WIDTH).map(|at| (at % 17) as f32).collect();
        let head = Head::new(precision, &q, &k, &v);
        close(&head, &head.run(target, 32, 64, 0.0), precision, "all scores −7200");
    }
}

#[test]
fn the_largest_score_may_come_first_or_last() {
    for keys_up in [true, false] {
        let mut k: Vec<f32> = Vec::new();
        for key in 0..300usize {
            let size = if keys_up { key } else { 300 - key } as f32 / 30.0;
            k.extend((0..HEAD_WIDTH).map(|at| if at % 2 == 0 { size } else { -size }));
        }
        let q: Vec<f32> = (0..32 * HEAD_WIDTH).map(|at| if at % 2 == 0 { 1.0 } else { -0.5 }).collect();
        let v: Vec<f32> = (0..300 * HEAD_WIDTH).map(|at| ((at * 7) % 23) as f32 - 11.0).collect();
        for precision in BOTH {
            let head = Head::new(precision, &q, &k, &v);
            close(&head, &head.run(Target::Npu4, 32, 64, 0.0), precision, "a slope of scores");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]

    #[test]
    fn any_tile(m in 1usize..8, n in 1usize..14, keys in 1usize..150, seed: u64, npu4: bool, int8: bool) {
        let target = if npu4 { Target::Npu4 } else { Target::Npu1 };
        let precision = if int8 { Precision::Int8 } else { Precision::Bf16 };
        let head = Head::seeded(precision, 11, keys, 1.0, seed);
        let (m, block) = (m * if npu4 && int8 { 8 } else { 4 }, n * 8);
        close(&head, &head.run(target, m, block, 0.0), precision, &format!("{target:?} {precision:?} {m} {block} {keys} keys"));
    }
}

#[test]
fn what_does_not_fit_is_refused() {
    let refused = |target, precision, tile| Attention::new(target, precision, tile).unwrap_err().to_string();
    assert!(refused(Target::Npu1, Precision::Bf16, Tile { m: 32, k: 32, n: 32 }).contains("64 wide"));
    assert!(refused(Target::Npu4, Precision::Int8, Head::tile(Precision::Int8, 12, 64)).contains("8×8×8"));
    // Keys are summed over in the second product: whole inner sides of bf16.
    assert!(refused(Target::Npu1, Precision::Bf16, Head::tile(Precision::Bf16, 32, 12)).contains("4×8×4"));
    assert!(
        refused(Target::Npu1, Precision::Int8, Tile { m: 32, k: 24, n: 64 }).contains("4×8×4"),
        "blocks of 12 keys"
    );
    let mut kernel = Attention::new(Target::Npu1, Precision::Bf16, Head::tile(Precision::Bf16, 32, 32)).unwrap();
    let object = |slice| {
        [vec![0; 2048], common::words(&[common::QUERIES | common::LAST | common::FIRST, 0, 33, 0, slice])].concat()
    };
    assert_eq!(kernel.queries(&object(0), 0), Ok(true));
    assert_eq!(kernel.blocks(), 2);
    assert!(matches!(kernel.queries(&object(2), 0), Err(KernelError::Value { .. })));
    assert!(matches!(kernel.queries(&[0; 7], 0), Err(KernelError::Length { argument: "A", .. })));
    assert_eq!(kernel.queries(&object(0), 1), Ok(false), "another column's");
    assert!(matches!(kernel.keys(&[0; 4096], 2), Err(KernelError::Value { .. })));
    assert!(matches!(kernel.keys(&[0; 4095], 0), Err(KernelError::Length { argument: "K", .. })));
    assert!(matches!(kernel.values(&[0; 1]), Err(KernelError::Length { argument: "V", .. })));
    assert!(matches!(kernel.end(&mut [0; 1]), Err(KernelError::Length { argument: "C", .. })));
}
