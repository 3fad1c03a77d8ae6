//! Prepares the kernels of a plan: real weights out of constants, quantised and packed by the device, shared where
//! equal.

use std::{
    borrow::Cow,
    sync::{Arc, OnceLock},
};

use undertone_kernels::{Attention, AttentionSpec, Conv1d, Device, Linear, Precision, Unsupported, npu::PlacedDevice};

use super::{
    PlanError, Store,
    layout::Stored,
    shared::{Key, Packed, floats},
    tensor::Shape,
};
use crate::{
    graph::{Constant, DataType, Graph, ValueId},
    ops::{self, HeadLayout, Weights},
    options::Options,
    program::Step,
};

/// What a step runs with.
pub enum Kernel {
    /// A linear layer.
    Linear(Packed<dyn Linear>),
    /// Attention.
    Attention(AttentionKernel),
    /// A convolution.
    Conv1d(Packed<dyn Conv1d>),
    /// Host work that needs the instruction set but no weights.
    Host(undertone_kernels::host::Isa),
}

/// Attention, prepared when the session is made, or, where a graph does not tell the width of its heads, in the first
/// run.
pub struct AttentionKernel {
    scale: f32,
    precision: Precision,
    device: Arc<dyn Device>,
    prepared: OnceLock<(usize, Box<dyn Attention>)>,
}

impl AttentionKernel {
    /// Prepares a step's attention, at once if the width of its heads is known.
    ///
    /// # Errors
    /// If no device takes it.
    pub fn new(op: &ops::Attention, preparing: &Preparing<'_>) -> Result<Self, PlanError> {
        let kernel = Self {
            scale: op.scale,
            precision: attention_precision(preparing.precision(), op.k),
            device: preparing.store.device(preparing.placed),
            prepared: OnceLock::new(),
        };
        if let Some(head_width) = op.head_width {
            // The cell is new, so it takes what it is given.
            let _ = kernel.prepared.set((head_width, kernel.prepare(head_width)?));
        }
        Ok(kernel)
    }

    fn spec(&self, head_width: usize) -> AttentionSpec {
        AttentionSpec { head_width, scale: self.scale, precision: self.precision }
    }

    fn prepare(&self, head_width: usize) -> Result<Box<dyn Attention>, Unsupported> {
        self.device.attention(&self.spec(head_width))
    }

    /// The kernel for heads of this width.
    ///
    /// # Errors
    /// If it was prepared for another width, or cannot be.
    pub fn for_width(&self, head_width: usize) -> Result<&dyn Attention, String> {
        if self.prepared.get().is_none() {
            let made = self.prepare(head_width).map_err(|error| error.to_string())?;
            // Another run may have been first with the same.
            let _ = self.prepared.set((head_width, made));
        }
        match self.prepared.get() {
            Some((width, kernel)) if *width == head_width => Ok(kernel.as_ref()),
            _ => Err(format!("heads of {head_width}, which is not the width that this attention was prepared for")),
        }
    }
}

/// The precision of attention whose keys and values come out of a cache (or of a whole encoder's output, once per
/// token).
///
/// They are read once for each query; rounding them first would cost more than the products do.
pub fn attention_precision(asked: Precision, k: HeadLayout) -> Precision {
    match k {
        HeadLayout::LengthFirst | HeadLayout::Packed { .. } => asked,
        HeadLayout::HeadsFirst => Precision::F32,
    }
}

/// A constant that steps read, as plans hold it.
///
/// # Errors
/// If it is damaged.
pub fn stored(graph: &Graph<'_>, value: ValueId, store: &Store<'_>) -> Result<Arc<Stored>, PlanError> {
    store.constant(constant(graph, value)?).map_err(invalid(graph, value))
}

/// A step that is being prepared.
pub struct Preparing<'p> {
    /// Its graph, which has the constants.
    pub graph: &'p Graph<'p>,
    /// The step.
    pub step: &'p Step,
    /// The session's.
    pub options: &'p Options,
    /// Those of the graph's values, as far as they are known.
    pub shapes: &'p [Option<Shape>],
    /// The device with an NPU on which the kernel may have its place; `None` for one that is the host's in any case.
    pub placed: Option<&'p PlacedDevice>,
    /// Where packed kernels are kept.
    pub store: &'p Store<'p>,
}

impl<'p> Preparing<'p> {
    /// Host work that needs no weights.
    pub fn host(&self) -> Kernel {
        Kernel::Host(self.store.host().isa())
    }

