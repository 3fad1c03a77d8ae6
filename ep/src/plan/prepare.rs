//! Prepares the kernels of a plan: real weights out of constants, quantised and packed by the device, shared where equal.

use std::{
    borrow::Cow,
    sync::{Arc, OnceLock},
};

use undertone_kernels::{
    Attention, AttentionSpec, Conv1d, Conv1dSpec, Device, Linear, LinearSpec, Precision, Unsupported, WeightLayout,
    npu::PlacedDevice,
};

use super::{
    PlanError, Store, arithmetic,
    layout::Stored,
    shared::{Key, Packed, floats},
    tensor::Shape,
};
use crate::{
    graph::{Constant, DataType, Graph, ValueId},
    options::Options,
    program::{Conv, HeadLayout, Op, Step, Weights},
};

/// A prepared kernel, with what its step must know of its shape.
pub enum Kernel {
    /// Rows and columns of the matrix, and the layer.
    Linear { inputs: usize, outputs: usize, kernel: Packed<dyn Linear> },
    /// Attention.
    Attention(AttentionKernel),
    /// `[out_channels, in_channels, width]`, and the convolution.
    Conv1d { shape: [usize; 3], kernel: Packed<dyn Conv1d> },
    /// Host work that needs the instruction set but no weights.
    Host(undertone_kernels::host::Isa),
}

/// Attention, prepared when the session is made, or, where a graph does not tell the width of its heads, in the first run.
pub struct AttentionKernel {
    scale: f32,
    precision: Precision,
    device: Arc<dyn Device>,
    prepared: OnceLock<(usize, Box<dyn Attention>)>,
}

