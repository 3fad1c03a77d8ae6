//! Rows along the last axis are brought to one scale: layer norm and soft-max, in fp32 on the host.

use undertone_kernels::{Context, host::norm};

use super::{
    Inferred, Op, Operator, Role,
    run::{Computed, Operands, Run},
};
use crate::{
    lower::{Lowered, Lowering},
    plan::{
        PlanError,
        prepare::{Kernel, Preparing},
        tensor::Shape,
    },
};

/// A normalisation over the last axis.
#[derive(Clone, Copy, Debug, PartialEq)]
#[allow(missing_docs, reason = "fields carry the names of ONNX's attributes")]
pub enum Normalisation {
    /// `x, gain` and perhaps `bias`.
    LayerNorm { epsilon: f32 },
    /// `x`.
    Softmax,
}

/// `LayerNormalization`.
pub fn layer_norm(node: &mut Lowering<'_, '_>) -> Lowered<Op> {
    node.floats()?;
    if !node.is_last_axis(node.node.int("axis", -1)) {
        return Err("LayerNormalization over more than the last axis".into());
    }
    Ok(Op::Normalisation(Normalisation::LayerNorm { epsilon: node.node.float("epsilon", 1e-5) }))
}

/// `Softmax`.
pub fn softmax(node: &mut Lowering<'_, '_>) -> Lowered<Op> {
    node.floats()?;
    // Before version 13 the default axis was 1 and the axes after it were flattened.
    if !node.is_last_axis(node.node.int("axis", if node.node.since_version < 13 { 1 } else { -1 })) {
        return Err("Softmax over another than the last axis".into());
    }
    Ok(Op::Normalisation(Normalisation::Softmax))
}

impl Operator for Normalisation {
    fn kind(&self) -> &'static str {
        match self {
            Normalisation::LayerNorm { .. } => "layer norm",
            Normalisation::Softmax => "softmax",
        }
    }

    fn role(&self) -> Role {
        match self {
            Normalisation::LayerNorm { .. } => Role::Norm,
            Normalisation::Softmax => Role::Softmax,
        }
    }

    fn shape(&self, operands: Operands<'_, '_, '_>) -> Inferred<Shape> {
        operands.shape(0).copied()
    }

    fn prepare(&self, preparing: &Preparing<'_>) -> Result<Option<Kernel>, PlanError> {
        Ok(Some(preparing.host()))
    }

    fn run(&self, run: &mut Run<'_, '_, '_>, context: &mut Context<'_>) -> Computed<()> {
        let operands = run.operands;
        let isa = run.fp32_isa()?;
        let [rows, width] = run.rows();
        match self {
            Normalisation::LayerNorm { epsilon } => {
                let norm = norm::Norm { gain: operands.data(1)?, bias: operands.optional(2)?, epsilon: *epsilon };
                if norm.gain.len() != width || norm.bias.is_some_and(|bias| bias.len() != width) {
                    return Err(format!("layer norm of rows of {width} with {} gains", norm.gain.len()).into());
                }
                norm::layer_norm(isa, context, rows, &norm, operands.data(0)?, run.elements()?);
            }
            Normalisation::Softmax => norm::softmax(isa, context, rows, width, operands.data(0)?, run.elements()?),
        }
        Ok(())
    }
}
