//! Codes, scales and offsets as the kernels read them.

use super::{Blocks, place};
use crate::{
    BlockWeights, LinearSpec, Precision,
    host::linear::{aligned::Aligned, kernel::Kernel, pack::Packed},
    numbers::int8_scale,
};

/// Packs `weights`, which fit the spec, for `kernel`.
pub(in crate::host::linear) fn pack(
    kernel: &Kernel,
    spec: &LinearSpec,
    weights: &BlockWeights<'_>,
    bias: Option<&[f32]>,
) -> Packed {
    let mut packed = Packed::empty(kernel, spec, bias);
    let requantised = spec.precision == Precision::Int8 && !spec.wide_rows;
    let columns: Vec<Column> = (0..spec.outputs).map(|output| Column::new(kernel, spec, weights, output)).collect();
    if requantised {
        packed.column_scales = columns.iter().map(|column| column.scale * spec.scale).collect();
        packed.column_scales.resize(packed.panels * kernel.columns, 0.0);
        if kernel.offset != 0 {
            packed.corrections = columns.iter().map(|column| -i32::from(kernel.offset) * column.sum).collect();
            packed.corrections.resize(packed.panels * kernel.columns, 0);
        }
    }
    let Blocks { bits, lists, .. } = kernel.blocks;
    let (words, block_words) = (kernel.blocks.words(), kernel.blocks.bytes(kernel.columns) / 4);
    let panel_words = packed.panel_bytes / 4;
    let row = weights.codes.len() / spec.outputs.max(1);
    let out: &mut [u32] = bytemuck::cast_slice_mut(packed.weights.bytes_mut());
    for (output, column) in columns.iter().enumerate() {
        let (codes, _) = weights.codes[output * row..][..row].as_chunks::<4>();
        let panel = &mut out[output / kernel.columns * panel_words..][..panel_words];
        let at = output % kernel.columns;
        for (block, out) in panel.chunks_exact_mut(block_words).enumerate() {
            for word in 0..words {
                let codes = u32::from_le_bytes(codes[block * words + word]);
                out[word * kernel.columns + at] = arranged(bits, kernel.group, codes);
            }
            for list in 0..lists {
                out[(words + list) * kernel.columns + at] = column.numbers[block * lists + list];
            }
        }
    }
    packed
}

impl Packed {
    /// Zeros for weights in blocks, and the bias.
    fn empty(kernel: &Kernel, spec: &LinearSpec, bias: Option<&[f32]>) -> Self {
        let panels = spec.outputs.div_ceil(kernel.columns);
        let panel_bytes = kernel.panel_bytes(spec.inputs);
        let mut packed = Self {
            weights: Aligned::zeroed(panels * panel_bytes),
            panels,
            panel_bytes,
            steps: kernel.steps(spec.inputs),
            column_scales: Vec::new(),
            corrections: Vec::new(),
            bias: Vec::new(),
        };
        packed.set_bias(kernel, spec, bias);
        packed
    }
}

/// The codes of a word, the first in the lowest bits, where the kernel looks for them.
fn arranged(bits: u32, group: usize, word: u32) -> u32 {
    let mask = u32::MAX >> (32 - bits);
    (0..32 / bits).fold(0, |out, input| out | (word >> (bits * input) & mask) << place(bits, group, input as usize))
}

/// What is stored of a column beside its codes.
struct Column {
    /// For each block its scale and perhaps its offset.
    numbers: Vec<u32>,
    /// What an integer is worth, and the sum of all, where weights become integers with one scale.
    scale: f32,
    sum: i32,
}

impl Column {
    fn new(kernel: &Kernel, spec: &LinearSpec, weights: &BlockWeights<'_>, output: usize) -> Self {
        let blocks = kernel.blocks;
        let zeroed = |block: usize| (weights.scale(output, block), weights.zero(output, block));
        // A long block is stored as several.
        let stored = (0..blocks.count(spec.inputs)).map(|block| block * blocks.inputs / weights.form.block);
        if spec.precision != Precision::Int8 || spec.wide_rows {
            let middle = f32::from(weights.form.middle());
            let numbers = stored.flat_map(|block| {
                let (scale, zero) = zeroed(block);
                // The kernel takes the middle off itself where products are of integers.
                let second = if spec.wide_rows { (middle - zero) * scale } else { zero };
                [scale, second].into_iter().take(blocks.lists).map(f32::to_bits)
            });
            return Self { numbers: numbers.collect(), scale: 1.0, sum: 0 };
        }
        let largest = (0..spec.inputs).fold(0.0f32, |largest, input| {
            let (scale, zero) = zeroed(input / weights.form.block);
            let weight = ((f32::from(weights.code(output, input)) - zero) * scale).abs();
            if weight > largest || weight.is_nan() { weight } else { largest }
        });
        let column = int8_scale(largest);
        // 256 times what a code is worth, and what makes of the zero point zero, with a half for rounding: modulo 2¹⁶,
        // because the integers themselves fit, whatever their parts are.
        let factors: Vec<(i64, i64)> = stored
            .map(|block| {
                let (scale, zero) = zeroed(block);
                let factor = (256.0 * f64::from(scale) * f64::from(column.inverse)).round();
                (factor as i64, ((-factor * f64::from(zero)).round() as i64).wrapping_add(128))
            })
            .collect();
        let integer = |input: usize| {
            let (factor, addend) = factors[input / blocks.inputs];
            let code = i64::from(weights.code(output, input));
            i32::from((code.wrapping_mul(factor).wrapping_add(addend) as i16) >> 8)
        };
        // The last word's values beyond the inputs are multiplied too, by what stands for zero.
        let sum = (0..spec.inputs.next_multiple_of(kernel.group)).map(integer).sum();
        let both = |(factor, addend): &(i64, i64)| u32::from(*factor as u16) | u32::from(*addend as u16) << 16;
        Self { numbers: factors.iter().map(both).collect(), scale: column.scale, sum }
    }
}
