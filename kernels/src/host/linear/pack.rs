//! Weights as the tile kernel reads them: quantised or rounded once, and laid out in panels.
//!
//! A panel holds a few columns ([`Kernel::columns`]) over all inputs, step after step: `[steps, columns, group]`.
//! Panels follow one another, so that a tile reads its weights in one ascending run. What reaches beyond the last input
//! or column is zero.

use bytemuck::{cast_slice, pod_collect_to_vec};

use super::{aligned::Aligned, blocks::Blocks, kernel::Kernel};
use crate::{
    Blob, LinearSpec, Precision, WeightLayout,
    numbers::{bf16_bits, int8_bits, int8_scale},
};

/// Packed weights and what the epilogue needs of each column.
pub(crate) struct Packed {
    /// Panels.
    pub weights: Aligned,
    /// Number of panels.
    pub panels: usize,
    /// Bytes from one panel to the next.
    pub panel_bytes: usize,
    /// Steps over the inputs, one for each word of a row of activations.
    pub steps: usize,
    /// `scale` of each column's integers times the spec's scale; empty unless int8. Padded to whole panels, as the next
    /// two.
    pub column_scales: Vec<f32>,
    /// `−offset · Σ weights` of each column, if the kernel's activations are offset; else empty.
    pub corrections: Vec<i32>,
    /// Bias times the spec's scale, or empty.
    pub bias: Vec<f32>,
}

impl Packed {
    /// Bytes of all of it.
    pub(crate) fn bytes(&self) -> usize {
        self.weights.bytes().len() + 4 * (self.column_scales.len() + self.corrections.len() + self.bias.len())
    }

    /// Takes a bias, times the spec's scale.
    pub(super) fn set_bias(&mut self, kernel: &Kernel, spec: &LinearSpec, bias: Option<&[f32]>) {
        if let Some(bias) = bias {
            self.bias = bias.iter().map(|bias| bias * spec.scale).collect();
            self.bias.resize(self.panels * kernel.columns, 0.0);
        }
    }

    /// All of it as bytes: weights, and the three lists of the columns.
    pub(crate) fn parts(&self) -> Vec<&[u8]> {
        let Self { weights, column_scales, corrections, bias, .. } = self;
        vec![weights.bytes(), cast_slice(column_scales), cast_slice(corrections), cast_slice(bias)]
    }

    /// From [`Packed::parts`]; the weights are used where they lie.
    ///
    /// # Errors
    /// In words, if a part has another size than a layer of this spec.
    pub(crate) fn restore(kernel: &Kernel, spec: &LinearSpec, parts: &[Blob]) -> Result<Self, String> {
        let [weights, column_scales, corrections, bias] = parts else { return Err(format!("{} parts", parts.len())) };
        let panels = spec.outputs.div_ceil(kernel.columns);
        let padded = panels * kernel.columns;
        // Codes that are multiplied as they are have scales of their own.
        let in_blocks = kernel.blocks != Blocks::default();
        let quantised = spec.precision == Precision::Int8 && !(in_blocks && spec.wide_rows);
        let (scales, corrected) =
            (if quantised { padded } else { 0 }, if quantised && kernel.offset != 0 { padded } else { 0 });
        let has_bias = !bias.bytes().is_empty();
        let wanted = [
            panels * kernel.panel_bytes(spec.inputs),
            4 * scales,
            4 * corrected,
            if has_bias { 4 * padded } else { 0 },
        ];
        let found = [weights, column_scales, corrections, bias].map(|part| part.bytes().len());
        if wanted != found {
            return Err(format!("parts of {found:?} bytes where {wanted:?} are wanted"));
        }
        Ok(Self {
            weights: Aligned::kept(weights.clone()).ok_or("the weights are not aligned")?,
            panels,
            panel_bytes: kernel.panel_bytes(spec.inputs),
            steps: kernel.steps(spec.inputs),
            column_scales: pod_collect_to_vec(column_scales.bytes()),
            corrections: pod_collect_to_vec(corrections.bytes()),
            bias: pod_collect_to_vec(bias.bytes()),
        })
    }
}

/// Where element (input, column) of a weight matrix lies.
#[derive(Clone, Copy)]
struct Strides {
    input: usize,
    column: usize,
}

