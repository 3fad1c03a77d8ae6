//! Which products may be computed in the narrow formats that the option `precision` names, and why the others are not.
//!
//! Rounding is known to do no harm inside a transformer: its layers read normed rows, and what they make is added to a
//! residual stream that is normed again. It does harm in a front end: a spectrum spans many orders of magnitude, and a
//! logarithm turns an error that is small beside the loudest bin into a large one of the quiet bins. So a product is
//! narrowed where it is recognised as a part of a transformer layer or of the convolutional stem before one, and
//! nowhere else; and not even there, if its result reaches a logarithm, or if what it reads is sound itself.
//!
//! The whole graph is looked at: a group, or a body of control flow, does not show where its products stand.

use std::fmt;

use undertone_kernels::Activation;

use crate::{
    graph::{DataType, Dim, Graph, ValueId},
    ops::{Op, ProductOp, Role},
    program::{Program, Step},
};

/// Why a product may be narrowed, or why it is computed in fp32.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Position {
    /// Attention itself.
    Attention,
    /// A projection or feed-forward layer that reads the result of a layer norm.
    AfterNorm,
    /// It makes queries, keys or values.
    BeforeAttention,
    /// It reads what attention gives.
    AfterAttention,
    /// It reads what another product of a layer gives, perhaps through an activation.
    AfterLayer,
    /// A convolution with an activation, on its way to a transformer's first layer norm.
    Stem,
    /// Its result reaches a logarithm.
    BeforeLog,
    /// It reads sound, not features.
    OfSound,
    /// Both of its operands are known only when it runs.
    RunTime,
    /// None of these.
    Unrecognised,
}

impl Position {
    /// Whether a product here may be narrowed.
    pub fn is_narrow(self) -> bool {
        match self {
            Position::Attention | Position::AfterNorm | Position::BeforeAttention => true,
            Position::AfterAttention | Position::AfterLayer | Position::Stem => true,
            Position::BeforeLog | Position::OfSound | Position::RunTime | Position::Unrecognised => false,
        }
    }
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Position::Attention => "a transformer's attention",
            Position::AfterNorm => "in a transformer: reads a layer norm",
            Position::BeforeAttention => "in a transformer: makes queries, keys or values",
            Position::AfterAttention => "in a transformer: reads attention",
            Position::AfterLayer => "in a transformer: reads another of its products",
            Position::Stem => "the convolutional stem of a transformer",
            Position::BeforeLog => "its result reaches a Log, which turns small errors into large ones",
            Position::OfSound => "it reads sound, not features",
            Position::RunTime => "both operands are known only when it runs",
            Position::Unrecognised => "not recognised as a part of a transformer's layer",
        })
    }
}

/// For each step of a whole graph's program where it stands, if it is a product.
pub fn positions(graph: &Graph<'_>, program: &Program) -> Vec<Option<Position>> {
    let flow = Flow::new(graph, program);
    let logged = flow.reaches_log();
    let sound = flow.is_sound();
    let projects = flow.projections();
    let stem = flow.stem();
    let transformer = program.steps.iter().enumerate().any(|(id, _)| flow.mixes(id));
    let mut positions: Vec<Option<Position>> = vec![None; program.steps.len()];
    for (id, step) in program.steps.iter().enumerate() {
        let Some(product) = step.op.product() else { continue };
        let position = match product {
            ProductOp::MatMul => Position::RunTime,
            ProductOp::Linear(_) | ProductOp::Conv1d(_) | ProductOp::Attention(_) => {
                if step.outputs.iter().any(|output| logged[*output]) {
                    Position::BeforeLog
                } else if flow.multiplied(step).any(|value| sound[value]) {
                    Position::OfSound
                } else if transformer {
                    flow.layer(id, &positions, &projects, &stem)
                } else {
                    Position::Unrecognised
                }
            }
        };
        positions[id] = Some(position);
    }
    positions
}

/// A program's steps with who makes each value.
struct Flow<'p, 'a> {
    graph: &'p Graph<'a>,
    steps: &'p [Step],
    roles: Vec<Role>,
    maker: Vec<Option<usize>>,
}

