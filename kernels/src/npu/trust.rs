//! The first thing that a design does is a small problem whose answer is known: an array that computes something else
//! is not trusted with more.

use super::{
    array::ArrayError,
    design::{Argument, Design, HEAD_WIDTH, Problem},
    layout::{self, PackMethod},
};
use crate::{
    Activation, AttentionArgs, AttentionSpec, Heads, HeadsMut, LinearSpec, Mask, Precision, Serial, WeightLayout,
    reference::{self, noise::noise},
};

/// Largest distance from the oracle, beside its largest magnitude: a few roundings to bf16.
pub(super) const TOLERANCE: f32 = 0.02;

/// The C of a problem, from its A and B.
pub(super) type TryOut<'t> = &'t dyn Fn(&Problem, &[u8], &[u8]) -> Result<Vec<u8>, ArrayError>;

/// Compares an array's answers to small problems, of each kind that its `design` computes, with the host's plainest
/// arithmetic on the operands as the array has them.
pub(super) fn check(design: &Design, try_out: TryOut<'_>) -> Result<(), ArrayError> {
    for (got, wanted) in [linear(design, try_out)?, attention(design, try_out)?] {
        let largest = wanted.iter().fold(0f32, |largest, value| largest.max(value.abs()));
        let worst = got.iter().zip(&wanted).map(|(got, wanted)| (got - wanted).abs()).fold(0f32, f32::max);
        // A NaN anywhere fails, too.
        if !(worst <= TOLERANCE * largest && got.iter().all(|value| value.is_finite())) {
            let reason = format!("by {worst} where the largest value is {largest}");
            return Err(ArrayError::Untrusted { what: design.to_string(), reason });
        }
    }
    Ok(())
}

/// What an array answers, and what is right.
pub(super) type Answers = (Vec<f32>, Vec<f32>);

/// `[rows, inputs, outputs]` of a layer with more than one round, step and row of columns; none of them whole.
pub(super) fn odd_layer(design: &Design) -> [usize; 3] {
    let tile = design.tile;
    [design.round_rows() + 3, tile.k + tile.k / 2 + 1, tile.n * design.columns() + tile.n / 2 + 1]
}

fn linear(design: &Design, try_out: TryOut<'_>) -> Result<Answers, ArrayError> {
    let [rows, inputs, outputs] = odd_layer(design);
    let operands = [noise(rows * inputs, 1), noise(inputs * outputs, 2), noise(outputs, 3)];
    layer(design, [rows, inputs, outputs], Activation::Gelu, &operands, try_out)
}

/// A layer of `[rows, inputs, outputs]` with rows, weights and bias.
pub(super) fn layer(
    design: &Design,
    [rows, inputs, outputs]: [usize; 3],
    activation: Activation,
    [x, weights, bias]: &[Vec<f32>; 3],
    try_out: TryOut<'_>,
) -> Result<Answers, ArrayError> {
    let (method, gelu) = (PackMethod::best(), activation == Activation::Gelu);
    let spec = LinearSpec { activation, ..LinearSpec::new(inputs, outputs, design.kernels.precision()) };
    let problem = Problem::Linear { rows, inputs, outputs };
    let mut a = vec![0; design.buffer_bytes(&problem, Argument::A)];
    let mut b = vec![0; design.buffer_bytes(&problem, Argument::B)];
    layout::pack_rows(method, design, x, [rows, inputs], gelu, &mut a, &Serial);
    layout::pack_weights(method, design, &spec, (weights, WeightLayout::InputsByOutputs), Some(bias), &mut b);
    let c = try_out(&problem, &a, &b)?;
    let mut got = vec![0.0; rows * outputs];
    layout::unpack_rows(method, design, &c, [rows, outputs], None, &mut got, &Serial);
    let (weights, bias) = layout::unpack_weights(design, &spec, &b);
    let plain = LinearSpec { precision: Precision::F32, ..spec };
    let wanted = reference::linear::linear(&plain, &weights, WeightLayout::InputsByOutputs, Some(&bias), rows, x, None);
    Ok((got, wanted))
}

/// Attention with a job for each column and more, and more than one tile of queries and block of keys.
pub(super) fn attention(design: &Design, try_out: TryOut<'_>) -> Result<Answers, ArrayError> {
    let method = PackMethod::best();
    let (heads, queries, keys) = (design.columns() + 1, design.tile.m + 1, design.block() + 5);
    let problem = Problem::Attention { heads, queries, keys };
    let spec = AttentionSpec { head_width: HEAD_WIDTH, scale: 0.125, precision: Precision::F32 };
    let data = [
        noise(heads * queries * HEAD_WIDTH, 1),
        noise(heads * keys * HEAD_WIDTH, 2),
        noise(heads * keys * HEAD_WIDTH, 3),
    ];
    let view = |index: usize, length: usize| Heads::new(&data[index], [0, length * HEAD_WIDTH, HEAD_WIDTH]);
    let (q, k, v) = (view(0, queries), view(1, keys), view(2, keys));
    let mut a = vec![0; design.buffer_bytes(&problem, Argument::A)];
    let mut b = vec![0; design.buffer_bytes(&problem, Argument::B)];
    layout::pack_queries(method, design, &q, [1, heads, queries, keys], spec.scale, &mut a, &Serial);
    layout::pack_keys_and_values(method, design, [&k, &v], [1, heads, keys], &mut b, &Serial);
    let c = try_out(&problem, &a, &b)?;
    let (mut got, mut wanted) = (vec![0.0; data[0].len()], vec![0.0; data[0].len()]);
    let out = |data| HeadsMut::new(data, [0, queries * HEAD_WIDTH, HEAD_WIDTH]);
    layout::unpack_heads(method, design, &c, [1, heads, queries], &mut out(&mut got), &Serial);
    let args = AttentionArgs { batch: 1, heads, queries, keys, q, k, v, mask: Mask::None, out: out(&mut wanted) };
    reference::attention::attention(&spec, args);
    Ok((got, wanted))
}
