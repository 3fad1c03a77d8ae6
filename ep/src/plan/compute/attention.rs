//! Sections of attention with the layers around it.

use smallvec::SmallVec;
use undertone_kernels::{Attention, Context, Linear, Product, Rows, SelfAttention};

use super::{
    super::{layout::PlanStep, machine::Machine},
    Tools,
    section::norm,
};
use crate::{
    graph::ValueId,
    memory::Shape,
    ops::{Computed, Normalisation, Op, Prepared},
};

/// Layers around attention.
const LAYERS: usize = 4;
/// Values that follow from the rows, and are remembered without allocation.
const FOLLOWERS: usize = 12;

/// A section whose operands are as usual.
pub struct ReadyAttention<'p> {
    rows: usize,
    inputs: usize,
    /// The first step, if it is a layer norm.
    norm: Option<(&'p PlanStep, f32)>,
    /// The step that reads the rows as they come.
    first: &'p PlanStep,
    layers: [&'p (dyn Linear + 'static); 3],
    attention: &'p (dyn Attention + 'static),
    heads: usize,
    head_width: usize,
    length: usize,
    out: (&'p PlanStep, &'p (dyn Linear + 'static)),
    outputs: usize,
    /// The result's.
    shape: Shape,
}

impl<'p> ReadyAttention<'p> {
    /// Looks at the operands, makes sizes, and notes the shapes of what is not made; `None` if they ask for
    /// broadcasting, or one is in error, which the single step then says.
    pub fn of(
        machine: &mut Machine<'_, '_>,
        steps: &'p [PlanStep],
        prepared: &'p [Option<Prepared>],
        tools: Tools<'_>,
        context: &mut Context<'_>,
    ) -> Option<Self> {
        let reads_rows = |step: &&PlanStep| matches!(step.op, Op::Normalisation(_) | Op::Linear(_));
        let (first, last) = (steps.iter().find(reads_rows)?, steps.last()?);
        let x = *machine.operands(first).shape(0).ok()?;
        let inputs = *x.last()?;
        let rows = x.elements().checked_div(inputs)?;
        let (mut norm, mut attended) = (None, None);
        let mut layers: SmallVec<[(&'p PlanStep, &'p (dyn Linear + 'static), usize); LAYERS]> = SmallVec::new();
        // What follows from the rows is not made here.
        let mut followers = SmallVec::<[Option<ValueId>; FOLLOWERS]>::from_slice(&[machine.operands(first).get(0)]);
        for (step, prepared) in steps.iter().zip(prepared) {
            let follows = step.inputs.first().is_some_and(|input| followers.contains(input));
            if step.op.reads_shape_only() || !follows {
                super::step(machine, step, prepared.as_ref(), tools.caches, context).ok()?;
                continue;
            }
            followers.push(Some(step.output));
            let shape = step.op.operator().shape(machine.operands(step)).ok()?;
            match (&step.op, prepared) {
                (Op::Normalisation(Normalisation::LayerNorm { epsilon }), _) => {
                    norm = Some((step, *epsilon));
                    super::section::is_plain_norm(machine.operands(step), inputs).then_some(())?;
                }
                (Op::Linear(linear), Some(Prepared::Linear(kernel))) => {
                    layers.push((step, &***kernel, linear.outputs));
                }
                (Op::Attention(attention), Some(Prepared::Attention(kernel))) => {
                    let operands = machine.operands(step);
                    let [q, k, v] = [(attention.q, 0), (attention.k, 1), (attention.v, 2)]
                        .map(|(layout, at)| layout.sizes(operands.shape(at).ok()?).ok());
                    let sizes @ [.., width] = q?;
                    (k? == sizes && v? == sizes).then_some(())?;
                    attended = Some((sizes, kernel.for_width(width).ok()?));
                }
                _ => {}
            }
            machine.values.note(step.output, shape);
        }
        let ([batch, heads, length, head_width], attention) = attended?;
        let &[(_, q, q_width), (_, k, k_width), (_, v, v_width), (_, out, outputs)] = &layers[..] else { return None };
        let fits = [q_width, k_width, v_width] == [heads * head_width; 3] && batch * length == rows;
        let shape = *machine.values.shape(last.output);
        let residual = machine.operands(last).shape(1).map_or(true, |residual| *residual == shape);
        (fits && residual && shape.elements() == rows * outputs).then_some(Self {
            rows,
            inputs,
            norm,
            first,
            layers: [q, k, v],
            attention,
            heads,
            head_width,
            length,
            out: (last, out),
            outputs,
            shape,
        })
    }

    /// Carries it out.
    pub fn run(&self, machine: &mut Machine<'_, '_>, tools: Tools<'_>, context: &mut Context<'_>) -> Computed<()> {
        let Self { rows, inputs, layers, attention, heads, head_width, length, out: (last, layer), outputs, .. } =
            *self;
        let mut target = machine.begin(last.output, self.shape)?;
        let mut compute = || -> Computed<()> {
            let norm = self.norm.map(|(step, epsilon)| norm(machine, step, epsilon)).transpose()?;
            let x = machine.operands(self.first).data(0)?;
            let residual = machine.operands(last).optional(1)?;
            let out = Product { layer, outputs, residual, out: target.elements(self.shape.elements())? };
            let block = SelfAttention { layers, attention, heads, head_width, length, out };
            let rows = Rows { x, rows, inputs, norm: norm.as_ref() };
            Ok(tools.device.self_attention(context, &rows, block)?)
        };
        let done = compute();
        machine.values.finish(target);
        done
    }
}
