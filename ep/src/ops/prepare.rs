//! What an operation is prepared with when its plan is made, and what it then runs with.

use std::sync::{Arc, OnceLock};

use undertone_kernels::{Attention, AttentionSpec, Conv1d, Device, Linear, Precision, Unsupported, npu::PlacedDevice};

use crate::{
    error::PlanError,
    graph::{Constant, Graph, ValueId},
    memory::{Shape, SharedKernel, Store},
};

/// What a product runs with.
pub enum Prepared {
    Linear(SharedKernel<dyn Linear>),
    Attention(PreparedAttention),
    Conv1d(SharedKernel<dyn Conv1d>),
}

/// Attention, prepared when the session is made, or, where a graph does not tell the width of its heads, in the first
/// run.
pub struct PreparedAttention {
    scale: f32,
    precision: Precision,
    device: Arc<dyn Device>,
    prepared: OnceLock<(usize, Box<dyn Attention>)>,
}

impl PreparedAttention {
    /// Prepares attention, at once if the width of its heads is known. An error if no device takes it.
    pub fn new(
        scale: f32,
        precision: Precision,
        head_width: Option<usize>,
        device: Arc<dyn Device>,
    ) -> Result<Self, PlanError> {
        let attention = Self { scale, precision, device, prepared: OnceLock::new() };
        if let Some(head_width) = head_width {
            // The cell is new, so it takes what it is given.
            let _ = attention.prepared.set((head_width, attention.prepare(head_width)?));
        }
        Ok(attention)
    }

    fn prepare(&self, head_width: usize) -> Result<Box<dyn Attention>, Unsupported> {
        self.device.attention(&AttentionSpec { head_width, scale: self.scale, precision: self.precision })
    }

    /// Number format of its products.
    pub fn precision(&self) -> Precision {
        self.precision
    }

    /// The kernel for heads of this width. An error if it was prepared for another width, or cannot be.
    pub fn for_width(&self, head_width: usize) -> Result<&(dyn Attention + 'static), String> {
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

/// A step that is being prepared.
pub struct Preparing<'p> {
    /// Its graph, which has the constants.
    pub graph: &'p Graph<'p>,
    pub inputs: &'p [Option<ValueId>],
    /// The precision that the step's product is computed in.
    pub precision: Precision,
    /// Those of the graph's values, as far as they are known.
    pub shapes: &'p [Option<Shape>],
    /// The device with an NPU on which the kernel may have its place; `None` for one that is the host's in any case.
    pub placed: Option<&'p PlacedDevice>,
    /// Where packed kernels are kept.
    pub store: &'p Store<'p>,
}

impl<'p> Preparing<'p> {
    /// The device that prepares the step's kernel.
    pub fn device(&self) -> &'p dyn Device {
        match self.placed {
            Some(placed) => placed,
            None => self.store.host(),
        }
    }

    /// The shape of operand `index`, if it is known.
    pub fn shape(&self, index: usize) -> Option<Shape> {
        let value = self.inputs.get(index).copied().flatten()?;
        self.shapes.get(value).copied().flatten()
    }

    /// A constant of the graph. An error if it is none.
    pub fn constant(&self, value: ValueId) -> Result<&'p Constant<'p>, PlanError> {
        let reason = "its value is not known when the session is made";
        self.graph.values[value].constant.as_ref().ok_or_else(|| self.invalid(value)(reason.into()))
    }

    /// The error of a constant that cannot be used, from the reason.
    pub fn invalid(&self, value: ValueId) -> impl Fn(String) -> PlanError {
        let name = self.graph.values[value].name.clone();
        move |reason| PlanError::Constant { name: name.clone(), reason }
    }
}
