//! The linear layer on the host: `y = activation((x · w + bias) · scale) [+ residual]`.
//!
//! [`prepare`] quantises and packs weights for one instruction set. A run converts its activations to the operand
//! format (`rows`) and computes tiles of the result, in parallel: of one layer or of several that read the same rows
//! (`products`), or of two that follow one another (`mlp`). Products of two run-time operands are in [`super::matmul`],
//! on the same kernels.
#![allow(unsafe_code)]

mod aligned;
mod blocks;
pub(crate) mod convert;
mod format;
pub(super) mod fused;
pub(crate) mod kernel;
mod mlp;
mod pack;
mod products;
mod rows;
pub(crate) mod schedule;
#[cfg(test)]
mod tests;
pub(crate) mod tile;

pub(crate) use blocks::Blocks;
use kernel::Kernel;
use pack::Packed;
use products::Branch;
use rows::Operand;
use schedule::Work;
use tile::Block;

use super::{Isa, shared::Shared};
use crate::{
    Blob, BlockForm, BlockWeights, Context, DeviceKind, Failed, Linear, LinearSpec, Precision, Rows, Unfit,
    WeightLayout, numbers::INT8_MAX_INPUTS,
};

/// Prepares a linear layer.
///
/// More inputs than [`INT8_MAX_INPUTS`] are computed in f32 where int8 was asked; [`Linear::precision`] says so.
///
/// # Panics
/// If `weights` or `bias` have not the length that the spec asks, or if this CPU lacks `isa`.
pub fn prepare(
    isa: Isa,
    spec: &LinearSpec,
    weights: &[f32],
    layout: WeightLayout,
    bias: Option<&[f32]>,
) -> Box<dyn Linear> {
    assert_eq!(weights.len(), spec.inputs * spec.outputs, "weights are [{}, {}]", spec.inputs, spec.outputs);
    assert!(bias.is_none_or(|bias| bias.len() == spec.outputs), "a bias for each of {} outputs", spec.outputs);
    let (spec, kernel) = resolve(isa, spec, None);
    let packed = pack::pack(&kernel, spec.precision, &spec, weights, layout, bias);
    Box::new(HostLinear { spec, kernel, packed })
}

/// Prepares a linear layer of weights in blocks, which stay in them. Where int8 codes would be multiplied with int8 rows
/// they take as much memory as the plain layer's, which is then what they become.
///
/// # Panics
/// If `weights` or `bias` are not of the spec's sizes, or if this CPU lacks `isa`.
pub fn prepare_blocks(
    isa: Isa,
    spec: &LinearSpec,
    weights: &BlockWeights<'_>,
    bias: Option<&[f32]>,
) -> Box<dyn Linear> {
    assert_eq!((weights.inputs, weights.outputs), (spec.inputs, spec.outputs), "weights of the layer's sizes");
    assert!(bias.is_none_or(|bias| bias.len() == spec.outputs), "a bias for each of {} outputs", spec.outputs);
    let fit = weights.check();
    assert!(fit.is_ok(), "weights in blocks: {fit:?}");
    let (resolved, kernel) = resolve(isa, spec, Some(weights.form));
    if kernel.blocks == Blocks::default() {
        return prepare(isa, spec, &weights.real(), WeightLayout::OutputsByInputs, bias);
    }
    let packed = blocks::pack(&kernel, &resolved, weights, bias);
    Box::new(HostLinear { spec: resolved, kernel, packed })
}

/// A linear layer from the [`Linear::parts`] of one that was prepared for the same spec and instruction set, of weights
/// that were in blocks of this form, if they were.
///
/// # Errors
/// If the parts are not of such a layer.
pub fn restore(isa: Isa, spec: &LinearSpec, form: Option<BlockForm>, parts: &[Blob]) -> Result<Box<dyn Linear>, Unfit> {
    let (spec, kernel) = resolve(isa, spec, form);
    let packed = Packed::restore(&kernel, &spec, parts).map_err(|reason| Unfit { operator: "linear", reason })?;
    Ok(Box::new(HostLinear { spec, kernel, packed }))
}

/// The precision that is really used, and its kernel.
fn resolve(isa: Isa, spec: &LinearSpec, form: Option<BlockForm>) -> (LinearSpec, Kernel) {
    let mut spec = spec.clone();
    if spec.precision == Precision::Int8 && spec.inputs > INT8_MAX_INPUTS {
        spec.precision = Precision::F32;
    }
    spec.wide_rows &= spec.precision == Precision::Int8;
    // Codes of eight bits take as much memory as int8 weights.
    let kernel = match form.filter(|form| form.bits < 8 || spec.precision != Precision::Int8) {
        Some(form) => Kernel::with_blocks(isa, spec.precision, spec.wide_rows, form),
        None => Kernel::with_rows(isa, spec.precision, spec.wide_rows),
    };
    (spec, kernel)
}

/// A linear layer, packed for one instruction set.
pub struct HostLinear {
    spec: LinearSpec,
    kernel: Kernel,
    packed: Packed,
}

impl Linear for HostLinear {
    fn device(&self) -> DeviceKind {
        DeviceKind::Host
    }

    fn precision(&self) -> Precision {
        self.spec.precision
    }

    fn weight_bytes(&self) -> usize {
        self.packed.bytes()
    }

    fn parts(&self) -> Option<Vec<&[u8]>> {
        Some(self.packed.parts())
    }

    fn run(
        &self,
        context: &mut Context<'_>,
        rows: usize,
        x: &[f32],
        residual: Option<&[f32]>,
        out: &mut [f32],
    ) -> Result<(), Failed> {
        let (inputs, outputs) = (self.spec.inputs, self.spec.outputs);
        let from = Rows { x, rows, inputs, norm: None };
        from.check();
        assert_eq!(out.len(), rows * outputs, "out is [{rows}, {outputs}]");
        assert!(residual.is_none_or(|residual| residual.len() == out.len()), "residual is [{rows}, {outputs}]");

        let branch = Branch { layer: self, residual, out: Shared::new(out) };
        // SAFETY: lengths were checked, and `out` is borrowed.
        unsafe { products::run(context, &from, &[branch]) };
        context.counters.executed(DeviceKind::Host);
        Ok(())
    }
}

impl HostLinear {
    /// The instruction set that it was packed for.
    pub fn isa(&self) -> Isa {
        self.kernel.isa()
    }

    /// What the product of `rows` rows costs on `width` threads.
    fn work(&self, rows: usize, width: usize) -> Work {
        Work {
            rows,
            panels: self.packed.panels,
            tile_rows: self.kernel.rows,
            panel_bytes: self.packed.panel_bytes,
            panel_products: self.spec.inputs * self.kernel.columns,
            width,
            alike: 1,
        }
    }

    /// The product of an operand's rows, of which the caller chooses rows and panels.
    fn block(&self, operand: &Operand, residual: *const f32, out: *mut f32) -> Block {
        let Self { spec, kernel, packed } = self;
        Block {
            rows: 0..0,
            panels: 0..0,
            steps: packed.steps,
            activations: operand.values,
            row_bytes: operand.row_bytes,
            row_scales: operand.scales,
            weights: packed.weights.bytes().as_ptr(),
            panel_bytes: packed.panel_bytes,
            step_bytes: kernel.step_bytes(),
            blocks: kernel.blocks,
            corrections: packed.corrections.as_ptr(),
            column_scales: packed.column_scales.as_ptr(),
            bias: if packed.bias.is_empty() { std::ptr::null() } else { packed.bias.as_ptr() },
            scale: spec.scale,
            activation: spec.activation,
            residual,
            out,
            outputs: spec.outputs,
        }
    }
}
