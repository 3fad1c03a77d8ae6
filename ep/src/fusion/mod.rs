//! Fusion: groups of steps that together are one kernel become one step.
//!
//! Each pattern is a file and reads like the formula that it matches. [`Fusion::replace`] takes in a step only if its
//! result has no other reader, so that nothing is computed twice and every fused step is closed: it has one result, and
//! no path leaves it and comes back.

mod attention;
#[cfg(test)]
mod attention_tests;
mod convolution;
mod gelu;
mod layer_norm;
mod linear;
mod quantised;
mod sizes;
#[cfg(test)]
mod tests;

pub use self::quantised::Quantising;
use crate::{
    graph::{DataType, Graph, ValueId},
    ops::Op,
    program::{Program, Step},
};

/// Index of a step in a [`Fusion`].
type StepId = usize;

/// Fuses what can be fused.
pub fn fuse(graph: &Graph<'_>, program: Program) -> Program {
    fuse_with(graph, program, Quantising::Within)
}

/// Fuses what can be fused, with the quantisation of operands taken in or left apart.
pub fn fuse_with(graph: &Graph<'_>, program: Program, quantising: Quantising) -> Program {
    let mut fusion = Fusion::new(graph, program, quantising);
    fusion.each(gelu::gelu);
    fusion.each(layer_norm::layer_norm);
    fusion.each(quantised::linear);
    fusion.each(quantised::convolution);
    fusion.each(linear::flattened);
    fusion.each(attention::attention);
    fusion.each(attention::transposed);
    fusion.each(linear::epilogue);
    fusion.each(linear::residual);
    fusion.each(convolution::epilogue);
    fusion.each(convolution::output_transpose);
    fusion.each(convolution::between);
    fusion.finish()
}

/// A program while it is being fused.
struct Fusion<'g, 'a> {
    graph: &'g Graph<'a>,
    steps: Vec<Option<Step>>,
    producer: Vec<Option<StepId>>,
    /// Readers of each value, a step once for each operand; the graph's outputs count as one more.
    uses: Vec<usize>,
    quantising: Quantising,
}

impl<'g, 'a> Fusion<'g, 'a> {
    fn new(graph: &'g Graph<'a>, program: Program, quantising: Quantising) -> Self {
        let mut producer = vec![None; graph.values.len()];
        let mut uses = vec![0; graph.values.len()];
        for (id, step) in program.steps.iter().enumerate() {
            step.outputs.iter().for_each(|output| producer[*output] = Some(id));
            step.operands().for_each(|value| uses[value] += 1);
        }
        graph.outputs.iter().for_each(|output| uses[*output] += 1);
        Self { graph, steps: program.steps.into_iter().map(Some).collect(), producer, uses, quantising }
    }

    /// Tries a pattern with each step as its root, first to last, and again on a step that it changed.
    fn each(&mut self, pattern: fn(&mut Self, StepId) -> Option<()>) {
        for root in 0..self.steps.len() {
            while self.steps[root].is_some() && pattern(self, root).is_some() {}
        }
    }

    fn finish(self) -> Program {
        Program { steps: self.steps.into_iter().flatten().collect() }
    }

    fn step(&self, id: StepId) -> Option<&Step> {
        self.steps[id].as_ref()
    }

    /// The step that makes `value`, whoever else reads it.
    fn maker(&self, value: ValueId) -> Option<(StepId, &Step)> {
        let id = self.producer[value]?;
        self.step(id).map(|step| (id, step))
    }

    /// The step that makes `value`, if exactly one operand in the graph reads it.
    fn sole_maker(&self, value: ValueId) -> Option<(StepId, &Step)> {
        if self.uses[value] == 1 { self.maker(value) } else { None }
    }

