//! How much work a run is, so that a small one is not spread over threads.
//!
//! To wake a thread costs as much as a small graph, and the end of the run waits for it: where the machine is busy,
//! milliseconds for a graph of some microseconds. What a run will be is not known before it, since its shapes are not;
//! but one with no more input than a run that was small is taken for small too, until it turns out not to be.

use std::sync::atomic::{AtomicUsize, Ordering};

use super::layout::{PlanStep, ValueLayout};
use crate::{
    memory::{Input, Shape, Tensor},
    ops::Op,
};

/// Floating-point operations of a small run: one thread needs some 40 µs for them.
const SMALL: f64 = 4e6;

/// Operations that an element of a result counts for where the step is no product: it is read and written.
const OF_AN_ELEMENT: f64 = 4.0;

/// Operations that an entry of a product's matrix counts for by itself: it comes from memory once, however few rows
/// are multiplied with it.
const OF_A_WEIGHT: f64 = 8.0;

/// What is known of a plan's runs.
#[derive(Debug, Default)]
pub struct Load {
    /// Runs with less input than this, in bytes, are small as far as is known.
    small_below: AtomicUsize,
}

impl Load {
    /// Whether a run is small, as far as is known before it.
    pub fn is_small(&self, inputs: &[Input<'_>]) -> bool {
        bytes(inputs) < self.small_below.load(Ordering::Relaxed)
    }

    /// Learns from a run that went to its end.
    pub fn learn(&self, inputs: &[Input<'_>], layout: &ValueLayout, tensors: &[Tensor]) {
        let (bytes, known) = (bytes(inputs), self.small_below.load(Ordering::Relaxed));
        match is_small(layout, tensors) {
            true if bytes >= known => self.small_below.store(bytes + 1, Ordering::Relaxed),
            false if bytes < known => self.small_below.store(bytes, Ordering::Relaxed),
            _ => (),
        }
    }
}

fn bytes(inputs: &[Input<'_>]) -> usize {
    inputs.iter().map(|input| input.bytes.len()).sum()
}

/// Looks at no more steps than it has to: of a large run at the first product or two.
fn is_small(layout: &ValueLayout, tensors: &[Tensor]) -> bool {
    let steps = layout.steps.iter().filter(|step| !step.of_shapes);
    let mut work = 0.0;
    steps.map(|step| work_of(step, tensors)).all(|of_step| {
        work += of_step;
        work <= SMALL
    })
}

/// Entries of a product's constant matrix or kernel.
fn weights(op: &Op) -> usize {
    match op {
        Op::Linear(linear) => linear.inputs * linear.outputs,
        Op::Conv1d(conv) => conv.sizes.iter().product(),
        _ => 0,
    }
}

fn work_of(step: &PlanStep, tensors: &[Tensor]) -> f64 {
    let shape = |value: usize| tensors[value].shape;
    let operand = |index: usize| step.inputs.get(index).copied().flatten().map(shape);
    let result: Shape = shape(step.output);
    match step.op.operator().flops(&operand, Some(result)) {
        Some(flops) => flops + OF_A_WEIGHT * weights(&step.op) as f64,
        None => OF_AN_ELEMENT * result.elements() as f64,
    }
}
