//! The cases of the project that this one grew from, by name. Its attention reached a correlation of 0.18 where 0.95
//! was asked: it clamped scores to int8 before the soft-max.

mod common;

use common::{
    FIRST, LAST, Seeded, a_object,
    attention::{Head, attention},
    control, plain, tiled, tiled_right, untiled,
};
use undertone_aie::{HEAD_WIDTH, LinearSizes, Precision, Target, Tile, linear_int8};

/// `[size, size] · [size, size]` of int8, put together from the kernel's tiles: the bf16 results with scales of 1 and
/// no bias.
fn product(target: Target, tile: Tile, x: &[i8], w: &[i8], size: usize) -> Vec<f64> {
    let Tile { m, k, n } = tile;
    let (r, s, t) = target.int8_micro_tile();
    let sizes = LinearSizes::int8(tile);
    let mut y = vec![0.0; size * size];
    for (row, column) in (0..size).step_by(m).flat_map(|row| (0..size).step_by(n).map(move |column| (row, column))) {
        let (mut sums, mut c) = (vec![0; sizes.sums], vec![0; sizes.c]);
        for inner in (0..size).step_by(k) {
            let part = |from: &[i8], row: usize, column: usize, rows: usize, columns: usize| -> Vec<i8> {
                (row..row + rows).flat_map(|row| from[row * size + column..][..columns].to_vec()).collect()
            };
            let flags = if inner == 0 { FIRST } else { 0 } | if inner + k == size { LAST } else { 0 };
            let a = a_object(&[tiled(&part(x, row, inner, m, k), k, r, s), plain(&vec![1.0f32; m])], control(flags));
            let b =
                [tiled_right(&part(w, inner, column, k, n), n, s, t), plain(&vec![1.0f32; n]), plain(&vec![0.0f32; n])];
            linear_int8(target, tile, &a, &b.concat(), &mut sums, &mut c).unwrap();
        }
        for (at, value) in untiled(&c, n, r, t).into_iter().enumerate() {
            y[(row + at / n) * size + column + at % n] = value.to_f64();
        }
    }
    y
}

/// Several products of one size; each result is the exact sum, rounded to bf16.
fn batched_products(size: usize, batch: usize) {
    for target in Target::ALL {
        for seed in 0..batch as u64 {
            let mut seeded = Seeded(seed);
            let (x, w) = (seeded.int8s(size * size), seeded.int8s(size * size));
            let found = product(target, Tile { m: 64, k: 64, n: 64 }, &x, &w, size);
            for (row, column) in (0..size).flat_map(|row| (0..size).map(move |column| (row, column))) {
                let sum: i32 =
                    (0..size).map(|at| i32::from(x[row * size + at]) * i32::from(w[at * size + column])).sum();
                let expected = half::bf16::from_f32(sum as f32).to_f64();
                assert_eq!(found[row * size + column], expected, "{target:?} {size}: row {row}, column {column}");
            }
        }
    }
}

#[test]
fn batched_products_64() {
    batched_products(64, 4);
}

#[test]
fn batched_products_128() {
    batched_products(128, 4);
}

#[test]
fn batched_products_512() {
    batched_products(512, 1);
}

/// Results as int8, the largest of them at 127.
fn requantised(values: &[f64]) -> Vec<i8> {
    let largest = values.iter().fold(0.0f64, |most, value| most.max(value.abs()));
    values.iter().map(|value| (value / largest * 127.0).round_ties_even() as i8).collect()
}

fn correlation(a: &[i8], b: &[i8]) -> f64 {
    let centred = |values: &[i8]| -> Vec<f64> {
        let mean = values.iter().map(|value| f64::from(*value)).sum::<f64>() / values.len() as f64;
        values.iter().map(|value| f64::from(*value) - mean).collect()
    };
    common::cosine(&centred(a), &centred(b))
}

/// 64 queries and 64 keys of width 64 in int8; scores in int32, scaled by 1/√64; soft-max; results requantised to int8.
#[test]
fn attention_64x64_int8() {
    for (target, seed) in Target::ALL.into_iter().flat_map(|target| (0..8).map(move |seed| (target, seed))) {
        let mut seeded = Seeded(seed);
        let numbers = |seeded: &mut Seeded| -> Vec<f32> { seeded.floats(64 * HEAD_WIDTH) };
        let (q, k, v) = (numbers(&mut seeded), numbers(&mut seeded), numbers(&mut seeded));
        let head = Head::new(Precision::Int8, &q, &k, &v);
        let found = requantised(&head.run(target, 32, 64, 0.0));
        // Against the numbers before quantisation.
        let wide = |values: &[f32]| -> Vec<f64> { values.iter().map(|value| f64::from(*value)).collect() };
        let expected = requantised(&attention(&wide(&q), &wide(&k), &wide(&v), 0.125));

        let errors: Vec<i32> =
            found.iter().zip(&expected).map(|(a, b)| (i32::from(*a) - i32::from(*b)).abs()).collect();
        let mean = errors.iter().sum::<i32>() as f64 / errors.len() as f64;
        let near = errors.iter().filter(|error| **error <= 5).count() as f64 / errors.len() as f64;
        let found_correlation = correlation(&found, &expected);
        assert!(found_correlation > 0.99, "{target:?}: correlation {found_correlation}");
        assert!(mean < 2.0, "{target:?}: mean absolute error {mean}");
        assert!(near >= 0.95, "{target:?}: {near} within 5");
        // The scale puts the largest result at 127; how far the other sign goes is the data's: as far as in f64.
        let range =
            |values: &[i8]| (i32::from(*values.iter().min().unwrap()), i32::from(*values.iter().max().unwrap()));
        let ((low, high), (exact_low, exact_high)) = (range(&found), range(&expected));
        assert!(low == -127 || high == 127, "{target:?}: the range used is {low} to {high}");
        assert!((low - exact_low).abs() <= 5 && (high - exact_high).abs() <= 5, "{target:?}: {low} to {high}");
        assert!(high - low > 200, "{target:?}: the range used is {low} to {high}");
    }
}
