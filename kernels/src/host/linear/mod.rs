//! The linear layer on the host: `y = activation((x · w + bias) · scale) [+ residual]`.
//!
//! [`prepare`] quantises and packs weights for one instruction set. A run converts its activations to the operand format
//! (rows in scratch memory), and then computes tiles of the result, in parallel. Products of two run-time operands are in
//! [`super::matmul`], on the same kernels.
#![allow(unsafe_code)]

mod aligned;
mod convert;
mod format;
pub(crate) mod kernel;
mod pack;
pub(crate) mod schedule;
pub(crate) mod tile;

use format::WORD;
use kernel::{Conversion, Kernel};
use pack::Packed;
use schedule::Work;
use tile::{Block, LINE};

use super::{
    Isa,
    shared::Shared,
    split::{self, tasks},
};
use crate::{Blob, Context, DeviceKind, Linear, LinearSpec, Precision, Unfit, WeightLayout, linear::INT8_MAX_INPUTS};

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
    let (spec, kernel) = resolve(isa, spec);
    let packed = pack::pack(&kernel, spec.precision, &spec, weights, layout, bias);
    Box::new(HostLinear { spec, kernel, packed })
}

/// A linear layer from the [`Linear::parts`] of one that was prepared for the same spec and instruction set.
///
/// # Errors
/// If the parts are not of such a layer.
pub fn restore(isa: Isa, spec: &LinearSpec, parts: &[Blob]) -> Result<Box<dyn Linear>, Unfit> {
    let (spec, kernel) = resolve(isa, spec);
    let packed = Packed::restore(&kernel, &spec, parts).map_err(|reason| Unfit { operator: "linear", reason })?;
    Ok(Box::new(HostLinear { spec, kernel, packed }))
}

/// The precision that is really used, and its kernel.
fn resolve(isa: Isa, spec: &LinearSpec) -> (LinearSpec, Kernel) {
    let mut spec = spec.clone();
    if spec.precision == Precision::Int8 && spec.inputs > INT8_MAX_INPUTS {
        spec.precision = Precision::F32;
    }
    let kernel = Kernel::new(isa, spec.precision);
    (spec, kernel)
}

/// A linear layer, packed for one instruction set.
struct HostLinear {
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

    fn run(&self, context: &mut Context<'_>, rows: usize, x: &[f32], residual: Option<&[f32]>, out: &mut [f32]) {
        let (inputs, outputs) = (self.spec.inputs, self.spec.outputs);
        assert_eq!(x.len(), rows * inputs, "x is [{rows}, {inputs}]");
        assert_eq!(out.len(), rows * outputs, "out is [{rows}, {outputs}]");
        assert!(residual.is_none_or(|residual| residual.len() == out.len()), "residual is [{rows}, {outputs}]");

        let kernel = &self.kernel;
        let work = Work {
            rows,
            panels: self.packed.panels,
            tile_rows: kernel.rows,
            panel_bytes: self.packed.panel_bytes(kernel),
            panel_products: inputs * kernel.columns,
            width: context.pool.width(),
            alike: 1,
        };
        let grid = work.cut();
        let spread = grid.tasks() > 1;
        let rows_in = rows_of(kernel, context, x, rows, inputs, spread);
        let block = Block {
            rows: 0..0,
            panels: 0..0,
            steps: self.packed.steps,
            activations: rows_in.values,
            row_bytes: rows_in.row_bytes,
            row_scales: rows_in.scales,
            weights: self.packed.weights.bytes().as_ptr(),
            panel_bytes: self.packed.panel_bytes(kernel),
            step_bytes: pack::step_bytes(kernel),
            corrections: self.packed.corrections.as_ptr(),
            column_scales: self.packed.column_scales.as_ptr(),
            bias: if self.packed.bias.is_empty() { std::ptr::null() } else { self.packed.bias.as_ptr() },
            scale: self.spec.scale,
            activation: self.spec.activation,
            residual: residual.map_or(std::ptr::null(), <[f32]>::as_ptr),
            out: out.as_mut_ptr(),
            outputs,
        };
        tasks(context.pool, grid.tasks(), &|index| {
            let (rows, panels) = grid.task(index);
            // SAFETY: the operands' lengths were checked above; scales, corrections
            // and bias are padded to whole panels; the tasks of a grid write disjoint parts of `out`.
            unsafe { kernel.block(&Block { rows, panels, ..block.clone() }) };
        });
        context.counters.executed(DeviceKind::Host);
    }
}

/// Activations as the kernel reads them.
pub(crate) struct Rows {
    /// Row 0.
    pub values: *const u8,
    /// From row to row.
    pub row_bytes: usize,
    /// A scale for each row.
    pub scales: *const f32,
}

/// Converts activations into scratch memory, or leaves them where they are if the kernel can read them there.
fn rows_of(kernel: &Kernel, context: &mut Context<'_>, x: &[f32], rows: usize, inputs: usize, spread: bool) -> Rows {
    if kernel.direct && (rows < kernel.rows || !collides(inputs * size_of::<f32>())) {
        return Rows { values: x.as_ptr().cast(), row_bytes: inputs * size_of::<f32>(), scales: std::ptr::null() };
    }
    let row_bytes = padded(inputs.div_ceil(kernel.group) * WORD);
    let scratch = context.scratch.bytes(rows * row_bytes + rows * size_of::<f32>());
    let (values, scales) = scratch.split_at_mut(rows * row_bytes);
    let (values, scales) = (Shared::new(values), Shared::new(scales));
    let converted = Rows { values: values.at(0), row_bytes, scales: scales.at(0).cast() };
    let convert = |range: std::ops::Range<usize>| {
        let x = &x[range.start * inputs..range.end * inputs];
        // Rows are whole lines, so the scales behind them are aligned.
        let (out, scales) = (values.at(range.start * row_bytes), scales.at(range.start * size_of::<f32>()).cast());
        // SAFETY: each row has `row_bytes` and one scale in the scratch memory, and is converted by one task only.
        unsafe { kernel.convert(&Conversion { rows: range.len(), x, inputs, out, row_bytes, scales }) };
    };
    if spread {
        split::ranges(context.pool, rows, rows * inputs, &convert);
    } else {
        convert(0..rows);
    }
    converted
}

/// Whether rows this far apart fall into so few sets of a first-level cache (64 sets of lines) that a tile's rows push each
/// other out.
fn collides(row_bytes: usize) -> bool {
    row_bytes.is_multiple_of(1024)
}

/// A distance between rows of `used` bytes at which they do not collide: an odd number of lines.
fn padded(used: usize) -> usize {
    (used.div_ceil(LINE) | 1) * LINE
}
