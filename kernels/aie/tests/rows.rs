//! Soft-max and layer norm over rows, against f64.

mod common;

use common::{Seeded, cosine, plain, words};
use half::bf16;
use proptest::prelude::*;
use undertone_aie::{KernelError, Parameter, RowObjects, Target, Tile, rows};

fn bits(values: &[bf16]) -> Vec<u16> {
    values.iter().map(|value| value.to_bits()).collect()
}

fn exact(values: &[u16]) -> Vec<f64> {
    values.iter().map(|bits| bf16::from_bits(*bits).to_f64()).collect()
}

#[test]
fn softmax_of_rows_with_a_tail() {
    for (rows_, columns, valid) in [(1, 16, 16), (3, 64, 63), (2, 1504, 1500), (4, 32, 1), (2, 48, 17), (5, 64, 33)] {
        for spread in [0.01, 1.0, 100.0, 1.0e30] {
            let x: Vec<bf16> = Seeded(columns as u64)
                .floats(rows_ * columns)
                .into_iter()
                .map(|x| bf16::from_f32(x * spread))
                .collect();
            let mut y = vec![0xffff; x.len()];
            rows::softmax(&bits(&x), &mut y, columns, valid).unwrap();
            for (x, y) in x.chunks(columns).zip(exact(&y).chunks(columns)) {
                let top = x[..valid].iter().map(|x| x.to_f64()).fold(f64::NEG_INFINITY, f64::max);
                let powers: Vec<f64> = x[..valid].iter().map(|x| (x.to_f64() - top).exp()).collect();
                let sum: f64 = powers.iter().sum();
                for (found, power) in y.iter().zip(&powers) {
                    let expected = power / sum;
                    // exp2's argument is fp32: what is far from the largest has lost some places, and counts as little.
                    assert!(
                        (found - expected).abs() <= expected / 256.0 + 2e-5,
                        "{found} for {expected}, spread {spread}"
                    );
                }
                assert!(y[valid..].iter().all(|y| *y == 0.0));
            }
        }
    }
    let mut y = [1; 32];
    rows::softmax(&[0x3f80; 32], &mut y, 16, 0).unwrap();
    assert_eq!(y, [0; 32]);
}

#[test]
fn layer_norm_of_whispers_widths() {
    for (columns, offset) in [(16, 0.0), (384, 0.0), (512, 3.0), (1280, -100.0)] {
        let mut seeded = Seeded(columns as u64);
        let x: Vec<bf16> = seeded.floats(3 * columns).into_iter().map(|x| bf16::from_f32(x + offset)).collect();
        let (gamma, beta) = (seeded.floats(columns), seeded.floats(columns));
        let mut y = vec![0; x.len()];
        rows::layer_norm(&bits(&x), &gamma, &beta, &mut y, 1e-5).unwrap();
        for (x, y) in x.chunks(columns).zip(exact(&y).chunks(columns)) {
            let x: Vec<f64> = x.iter().map(|x| x.to_f64()).collect();
            let mean = x.iter().sum::<f64>() / columns as f64;
            let variance = x.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / columns as f64;
            let expected: Vec<f64> = (0..columns)
                .map(|at| (x[at] - mean) / (variance + 1e-5).sqrt() * f64::from(gamma[at]) + f64::from(beta[at]))
                .collect();
            assert!(cosine(y, &expected) > 0.99999);
            for (found, expected) in y.iter().zip(&expected) {
                assert!((found - expected).abs() <= expected.abs() / 256.0 + 2e-4, "{found} for {expected}");
            }
        }
    }
    // A row of one number everywhere has no variance.
    let mut y = [0; 16];
    rows::layer_norm(&[0x4248; 16], &[1.0; 16], &[0.5; 16], &mut y, 1e-5).unwrap();
    assert_eq!(exact(&y), [0.5; 16]);
}

#[test]
fn what_does_not_fit_is_refused() {
    let refused = |result: Result<(), KernelError>| result.unwrap_err().to_string();
    assert!(refused(rows::softmax(&[0; 20], &mut [0; 20], 20, 20)).contains("multiples of 16"));
    assert!(refused(rows::softmax(&[0; 16], &mut [0; 16], 16, 17)).contains("17 of 16"));
    assert!(refused(rows::softmax(&[0; 16], &mut [0; 32], 16, 16)).contains("y has 32"));
    assert!(refused(rows::gelu(&[0; 5], &mut [0; 5])).contains("multiples of 16"));
    assert!(refused(rows::layer_norm(&[0; 16], &[0.0; 16], &[0.0; 8], &mut [0; 16], 1e-5)).contains("beta has 8"));
    assert!(refused(rows::layer_norm(&[], &[], &[], &mut [], 1e-5)).contains("rows of 0"));
    assert!(rows::softmax(&[], &mut [], 16, 16).is_ok());
}

