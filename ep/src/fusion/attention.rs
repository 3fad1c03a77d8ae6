//! Scaled-dot-product attention as PyTorch's exporter writes it:
//! `MatMul(q, kᵀ) [· scale] [+ mask] → Softmax [→ Where(IsNaN, 0)] → MatMul(·, v) [→ Transpose]`.
//!
//! Transpositions between `[batch, length, heads, 64]` and `[batch, heads, length, 64]` are taken in as strides. A scale
//! may also be of `q` and of `kᵀ`, each by its root, and `kᵀ` may be made with batch and heads as one axis.

use undertone_kernels::host::elementwise::Binary;

use super::{
    Fusion, StepId, other,
    sizes::{Entry, entries, last_entry},
    two,
};
use crate::{
    graph::{Dim, ValueId},
    ops::{Attention, Causal, HeadLayout, Mask, MatMul, Movement, Normalisation, Op, View},
    program::Step,
};

/// From projections' order to heads first, and back: the same permutation.
const SWAP_LENGTH_AND_HEADS: [usize; 4] = [0, 2, 1, 3];

struct HeadsOperand {
    value: ValueId,
    layout: HeadLayout,
    absorbed: Option<StepId>,
}

/// Root: the `Softmax`.
pub(super) fn attention(fusion: &mut Fusion<'_, '_>, root: StepId) -> Option<()> {
    let softmax = fusion.step(root).filter(|step| step.op == Op::Normalisation(Normalisation::Softmax))?;
    let mut absorbed = vec![root];

    // Before the soft-max: the mask, a scale, the product.
    let (mut above, mut scores) = fusion.sole_maker(softmax.inputs[0]?)?;
    let (mut mask, mut scale) = (None, 1.0);
    if scores.op == Op::Binary(Binary::Add) {
        let (a, b) = two(scores)?;
        let is_product = |value| {
            fusion
                .sole_maker(value)
                .is_some_and(|(_, step)| matches!(step.op, Op::MatMul(_) | Op::Binary(Binary::Mul | Binary::Div)))
        };
        let product = [a, b].into_iter().find(|value| is_product(*value))?;
        mask = Some(other(scores, product).filter(|mask| fusion.rank(*mask).is_none_or(|rank| rank <= 4))?);
        absorbed.push(above);
        (above, scores) = fusion.sole_maker(product)?;
    }
    if matches!(scores.op, Op::Binary(Binary::Mul | Binary::Div)) {
        let (factor, product) = fusion.scalar_and_other(scores)?;
        let divides = scores.op == Op::Binary(Binary::Div);
        if divides && scores.inputs[0] != Some(product) {
            return None;
        }
        scale = if divides { factor.recip() } else { factor };
        absorbed.push(above);
        (above, scores) = fusion.sole_maker(product)?;
    }
    if scores.op != Op::MatMul(MatMul::PLAIN) {
        return None;
    }
    absorbed.push(above);
    let (q, transposed_k) = two(scores)?;

    // After it: NaN (a query that sees nothing) replaced by zero, which the kernel does by itself, and the second
    // product.
    let mut weights = softmax.outputs[0];
    let mut last = root;
    if let Some((guards, selected)) = nan_guard(fusion, weights) {
        absorbed.extend(guards);
        last = selected;
        weights = fusion.step(selected)?.outputs[0];
    }
    let (second, product) = fusion.sole_reader(weights).filter(|(_, step)| step.op == Op::MatMul(MatMul::PLAIN))?;
    if product.inputs[0] != Some(weights) {
        return None;
    }
    let v = product.inputs[1]?;
    let result = product.outputs[0];
    absorbed.push(last);
    last = second;

    let (q, q_scale, q_steps) = scaled(fusion, q);
    let q = heads(fusion, q);
    let v = heads(fusion, v);
    let (k, k_scale, k_steps) = transposed_heads(fusion, transposed_k)?;
    absorbed.extend(q_steps.into_iter().chain(k_steps));
    let v_width = last_axis(fusion, v.value).or_else(|| last_axis(fusion, result));
    let qk_width = last_axis(fusion, q.value).or_else(|| last_axis(fusion, k.value));
    if qk_width.zip(v_width).is_some_and(|(qk, v)| qk != v) {
        return None;
    }
    let head_width = qk_width.or(v_width);
    if fusion.rank(result).is_some_and(|rank| rank != 4) {
        return None;
    }
    let mut out = HeadLayout::HeadsFirst;
    if let Some((transpose, step)) = fusion.sole_reader(result)
        && is_transpose(step, SWAP_LENGTH_AND_HEADS)
    {
        absorbed.push(last);
        last = transpose;
        out = HeadLayout::LengthFirst;
    }
    absorbed.extend([&q, &k, &v].into_iter().filter_map(|operand| operand.absorbed));
    absorbed.sort_unstable();
    absorbed.dedup();
    absorbed.retain(|id| *id != last);
    let op = Op::Attention(Attention {
        head_width,
        scale: scale * q_scale * k_scale,
        causal: Causal::No,
        hidden: f32::NEG_INFINITY,
        q: q.layout,
        k: k.layout,
        v: v.layout,
        out,
        shared_by: 1,
        appends: None,
    });
    let mut inputs = vec![Some(q.value), Some(k.value), Some(v.value)];
    inputs.extend(mask.map(Some));
    fusion.replace(last, &absorbed, op, inputs)
}

