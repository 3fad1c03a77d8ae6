//! The linear layer, slow and obvious: the definition of its arithmetic, in f64 where the sums are fp32.
//!
//! int8: a row of activations, and a column of weights, is divided by its largest magnitude / 127 and rounded to the
//! nearest integer, ties to even ([`crate::numbers::int8_scale`] has the corner cases); the integers are multiplied and
//! summed exactly; the sum is multiplied by both scales. Wide rows are divided by their largest magnitude /
//! [`wide_limit`] instead. bf16: both operands are rounded to the nearest bf16, ties to even; products and sums are not
//! rounded here, where kernels round them to fp32.

use crate::{
    Activation, BlockWeights, LinearSpec, Precision, WeightLayout,
    numbers::{INT8_LIMIT, scale_to, wide_limit},
    reference::norm::{gelu, gelu_tanh},
};

/// `y = activation((x · w + bias) · scale) [+ residual]` for `rows` rows.
pub fn linear(
    spec: &LinearSpec,
    weights: &[f32],
    layout: WeightLayout,
    bias: Option<&[f32]>,
    rows: usize,
    x: &[f32],
    residual: Option<&[f32]>,
) -> Vec<f32> {
    let columns: Vec<Vec<f32>> = (0..spec.outputs)
        .map(|output| {
            (0..spec.inputs)
                .map(|input| match layout {
                    WeightLayout::InputsByOutputs => weights[input * spec.outputs + output],
                    WeightLayout::OutputsByInputs => weights[output * spec.inputs + input],
                })
                .collect()
        })
        .collect();
    let columns: Vec<Rounded> = columns.iter().map(|column| Rounded::new(spec.precision, INT8_LIMIT, column)).collect();
    let limit = if spec.wide_rows { wide_limit(spec.inputs) } else { INT8_LIMIT };
    layer(spec, limit, &columns, bias, rows, x, residual)
}

/// The same of weights in blocks. In int8 with wide rows their codes are multiplied as they are, so that they lose
/// nothing, and rows are integers of up to 127 · 256; otherwise it is the layer of the weights that they stand for.
pub fn block_linear(
    spec: &LinearSpec,
    weights: &BlockWeights<'_>,
    bias: Option<&[f32]>,
    rows: usize,
    x: &[f32],
    residual: Option<&[f32]>,
) -> Vec<f32> {
    let real = weights.real();
    if spec.precision != Precision::Int8 || !spec.wide_rows || weights.form.bits == 8 {
        return linear(spec, &real, WeightLayout::OutputsByInputs, bias, rows, x, residual);
    }
    let columns: Vec<Rounded> = (0..spec.outputs)
        .map(|output| Rounded::new(Precision::F32, INT8_LIMIT, &real[output * spec.inputs..][..spec.inputs]))
        .collect();
    layer(spec, (127 << 8) as f32, &columns, bias, rows, x, residual)
}

/// A layer whose weights are rounded.
fn layer(
    spec: &LinearSpec,
    limit: f32,
    columns: &[Rounded],
    bias: Option<&[f32]>,
    rows: usize,
    x: &[f32],
    residual: Option<&[f32]>,
) -> Vec<f32> {
    let mut out = Vec::with_capacity(rows * spec.outputs);
    for row in 0..rows {
        let x = Rounded::new(spec.precision, limit, &x[row * spec.inputs..][..spec.inputs]);
        for (output, column) in columns.iter().enumerate() {
            let bias = bias.map_or(0.0, |bias| f64::from(bias[output]));
            let y = (dot(&x, column) + bias) * f64::from(spec.scale);
            let y = match spec.activation {
                Activation::None => y,
                Activation::Gelu => gelu(y),
                Activation::GeluTanh => gelu_tanh(y),
            };
            let residual = residual.map_or(0.0, |residual| f64::from(residual[row * spec.outputs + output]));
            out.push((y + residual) as f32);
        }
    }
    out
}

/// Batched `[m, k] · [k, n]` in f64, rounded once.
pub fn matmul(batch: usize, m: usize, k: usize, n: usize, a: &[f32], b: &[f32]) -> Vec<f32> {
    let mut out = Vec::with_capacity(batch * m * n);
    for matrix in 0..batch {
        for row in 0..m {
            for column in 0..n {
                let products = (0..k).map(|inner| {
                    f64::from(a[(matrix * m + row) * k + inner]) * f64::from(b[(matrix * k + inner) * n + column])
                });
                out.push(products.sum::<f64>() as f32);
            }
        }
    }
    out
}

/// One row of activations or one column of weights, as numbers that are multiplied and a scale for the sum.
struct Rounded {
    values: Vec<f64>,
    scale: f32,
}

impl Rounded {
    fn new(precision: Precision, limit: f32, values: &[f32]) -> Self {
        match precision {
            Precision::F32 => Self { values: values.iter().map(|value| f64::from(*value)).collect(), scale: 1.0 },
            Precision::Bf16 => {
                Self { values: values.iter().map(|value| half::bf16::from_f32(*value).to_f64()).collect(), scale: 1.0 }
            }
            Precision::Int8 => {
                let (integers, scale) = quantise_to(limit, values);
                Self { values: integers.into_iter().map(f64::from).collect(), scale }
            }
        }
    }
}

/// One row, or one output channel, as int8, and what an integer is worth.
pub fn quantise(values: &[f32]) -> (Vec<i8>, f32) {
    let (integers, scale) = quantise_to(INT8_LIMIT, values);
    (integers.into_iter().map(|integer| integer as i8).collect(), scale)
}

/// The same, as integers up to `limit`.
pub fn quantise_to(limit: f32, values: &[f32]) -> (Vec<i32>, f32) {
    let largest =
        values.iter().fold(0.0f32, |largest, value| if value.is_nan() { f32::NAN } else { value.abs().max(largest) });
    let largest = if values.iter().any(|value| value.is_nan()) { f32::NAN } else { largest };
    let scale = scale_to(largest, limit);
    (values.iter().map(|value| (value * scale.inverse).round_ties_even() as i32).collect(), scale.scale)
}

/// Integers below 2⁵³ are exact in f64, so the int8 sums are too.
fn dot(row: &Rounded, column: &Rounded) -> f64 {
    let sum: f64 = row.values.iter().zip(&column.values).map(|(x, w)| x * w).sum();
    sum * f64::from(row.scale) * f64::from(column.scale)
}
