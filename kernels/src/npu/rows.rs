//! Whole rows on an NPU: soft-max, layer norm and GELU by their own array. No model asks for it: a layer norm's trip to the array takes longer than the
//! host needs for it, and the array of the products would have to make room and be loaded again (`docs/npu-cost.md` has the numbers).

use std::time::Instant;

use super::{
    array::{Array, ArrayError, Buffer as _},
    design::{Argument, Kernels, Problem, RowOperator},
    engine::{Engines, Work},
    layout, tiling,
};
use crate::Parallel;

/// What is done with each row.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum RowFunction<'a> {
    /// `exp(x − max) / Σ exp(x − max)`.
    SoftMax,
    /// `(x − mean) / √(variance + epsilon) · gamma + beta`.
    LayerNorm {
        /// One for each number of a row.
        gamma: &'a [f32],
        /// Likewise.
        beta: &'a [f32],
        /// What is added to the variance.
        epsilon: f32,
    },
    /// `x Φ(x)`, of each number by itself.
    Gelu,
}

impl RowFunction<'_> {
    /// Which one it is, without its parameters.
    pub fn operator(&self) -> RowOperator {
        match self {
            RowFunction::SoftMax => RowOperator::SoftMax,
            RowFunction::LayerNorm { .. } => RowOperator::LayerNorm,
            RowFunction::Gelu => RowOperator::Gelu,
        }
    }

    /// Whether cores need gamma and beta for it.
    pub(super) fn has_parameters(&self) -> bool {
        matches!(self, RowFunction::LayerNorm { .. })
    }

    /// What a layer norm adds to the variance.
    pub(super) fn epsilon(&self) -> f32 {
        if let RowFunction::LayerNorm { epsilon, .. } = self { *epsilon } else { 0.0 }
    }
}

/// Puts rows of `columns` values through the array.
///
/// # Errors
/// If the array cannot be opened or is not trusted, or refuses rows that are too wide; or if it fails.
///
/// # Panics
/// If `x` is no whole number of rows, `out` not as long as it, or gamma or beta not as long as a row.
pub(super) fn execute<A: Array>(
    engines: &Engines<A>,
    function: &RowFunction<'_>,
    columns: usize,
    x: &[f32],
    out: &mut [f32],
    pool: &dyn Parallel,
) -> Result<(), ArrayError> {
    assert_eq!(x.len(), out.len(), "as many results as values");
    assert!(x.len().is_multiple_of(columns.max(1)), "{} values in rows of {columns}", x.len());
    if let RowFunction::LayerNorm { gamma, beta, .. } = function {
        assert!(gamma.len() == columns && beta.len() == columns, "gamma and beta of rows of {columns}");
    }
    if x.is_empty() {
        return Ok(());
    }
    let design = tiling::shipped(engines.array.target(), Kernels::Rows)
        .map_err(|error| ArrayError::Refused(error.to_string()))?;
    // GELU knows no rows: its numbers are cut as it suits the array.
    let columns = if *function == RowFunction::Gelu { design.tile.k } else { columns };
    if columns > design.tile.k {
        let reason = format!("rows of {columns} numbers, and the array takes {} at most", design.tile.k);
        return Err(ArrayError::Refused(reason));
    }
    let engine = engines.engine(&design)?;
    let design = &engine.design;
    let problem = Problem::Rows { what: function.operator(), rows: x.len().div_ceil(columns), columns };
    let mut b = engine.take(&engines.array, Argument::B, design.buffer_bytes(&problem, Argument::B))?;
    let start = Instant::now();
    layout::pack_parameters(design, function, b.bytes_mut());
    let packing = start.elapsed();
    b.flush()?;
    engines.execute(
        &engine,
        &[Work { problem, b: &b, packing }],
        pool,
        |a| layout::pack_whole_rows(design, function, columns, x, a, pool),
        |_, c| layout::unpack_whole_rows(design, columns, c, out, pool),
    )?;
    engine.give(Argument::B, b);
    Ok(())
}