/// An object of A.
fn object(x: &[bf16], core: &RowObjects, control: &[u32]) -> Vec<u8> {
    let mut a = plain(x);
    a.resize(core.c_bytes(), 0x55);
    a.extend(words(control));
    a
}

proptest! {
    /// Whatever lies behind a row's last number counts for nothing, and what lies behind the rows stays; gamma and beta are kept.
    #[test]
    fn objects_are_their_rows(m in 1usize..5, k in 1usize..9, columns in 1usize..129, share in 0usize..5, seed: u64) {
        let (k, mut seeded) = (16 * k, Seeded(seed));
        let columns = columns.min(k);
        let width = columns.next_multiple_of(16);
        let count = (m * k / width).saturating_sub(share);
        let mut core = RowObjects::new(Target::Npu1, Tile { m, k, n: k }).unwrap();
        let mut x = seeded.bf16s(count * width);
        let (gamma, beta) = (seeded.floats(k), seeded.floats(k));
        core.keep(&plain(&gamma), Parameter::Gamma).unwrap();
        core.keep(&plain(&beta), Parameter::Beta).unwrap();
        let inverse = 1.0 / columns as f32;
        for what in [1u32, 0, 2] {
            let control = [what & 1, what, count as u32, width as u32, columns as u32, inverse.to_bits(), 1e-5f32.to_bits()];
            let run = |core: &RowObjects, x: &[bf16]| {
                let a = object(x, core, &control);
                assert_eq!(core.first(&a).unwrap(), what == 1);
                let mut c = vec![0x77; core.c_bytes()];
                core.compute(&a, &mut c).unwrap();
                assert!(c[2 * count * width..].iter().all(|byte| *byte == 0x77));
                c.as_chunks().0[..count * width].iter().map(|bytes| u16::from_le_bytes(*bytes)).collect::<Vec<_>>()
            };
            let found = run(&core, &x);
            for row in 0..count {
                let exact: Vec<f64> = x[row * width..][..columns].iter().map(|x| x.to_f64()).collect();
                let mean = exact.iter().sum::<f64>() / columns as f64;
                let variance = exact.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / columns as f64;
                let top = exact.iter().copied().fold(f64::NEG_INFINITY, f64::max);
                let sum: f64 = exact.iter().map(|x| (x - top).exp()).sum();
                for (at, x) in exact.iter().enumerate() {
                    let normal = (x - mean) / (variance + 1e-5).sqrt();
                    let wanted = match what {
                        0 => (x - top).exp() / sum,
                        1 => normal * f64::from(gamma[at]) + f64::from(beta[at]),
                        _ => common::gelu(*x),
                    };
                    let found = bf16::from_bits(found[row * width + at]).to_f64();
                    let near = (found - wanted).abs() <= wanted.abs() / 250.0 + 1e-3 * (1.0 + normal.abs() * f64::from(what & 1));
                    prop_assert!(near, "{what}: {found} for {wanted}");
                }
            }
            let rest: Vec<usize> = (0..x.len()).filter(|at| at % width >= columns).collect();
            rest.into_iter().for_each(|at| x[at] = bf16::from_f32(1e30));
            let other = run(&core, &x);
            let seen = |y: &[u16]| y.chunks(width).flat_map(|y| y[..columns].to_vec()).collect::<Vec<_>>();
            prop_assert_eq!(seen(&found), seen(&other));
        }
    }
}

#[test]
fn objects_that_cannot_be_are_refused() {
    let tile = |m, k, n| RowObjects::new(Target::Npu4, Tile { m, k, n });
    assert!(tile(2, 24, 24).unwrap_err().to_string().contains("multiples of 16"));
    assert!(tile(2, 32, 64).unwrap_err().to_string().contains("as wide as they"));
    assert!(tile(0, 32, 32).unwrap_err().to_string().contains("sides are 1"));
    let mut core = tile(2, 32, 32).unwrap();
    assert!(core.keep(&[0; 64], Parameter::Beta).unwrap_err().to_string().contains("B has 64"));
    assert!(core.first(&[0; 64]).is_err() && core.compute(&[0; 160], &mut [0; 64]).is_err());
    for control in
        [[0, 3, 1, 16, 1], [0, 0, 5, 16, 1], [0, 0, 1, 0, 0], [0, 0, 1, 8, 1], [0, 0, 1, 48, 1], [0, 0, 1, 16, 17]]
    {
        let a = object(&[], &core, &control);
        let refused = core.compute(&a, &mut [0; 128]).unwrap_err().to_string();
        assert!(refused.contains("in an object for 2 of 32"), "{refused}");
    }
}
