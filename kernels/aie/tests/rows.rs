//! Soft-max and layer norm over rows, against f64.

mod common;

use common::{Seeded, cosine};
use half::bf16;
use undertone_aie::{KernelError, rows};

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
