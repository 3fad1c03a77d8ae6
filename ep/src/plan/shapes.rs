//! A run of a program of which only shapes are wanted, and the small integers that shapes are made of.

use undertone_kernels::{Context, Counters, Scratch, Serial, host::movement::broadcast_shape};

use super::{
    compute, infer,
    layout::{Layout, PlanStep},
    machine::{Machine, Workspace},
    tensor::Shape,
};
use crate::{
    graph::{Graph, ValueId},
    program::{Op, Program},
};

/// The shape of every value, from those of the graph's inputs. `declared` is what the graph says of each value, and counts where
/// a step's own result cannot be told.
pub fn infer_all(graph: &Graph<'_>, program: &Program, declared: &[Option<Shape>]) -> Vec<Option<Shape>> {
    let mut shapes = declared.to_vec();
    let Ok(layout) = Layout::for_shapes(graph, program.clone()) else { return shapes };
    let mut workspace = Workspace::new(&layout);
    let inputs: Vec<Shape> =
        graph.inputs.iter().map(|value| declared[*value].unwrap_or_else(super::tensor::scalar)).collect();
    let mut machine = Machine::for_shapes(&layout, &mut workspace, &inputs);
    let (counters, mut scratch) = (Counters::new(), Scratch::default());
    let mut context = Context { pool: &Serial, counters: &counters, scratch: &mut scratch };
    for step in &layout.steps {
        let known = step.inputs.iter().flatten().all(|value| shapes[*value].is_some());
        let shape = known.then(|| result(graph, &machine, step).ok()).flatten().or(declared[step.output]);
        let done = shape.is_some() && compute::step_for_shapes(&mut machine, step, shape, &mut context).is_ok();
        shapes[step.output] = shape.filter(|_| done);
    }
    shapes
}

/// A step's result, those operations included whose width comes from a constant.
fn result(graph: &Graph<'_>, machine: &Machine<'_, '_>, step: &PlanStep) -> Result<Shape, String> {
    let x = |index: usize| infer::operand(step, index).map(|value| *machine.shape(value));
    let constant = |value: ValueId| graph.values[value].constant.as_ref().ok_or("its weights are not constant");
    match &step.op {
        Op::Linear { weights, .. } => {
            let [a, b] = constant(weights.value)?.shape[..] else { return Err("its weights are no matrix".into()) };
            let (inputs, outputs) = if weights.transposed { (b, a) } else { (a, b) };
            let product = infer::linear(&x(0)?, inputs, outputs)?;
            match x(1) {
                Ok(residual) => {
                    broadcast_shape(&[&product, &residual]).ok_or_else(|| "its residual does not fit".into())
                }
                Err(_) => Ok(product),
            }
        }
        Op::Conv1d(conv) => {
            let [out, channels, width] = constant(conv.weights.value)?.shape[..] else {
                return Err("its weights are no kernels".into());
            };
            infer::convolution(&x(0)?, conv, [out, channels, width]).map(|(_, shape)| shape)
        }
        _ => infer::shape(machine, step),
    }
}
