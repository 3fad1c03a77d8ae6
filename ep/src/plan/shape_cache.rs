//! The shape cache: runs of sections that compute nothing but shapes, and may be passed over as a whole. A decoder's
//! step works out some hundred small integers, nearly all of which are as they were in the step before. To look at each
//! of them costs more than the integers do.

use super::{
    layout::PlanStep,
    sections::{Kind, Section},
};
use crate::{graph::ValueId, memory::Shape};

/// Sections that follow one another and only compute what follows from shapes.
#[derive(Debug, Default)]
pub struct ShapeRun {
    /// How many sections.
    pub sections: usize,
    /// Values whose shapes are asked for.
    pub asked: Vec<ValueId>,
    /// Results of earlier sections that follow from shapes and are read here.
    pub read: Vec<ValueId>,
    /// What is computed here.
    pub made: Vec<ValueId>,
}

/// For each section the shape run that begins with it.
pub fn find(steps: &[PlanStep], sections: &[Section], is_constant: impl Fn(ValueId) -> bool) -> Vec<Option<ShapeRun>> {
    let of_shapes = |section: &Section| section.kind == Kind::Single && steps[section.steps.start].of_shapes;
    let mut found: Vec<Option<ShapeRun>> = Vec::with_capacity(sections.len());
    for run in sections.chunk_by(|a, b| of_shapes(a) && of_shapes(b)) {
        let mut shape_run = ShapeRun { sections: run.len(), ..ShapeRun::default() };
        if of_shapes(&run[0]) {
            for step in run.iter().map(|section| &steps[section.steps.start]) {
                for value in step.inputs.iter().flatten() {
                    let values = if step.op.reads_shape_only() { &mut shape_run.asked } else { &mut shape_run.read };
                    if !values.contains(value) && !shape_run.made.contains(value) && !is_constant(*value) {
                        values.push(*value);
                    }
                }
                shape_run.made.push(step.output);
            }
        }
        found.push((run.len() > 1 && !shape_run.made.is_empty()).then_some(shape_run));
        found.extend((1..run.len()).map(|_| None));
    }
    found
}

/// The shapes that the last run found, one shape run after another.
#[derive(Clone, Debug, Default)]
pub struct Found(Vec<Vec<Shape>>);

impl Found {
    /// For so many shape runs; nothing was found yet.
    pub fn new(shape_runs: usize) -> Self {
        Self(vec![Vec::new(); shape_runs])
    }

    /// Whether the shapes of shape run `at` are `now` what they were, and from now on what they are.
    pub fn same(&mut self, at: usize, now: impl Iterator<Item = Shape> + Clone) -> bool {
        let before = &mut self.0[at];
        let same = now.clone().eq(before.iter().copied());
        if !same {
            before.clear();
            before.extend(now);
        }
        same
    }
}
