//! Which steps' kernels have their place on an NPU, as far as a graph tells before it runs: a product of constant
//! weights, or attention without a mask, that pays by [`Placement`]'s one formula.

use undertone_kernels::{
    Activation, Precision,
    npu::{HEAD_WIDTH, Placement, Problem},
};

use crate::{
    memory::Shape,
    ops::{self, HeadLayout, ProductOp},
    options::Options,
    program::Step,
};

/// Why a step's kernel has its place on the host device beside an NPU; `None` if it is the NPU's: a product of constant
/// weights, or attention without a mask, that pays. `shapes` are those of the graph's values, as far as they are known;
/// an unknown number of rows counts as many, for a kernel decides again when it runs.
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
    let operand = |index: usize| known(step.input(index));
    let result = known(step.outputs.first().copied());
    let Some(product) = step.op.product() else { return Some("it is no product".into()) };
    let problem = match product {
        ProductOp::Linear(ops::Linear { activation: Activation::GeluTanh, .. }) => {
            return Some("GELU by a hyperbolic tangent is the host's".into());
        }
        ProductOp::Linear(ops::Linear { inputs, outputs, .. }) => {
            operand(0).map(|x| linear(x.elements() / (*inputs).max(1), *inputs, *outputs))
        }
        ProductOp::Conv1d(conv) => {
            let [outputs, in_channels, width] = conv.sizes;
            result.map(|y| linear(y.elements() / outputs.max(1), in_channels * width, outputs))
        }
        ProductOp::Attention(ops::Attention { shared_by: 2.., .. }) => {
            return Some("heads that share keys are the host's".into());
        }
        ProductOp::Attention(ops::Attention { head_width, q, k, causal, .. }) => {
            if *causal != ops::Causal::No || step.input(3).is_some() {
                return Some("a mask is the host's".into());
            }
            if *k == HeadLayout::HeadsFirst {
                return Some("keys out of a cache are the host's, in fp32".into());
            }
            if head_width.is_some_and(|width| width != HEAD_WIDTH) {
                return Some(format!("the NPU's heads are {HEAD_WIDTH} wide"));
            }
            operand(0).zip(operand(1)).and_then(|(queries, keys)| {
                let ([batch, heads, queries, _], [_, _, keys, _]) = (q.sizes(&queries).ok()?, k.sizes(&keys).ok()?);
                Some(Problem::Attention { heads: batch * heads, queries, keys })
            })
        }
        ProductOp::MatMul => return Some("both operands are known only when it runs".into()),
    };
    let weighed = placement.weigh(precision, problem?)?;
    (!weighed.on_npu()).then(|| weighed.to_string())
}

/// A product as the NPU has it.
fn linear(rows: usize, inputs: usize, outputs: usize) -> Problem {
    Problem::Linear { rows, inputs, outputs }
}
