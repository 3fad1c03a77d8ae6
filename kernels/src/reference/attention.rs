//! Attention, slowly and obviously: one score after another, fp64 inside, no number format but the operands' own.

use crate::{AttentionArgs, AttentionSpec, Mask};

/// What [`crate::Attention::run`] computes, with exact products whatever `spec.precision` says.
pub fn attention(spec: &AttentionSpec, args: AttentionArgs<'_>) {
    let AttentionArgs { batch, heads, queries, keys, q, k, v, mask, out } = args;
    let width = spec.head_width;
    for item in 0..batch {
        for head in 0..heads {
            for query in 0..queries {
                let at = item * q.batch_stride + head * q.head_stride + query * q.row_stride;
                let q_row = &q.data[at..at + width];
                let scores: Vec<f64> = (0..keys)
                    .map(|key| {
                        let at = item * k.batch_stride + head * k.head_stride + key * k.row_stride;
                        let product: f64 =
                            q_row.iter().zip(&k.data[at..at + width]).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum();
                        let hidden = match mask {
                            Mask::None => 0.0,
                            Mask::Causal { first } if key <= first + query => 0.0,
                            Mask::Causal { .. } => f64::NEG_INFINITY,
                            Mask::Additive { data, batch_stride, head_stride, row_stride } => {
                                f64::from(data[item * batch_stride + head * head_stride + query * row_stride + key])
                            }
                        };
                        product * f64::from(spec.scale) + hidden
                    })
                    .collect();
                let max = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
                let at = item * out.batch_stride + head * out.head_stride + query * out.row_stride;
                for (column, value) in out.data[at..at + width].iter_mut().enumerate() {
                    let (mut sum, mut weighted) = (0.0, 0.0);
                    for (key, score) in scores.iter().enumerate() {
                        let p = if *score == f64::NEG_INFINITY { 0.0 } else { (score - max).exp() };
                        let at = item * v.batch_stride + head * v.head_stride + key * v.row_stride + column;
                        sum += p;
                        weighted += p * f64::from(v.data[at]);
                    }
                    *value = if sum > 0.0 { (weighted / sum) as f32 } else { 0.0 };
                }
            }
        }
    }
}