impl<'p, 'a> Flow<'p, 'a> {
    fn new(graph: &'p Graph<'a>, program: &'p Program) -> Self {
        let mut maker = vec![None; graph.values.len()];
        for (id, step) in program.steps.iter().enumerate() {
            step.outputs.iter().for_each(|output| maker[*output] = Some(id));
        }
        let roles = program.steps.iter().map(|step| step.op.role()).collect();
        Self { graph, steps: &program.steps, roles, maker }
    }

    /// The operands whose values flow into a step's result; shapes, indices, conditions and constants left out.
    fn data(&self, step: &'p Step) -> impl Iterator<Item = ValueId> + use<'_, 'p, 'a> {
        let taken = step.op.operator().data();
        let values = step.inputs.iter().enumerate().filter(move |(at, _)| taken.contains(at));
        values.filter_map(|(_, value)| *value).filter(|value| self.graph.values[*value].constant.is_none())
    }

    /// The operands that a product multiplies, without a residual.
    fn multiplied(&self, step: &'p Step) -> impl Iterator<Item = ValueId> + use<'_, 'p, 'a> {
        let count = if matches!(step.op, Op::Linear(_)) { 1 } else { usize::MAX };
        self.data(step).take(count)
    }

    /// For each value whether it reaches a logarithm, by any way that a layer norm, a soft-max or attention does not
    /// end: what leaves those is of a scale of its own.
    fn reaches_log(&self) -> Vec<bool> {
        let mut reaches = vec![false; self.graph.values.len()];
        for (id, step) in self.steps.iter().enumerate().rev() {
            let goes_on = match self.roles[id] {
                Role::Log => true,
                Role::Norm | Role::Softmax | Role::Attention | Role::Nothing => false,
                Role::Product | Role::Activation | Role::Arithmetic | Role::Movement | Role::Other => {
                    step.outputs.iter().any(|output| reaches[*output])
                }
            };
            if goes_on {
                self.data(step).for_each(|value| reaches[value] = true);
            }
        }
        reaches
    }

    /// For each value whether it is sound, or its spectrum: an input like sound, through all but products and a
    /// logarithm.
    fn is_sound(&self) -> Vec<bool> {
        let mut sound = vec![false; self.graph.values.len()];
        self.graph.inputs.iter().for_each(|input| sound[*input] = is_like_sound(self.graph, *input));
        for (id, step) in self.steps.iter().enumerate() {
            if matches!(self.roles[id], Role::Product | Role::Attention | Role::Log | Role::Nothing) {
                continue;
            }
            // A mask of two axes that is multiplied to features does not make sound of them.
            let mut data = self.data(step).peekable();
            if data.peek().is_some() && data.all(|value| sound[value]) {
                step.outputs.iter().for_each(|output| sound[*output] = true);
            }
        }
        sound
    }

    /// Whether a step weighs values by a soft-max: attention, as one step or as the second product of it.
    fn mixes(&self, id: usize) -> bool {
        match (self.roles[id], &self.steps[id].op) {
            (Role::Attention, _) => true,
            (_, Op::MatMul(_)) => self.steps[id].inputs[0].is_some_and(|weights| {
                let through = |role| matches!(role, Role::Movement | Role::Arithmetic);
                self.sources(weights, through).iter().any(|source| self.roles[*source] == Role::Softmax)
            }),
            _ => false,
        }
    }

    /// The nearest steps before a value that values do not merely pass through.
    fn sources(&self, value: ValueId, through: impl Fn(Role) -> bool) -> Vec<usize> {
        let (mut found, mut open, mut seen) = (Vec::new(), vec![value], vec![false; self.steps.len()]);
        while let Some(id) = open.pop().map(|value| self.maker[value]) {
            let Some(id) = id.filter(|id| !std::mem::replace(&mut seen[*id], true)) else { continue };
            if through(self.roles[id]) {
                open.extend(self.data(&self.steps[id]));
            } else {
                found.push(id);
            }
        }
        found
    }

    /// For each step whether it is a product that makes queries, keys or values.
    fn projections(&self) -> Vec<bool> {
        let through = |role| matches!(role, Role::Movement | Role::Arithmetic);
        let mut projects = vec![false; self.steps.len()];
        for (id, step) in self.steps.iter().enumerate() {
            let values: Vec<ValueId> = match (self.roles[id], &step.op) {
                (Role::Attention, _) => self.data(step).collect(),
                // Scores on their way to a soft-max, and what their weights are multiplied with.
                (Role::Softmax, _) => {
                    let scores = self.data(step).flat_map(|value| self.sources(value, through));
                    let products = scores.filter(|source| matches!(self.steps[*source].op, Op::MatMul(_)));
                    products.flat_map(|product| self.data(&self.steps[product])).collect()
                }
                (_, Op::MatMul(_)) if self.mixes(id) => step.input(1).into_iter().collect(),
                _ => continue,
            };
            for source in values.into_iter().flat_map(|value| self.sources(value, through)) {
                projects[source] |= self.roles[source] == Role::Product;
            }
        }
        projects
    }

    /// For each value whether a step of `role` is ahead of it, through what `through` says of a step.
    fn ahead(&self, role: Role, through: impl Fn(Role, &Op) -> bool) -> Vec<bool> {
        let mut ahead = vec![false; self.graph.values.len()];
        for (id, step) in self.steps.iter().enumerate().rev() {
            let passes = through(self.roles[id], &step.op) && step.outputs.iter().any(|output| ahead[*output]);
            if self.roles[id] == role || passes {
                self.data(step).for_each(|value| ahead[value] = true);
            }
        }
        ahead
    }

    /// For each step whether it is a convolution of a stem: an activation follows it, and, with whatever others, a
    /// layer norm.
    fn stem(&self) -> Vec<bool> {
        let plain = |role| matches!(role, Role::Movement | Role::Arithmetic);
        let activated = self.ahead(Role::Activation, |role, _| plain(role));
        let through = |role, op: &Op| plain(role) || role == Role::Activation || matches!(op, Op::Conv1d(_));
        let normed = self.ahead(Role::Norm, through);
        let is_stem = |step: &Step| match &step.op {
            Op::Conv1d(conv) => step
                .outputs
                .iter()
                .any(|output| normed[*output] && (conv.activation != Activation::None || activated[*output])),
            _ => false,
        };
        self.steps.iter().map(is_stem).collect()
    }

    /// Where in a transformer a product stands; `positions` are those of the steps before it.
    fn layer(&self, id: usize, positions: &[Option<Position>], projects: &[bool], stem: &[bool]) -> Position {
        let step = &self.steps[id];
        if matches!(step.op, Op::Attention(_)) {
            return Position::Attention;
        }
        if projects[id] {
            return Position::BeforeAttention;
        }
        let Some(x) = step.inputs[0] else { return Position::Unrecognised };
        let moved = self.sources(x, |role| role == Role::Movement);
        if moved.iter().any(|source| self.roles[*source] == Role::Norm) {
            return Position::AfterNorm;
        }
        if moved.iter().any(|source| self.mixes(*source)) {
            return Position::AfterAttention;
        }
        let computed = self.sources(x, |role| matches!(role, Role::Movement | Role::Arithmetic | Role::Activation));
        let in_layer = |source: &usize| {
            matches!(positions[*source], Some(position) if position.is_narrow() && position != Position::Stem)
                || (self.roles[*source] == Role::Product && positions[*source].is_none() && self.reads_norm(*source))
        };
        if computed.iter().any(in_layer) {
            return Position::AfterLayer;
        }
        if stem[id] {
            return Position::Stem;
        }
        Position::Unrecognised
    }

    /// Whether a product that the EP does not carry out reads a layer norm.
    fn reads_norm(&self, id: usize) -> bool {
        let x = self.data(&self.steps[id]).next();
        let sources = x.map(|x| self.sources(x, |role| role == Role::Movement)).unwrap_or_default();
        sources.iter().any(|source| self.roles[*source] == Role::Norm)
    }
}

/// Whether an input of a graph may be sound: numbers along one axis, perhaps for each item of a batch.
fn is_like_sound(graph: &Graph<'_>, input: ValueId) -> bool {
    let value = &graph.values[input];
    let numbers =
        matches!(value.dtype, Some(DataType::F32 | DataType::F16 | DataType::Bf16 | DataType::F64 | DataType::I16));
    numbers
        && match value.shape.as_deref() {
            Some([_] | [_, _]) => true,
            Some([_, channels, _]) => *channels == Dim::Fixed(1),
            _ => false,
        }
}

#[cfg(test)]
mod tests;
