//! A run of a program of which only shapes are wanted, and the small integers that shapes are made of.

use undertone_kernels::{Context, Counters, Scratch, Serial};

use super::{
    compute,
    expand::expand,
    layout::ValueLayout,
    machine::{Machine, Workspace},
};
use crate::{
    graph::Graph,
    memory::{Shape, scalar},
    program::Program,
};

/// The shape of every value, from those of the graph's inputs. `declared` is what the graph says of each value, and
/// counts where a step's own result cannot be told.
pub fn infer_all(graph: &Graph<'_>, program: &Program, declared: &[Option<Shape>]) -> Vec<Option<Shape>> {
    let mut shapes = declared.to_vec();
    let Ok(layout) = ValueLayout::for_shapes(graph, expand(program.clone())) else { return shapes };
    let mut workspace = Workspace::new(&layout);
    let inputs: Vec<Shape> = graph.inputs.iter().map(|value| declared[*value].unwrap_or_else(scalar)).collect();
    let mut machine = Machine::for_shapes(&layout, &mut workspace, &inputs);
    let (counters, mut scratch) = (Counters::new(), Scratch::default());
    let mut context = Context { pool: &Serial, counters: &counters, scratch: &mut scratch };
    for step in &layout.steps {
        let known = step.inputs.iter().flatten().all(|value| shapes[*value].is_some());
        let shape =
            known.then(|| step.op.operator().shape(machine.operands(step)).ok()).flatten().or(declared[step.output]);
        let mut done = |shape: &Shape| compute::step_for_shapes(&mut machine, step, *shape, &mut context).is_ok();
        shapes[step.output] = shape.filter(|shape| done(shape));
    }
    shapes
}