/// Root: attention that is one operator. Its operands are read through their transpositions, and its result is written
/// as the transposition behind it has it.
pub(super) fn transposed(fusion: &mut Fusion<'_, '_>, root: StepId) -> Option<()> {
    let step = fusion.step(root)?;
    let Op::Attention(mut op) = step.op else { return None };
    if step.input(4).is_some() {
        return None;
    }
    let (mut inputs, mut last, mut absorbed) = (step.inputs.clone(), root, Vec::new());
    let through = |index: usize, layout: HeadLayout| {
        let operand = heads(fusion, step.input(index).filter(|_| layout == HeadLayout::HeadsFirst)?);
        (operand.layout == HeadLayout::LengthFirst).then_some(operand)
    };
    let operands = [through(0, op.q), through(1, op.appends.unwrap_or(op.k)), through(2, op.appends.unwrap_or(op.v))];
    let keys_and_values = operands[1].is_some() && operands[2].is_some();
    for (index, operand) in operands.into_iter().enumerate() {
        let Some(operand) = operand.filter(|_| index == 0 || op.appends.is_none() || keys_and_values) else { continue };
        inputs[index] = Some(operand.value);
        absorbed.extend(operand.absorbed);
        match (index, &mut op) {
            (0, op) => op.q = operand.layout,
            (_, Attention { appends: Some(new), .. }) => *new = operand.layout,
            (1, op) => op.k = operand.layout,
            (_, op) => op.v = operand.layout,
        }
    }
    if let Causal::New { layout, .. } = &mut op.causal {
        *layout = op.appends.unwrap_or(op.k);
    }
    if let &[result] = &step.outputs[..]
        && op.out == HeadLayout::HeadsFirst
        && let Some((transpose, behind)) = fusion.sole_reader(result)
        && is_transpose(behind, SWAP_LENGTH_AND_HEADS)
    {
        absorbed.push(root);
        last = transpose;
        op.out = HeadLayout::LengthFirst;
    }
    if Op::Attention(op) == step.op {
        return None;
    }
    absorbed.sort_unstable();
    absorbed.dedup();
    fusion.replace(last, &absorbed, Op::Attention(op), inputs)
}

fn is_transpose(step: &Step, perm: [usize; 4]) -> bool {
    matches!(&step.op, Op::Movement(Movement::Transpose { perm: found }) if *found == perm)
}

/// `Where(IsNaN(p), 0, p)`: the steps before the `Where`, and the `Where`.
fn nan_guard(fusion: &Fusion<'_, '_>, p: ValueId) -> Option<([StepId; 1], StepId)> {
    if fusion.uses[p] != 2 || fusion.graph.outputs.contains(&p) {
        return None;
    }
    let reader = |op: &Op| {
        (0..fusion.steps.len())
            .find(|id| fusion.step(*id).is_some_and(|step| step.op == *op && step.inputs.contains(&Some(p))))
    };
    let (is_nan, select) = (reader(&Op::Mask(Mask::IsNaN))?, reader(&Op::Mask(Mask::Select))?);
    let condition = fusion.step(is_nan)?.outputs[0];
    let [Some(c), Some(zero), Some(kept)] = fusion.step(select)?.inputs[..] else { return None };
    (c == condition && fusion.uses[condition] == 1 && kept == p && fusion.scalar(zero) == Some(0.0))
        .then_some(([is_nan], select))
}

/// An operand `[batch, heads, length, width]`, read through its transposition if nobody else reads that but for its
/// shape.
fn heads(fusion: &Fusion<'_, '_>, value: ValueId) -> HeadsOperand {
    let transpose = fusion.maker(value).filter(|(_, step)| is_transpose(step, SWAP_LENGTH_AND_HEADS));
    let of_shape = || fusion.steps.iter().flatten().filter(|step| step.op.reads_shape_only());
    let once = || fusion.uses[value] == 1 + of_shape().flat_map(Step::operands).filter(|read| *read == value).count();
    match transpose.and_then(|(id, step)| Some((id, step.inputs[0]?))).filter(|_| once()) {
        Some((id, source)) => {
            let absorbed = (fusion.uses[value] == 1).then_some(id);
            HeadsOperand { value: source, layout: HeadLayout::LengthFirst, absorbed }
        }
        None => HeadsOperand { value, layout: HeadLayout::HeadsFirst, absorbed: None },
    }
}

