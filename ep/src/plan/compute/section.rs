//! Sections: linear layers that the device carries out together, with the layer norm before them.

use smallvec::SmallVec;
use undertone_kernels::{Context, Device, Linear, Norm, Product, Rows};

use super::{
    super::{layout::PlanStep, machine::Machine, sections::Kind},
    Tools,
    attention::ReadyAttention,
};
use crate::{
    error::RunError,
    memory::{Destination, Shape},
    ops::{Computed, Normalisation, Op, Operands, Prepared},
};

/// Results of one section that are remembered without allocation.
const INLINE: usize = 8;

/// Carries out a section's steps, together where their operands are as usual, else one by one. The error says what the
/// operands lack, with the step's name.
pub fn run<'io>(
    machine: &mut Machine<'_, 'io>,
    kind: Kind,
    steps: &[PlanStep],
    prepared: &[Option<Prepared>],
    tools: Tools<'_>,
    context: &mut Context<'_>,
) -> Result<(), RunError> {
    if kind == Kind::SelfAttention {
        if let Some(section) = ReadyAttention::of(machine, steps, prepared, tools, context) {
            return section.run(machine, tools, context).map_err(|fault| fault.of(&steps[0].name));
        }
    } else if kind != Kind::Single
        && let Some(section) = ReadySection::of(machine, kind, steps, prepared)
    {
        return section.run(machine, tools.device, context).map_err(|fault| fault.of(&steps[0].name));
    }
    for (step, prepared) in steps.iter().zip(prepared) {
        super::step(machine, step, prepared.as_ref(), tools.caches, context).map_err(|fault| fault.of(&step.name))?;
    }
    Ok(())
}

/// Whether a layer norm's gain and bias are those of rows of `inputs`. An operand in error is none of them.
pub fn is_plain_norm(operands: Operands<'_, '_, '_>, inputs: usize) -> bool {
    let fits = |shape: &Shape| shape.elements() == inputs;
    operands.shape(1).is_ok_and(fits) && operands.shape(2).map_or(true, fits)
}

/// A step's layer norm.
pub fn norm<'m>(machine: &'m Machine<'_, '_>, step: &'m PlanStep, epsilon: f32) -> Computed<Norm<'m>> {
    let operands = machine.operands(step);
    Ok(Norm { gain: operands.data(1)?, bias: operands.optional(2)?, epsilon })
}

/// A linear step, ready to run.
#[derive(Clone, Copy)]
struct Layer<'p> {
    step: &'p PlanStep,
    kernel: &'p (dyn Linear + 'static),
    outputs: usize,
    /// The result's.
    shape: Shape,
}

/// A section whose operands are as usual.
struct ReadySection<'p> {
    rows: usize,
    inputs: usize,
    norm: Option<(&'p PlanStep, f32)>,
    /// The rows' maker, if the rows are normed, else the first layer.
    first: &'p PlanStep,
    /// The layer whose result only the next one reads.
    hidden: Option<Layer<'p>>,
    layers: SmallVec<[Layer<'p>; INLINE]>,
}

impl<'p> ReadySection<'p> {
    /// Looks at the operands; `None` if a norm's or a residual's shape asks for broadcasting, or an operand is in
    /// error, which the single step then says.
    fn of(
        machine: &mut Machine<'_, '_>,
        kind: Kind,
        steps: &'p [PlanStep],
        prepared: &'p [Option<Prepared>],
    ) -> Option<Self> {
        let first = steps.first()?;
        let mut x = *machine.operands(first).shape(0).ok()?;
        let inputs = *x.last()?;
        let rows = x.elements().checked_div(inputs)?;
        let mut norm = None;
        let mut layers: SmallVec<[Layer<'p>; INLINE]> = SmallVec::new();
        for (step, kernel) in steps.iter().zip(prepared) {
            let operands = machine.operands(step);
            match (&step.op, kernel) {
                (Op::Normalisation(Normalisation::LayerNorm { epsilon }), _) => {
                    is_plain_norm(operands, inputs).then_some(())?;
                    norm = Some((step, *epsilon));
                }
                (Op::Linear(linear), Some(Prepared::Linear(kernel))) => {
                    let shape = linear.product(&x).ok()?;
                    if operands.shape(1).is_ok_and(|residual| *residual != shape) {
                        return None;
                    }
                    layers.push(Layer { step, kernel: &***kernel, outputs: linear.outputs, shape });
                    if kind == Kind::Mlp {
                        x = shape;
                    }
                }
                _ => return None,
            }
        }
        let hidden = (kind == Kind::Mlp).then(|| layers.remove(0));
        // Shapes of what is not made, for whoever looks at the plan.
        if let Some((step, _)) = norm {
            let shape = *machine.operands(step).shape(0).ok()?;
            machine.values.note(step.output, shape);
        }
        if let Some(hidden) = hidden {
            machine.values.note(hidden.step.output, hidden.shape);
        }
        Some(Self { rows, inputs, norm, first, hidden, layers })
    }

    fn run(&self, machine: &mut Machine<'_, '_>, device: &dyn Device, context: &mut Context<'_>) -> Computed<()> {
        let mut targets: SmallVec<[Destination<'_>; INLINE]> = SmallVec::new();
        let mut made = Ok(());
        for layer in &self.layers {
            match machine.begin(layer.step.output, layer.shape) {
                Ok(target) => targets.push(target),
                Err(error) => made = Err(error),
            }
        }
        let made = made.and_then(|()| self.compute(machine, device, context, &mut targets));
        targets.into_iter().for_each(|target| machine.values.finish(target));
        made
    }

    fn compute(
        &self,
        machine: &Machine<'_, '_>,
        device: &dyn Device,
        context: &mut Context<'_>,
        targets: &mut [Destination<'_>],
    ) -> Computed<()> {
        let norm = self.norm.map(|(step, epsilon)| norm(machine, step, epsilon)).transpose()?;
        let x = machine.operands(self.first).data(0)?;
        let from = Rows { x, rows: self.rows, inputs: self.inputs, norm: norm.as_ref() };
        let mut products: SmallVec<[Product<'_>; INLINE]> = SmallVec::new();
        for (layer, target) in self.layers.iter().zip(targets) {
            let Layer { kernel: layer_kernel, outputs, shape, step } = *layer;
            let residual = machine.operands(step).optional(1)?;
            let out = target.elements(shape.elements())?;
            products.push(Product { layer: layer_kernel, outputs, residual, out });
        }
        let done = match self.hidden {
            None => device.products(context, &from, &mut products),
            Some(hidden) => products
                .into_iter()
                .try_for_each(|second| device.mlp(context, &from, hidden.kernel, hidden.outputs, second)),
        };
        Ok(done?)
    }
}