/// Packs `weights` for `kernel`, at `precision`.
pub(crate) fn pack(
    kernel: &Kernel,
    precision: Precision,
    spec: &LinearSpec,
    weights: &[f32],
    layout: WeightLayout,
    bias: Option<&[f32]>,
) -> Packed {
    let strides = match layout {
        WeightLayout::InputsByOutputs => Strides { input: spec.outputs, column: 1 },
        WeightLayout::OutputsByInputs => Strides { input: 1, column: spec.inputs },
    };
    let panels = spec.outputs.div_ceil(kernel.columns);
    let padded = panels * kernel.columns;
    let mut packed = Packed {
        weights: Aligned::zeroed(panels * kernel.panel_bytes(spec.inputs)),
        panels,
        panel_bytes: kernel.panel_bytes(spec.inputs),
        steps: kernel.steps(spec.inputs),
        column_scales: Vec::new(),
        corrections: Vec::new(),
        bias: Vec::new(),
    };
    packed.set_bias(kernel, spec, bias);
    let out = packed.weights.bytes_mut();
    match precision {
        Precision::F32 => place(kernel, spec, strides, out, |_, value| weights[value].to_ne_bytes()),
        Precision::Bf16 => {
            place(kernel, spec, strides, out, |_, value| bf16_bits(weights[value]).to_ne_bytes());
        }
        Precision::Int8 => {
            let scales: Vec<_> = largest(spec, strides, weights).into_iter().map(int8_scale).collect();
            let mut sums = vec![0i32; padded];
            place(kernel, spec, strides, out, |column, value| {
                let quantised = int8_bits(weights[value], scales[column].inverse) as i8;
                sums[column] += i32::from(quantised);
                quantised.to_ne_bytes()
            });
            packed.column_scales = scales.iter().map(|scale| scale.scale * spec.scale).collect();
            packed.column_scales.resize(padded, 0.0);
            if kernel.offset != 0 {
                packed.corrections = sums.into_iter().map(|sum| -i32::from(kernel.offset) * sum).collect();
            }
        }
    }
    packed
}

/// The largest magnitude of each column; NaN if the column holds one.
fn largest(spec: &LinearSpec, strides: Strides, weights: &[f32]) -> Vec<f32> {
    let mut largest = vec![0u32; spec.outputs];
    let (outer, inner) = if strides.column == 1 { (spec.inputs, spec.outputs) } else { (spec.outputs, spec.inputs) };
    for (at, run) in (0..outer).zip(weights.chunks_exact(inner.max(1))) {
        for (index, value) in run.iter().enumerate() {
            let column = if strides.column == 1 { index } else { at };
            // Magnitudes order as their bits do, with infinity and NaN above every number.
            largest[column] = largest[column].max(value.to_bits() & 0x7fff_ffff);
        }
    }
    largest.into_iter().map(f32::from_bits).collect()
}

/// Writes each element's bytes, `encode(column, index into the matrix)`, to its place in the panels.
fn place<const BYTES: usize>(
    kernel: &Kernel,
    spec: &LinearSpec,
    strides: Strides,
    out: &mut [u8],
    mut encode: impl FnMut(usize, usize) -> [u8; BYTES],
) {
    debug_assert_eq!(BYTES, kernel.weight_bytes);
    let panel_bytes = spec.inputs.div_ceil(kernel.group) * kernel.step_bytes();
    if panel_bytes == 0 {
        return;
    }
    let step_elements = kernel.columns * kernel.group;
    let panel_elements = panel_bytes / BYTES;
    let (elements, _) = out.as_chunks_mut::<BYTES>();
    for (block, out) in elements.chunks_mut(PANELS_AT_ONCE * panel_elements).enumerate() {
        for (step, input) in (0..spec.inputs).step_by(kernel.group).enumerate() {
            for (panel, out) in out.chunks_exact_mut(panel_elements).enumerate() {
                let first = (block * PANELS_AT_ONCE + panel) * kernel.columns;
                let columns = kernel.columns.min(spec.outputs - first);
                let out = &mut out[step * step_elements..][..step_elements];
                for lane in 0..kernel.group.min(spec.inputs - input) {
                    let from = (input + lane) * strides.input + first * strides.column;
                    for (column, out) in out[lane..].iter_mut().step_by(kernel.group).take(columns).enumerate() {
                        *out = encode(first + column, from + column * strides.column);
                    }
                }
            }
        }
    }
}

/// Panels that are filled side by side, so that a row of `[inputs, outputs]` is read in runs worth a page's look-up.
const PANELS_AT_ONCE: usize = 16;