/// The operand behind `kᵀ`, `[batch, heads, width, length]`, the factor that it is multiplied by, and the steps between.
fn transposed_heads(fusion: &Fusion<'_, '_>, value: ValueId) -> Option<(HeadsOperand, f32, Vec<StepId>)> {
    let (value, scale, mut absorbed) = scaled(fusion, value);
    let (id, step) = fusion.sole_maker(value)?;
    let source = step.inputs[0]?;
    if is_transpose(step, [0, 1, 3, 2]) {
        absorbed.push(id);
        let (k, views) = unchanged(fusion, source);
        absorbed.extend(views);
        return Some((heads(fusion, k), scale, absorbed));
    }
    if is_transpose(step, [0, 2, 3, 1]) {
        absorbed.push(id);
        let k = HeadsOperand { value: source, layout: HeadLayout::LengthFirst, absorbed: None };
        return Some((k, scale, absorbed));
    }
    // Batch and heads as one axis while the last two change places, as PyTorch's exporter writes it.
    let (turn, turned) = fusion.sole_maker(source).filter(|_| matches!(step.op, Op::View(View::Reshape { .. })))?;
    let (join, joined) = fusion.sole_maker(turned.inputs[0]?).filter(|(_, step)| {
        matches!(&turned.op, Op::Movement(Movement::Transpose { perm }) if perm == &[0, 2, 1])
            && matches!(step.op, Op::View(View::Reshape { .. }))
    })?;
    let k = joined.inputs[0]?;
    let is_axis = |entry: &Entry, axis: usize| entry.is(fusion, k, axis);
    let (three, four) = (entries(fusion, joined.inputs[1]?)?, entries(fusion, step.inputs[1]?)?);
    let keeps = three.len() == 3 && is_axis(&three[1], 2) && is_axis(&three[2], 3) && fusion.rank(k) == Some(4);
    let gives_back = four.len() == 4 && four.iter().zip([0, 1, 3, 2]).all(|(entry, axis)| is_axis(entry, axis));
    if !(keeps && gives_back) {
        return None;
    }
    absorbed.extend([join, turn, id]);
    Some((heads(fusion, k), scale, absorbed))
}

/// What a reshape gives on as it is, and the reshape: what ONNX Runtime leaves of batch and heads as one axis, where all
/// sizes are known.
fn unchanged(fusion: &Fusion<'_, '_>, value: ValueId) -> (ValueId, Option<StepId>) {
    let view = fusion.sole_maker(value).filter(|(_, step)| matches!(step.op, Op::View(View::Reshape { .. })));
    let same = view.and_then(|(id, step)| {
        let (of, sizes) = (step.input(0)?, entries(fusion, step.input(1)?)?);
        let all = sizes.iter().enumerate().all(|(axis, entry)| entry.is(fusion, of, axis));
        (all && fusion.rank(of) == Some(sizes.len())).then_some((of, Some(id)))
    });
    same.unwrap_or((value, None))
}

/// What is multiplied by a constant, the constant, and the step that does so.
fn scaled(fusion: &Fusion<'_, '_>, value: ValueId) -> (ValueId, f32, Vec<StepId>) {
    let product = fusion.sole_maker(value).filter(|(_, step)| step.op == Op::Binary(Binary::Mul));
    match product.and_then(|(id, step)| Some((id, fusion.scalar_and_other(step)?))) {
        Some((id, (factor, other))) => (other, factor, vec![id]),
        None => (value, 1.0, Vec::new()),
    }
}

/// Size of a value's last axis: declared, or read off the reshape that made it, where inference gave up on the others.
fn last_axis(fusion: &Fusion<'_, '_>, value: ValueId) -> Option<usize> {
    if let Some(Dim::Fixed(width)) = fusion.graph.values[value].shape.as_ref().and_then(|shape| shape.last()) {
        return Some(*width);
    }
    let (_, step) = fusion.maker(value)?;
    let operand = |index: usize| step.input(index);
    match &step.op {
        Op::Movement(Movement::Transpose { perm }) if perm.last() == Some(&(perm.len() - 1)) => {
            last_axis(fusion, operand(0)?)
        }
        Op::View(View::Reshape { .. }) => match last_entry(fusion, operand(1)?)? {
            Entry::Known(width) => usize::try_from(width).ok().filter(|width| *width > 0),
            Entry::Axis(value, axis) => fusion.fixed(value, axis),
        },
        Op::Movement(Movement::Concat { .. }) => last_axis(fusion, operand(0)?),
        _ => None,
    }
}
