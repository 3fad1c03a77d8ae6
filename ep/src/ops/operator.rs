//! What every operation can tell and do.

use std::ops::Range;

use undertone_kernels::Context;

use super::{
    prepare::{Prepared, Preparing},
    run::{Computed, Inferred, Operands, StepRun},
};
use crate::{
    error::PlanError,
    graph::{DataType, ValueId},
    memory::Shape,
};

pub(super) const NOT_CARRIED_OUT: &str = "the operation is not one that the EP carries out";
pub(super) const TOO_MANY_AXES: &str = "the result has too many axes";

/// What every operation can tell and do.
pub trait Operator {
    /// What a report calls it, and what it does to the values that flow through it.
    fn class(&self) -> (&'static str, Role);

    /// Places of the operands whose values flow into the result; those of shapes, indices and conditions left out.
    fn data(&self) -> Range<usize> {
        0..1
    }

    /// The constants that are a part of the operation, and not among the step's operands.
    fn constants(&self) -> [Option<ValueId>; 5] {
        [None; 5]
    }

    /// Whether only the shape of its operand counts, not its elements.
    fn reads_shape_only(&self) -> bool {
        false
    }

    /// Whether the result is the first operand's bytes in another shape, between these element types.
    fn is_view(&self, _from: DataType, _to: DataType) -> bool {
        false
    }

    /// The shape of the result. The error says what the operands lack for the operation to be defined.
    fn shape(&self, operands: Operands<'_, '_, '_>) -> Inferred<Shape> {
        operands.shape(0).copied()
    }

    /// Floating-point operations of a product (a multiplication and an addition are two), from the shapes of its
    /// operands and its result; `None` for what is no product.
    fn flops(&self, _operands: &dyn Fn(usize) -> Option<Shape>, _result: Option<Shape>) -> Option<f64> {
        None
    }

    /// What it runs with; `None` for what needs nothing. An error if a constant is missing or of the wrong type or
    /// shape.
    fn prepare(&self, _preparing: &Preparing<'_>) -> Result<Option<Prepared>, PlanError> {
        Ok(None)
    }

    /// Computes the result. An error if operands do not fit, or a device failed.
    fn run(&self, run: &mut StepRun<'_, '_, '_>, context: &mut Context<'_>) -> Computed<()>;
}

/// What an operation does to what flows through it, as far as the recognition of a transformer's parts goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    Norm,
    /// A soft-max, or its logarithm.
    Softmax,
    /// Scaled-dot-product attention as one operator.
    Attention,
    /// A product with weights, or of two activations.
    Product,
    Log,
    /// A non-linear function of each value.
    Activation,
    /// Arithmetic of each value with another.
    Arithmetic,
    /// Values are moved, cast or quantised.
    Movement,
    /// Values do not flow through it.
    Nothing,
    /// Not known.
    Other,
}
