//! Constant weights: how their real values come from what is stored.

use std::borrow::Cow;

use super::{coded::Coding, prepare::Preparing};
use crate::{
    error::PlanError,
    graph::{Constant, DataType, ValueId},
    memory::{WeightKey, floats},
};

/// A constant matrix or convolution kernel, and how its real values come from what is stored.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Weights {
    pub value: ValueId,
    /// A matrix is stored `[outputs, inputs]` (Gemm's `transB`).
    pub transposed: bool,
    /// For a quantised constant: its scale and zero point (constants, one entry or one for each output).
    pub quantised: Option<(ValueId, Option<ValueId>)>,
    /// For a matrix whose entries are codes of a few bits: how they are stored. Its scales and zero points are those of
    /// `quantised`, one for each block.
    pub coding: Option<Coding>,
    /// A constant row that each input's weights are multiplied by, because the operand is divided by it.
    pub smoothing: Option<ValueId>,
}

/// Where a per-output scale runs along a constant.
#[derive(Clone, Copy)]
pub enum Axis {
    First,
    Last,
}

impl Weights {
    /// Weights that are stored as they are.
    pub fn plain(value: ValueId) -> Self {
        Self { value, transposed: false, quantised: None, coding: None, smoothing: None }
    }

    /// The constants of an operation with these weights and `bias`.
    pub fn constants(&self, bias: Option<ValueId>) -> [Option<ValueId>; 5] {
        let (scale, zero_point) = self.quantised.map_or((None, None), |(scale, zero_point)| (Some(scale), zero_point));
        [Some(self.value), scale, zero_point, bias, self.smoothing]
    }

    /// What tells a packed kernel from others: the constants that it is made of, and in words how. `spec` and `suffix`
    /// stand before and after the device's form. An error if a constant is missing.
    pub fn key(
        &self,
        from: &Preparing<'_>,
        bias: Option<ValueId>,
        spec: String,
        suffix: &str,
    ) -> Result<WeightKey, PlanError> {
        let parts = self.constants(bias).into_iter().flatten();
        let parts: Vec<_> = parts.map(|value| from.constant(value)).collect::<Result<_, _>>()?;
        Ok(WeightKey::new(&parts, format!("{spec}{}{suffix}", from.device().form())))
    }

    /// The real values: as stored, or `(stored − zero_point) · scale`. An error if a constant is missing, damaged or of
    /// another shape.
    pub fn real<'p>(&self, from: &Preparing<'p>, outputs: usize, axis: Axis) -> Result<Cow<'p, [f32]>, PlanError> {
        let (stored, invalid) = (from.constant(self.value)?, from.invalid(self.value));
        if stored.bytes.len() != stored.size() {
            return Err(invalid(format!("{} bytes for {:?}", stored.bytes.len(), stored.shape)));
        }
        let Some((scale, zero_point)) = self.quantised else { return floats(stored).map_err(invalid) };
        let scale = per_output(from, scale, outputs, floats)?;
        let zero = match zero_point {
            Some(value) => per_output(from, value, outputs, integers)?,
            None => Cow::Owned(vec![0.0; outputs]),
        };
        let mut values = integers(stored).map_err(invalid)?.into_owned();
        let each = match axis {
            Axis::First => values.len() / outputs.max(1),
            Axis::Last => 1,
        };
        for (at, value) in values.iter_mut().enumerate() {
            let output = at / each.max(1) % outputs.max(1);
            *value = (*value - zero[output]) * scale[output];
        }
        Ok(Cow::Owned(values))
    }

    /// A matrix's real values, each input's multiplied by its smoothing. An error if a constant is missing, damaged or
    /// of another shape.
    pub fn matrix<'p>(&self, from: &Preparing<'p>, [inputs, outputs]: [usize; 2]) -> Result<Cow<'p, [f32]>, PlanError> {
        let values = match self.coding {
            Some(coding) => Cow::Owned(coding.real(self, from, [inputs, outputs])?),
            None => self.real(from, outputs, Axis::Last)?,
        };
        let Some(smoothing) = self.smoothing else { return Ok(values) };
        let smoothing = row(from, smoothing, inputs)?;
        let mut values = values.into_owned();
        if self.transposed {
            for row in values.chunks_exact_mut(inputs.max(1)) {
                row.iter_mut().zip(&*smoothing).for_each(|(value, size)| *value *= size);
            }
        } else {
            for (row, size) in values.chunks_exact_mut(outputs.max(1)).zip(&*smoothing) {
                row.iter_mut().for_each(|value| *value *= size);
            }
        }
        Ok(Cow::Owned(values))
    }
}

/// A constant of `width` values, whatever axes of one it has. An error if a constant is missing, damaged or of another
/// shape.
pub fn row<'p>(from: &Preparing<'p>, value: ValueId, width: usize) -> Result<Cow<'p, [f32]>, PlanError> {
    let values = floats(from.constant(value)?).map_err(from.invalid(value))?;
    if values.len() == width { Ok(values) } else { Err(wrong_shape(from, value)) }
}

/// One entry for each output, from a constant with one entry in all or one for each.
fn per_output<'p>(
    from: &Preparing<'p>,
    value: ValueId,
    outputs: usize,
    read: impl Fn(&'p Constant<'p>) -> Result<Cow<'p, [f32]>, String>,
) -> Result<Cow<'p, [f32]>, PlanError> {
    let values = read(from.constant(value)?).map_err(from.invalid(value))?;
    match values.len() {
        1 => Ok(Cow::Owned(vec![values[0]; outputs])),
        len if len == outputs => Ok(values),
        _ => Err(wrong_shape(from, value)),
    }
}

fn wrong_shape(from: &Preparing<'_>, value: ValueId) -> PlanError {
    let shape = from.graph.values[value].constant.as_ref().map(|constant| &constant.shape);
    from.invalid(value)(format!("its shape {shape:?} is not one of weights"))
}

fn integers<'c>(constant: &'c Constant<'_>) -> Result<Cow<'c, [f32]>, String> {
    match constant.dtype {
        DataType::I8 => Ok(constant.bytes.iter().map(|byte| f32::from(*byte as i8)).collect()),
        DataType::U8 => Ok(constant.bytes.iter().map(|byte| f32::from(*byte)).collect()),
        other => Err(format!("it is {other}, int8 or uint8 was expected")),
    }
}