impl AttentionKernel {
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

/// The precision of attention whose keys and values come out of a cache (or of a whole encoder's output, once per token).
///
/// They are read once for each query; rounding them first would cost more than the products do.
pub fn attention_precision(asked: Precision, k: HeadLayout) -> Precision {
    match k {
        HeadLayout::LengthFirst => asked,
        HeadLayout::HeadsFirst => Precision::F32,
    }
}

/// The kernel of a step, if it needs one, of the device on which it is `placed`, else of the host device. `shapes` are those of the
/// graph's values, as far as they are known.
///
/// # Errors
/// If a constant is missing or of the wrong type or shape.
pub fn kernel(
    graph: &Graph<'_>,
    step: &Step,
    options: &Options,
    shapes: &[Option<Shape>],
    placed: Option<&PlacedDevice>,
    store: &Store<'_>,
) -> Result<Option<Kernel>, PlanError> {
    let device: &dyn Device = placed.map_or(store.host(), |placed| placed);
    match &step.op {
        Op::Linear { weights, bias, scale, activation, .. } => {
            let constant = constant(graph, weights.value)?;
            let [a, b] = constant.shape[..] else { return Err(wrong_shape(graph, weights.value)) };
            let (inputs, outputs) = if weights.transposed { (b, a) } else { (a, b) };
            let layout = if weights.transposed { WeightLayout::OutputsByInputs } else { WeightLayout::InputsByOutputs };
            let (precision, activation) = (step.precision(options.precision), *activation);
            let sizes = arithmetic::LayerSizes::of(step, shapes);
            let wide_rows = placed.is_none() && arithmetic::wide_rows(precision, sizes).0;
            let spec = LinearSpec { inputs, outputs, precision, wide_rows, activation, scale: *scale };
            let mut parts = quantisation_parts(graph, weights)?;
            parts.extend(bias.map(|value| self::constant(graph, value)).transpose()?);
            parts.extend(weights.smoothing.map(|value| self::constant(graph, value)).transpose()?);
            let smoothing = if weights.smoothing.is_some() { " smoothed" } else { "" };
            let key = Key::new(&parts, format!("{spec:?} {layout:?} {}{}{smoothing}", constant.dtype, device.form()));
            let kernel = store.linear(key, &spec, || {
                let values = smoothed(graph, weights, [inputs, outputs], real(graph, weights, outputs, Axis::Last)?)?;
                let bias = bias.map(|value| row(graph, value, outputs)).transpose()?;
                Ok(device.linear(&spec, &values, layout, bias.as_deref())?)
            })?;
            Ok(Some(Kernel::Linear { inputs, outputs, kernel }))
        }
        Op::Attention { head_width, scale, k, .. } => {
            let precision = attention_precision(step.precision(options.precision), *k);
            let kernel = AttentionKernel {
                scale: *scale,
                precision,
                device: match placed {
                    Some(placed) => Arc::new(placed.clone()),
                    None => Arc::new(*store.host()),
                },
                prepared: OnceLock::new(),
            };
            if let Some(head_width) = *head_width {
                // The cell is new, so it takes what it is given.
                let _ = kernel.prepared.set((head_width, kernel.prepare(head_width)?));
            }
            Ok(Some(Kernel::Attention(kernel)))
        }
        Op::Conv1d(conv) => convolution(graph, conv, step.precision(options.precision), device, store).map(Some),
        Op::MatMul | Op::LayerNorm { .. } | Op::Softmax | Op::Unary(_) | Op::Binary(_) => {
            Ok(Some(Kernel::Host(store.host().isa())))
        }
        _ => Ok(None),
    }
}

/// A constant that steps read, as plans hold it.
///
/// # Errors
/// If it is damaged.
pub fn stored(graph: &Graph<'_>, value: ValueId, store: &Store<'_>) -> Result<Arc<Stored>, PlanError> {
    store.constant(constant(graph, value)?).map_err(invalid(graph, value))
}

fn convolution(
    graph: &Graph<'_>,
    conv: &Conv,
    precision: Precision,
    device: &dyn Device,
    store: &Store<'_>,
) -> Result<Kernel, PlanError> {
    let constant = constant(graph, conv.weights.value)?;
    let [out_channels, in_channels, width] = constant.shape[..] else {
        return Err(wrong_shape(graph, conv.weights.value));
    };
    let spec = Conv1dSpec {
        in_channels,
        out_channels,
        width,
        stride: conv.stride,
        padding: conv.padding,
        precision,
        activation: conv.activation,
        input_channels_last: conv.input_channels_last,
        output_channels_last: conv.output_channels_last,
    };
    let mut parts = quantisation_parts(graph, &conv.weights)?;
    parts.extend(conv.bias.map(|value| self::constant(graph, value)).transpose()?);
    let key = Key::new(&parts, format!("{spec:?} {}{}", constant.dtype, device.form()));
    let kernel = store.convolution(key, &spec, || {
        let values = real(graph, &conv.weights, out_channels, Axis::First)?;
        let bias = conv.bias.map(|value| row(graph, value, out_channels)).transpose()?;
        Ok(device.conv1d(&spec, &values, bias.as_deref())?)
    })?;
    Ok(Kernel::Conv1d { shape: [out_channels, in_channels, width], kernel })
}

/// Where a per-output scale runs along a constant.
#[derive(Clone, Copy)]
enum Axis {
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

/// A constant of `width` values, whatever axes of one it has.
fn row<'g>(graph: &'g Graph<'_>, value: ValueId, width: usize) -> Result<Cow<'g, [f32]>, PlanError> {
    let values = floats(constant(graph, value)?).map_err(invalid(graph, value))?;
    if values.len() == width { Ok(values) } else { Err(wrong_shape(graph, value)) }
}

fn quantisation_parts<'g, 'a>(graph: &'g Graph<'a>, weights: &Weights) -> Result<Vec<&'g Constant<'a>>, PlanError> {
    let mut parts = vec![constant(graph, weights.value)?];
    if let Some((scale, zero_point)) = weights.quantised {
        parts.push(constant(graph, scale)?);
        parts.extend(zero_point.map(|value| constant(graph, value)).transpose()?);
    }
    Ok(parts)
}

/// The real values of weights: as stored, or `(stored − zero_point) · scale`.
fn real<'g>(graph: &'g Graph<'_>, weights: &Weights, outputs: usize, axis: Axis) -> Result<Cow<'g, [f32]>, PlanError> {
    let stored = constant(graph, weights.value)?;
    if stored.bytes.len() != stored.size() {
        return Err(invalid(graph, weights.value)(format!("{} bytes for {:?}", stored.bytes.len(), stored.shape)));
    }
    let Some((scale, zero_point)) = weights.quantised else {
        return floats(stored).map_err(invalid(graph, weights.value));
    };
    let scale = per_output(graph, scale, outputs, floats)?;
    let zero = match zero_point {
        Some(value) => per_output(graph, value, outputs, integers)?,
        None => Cow::Owned(vec![0.0; outputs]),
    };
    let mut values = integers(stored).map_err(invalid(graph, weights.value))?.into_owned();
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
fn smoothed<'g>(
    graph: &'g Graph<'_>,
    weights: &Weights,
    [inputs, outputs]: [usize; 2],
    values: Cow<'g, [f32]>,
) -> Result<Cow<'g, [f32]>, PlanError> {
    let Some(smoothing) = weights.smoothing else { return Ok(values) };
    let smoothing = row(graph, smoothing, inputs)?;
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
fn per_output<'g, 'a>(
    graph: &'g Graph<'a>,
    value: ValueId,
    outputs: usize,
    read: impl Fn(&'g Constant<'a>) -> Result<Cow<'g, [f32]>, String>,
) -> Result<Cow<'g, [f32]>, PlanError> {
    let values = read(constant(graph, value)?).map_err(invalid(graph, value))?;
    match values.len() {
        1 => Ok(Cow::Owned(vec![values[0]; outputs])),
        len if len == outputs => Ok(values),
        _ => Err(wrong_shape(graph, value)),
    }
}

fn integers<'c>(constant: &'c Constant<'_>) -> Result<Cow<'c, [f32]>, String> {
    match constant.dtype {
        DataType::I8 => Ok(constant.bytes.iter().map(|byte| f32::from(*byte as i8)).collect()),
        DataType::U8 => Ok(constant.bytes.iter().map(|byte| f32::from(*byte)).collect()),
        other => Err(format!("it is {other}, int8 or uint8 was expected")),
    }
}