    /// The only step that reads `value`, if it is read once and is no output of the graph.
    fn sole_reader(&self, value: ValueId) -> Option<(StepId, &Step)> {
        if self.uses[value] != 1 || self.graph.outputs.contains(&value) {
            return None;
        }
        let from = self.producer[value].map_or(0, |id| id + 1);
        let reads = |step: &&Step| step.operands().any(|operand| operand == value);
        (from..self.steps.len()).find_map(|id| self.step(id).filter(reads).map(|step| (id, step)))
    }

    /// Puts `op` in the place of `last`, the last of the steps that it stands for; `absorbed` are the others. `None`,
    /// and nothing is done, if somebody else reads what an absorbed step makes.
    fn replace(&mut self, last: StepId, absorbed: &[StepId], op: Op, inputs: Vec<Option<ValueId>>) -> Option<()> {
        let members = || absorbed.iter().chain([&last]).filter_map(|id| self.steps[*id].as_ref());
        let read_within = |value: &ValueId| members().flat_map(Step::operands).filter(|read| read == value).count();
        let made = absorbed.iter().filter_map(|id| self.steps[*id].as_ref()).flat_map(|step| &step.outputs);
        if made.into_iter().any(|value| self.uses[*value] != read_within(value)) {
            return None;
        }
        let outputs = self.steps[last].as_ref().map(|step| step.outputs.clone()).unwrap_or_default();
        let mut nodes = Vec::new();
        let mut exact = false;
        for id in absorbed.iter().chain([&last]) {
            if let Some(step) = self.steps[*id].take() {
                step.operands().for_each(|value| self.uses[value] -= 1);
                step.outputs.iter().for_each(|output| self.producer[*output] = None);
                nodes.extend(step.nodes);
                exact |= step.exact;
            }
        }
        nodes.sort_unstable();
        let step = Step { op, inputs, outputs, nodes, exact };
        step.operands().for_each(|value| self.uses[value] += 1);
        step.outputs.iter().for_each(|output| self.producer[*output] = Some(last));
        self.steps[last] = Some(step);
        Some(())
    }

    /// The value of a constant with a single floating-point entry.
    fn scalar(&self, value: ValueId) -> Option<f32> {
        let constant = self.graph.values[value].constant.as_ref().filter(|c| c.len() == 1)?;
        match constant.dtype {
            DataType::F32 => Some(f32::from_ne_bytes(constant.bytes.as_ref().try_into().ok()?)),
            DataType::F16 => Some(half::f16::from_ne_bytes(constant.bytes.as_ref().try_into().ok()?).to_f32()),
            _ => None,
        }
    }

    /// Whether `value` is a constant of this shape, or of it behind axes of one.
    fn is_constant_row(&self, value: ValueId, width: usize) -> bool {
        self.graph.values[value].constant.as_ref().is_some_and(|constant| {
            constant.len() == width && constant.shape.last() == Some(&width) && constant.dtype.is_float()
        })
    }

    /// Number of axes of a value, if it is declared or inferred.
    fn rank(&self, value: ValueId) -> Option<usize> {
        self.graph.values[value].shape.as_ref().map(Vec::len)
    }

    /// Both operands of a two-operand step: (the scalar constant's value, the other operand), in either order.
    fn scalar_and_other(&self, step: &Step) -> Option<(f32, ValueId)> {
        let (a, b) = two(step)?;
        match (self.scalar(a), self.scalar(b)) {
            (None, Some(scalar)) => Some((scalar, a)),
            (Some(scalar), None) => Some((scalar, b)),
            _ => None,
        }
    }
}

/// The operands of a step that has exactly two.
fn two(step: &Step) -> Option<(ValueId, ValueId)> {
    match step.inputs.as_slice() {
        [Some(a), Some(b)] => Some((*a, *b)),
        _ => None,
    }
}

/// The operand of a two-operand step that is not `value`.
fn other(step: &Step, value: ValueId) -> Option<ValueId> {
    match two(step)? {
        (a, b) if a == value && b != value => Some(b),
        (a, b) if b == value && a != value => Some(a),
        _ => None,
    }
}