    /// The device that prepares the step's kernel.
    pub fn device(&self) -> &'p dyn Device {
        match self.placed {
            Some(placed) => placed,
            None => self.store.host(),
        }
    }

    /// The precision that the step's product is computed in.
    pub fn precision(&self) -> Precision {
        self.step.precision(self.options.precision)
    }

    /// What tells a packed kernel from others: the constants that it is made of, and in words how. `spec` and `suffix`
    /// stand before and after the device's form.
    ///
    /// # Errors
    /// If a constant is missing.
    pub fn key(&self, weights: &Weights, bias: Option<ValueId>, spec: String, suffix: &str) -> Result<Key, PlanError> {
        let (scale, zero_point) =
            weights.quantised.map_or((None, None), |(scale, zero_point)| (Some(scale), zero_point));
        let parts = [Some(weights.value), scale, zero_point, bias, weights.smoothing];
        let parts: Vec<_> = parts.into_iter().flatten().map(|value| self.constant(value)).collect::<Result<_, _>>()?;
        Ok(Key::new(&parts, format!("{spec}{}{suffix}", self.device().form())))
    }

    /// A constant of the graph.
    ///
    /// # Errors
    /// If it is none.
    pub fn constant(&self, value: ValueId) -> Result<&'p Constant<'p>, PlanError> {
        constant(self.graph, value)
    }

    /// A constant of `width` values, whatever axes of one it has.
    ///
    /// # Errors
    /// If a constant is missing, damaged or of another shape.
    pub fn row(&self, value: ValueId, width: usize) -> Result<Cow<'p, [f32]>, PlanError> {
        let values = floats(self.constant(value)?).map_err(invalid(self.graph, value))?;
        if values.len() == width { Ok(values) } else { Err(wrong_shape(self.graph, value)) }
    }

    /// The real values of weights: as stored, or `(stored − zero_point) · scale`.
    ///
    /// # Errors
    /// If a constant is missing, damaged or of another shape.
    pub fn real(&self, weights: &Weights, outputs: usize, axis: Axis) -> Result<Cow<'p, [f32]>, PlanError> {
        let stored = self.constant(weights.value)?;
        if stored.bytes.len() != stored.size() {
            return Err(invalid(self.graph, weights.value)(format!(
                "{} bytes for {:?}",
                stored.bytes.len(),
                stored.shape
            )));
        }
        let Some((scale, zero_point)) = weights.quantised else {
            return floats(stored).map_err(invalid(self.graph, weights.value));
        };
        let scale = self.per_output(scale, outputs, floats)?;
        let zero = match zero_point {
            Some(value) => self.per_output(value, outputs, integers)?,
            None => Cow::Owned(vec![0.0; outputs]),
        };
        let mut values = integers(stored).map_err(invalid(self.graph, weights.value))?.into_owned();
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

    /// A matrix's real values with each input's multiplied by its smoothing.
    ///
    /// # Errors
    /// If a constant is missing, damaged or of another shape.
    pub fn smoothed(
        &self,
        weights: &Weights,
        [inputs, outputs]: [usize; 2],
        values: Cow<'p, [f32]>,
    ) -> Result<Cow<'p, [f32]>, PlanError> {
        let Some(smoothing) = weights.smoothing else { return Ok(values) };
        let smoothing = self.row(smoothing, inputs)?;
        let mut values = values.into_owned();
        if weights.transposed {
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

    /// One entry for each output, from a constant with one entry in all or one for each.
    fn per_output(
        &self,
        value: ValueId,
        outputs: usize,
        read: impl Fn(&'p Constant<'p>) -> Result<Cow<'p, [f32]>, String>,
    ) -> Result<Cow<'p, [f32]>, PlanError> {
        let values = read(self.constant(value)?).map_err(invalid(self.graph, value))?;
        match values.len() {
            1 => Ok(Cow::Owned(vec![values[0]; outputs])),
            len if len == outputs => Ok(values),
            _ => Err(wrong_shape(self.graph, value)),
        }
    }
}

/// Where a per-output scale runs along a constant.
#[derive(Clone, Copy)]
#[allow(missing_docs, reason = "the names are clear")]
pub enum Axis {
    First,
    Last,
}

fn constant<'g, 'a>(graph: &'g Graph<'a>, value: ValueId) -> Result<&'g Constant<'a>, PlanError> {
    graph.values[value].constant.as_ref().ok_or_else(|| PlanError::Constant {
        name: graph.values[value].name.clone(),
        reason: "its value is not known when the session is made".into(),
    })
}

fn wrong_shape(graph: &Graph<'_>, value: ValueId) -> PlanError {
    let value = &graph.values[value];
    let reason = format!("its shape {:?} is not one of weights", value.constant.as_ref().map(|c| &c.shape));
    PlanError::Constant { name: value.name.clone(), reason }
}

fn invalid(graph: &Graph<'_>, value: ValueId) -> impl Fn(String) -> PlanError {
    let name = graph.values[value].name.clone();
    move |reason| PlanError::Constant { name: name.clone(), reason }
}

fn integers<'c>(constant: &'c Constant<'_>) -> Result<Cow<'c, [f32]>, String> {
    match constant.dtype {
        DataType::I8 => Ok(constant.bytes.iter().map(|byte| f32::from(*byte as i8)).collect()),
        DataType::U8 => Ok(constant.bytes.iter().map(|byte| f32::from(*byte)).collect()),
        other => Err(format!("it is {other}, int8 or uint8 was expected")),
    }
}
