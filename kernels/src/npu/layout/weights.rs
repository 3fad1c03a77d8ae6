//! Weights of a linear layer as the B buffer has them, and back.

use super::operand::{PackMethod, RightTile, put_word};
use crate::{
    LinearSpec, WeightLayout,
    npu::design::{Design, Kernels, Tile},
    numbers::bf16_at,
};

/// Packs weights into the B buffer of a linear design, `[column tile][step][object]`: int8 with a scale for each
/// output, or bf16; each object with its columns' scales (times the spec's scale) and bias (likewise). Padded inputs
/// and outputs are zero.
///
/// # Panics
/// If `weights` or `bias` have not the length that the spec asks, or `out` not that of [`Design::buffer_bytes`].
pub fn pack_weights(
    method: PackMethod,
    design: &Design,
    spec: &LinearSpec,
    (weights, layout): (&[f32], WeightLayout),
    bias: Option<&[f32]>,
    out: &mut [u8],
) {
    let LinearSpec { inputs, outputs, scale, .. } = *spec;
    let Tile { k, n, .. } = design.tile;
    assert_eq!(weights.len(), inputs * outputs, "weights are [{inputs}, {outputs}]");
    assert!(bias.is_none_or(|bias| bias.len() == outputs), "a bias for each of {outputs} outputs");
    let (steps, object) = (inputs.div_ceil(k), design.b_object());
    let tiles = outputs.next_multiple_of(n * design.columns()) / n;
    assert_eq!(out.len(), tiles * steps * object, "the B buffer of {inputs}×{outputs}");
    if out.is_empty() {
        return;
    }
    let operands = design.kernels;
    let tile = RightTile { micro: design.micro_tile(), rows: k, columns: n, operands };
    // Biases lie behind the values and, of int8 ones, the scales.
    let biases = match operands {
        Kernels::Int8 => k * n + n * size_of::<f32>(),
        Kernels::Bf16 => 2 * k * n,
    };
    // What the spec multiplies by is in the scales of int8 values, and else in the values.
    let [factor, scale_factor] = if operands == Kernels::Int8 { [1.0, scale] } else { [scale, 1.0] };
    let as_they_are = layout == WeightLayout::OutputsByInputs && factor == 1.0;
    let mut turned = vec![0.0; if as_they_are { 0 } else { inputs * n }];
    for (index, out) in out.chunks_exact_mut(steps * object).enumerate() {
        let first = index * n;
        let here = outputs.saturating_sub(first).min(n);
        let rows = weights.get(first * inputs..).unwrap_or_default();
        match layout {
            WeightLayout::OutputsByInputs if as_they_are => {}
            WeightLayout::OutputsByInputs => {
                turned.iter_mut().zip(rows).for_each(|(turned, weight)| *turned = weight * factor);
            }
            WeightLayout::InputsByOutputs => {
                for (input, weights) in weights.chunks_exact(outputs).enumerate() {
                    let weights = weights.iter().skip(first).take(here).enumerate();
                    weights.for_each(|(column, weight)| turned[column * inputs + input] = weight * factor);
                }
            }
        }
        let columns = if as_they_are { rows } else { &turned };
        tile.write_columns(method, object, scale_factor, here, |column| &columns[column * inputs..][..inputs], out);
        for object in out.chunks_exact_mut(object) {
            for column in 0..here {
                let bias = bias.map_or(0.0, |bias| bias[first + column] * scale);
                put_word(&mut object[biases..], column, bias.to_bits());
            }
        }
    }
}

/// The weights `[inputs, outputs]` and the bias that a B buffer holds, as exactly as it holds them, with the spec's
/// scale in them.
///
/// # Panics
/// If `packed` is not what [`pack_weights`] made for this design and spec.
pub fn unpack_weights(design: &Design, spec: &LinearSpec, packed: &[u8]) -> (Vec<f32>, Vec<f32>) {
    let LinearSpec { inputs, outputs, .. } = *spec;
    let Tile { k, n, .. } = design.tile;
    let (steps, object, micro) = (inputs.div_ceil(k), design.b_object(), design.micro_tile());
    let mut weights = vec![0.0; inputs * outputs];
    let mut bias = vec![0.0; outputs];
    let float = |bytes: &[u8], index: usize| f32::from_le_bytes([0, 1, 2, 3].map(|byte| bytes[4 * index + byte]));
    for output in 0..outputs {
        for input in 0..inputs {
            let object = &packed[(output / n * steps + input / k) * object..][..object];
            let at = micro.right(k, input % k, output % n);
            (weights[input * outputs + output], bias[output]) = match design.kernels {
                Kernels::Int8 => {
                    let scale = float(&object[k * n..], output % n);
                    (f32::from(object[at] as i8) * scale, float(&object[k * n..], n + output % n))
                }
                Kernels::Bf16 => (bf16_at(&object[2 * at..]), float(&object[2 * k * n..], output % n)),
            };
        }
    }
    (weights, bias)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::npu::{Argument, Problem, Target};

    #[test]
    fn weights_come_back() {
        for (kernels, bound) in [(Kernels::Int8, 0.5 / 127.0), (Kernels::Bf16, 1.0 / 256.0)] {
            for target in Target::ALL {
                let design = Design::new(target, kernels, Tile { m: 16, k: 16, n: 64 }).unwrap();
                for (inputs, outputs) in [(1, 1), (16, 64), (35, 70), (33, 129)] {
                    let spec = LinearSpec { scale: 0.5, ..LinearSpec::new(inputs, outputs, kernels.precision()) };
                    let weights: Vec<f32> = (0..inputs * outputs).map(|at| (at as f32 * 0.7).sin()).collect();
                    let bias: Vec<f32> = (0..outputs).map(|at| at as f32).collect();
                    let problem = Problem::Linear { rows: 1, inputs, outputs };
                    let pack = |weights: &[f32], layout, out: &mut [u8]| {
                        pack_weights(PackMethod::best(), &design, &spec, (weights, layout), Some(&bias), out);
                    };
                    let mut packed = vec![7; design.buffer_bytes(&problem, Argument::B)];
                    pack(&weights, WeightLayout::InputsByOutputs, &mut packed);
                    let (got, got_bias) = unpack_weights(&design, &spec, &packed);
                    let near = |(got, wanted): (&f32, &f32)| (got - wanted * 0.5).abs() <= 0.5 * bound;
                    assert!(got.iter().zip(&weights).all(near), "{target} {kernels} {inputs}×{outputs}");
                    assert!(got_bias.iter().zip(&bias).all(|(got, bias)| *got == bias * 0.5));
                    let turned: Vec<f32> =
                        (0..inputs * outputs).map(|at| weights[at % inputs * outputs + at / inputs]).collect();
                    let mut other = vec![9; packed.len()];
                    pack(&turned, WeightLayout::OutputsByInputs, &mut other);
                    assert_eq!(other, packed, "layouts");
                }
            }
        }
    }
}
