//! Which steps' kernels have their place on an NPU, as far as a graph tells before it runs: a product of constant weights, or attention
//! without a mask, that pays by [`Placement`]'s one formula.

use undertone_kernels::{
    Precision,
    npu::{Problem, design::HEAD_WIDTH, placement::Placement},
};

use super::tensor::Shape;
use crate::{
    options::Options,
    program::{HeadLayout, Op, Step},
};

/// Why a step's kernel has its place on the host device beside an NPU; `None` if it is the NPU's: a product of constant weights, or attention without
/// a mask, that pays. `shapes` are those of the graph's values, as far as they are known; an unknown number of rows counts as many, for a kernel
/// decides again when it runs.
pub fn why_not_on_npu(
    step: &Step,
    options: &Options,
    placement: &Placement,
    shapes: &[Option<Shape>],
) -> Option<String> {
    let precision = step.precision(options.precision);
    if precision == Precision::F32 {
        return Some("it is computed in fp32, which an NPU does not have".into());
    }
    let known = |value: Option<usize>| shapes.get(value?).copied().flatten();
    let operand = |index: usize| known(step.inputs.get(index).copied().flatten());
    let result = known(step.outputs.first().copied());
    let problem = match &step.op {
        Op::Linear { weights, .. } => operand(0).zip(known(Some(weights.value))).and_then(|(x, weights)| {
            let inputs = *x.last()?;
            Some(linear(x.elements() / inputs.max(1), inputs, weights.elements() / inputs.max(1)))
        }),
        Op::Conv1d(conv) => result.zip(known(Some(conv.weights.value))).and_then(|(y, weights)| {
            let outputs = *weights.first()?;
            Some(linear(y.elements() / outputs.max(1), weights.elements() / outputs.max(1), outputs))
        }),
        Op::Attention { head_width, q, k, .. } => {
            if step.inputs.get(3).copied().flatten().is_some() {
                return Some("a mask is the host's".into());
            }
            if *k == HeadLayout::HeadsFirst {
                return Some("keys out of a cache are the host's, in fp32".into());
            }
            if head_width.is_some_and(|width| width != HEAD_WIDTH) {
                return Some(format!("the NPU's heads are {HEAD_WIDTH} wide"));
            }
            let sizes = |x: Shape, layout: &HeadLayout| match layout {
                HeadLayout::HeadsFirst => Some([*x.first()?, *x.get(1)?, *x.get(2)?]),
                HeadLayout::LengthFirst => Some([*x.first()?, *x.get(2)?, *x.get(1)?]),
            };
            let four = |index: usize| operand(index).filter(|shape| shape.len() == 4);
            four(0).zip(four(1)).and_then(|(queries, keys)| {
                let ([batch, heads, queries], [_, _, keys]) = (sizes(queries, q)?, sizes(keys, k)?);
                Some(Problem::Attention { heads: batch * heads, queries, keys })
            })
        }
        Op::MatMul => return Some("both operands are known only when it runs".into()),
        _ => return Some("it is no product".into()),
    };
    let weighed = placement.weigh(precision, problem?)?;
    (!weighed.on_npu()).then(|| weighed.to_string())
}

/// A product as the NPU has it.
fn linear(rows: usize, inputs: usize, outputs: usize) -> Problem {
    Problem::Linear { rows, inputs, outputs }
}
